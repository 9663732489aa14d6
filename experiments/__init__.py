"""Experiments: `python -m experiments.NAME`, one file per result."""
