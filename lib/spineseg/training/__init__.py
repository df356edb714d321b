"""Training of our own networks: the loop, what varies its images, checkpoints, the device."""
