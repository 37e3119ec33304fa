"""The program in the lab that serves and asks (:mod:`shoal_benchmarks.split.driver`), and who tells
it what to do."""

from __future__ import annotations

import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

from shoal.errors import LabError
from shoal_benchmarks.split.driver import Measured, Order
from shoal_lab.host import Host

PATIENCE_S = 180.0
"""What an order may take beside the seconds that it asks for."""


class Asker:
    """The program on ``host``, which is the gateway of the cluster in the file ``cluster``. Parts
    are in the folder ``store``, what is asked for in the file ``images``."""

    def __init__(self, host: Host, cluster: Path, store: Path, images: Path, log: Path) -> None:
        self._log = log
        self._said = log.open("wb")
        argv = [sys.executable, "-m", "shoal_benchmarks.split.driver"]
        self._process = host.spawn(
            [*argv, str(cluster), str(store), str(images)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
        )

    def tell(self, order: Order) -> Measured:
        """What came of an order; LabError where the program ended, and it is ended where it did not
        answer in time or says that something went wrong: another one begins anew."""
        if self._process.stdin is None or self._process.stdout is None:
            raise LabError("the device of the bench was not started")
        stdin: IO[bytes] = self._process.stdin
        try:
            stdin.write(msgspec.json.encode(order) + b"\n")
            stdin.flush()
        except OSError as error:
            self.end()
            raise LabError(f"the device of the bench ended: {error.strerror}") from error
        out = self._process.stdout
        if not select.select([out], [], [], PATIENCE_S + 2 * order.seconds)[0]:
            self.end()
            raise LabError("the device of the bench did not answer and was ended")
        line = out.readline()
        if not line:
            self.end()
            words = self._log.read_text(errors="replace").strip().splitlines()
            raise LabError(f"the device of the bench ended: {(words or ['no reason given'])[-1]}")
        measured = msgspec.json.decode(line, type=Measured)
        if measured.error:
            self.end()
            raise LabError(f"the device of the bench: {measured.error}")
        return measured

    @property
    def ended(self) -> bool:
        """Whether it is to be started again."""
        return self._process.stdin is None or self._process.stdin.closed

    def end(self) -> None:
        """End the program."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._said):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
