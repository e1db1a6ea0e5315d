"""The train wing: recipes and the one training loop."""
