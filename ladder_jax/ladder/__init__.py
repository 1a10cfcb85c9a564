"""Algorithm 1 of the paper: encoder, decoder, costs, and the network that owns their parameters."""
