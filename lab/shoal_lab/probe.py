"""Measures from inside a host, without the lab's help. A program of its own, stdlib only.

probe.py sink PORT SECONDS          take TCP bytes; prints {"mbit": payload, "slices": [...]}
probe.py source ADDRESS PORT SECONDS
probe.py ping ADDRESS COUNT GAP_S   ICMP echo; prints {"rtt_ms": [...], "lost": n}
probe.py turns CORE                 work on this core, a turn for each line SECONDS WARM_S PIECE
probe.py fill CORE                  work on this core when nobody else does, until stdin ends;
                                    prints {"at_s": [...], "units": [...], "cpu_s": [...],
                                    "chunk_us": [...]}
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import sys
import time

WARM_UP_S = 1.0
SLICES = 6
STEADY = (b"cubic", b"reno")
"""Congestion controls that keep a link full. BBR pauses to look for a shorter way."""
CONNECT_S = 10.0
CHUNK_BYTES = 65_536
ECHO_TIMEOUT_S = 2.0
CHUNK = 500
"""Units of work between two looks at the clock: 50 us at most."""
LEAST_PAUSE_S = 0.001
GRACE_S = 0.05
"""So long a turn waits for a pause. A whole core has none."""
SAMPLE_CHUNKS = 100
YIELD_CHUNKS = 10
"""Who has its quota again waits as long for the work beside it: 0.5 ms at most, and no tick of the
kernel. More often would slow that work down: what comes after a system call is slower."""


def sink(port: int, seconds: float) -> dict[str, object]:
    """Payload rate at the receiver over ``seconds``, after a warm-up, and of slices of it."""
    with socket.create_server(("", port)) as server:
        print("listening", flush=True)
        server.settimeout(CONNECT_S)
        client, _ = server.accept()
    with client:
        client.settimeout(CONNECT_S)
        _take(client, WARM_UP_S)
        slices = [_take(client, seconds / SLICES) for _ in range(SLICES)]
    count, took = (sum(values) for values in zip(*slices, strict=True))
    return {"mbit": _mbit(count, took), "slices": [_mbit(*one) for one in slices]}


def _take(client: socket.socket, seconds: float) -> tuple[float, float]:
    """Bytes that came within about ``seconds``, and in how many seconds exactly."""
    count, start = 0, time.monotonic()
    now = start
    while now - start < seconds:
        data = client.recv(CHUNK_BYTES)
        now = time.monotonic()
        count += len(data)
        if not data:
            sys.exit("the sender ended before the measurement did")
    return count, now - start


def _mbit(count: float, seconds: float) -> float:
    return count * 8 / seconds / 1e6


def source(address: str, port: int, seconds: float) -> dict[str, float]:
    """Send as fast as the link takes it."""
    data = bytes(CHUNK_BYTES)
    with socket.create_connection((address, port), CONNECT_S) as server:
        for name in STEADY:
            try:
                server.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name)
                break
            except OSError:  # this kernel does not have it
                continue
        until = time.monotonic() + WARM_UP_S + seconds + 1.0
        with contextlib.suppress(OSError):  # the sink has enough
            while time.monotonic() < until:
                server.send(data)
    return {}


def ping(address: str, count: int, gap_s: float) -> dict[str, object]:
    """Round trips of ICMP echoes, one after the other."""
    mark = os.getpid() & 0xFFFF
    times = []
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        for number in range(count):
            start = time.monotonic()
            raw.sendto(_echo(mark, number), (address, 0))
            arrived = _answer(raw, mark, number, start + ECHO_TIMEOUT_S)
            if arrived is not None:
                times.append((arrived - start) * 1000)
            time.sleep(gap_s)
    return {"rtt_ms": times, "lost": count - len(times)}


def _answer(raw: socket.socket, mark: int, number: int, until: float) -> float | None:
    """When the echo came back; None if it did not in time. Others' packets are passed over."""
    while (left := until - time.monotonic()) > 0 and select.select([raw], [], [], left)[0]:
        now = time.monotonic()
        kind, _, _, its_mark, its_number = struct.unpack("!BBHHH", raw.recv(2048)[20:28])
        if (kind, its_mark, its_number) == (0, mark, number):
            return now
    return None


def _echo(mark: int, number: int) -> bytes:
    body = bytes(56)
    head = struct.pack("!BBHHH", 8, 0, 0, mark, number)
    total = sum(struct.unpack(f"!{len(head + body) // 2}H", head + body))
    total = (total >> 16) + (total & 0xFFFF)
    check = ~(total + (total >> 16)) & 0xFFFF
    return struct.pack("!BBHHH", 8, 0, check, mark, number) + body


def turn(seconds: float, warm_s: float, piece: int) -> dict[str, object]:
    """Integer work for about ``seconds``, after ``warm_s`` of it that do not count: the units done,
    seconds, those in which it ran by its own clock, CPU seconds, milliseconds of each ``piece`` of
    so many units, microseconds of its chunks (as in :func:`fill`), the longest pause.

    Begins and ends where the program goes on after a pause, so that what is counted are whole
    rounds of running and waiting; without pauses it ends :data:`GRACE_S` later. ``began_s`` and
    ``ended_s`` hold the warm-up too.
    """
    began = time.monotonic()
    begin = _until_pause(began + warm_s)[0]
    cpu_start = time.process_time()
    end, took, pauses, pieces = _until_pause(begin + seconds, piece)
    chunks = _samples(took)
    # In the time of a pause there is a chunk, too.
    ran_s = end - begin - sum(pauses) + len(pauses) * min(chunks) / 1e6
    return {
        "began_s": began,
        "ended_s": end,
        "units": CHUNK * len(took),
        "wall_s": end - begin,
        "ran_s": ran_s,
        "cpu_s": time.process_time() - cpu_start,
        "piece_ms": pieces,
        "chunk_us": chunks,
        "longest_pause_ms": max(pauses, default=0.0) * 1000,
    }


def _chunk() -> None:
    """:data:`CHUNK` units of work."""
    value = 1
    for i in range(CHUNK):
        value = (value * 31 + i) & 0xFFFFFFFF


def _samples(took: list[float]) -> list[float]:
    """The lower quartile of each :data:`SAMPLE_CHUNKS` chunks, in microseconds: their time where
    nobody else was at work on the same physical core."""
    groups = [took[at : at + SAMPLE_CHUNKS] for at in range(0, len(took), SAMPLE_CHUNKS)]
    return [1e6 * sorted(group)[len(group) // 4] for group in groups]


def _until_pause(
    until: float, piece: int = 0
) -> tuple[float, list[float], list[float], list[float]]:
    """Work until the first pause after ``until`` is over: when that was, the seconds of each chunk
    and of each pause, and the milliseconds of the pieces."""
    took, pauses, pieces = [], [], []
    last = piece_began = time.monotonic()
    piece_units = 0
    while True:
        began = time.monotonic()
        _chunk()
        now = time.monotonic()
        took.append(now - began)
        paused, last = now - last, now
        if paused >= LEAST_PAUSE_S:
            pauses.append(paused)
        piece_units += CHUNK
        if piece and piece_units >= piece:
            pieces.append((now - piece_began) * 1000)
            piece_began, piece_units = now, 0
        if now >= until and (paused >= LEAST_PAUSE_S or now >= until + GRACE_S):
            return now, took, pauses, pieces


def fill(core: int) -> dict[str, object]:
    """The same work in all the time that others leave on this core, until stdin ends: units done
    and CPU seconds used until moments of the monotonic clock, and the lower quartile of the times
    of the chunks before each."""
    os.sched_setaffinity(0, {core})
    os.setpriority(os.PRIO_PROCESS, 0, 19)
    at_s, done, cpu_s, chunk_us, took = [], [], [], [], [0.0]
    units = 0
    while True:
        chunk_us += _samples(took)
        at_s.append(time.monotonic())
        done.append(units)
        cpu_s.append(time.process_time())
        if select.select([sys.stdin], [], [], 0)[0]:
            return {"at_s": at_s, "units": done, "cpu_s": cpu_s, "chunk_us": chunk_us}
        took = []
        for number in range(SAMPLE_CHUNKS):
            began = time.monotonic()
            _chunk()
            took.append(time.monotonic() - began)
            if number % YIELD_CHUNKS == 0:
                os.sched_yield()
        units += SAMPLE_CHUNKS * CHUNK


def turns(core: int) -> None:
    """A :func:`turn` for each line of stdin."""
    os.sched_setaffinity(0, {core})
    for line in sys.stdin:
        seconds, warm_s, piece = line.split()
        print(json.dumps(turn(float(seconds), float(warm_s), int(piece))), flush=True)


def main(words: list[str]) -> None:
    """See the module."""
    match words:
        case ["sink", port, seconds]:
            said: object = sink(int(port), float(seconds))
        case ["source", address, port, seconds]:
            said = source(address, int(port), float(seconds))
        case ["ping", address, count, gap_s]:
            said = ping(address, int(count), float(gap_s))
        case ["fill", core]:
            said = fill(int(core))
        case ["turns", core]:
            turns(int(core))
            return
        case _:
            sys.exit(__doc__)
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
