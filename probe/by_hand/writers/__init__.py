"""The functions that write the ops, one file a family; ``probe.by_hand.registry`` says which."""
