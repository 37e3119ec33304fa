"""Presets and the energy that is estimated from them."""

import pytest

from shoal_lab.energy import estimate
from shoal_lab.presets import PRESETS, Power

PI = PRESETS["raspberry-pi-4"].power


def test_an_idle_device_draws_its_idle_power() -> None:
    idle = estimate(PI, wall_s=60, busy_s=0, sent_bytes=0, mbit=20)
    assert (idle.total_j, idle.busy_j, idle.transmit_j) == (pytest.approx(96.0), 0, 0)


def test_all_cores_busy_draw_the_busy_power() -> None:
    busy = estimate(PI, wall_s=10, busy_s=40, sent_bytes=0, mbit=None)
    assert busy.total_j == pytest.approx(10 * PI.busy_w)


def test_sending_costs_the_time_on_the_air() -> None:
    power = Power(idle_w=0, busy_w=1, transmit_w=2, cores=1)
    sent = estimate(power, wall_s=5, busy_s=0, sent_bytes=1_250_000, mbit=10)
    assert sent.total_j == sent.transmit_j == pytest.approx(2.0)
    assert estimate(power, wall_s=5, busy_s=0, sent_bytes=1_250_000, mbit=None).total_j == 0


def test_presets_are_ordered_as_the_devices_are_and_say_their_source() -> None:
    shares = [
        PRESETS[name].share
        for name in ("jetson-nano", "raspberry-pi-4", "raspberry-pi-5", "laptop", "server")
    ]
    assert shares == sorted(shares)
    assert all(0 < share <= 1 for share in shares)
    for preset in PRESETS.values():
        assert preset.power.idle_w < preset.power.busy_w
        assert preset.source
