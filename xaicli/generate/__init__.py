"""The generate wing: images that show what a model has learned."""
