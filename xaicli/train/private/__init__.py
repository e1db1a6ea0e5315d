"""Private training: clipped per-sample gradients, noise, and the account of what they cost."""
