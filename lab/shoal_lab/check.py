"""Measures a lab by independent means and holds it against what was asked.

Rates by a TCP transfer counted at the receiver, delays by ICMP echo, CPU shares by work inside the
host beside work outside of any lab (:mod:`shoal_lab.shares`). Nothing here asks the shaper or the
relay what they did.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator

from shoal.errors import LabError, LabRightsError
from shoal_lab import command, probe, wiring
from shoal_lab.cable import Cable
from shoal_lab.lab import Lab
from shoal_lab.reading import TOLERANCE, Reading
from shoal_lab.shares import share
from shoal_lab.spec import HostSpec, LabSpec, PairSpec
from shoal_lab.trace import Sample

RATES_MBIT = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
DELAYS_MS = (1.0, 5.0, 20.0, 100.0)
SHARES = (0.05, 0.10, 0.25, 0.50, 0.75, 1.0)
TOLERANCE_MS = 1.0
PORT = 7461
TRANSFER_S = 3.0
PINGS = 20
PING_GAP_S = 0.02
FIRST = ("nice", "-n", "-20")
PAYLOAD_OF_PACKET = 1448 / 1500
"""Bytes of payload in a full TCP packet with time stamps, of the bytes that rates count."""


def check_machine(quick: bool = False) -> Iterator[Reading]:
    """A lab of three hosts, measured at rates, delays and shares over the whole range.

    LabRightsError where only loopback is possible: there is nothing to measure.
    """
    spec = LabSpec(
        name="check",
        hosts={
            "plain": HostSpec(share=0.01),
            "middle": HostSpec(share=1.0),
            "late": HostSpec(share=0.01),
        },
        links=(
            PairSpec(between=("plain", "middle")),
            PairSpec(between=("middle", "late"), delay_ms=1.0),
        ),
    )
    with Lab(spec) as lab:
        _refuse_loopback(lab)
        plain, late = lab.cable("plain", "middle"), lab.cable("middle", "late")
        for mbit in RATES_MBIT[::3] if quick else RATES_MBIT:
            plain.change(mbit=mbit)
            late.change(mbit=mbit)
            for cable in (plain, late):
                yield from rates(lab, cable)
        for delay_ms in DELAYS_MS[1::2] if quick else DELAYS_MS:
            late.change(sample=Sample(0.0, 100.0, 100.0, 2 * delay_ms))
            yield delay(lab, late)
        for part in SHARES[::2] if quick else SHARES:
            lab.host("middle").slow(part)
            yield from share(lab.host("middle"), part)


def check_lab(lab: Lab) -> Iterator[Reading]:
    """Every link and every host of a lab that is up and idle. LabRightsError on loopback."""
    _refuse_loopback(lab)
    for cable in lab.cables:
        yield from rates(lab, cable)
        yield delay(lab, cable)
    for host in lab.hosts:
        yield from share(host, min(lab.spec.quota(host.name), 1.0))


def rates(lab: Lab, cable: Cable) -> Iterator[Reading]:
    """The rate of each direction that is limited, by TCP."""
    for shape, (sender, receiver), arrow in zip(
        cable.shapes, (cable.wire.ends, cable.wire.ends[::-1]), ("->", "<-"), strict=True
    ):
        if shape.mbit is None:
            continue
        got, *slices = (mbit / PAYLOAD_OF_PACKET for mbit in _transfer(lab, sender, receiver))
        a, b = cable.wire.ends
        yield Reading(
            what=f"rate {a} {arrow} {b}",
            way=cable.way if cable.way == "netem" else "tbf",
            asked=shape.mbit,
            got=got,
            low=min(slices),
            high=max(slices),
            within=TOLERANCE * shape.mbit,
            unit="Mbit/s",
            note=f"delayed by {cable.way}" if cable.way != "veth" else "",
        )


def _transfer(lab: Lab, sender: str, receiver: str) -> list[float]:
    """Mbit/s of TCP payload, over all and of each slice.

    The probes are not in the hosts' cgroups and run before others: a slow host or a busy machine
    is another matter than a slow link.
    """
    sink = subprocess.Popen(
        [*_inside(lab, receiver), *_program("sink", str(PORT), str(TRANSFER_S))],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with sink:
        try:
            if sink.stdout is not None:
                sink.stdout.readline()
            address = lab.network.addresses[receiver]
            words = _program("source", address, str(PORT), str(TRANSFER_S))
            source = subprocess.Popen(
                [*_inside(lab, sender), *words], stdout=subprocess.DEVNULL, start_new_session=True
            )
            with source:
                out, _ = sink.communicate(timeout=10 * TRANSFER_S)
                source.kill()
        finally:
            sink.kill()
    if sink.returncode != 0:
        raise LabError(f"no transfer from {sender} to {receiver}: {out.strip() or 'no reason'}")
    said = json.loads(out)
    return [said["mbit"], *said["slices"]]


def delay(lab: Lab, cable: Cable) -> Reading:
    """The round trip over a link, by ICMP echo."""
    a, b = cable.wire.ends
    words = _program("ping", lab.network.addresses[b], str(PINGS), str(PING_GAP_S))
    said = json.loads(command.run([*_inside(lab, a), *words]))
    asked = sum(shape.delay_ms for shape in cable.shapes)
    times = said["rtt_ms"] or [float("nan")]
    return Reading(
        what=f"round trip {a} <-> {b}",
        way=cable.way,
        asked=asked,
        got=statistics.median(times),
        low=min(times),
        high=max(times),
        within=TOLERANCE_MS + TOLERANCE * asked,
        unit="ms",
        note=f"{said['lost']} of {PINGS} lost" if said["lost"] else "",
    )


def _program(*words: str) -> list[str]:
    return [sys.executable, "-I", "-S", probe.__file__, *words]


def _inside(lab: Lab, node: str) -> list[str]:
    return [*FIRST, *wiring.inside(lab.spec.name, node)]


def _refuse_loopback(lab: Lab) -> None:
    if lab.is_loopback:
        raise LabRightsError(f"there is nothing to measure: {lab.warnings[0]}")
