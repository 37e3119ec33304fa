"""The command line, one file per command group.

Rule: a module of this package imports nothing heavy (NumPy, ONNX, Zenoh, PyTorch, ...) before its
command runs, so that ``shoal --help`` is there at once and a worker starts quickly.
"""

from shoal.cli.entry import main

__all__ = ["main"]
