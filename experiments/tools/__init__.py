"""What only the repository needs: its benchmarks, its tables, its tests by force."""
