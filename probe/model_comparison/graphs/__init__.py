"""A model's forward pass as a graph that another model's can be held against."""
