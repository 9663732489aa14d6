"""Convolutions that are fast on the CPU, in every order of derivative."""
