"""How one element of a layer's output is computed."""
