"""What the whole process has only one of: signals, logs, random states, and a model that two
threads share."""
