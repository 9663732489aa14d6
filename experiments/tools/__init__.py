"""Programs for the repository only: its benchmarks, its tables, its tests by force."""
