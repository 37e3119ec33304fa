"""The whole network behind a socket: reads a request, runs it, answers, in this order.

    python -m shoal_benchmarks.rivals.replica_server JOB STAGE THREADS

What comes while it computes waits in the kernel's buffer, so reading costs next to nothing.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from typing import TYPE_CHECKING

from shoal.errors import FrameError
from shoal_benchmarks.rivals import stage as process
from shoal_benchmarks.rivals.tensors import receive, send

if TYPE_CHECKING:
    from shoal_benchmarks.rivals.stage import Session


def main(path: str, stage: str, threads: str) -> None:
    """Serve until the bench ends."""
    job = process.enter(path)
    session = process.Session(job.whole, int(threads))
    seat = job.seats[int(stage)]
    server = process.listen(seat.address, seat.ports[0])
    job.put_pid(int(stage), os.getpid())
    one = threading.Lock()
    while True:
        sock, _ = server.accept()
        threading.Thread(target=_serve, args=(process.quick(sock), session, one)).start()


def _serve(sock: socket.socket, session: Session, one: threading.Lock) -> None:
    with sock:
        try:
            while (arrays := receive(sock)) is not None:
                with one:
                    made = session.run(arrays)
                send(sock, made)
        except (OSError, FrameError) as error:
            print(f"connection lost: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
