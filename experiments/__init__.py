"""Experiments: `python -m experiments.NAME`, one file a result."""
