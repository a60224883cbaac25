"""What other engines write of the values of a transformer, in the terms of the model that it is
compared with."""
