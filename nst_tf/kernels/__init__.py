"""Computation on tensors: graphs, custom gradients, convolutions, shared memory."""
