"""A layer by hand: its steps as the statements of a NumPy script, for people to read and to run.

A third reading of the ops beside ``run`` and ``to_onnx``, and no opinion: it is held against the
first. It shares no helper with either, and is loaded where a script is asked for, or a mistake is
shown as a line of one.
"""
