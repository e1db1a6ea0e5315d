"""Classifiers: architectures, normalisation, layers by name, foreign weights, and loading from a checkpoint."""
