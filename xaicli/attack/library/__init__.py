"""The attacks of torchattacks, one short description each, and the bridge on which they meet our models."""
