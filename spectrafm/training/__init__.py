"""Training of networks: options, batches, loss, learning rate, loop, checkpoints."""
