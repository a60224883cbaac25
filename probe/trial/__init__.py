"""What trying a changed layer costs, and how much of that is left."""
