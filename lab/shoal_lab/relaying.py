"""The relay program from outside: start it, change its wires, stop it."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shoal.errors import LabError
from shoal_lab import relay
from shoal_lab.relay import WireLine

ANSWER_TIMEOUT_S = 10.0


class Relay:
    """A running relay. It ends with whoever started it."""

    def __init__(self, process: subprocess.Popen[bytes], where: Path) -> None:
        self._process = process
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(ANSWER_TIMEOUT_S)
        self._socket.connect(str(where))

    @classmethod
    def start(cls, wires: Sequence[WireLine], where: Path) -> Relay:
        """Start it for ``wires``, listening at ``where``; LabError if it does not come up."""
        # By its path and without site packages: it needs none and starts in 30 ms.
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", relay.__file__, str(where)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            if process.stdin is None or process.stdout is None:
                raise LabError("the relay for delays has no pipes")
            with contextlib.suppress(BrokenPipeError):  # it ended early; its stderr says why
                process.stdin.write(json.dumps(list(wires)).encode() + b"\n")
                process.stdin.flush()
            if process.stdout.readline().startswith(b"ready"):
                return cls(process, where)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        process.kill()
        _, errors = process.communicate()
        last = errors.decode(errors="replace").strip().splitlines()[-1:]
        raise LabError(f"the relay for delays did not start: {''.join(last) or 'no reason'}")

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs; if not, all its wires are dead."""
        return self._process.poll() is None

    def set(self, device: str, delay_ms: float, loss: float) -> None:
        """Change a wire, both directions; packets on their way keep their time."""
        self._ask({"device": device, "delay_ms": delay_ms, "loss": loss})

    def counts(self) -> dict[str, Any]:
        """Its own CPU seconds, and packets passed and dropped of each wire (up, down)."""
        return self._ask({})

    def stop(self) -> None:
        """End it. May be called twice."""
        self._socket.close()
        self._process.kill()
        self._process.communicate()

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            with self._lock:
                self._socket.send(json.dumps(message).encode())
                answer = self._socket.recv(relay.MESSAGE_BYTES)
        except OSError as error:
            raise LabError(f"the relay for delays does not answer: {error}") from error
        if not answer:
            raise LabError("the relay for delays has ended; take the lab down and up again")
        return dict(json.loads(answer))
