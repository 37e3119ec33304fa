"""What stretches cost, against sums worked out by hand."""

import numpy as np
import pytest
from tests.toys.network import ToyNetwork, ToyProfile

from shoal.plan.cluster import Cluster, Device, Gateway, Host
from shoal.plan.costs import measure
from shoal.plan.profiles import DeviceProfile, LinkProfile, Profiles, Scaled

NETWORK = ToyNetwork((250, 500, 1000, 25))
"""Of three nodes; 1, 2, 4 and 0.1 kB lie between them."""
KB = np.array([1.0, 2.0, 4.0, 0.1])
NEVER = np.inf
LINKS = {
    ("a", "b"): LinkProfile(rtt_ms=4, bytes_per_s=1e6),
    ("b", "a"): LinkProfile(rtt_ms=4, bytes_per_s=2e6),
    ("a", "gateway"): LinkProfile(rtt_ms=6, bytes_per_s=1e6),
    ("gateway", "a"): LinkProfile(rtt_ms=6, bytes_per_s=1e5),
    ("b", "gateway"): LinkProfile(rtt_ms=0, bytes_per_s=1e6),
    ("gateway", "b"): LinkProfile(rtt_ms=0, bytes_per_s=1e6),
}
MEASURED = ToyProfile((10.0, 20.0, 30.0), fixed_ms=1.0)


def costs(devices=("a", "b"), room=None, held=None, compute=False, **profiles):
    known = {
        "a": DeviceProfile(MEASURED, message_ms=0.25, copy_bytes_per_s=4e6, hop_ms=1),
        "b": DeviceProfile(Scaled(MEASURED, 2.0), 0.0, 1e12, hop_ms=0),
        "gateway": DeviceProfile(MEASURED, message_ms=0.25, copy_bytes_per_s=4e6, hop_ms=0.5),
        **profiles,
    }
    cluster = Cluster(
        devices=(Device(name="a", host="box"), Device(name="b", host="box")),
        gateway=Gateway(compute=compute),
        hosts={"box": Host(2)},
    )
    return measure(NETWORK, cluster, Profiles(known, LINKS), devices, room or {}, held)


def handling(made, device):
    """What is added to the time of each stretch."""
    with np.errstate(invalid="ignore"):  # where there is none
        return made.busy_ms[device] - made.run_ms[device]


def test_every_stretch_has_its_time_and_there_is_none_backwards():
    made = costs()
    assert made.positions == (0, 1, 2, 3)
    assert made.end == 3
    assert made.hosts == ("box", "box")
    expected = [
        [NEVER, 11, 31, 61],
        [NEVER, NEVER, 21, 51],
        [NEVER, NEVER, NEVER, 31],
        [NEVER] * 4,
    ]
    np.testing.assert_allclose(made.run_ms[0], expected)
    np.testing.assert_allclose(made.run_ms[1], np.array(expected) / 2)
    np.testing.assert_allclose(made.memory[0][0], [NEVER, 1000, 2000, 3000])


def test_links_carry_what_crosses_and_it_arrives_later():
    made = costs()
    np.testing.assert_allclose(made.link_ms[0, 1], KB)
    np.testing.assert_allclose(made.link_ms[1, 0], KB / 2)
    np.testing.assert_allclose(made.hop_ms[0, 1], KB + 1 + 2)
    np.testing.assert_allclose(made.hop_ms[1, 0], KB / 2 + 1 + 2)
    np.testing.assert_allclose(made.link_ms[-1, 0], 10 * KB)
    np.testing.assert_allclose(made.hop_ms[0, -1], KB + 1.5 + 3)
    for own in ((0, 0), (1, 1), (-1, -1)):
        np.testing.assert_allclose(made.link_ms[own], np.zeros(4))
        np.testing.assert_allclose(made.hop_ms[own], np.zeros(4))


def test_a_device_handles_what_it_takes_and_what_it_gives():
    made = costs()
    message = 0.25 + KB / 4
    busy = handling(made, 0)
    for first, last in ((0, 1), (0, 3), (1, 2), (2, 3)):
        assert busy[first, last] == pytest.approx(message[first] + message[last])
        assert made.busy_ms[1][first, last] == pytest.approx(made.run_ms[1][first, last])


def test_the_gateway_handles_the_input_and_the_answer_where_it_does_not_compute_them():
    made = costs(("a", "gateway"), compute=True)
    message = 0.25 + KB / 4
    busy = handling(made, 1)
    assert busy[0, 3] == pytest.approx(0.0), "all of it stays there"
    assert busy[0, 1] == pytest.approx(message[1] + message[3])
    assert busy[1, 3] == pytest.approx(message[1] + message[0])
    assert busy[1, 2] == pytest.approx(message[1] + message[2] + message[0] + message[3])


def test_what_just_fits_can_be_run_and_what_is_held_already_needs_no_room():
    made = costs(room={"a": 2000, "b": 0}, held={"b": [(1, 3), (0, 9)]})
    assert made.run_ms[0][0, 2] == 31
    assert made.run_ms[0][0, 3] == made.busy_ms[0][0, 3] == made.memory[0][0, 3] == NEVER
    assert made.memory[1][1, 3] == 0.0
    assert made.run_ms[1][1, 3] == 25.5
    assert made.run_ms[1][0, 1] == NEVER
    assert costs().memory[1][1, 3] == 2000, "it is held by nobody else"
