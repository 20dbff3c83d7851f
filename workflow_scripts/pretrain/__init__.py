"""Training of the instances."""
