"""How one number of a layer's output came about."""
