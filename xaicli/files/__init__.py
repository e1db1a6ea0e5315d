"""Artifacts on disk: atomic publishing, HDF5 stores that verify themselves, checkpoints and records."""
