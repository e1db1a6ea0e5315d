"""Open-set detectors: how much an image looks like those that a network was trained to tell apart."""
