"""Writes what a node does to a file, from its start, so that it can be played again
(:mod:`shoal.sim.replay`).

Who decides never waits for the disk: a thread takes what has come every tenth of a second, and
compresses and writes it. With a gap it could not be played, so where the disk is too slow or full,
or the file as large as it may be, the recording ends, and says so.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from pathlib import Path

import zstandard

from shoal.core.log import Step
from shoal.core.recording import End, RecordingHead, begin, encode
from shoal.core.settings import Origin
from shoal.errors import StoreError
from shoal.model.store import check_file
from shoal.version import VERSION

MAX_BYTES = 256 << 20
"""Largest file, compressed: some three million images."""
MAX_WAITING = 16384
"""Steps that may wait for the disk."""
PERIOD_S = 0.1
"""How often is written: a killed process loses no more than that."""

log = logging.getLogger("shoal")


class RecordingWriter:
    """The recording of one life of a node. The one that was at ``path`` before is kept beside it,
    with ``.1`` at its end. ``patient``: who has a step waits for the disk (in virtual time there is
    time for it). StoreError when it cannot be written."""

    def __init__(
        self,
        path: str | Path,
        max_bytes: int = MAX_BYTES,
        max_waiting: int = MAX_WAITING,
        patient: bool = False,
    ) -> None:
        self.path = Path(path)
        self.steps = 0
        """How many were written."""
        self._max_bytes = max_bytes
        self._max_waiting = max_waiting
        self._patient = patient
        self._waiting: deque[Step] = deque()
        self._over = ""
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        check_file(self.path)

    def start(self, origin: Origin) -> None:
        """Begin, before the node takes anything."""
        try:
            if self.path.exists():
                self.path.replace(f"{self.path}.1")
            self._file = self.path.open("xb")
            packer = zstandard.ZstdCompressor(level=3, write_checksum=True)
            self._packed = packer.stream_writer(self._file, closefd=False)
            self._packed.write(begin(RecordingHead(origin, VERSION)))
            self._flush()
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror or error}") from None
        self._thread = threading.Thread(
            target=self._write_all, name=f"shoal-record-{origin.info.name}", daemon=True
        )
        self._thread.start()

    def take(self, step: Step) -> None:
        """Write a step, soon."""
        while self._patient and not self._over and len(self._waiting) >= self._max_waiting:
            time.sleep(PERIOD_S)
        if self._over:
            return
        if len(self._waiting) >= self._max_waiting:
            self._over = f"the disk was too slow: {self._max_waiting} steps waited for it"
            return
        self._waiting.append(step)

    def close(self) -> None:
        """Write what waits, and end. Idempotent."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
            self._file.close()

    # -- the thread

    def _write_all(self) -> None:
        try:
            while not self._closing.wait(PERIOD_S) and not self._over:
                self._write()
            self._write()
            self._packed.write(encode(End(self._over)))
            self._packed.flush(zstandard.FLUSH_FRAME)
            self._file.flush()
        except Exception as error:  # whatever it is, the node goes on
            reason = error.strerror if isinstance(error, OSError) else None
            self._over = reason or f"{type(error).__name__}: {error}"
        self._waiting.clear()
        if self._over:
            log.warning(
                "the recording %s ends after %d steps: %s", self.path, self.steps, self._over
            )

    def _write(self) -> None:
        written = 0
        for _ in range(len(self._waiting)):
            if self._file.tell() >= self._max_bytes:
                self._over = f"it may take {self._max_bytes >> 20} MiB"
                break
            self._packed.write(encode(self._waiting.popleft()))
            written += 1
        self._flush()
        self.steps += written

    def _flush(self) -> None:
        self._packed.flush(zstandard.FLUSH_BLOCK)
        self._file.flush()
