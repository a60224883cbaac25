"""Files of the user's: how much may be read of one, and one way to write one."""
