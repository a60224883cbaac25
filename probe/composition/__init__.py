"""A container, or a segment of a model, as the steps of the calls that it makes."""
