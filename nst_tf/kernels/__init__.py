"""How tensors are computed: graphs, custom gradients, convolutions, shared memory."""
