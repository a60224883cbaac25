"""Two whole models held against each other: the segments where the second leaves the first, and
why."""
