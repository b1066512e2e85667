"""Parts that several methods are made of: the encoder, heads, poolings, distances, machines."""
