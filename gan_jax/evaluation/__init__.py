"""Measuring generators: features of images, feature networks, and records of values with their protocols."""
