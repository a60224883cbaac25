"""ONNX Runtime, imported by everything from here, so that it sends nothing.

From 1.32 on its wheels report the start of the process and of each session to its makers, and write
an identifier of the machine beneath HOME, unless this variable is set before the import.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state

__all__ = ["onnxruntime", "state"]
