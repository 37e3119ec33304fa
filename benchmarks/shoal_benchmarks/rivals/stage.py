"""What the stage processes of the rivals share: the piece in ONNX Runtime, and their end."""

from __future__ import annotations

import os
import signal
import socket
import threading
from typing import TYPE_CHECKING

from shoal_benchmarks.rivals.job import Job, Piece, load

if TYPE_CHECKING:
    from shoal_benchmarks.rivals.tensors import Arrays


class Session:
    """A piece in ONNX Runtime, with its defaults but for the number of threads."""

    def __init__(self, piece: Piece, threads: int) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(
            piece.file, options, providers=["CPUExecutionProvider"]
        )
        self._reads = [arg.name for arg in self._session.get_inputs()]
        self._makes = [arg.name for arg in self._session.get_outputs()]
        self._gives = [spec.name for spec in piece.outputs]

    def run(self, arrays: Arrays) -> Arrays:
        """What leaves the piece, passers-by among it."""
        made = self._session.run(self._makes, {name: arrays[name] for name in self._reads})
        known = {**arrays, **dict(zip(self._makes, made, strict=True))}
        return {name: known[name] for name in self._gives}


def enter(path: str) -> Job:
    """Begin as a process of a rival: read the job, and end when the bench does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the bench, which ends us
    threading.Thread(target=_outlive_nobody, name="parent", daemon=True).start()
    return load(path)


def listen(address: str, port: int) -> socket.socket:
    """A listening socket."""
    server = socket.create_server((address, port))
    server.listen(16)
    return server


def dial(address: str, port: int) -> socket.socket:
    """A connection for messages that should not wait for each other. OSError if there is none."""
    return quick(socket.create_connection((address, port), timeout=2.0))


def quick(sock: socket.socket) -> socket.socket:
    """A connection that sends at once and waits as long as it takes."""
    sock.settimeout(None)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _outlive_nobody() -> None:
    """The bench holds the other end of our standard input."""
    while os.read(0, 4096):
        pass
    os._exit(0)
