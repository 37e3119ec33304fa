"""The tc lines that shape a wire, and what traces and faults make of its spec."""

import shutil
import subprocess
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.errors import LabError
from shoal_lab.cable import Cable, Load, needs_delay, shapes
from shoal_lab.network import Wire
from shoal_lab.shape import Shape, queue_bytes, tc_line
from shoal_lab.spec import LinkSpec
from shoal_lab.trace import Sample


def test_a_rate_is_a_token_bucket_of_one_packet_and_a_millisecond() -> None:
    line = tc_line("wire0", Shape(mbit=20), netem=False)
    assert line == "qdisc replace dev wire0 root tbf rate 20000000bit burst 4100 limit 250000"


def test_a_slow_wire_still_queues_some_packets() -> None:
    assert queue_bytes(0.1) == 32_000
    assert queue_bytes(100) == 1_250_000


def test_netem_delays_loses_and_limits_in_one() -> None:
    line = tc_line("wire1", Shape(mbit=10, delay_ms=2.5, loss=0.01), netem=True)
    assert line.startswith("qdisc replace dev wire1 root netem limit ")
    assert line.endswith(" delay 2.500ms loss 1.0000% rate 10000000bit")


def test_without_netem_the_rate_alone_is_left_to_the_kernel() -> None:
    assert "tbf" in tc_line("wire1", Shape(mbit=10, delay_ms=2.5), netem=False)
    assert "pfifo" in tc_line("wire1", Shape(delay_ms=2.5, loss=0.1), netem=False)


def test_a_cut_wire_has_no_room_for_any_packet() -> None:
    assert tc_line("w", Shape(mbit=5, delay_ms=3, cut=True), netem=True).endswith("pfifo limit 0")


@settings(deadline=None)
@given(
    st.floats(0.01, 10_000) | st.none(),
    st.floats(0, 30_000),
    st.floats(0, 0.999),
    st.booleans(),
)
def test_every_shape_has_a_line_with_room_for_a_full_packet(
    mbit: float | None, delay_ms: float, loss: float, netem: bool
) -> None:
    words = tc_line("w", Shape(mbit=mbit, delay_ms=delay_ms, loss=loss), netem).split()
    values = dict(pairwise(words))
    assert int(values["limit"]) >= 20
    assert "burst" not in values or int(values["burst"]) >= 1514
    assert "e" not in values.get("delay", "").replace("ms", "")


@pytest.mark.skipif(shutil.which("tc") is None, reason="tc (iproute2) is not installed")
def test_tc_understands_the_line_for_netem() -> None:
    """Where the kernel lacks netem only tc itself can be asked: it reads the line first."""
    line = tc_line("lo", Shape(mbit=10, delay_ms=2.5, loss=0.01), netem=True)
    inside = ["unshare", "--net", "--map-root-user", "tc", *line.split()]
    said = subprocess.run(inside, capture_output=True, text=True, check=False).stderr
    if "unshare" in said:
        pytest.skip(f"no namespaces here: {said.strip()}")
    assert "Illegal" not in said
    assert "What is" not in said


class Recorder:
    """Takes tc lines and relay settings instead of a kernel."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.settings: list[tuple[str, float, float]] = []

    def tc(self, node: str, line: str) -> None:
        self.lines.append((node, line.split("root ")[1].split(" burst")[0]))

    def set(self, device: str, delay_ms: float, loss: float) -> None:
        self.settings.append((device, delay_ms, loss))


def cable(way: str, **link: float) -> tuple[Cable, Recorder]:
    heard = Recorder()
    relay = heard if way == "relay" else None
    wire = Wire(0, ("a", "b"), LinkSpec(**link))  # type: ignore[arg-type]
    return Cable(wire, way, relay, heard.tc), heard  # type: ignore[arg-type]


def test_each_direction_is_shaped_where_it_begins() -> None:
    made, heard = cable("veth", up_mbit=5, down_mbit=50)
    made.change(mbit=10)
    assert heard.lines == [("b", "tbf rate 10000000bit")], "the way up is narrower anyway"
    made.change(mbit=None)
    assert heard.lines[1:] == [("b", "tbf rate 50000000bit")]


def test_faults_on_a_wire_add_up_and_pass_one_by_one() -> None:
    made, heard = cable("relay", mbit=20, delay_ms=5)
    made.change(loss=0.1)
    made.change(mbit=2)
    made.change(cut=True)
    made.change(loss=None)
    assert made.shapes[0] == Shape(mbit=2, delay_ms=5, loss=0.0, cut=True)
    made.change(cut=False)
    made.change(mbit=None)
    assert heard.lines[-1] == ("b", "tbf rate 20000000bit")
    assert heard.settings == [("wire0", 5, 0.1), ("wire0", 5, 0.0)]


def test_a_trace_sets_rates_and_half_the_round_trip_each_way() -> None:
    load = Load(sample=Sample(0, down_mbit=8, up_mbit=2, rtt_ms=30))
    up, down = shapes(LinkSpec(trace="walk", loss=0.01), load)
    assert (up.mbit, down.mbit, up.delay_ms, down.delay_ms) == (2, 8, 15, 15)
    assert up.loss == 0.01


def test_what_does_not_change_tells_the_kernel_nothing() -> None:
    made, heard = cable("relay", mbit=20, delay_ms=5)
    made.change(mbit=30)
    made.change(loss=0.0)
    assert (heard.lines, heard.settings) == ([], [])


def test_a_wire_made_for_rates_alone_refuses_to_lose() -> None:
    made, heard = cable("veth", mbit=20)
    with pytest.raises(LabError, match="lossy"):
        made.change(loss=0.1)
    assert made.shapes[0].loss == 0
    assert heard.lines == []


def test_who_needs_more_than_a_rate() -> None:
    assert not needs_delay(LinkSpec(mbit=5), lossy=False)
    assert needs_delay(LinkSpec(mbit=5), lossy=True)
    assert needs_delay(LinkSpec(delay_ms=1), lossy=False)
    assert needs_delay(LinkSpec(loss=0.1), lossy=False)
    assert needs_delay(LinkSpec(trace="walk"), lossy=False)
