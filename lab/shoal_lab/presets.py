"""Devices that a lab file may name: how fast one of their cores is, how much memory, what power.

``share`` is the speed of one core as a share of the *reference core* (a virtual core of an AMD
EPYC 9004, Zen 4). It is the geometric mean over MobileNetV2, EfficientNet-B0 and ResNet-50 of
the times of ncnn's ``benchncnn``, one thread, fp32: the published times of the device against
those of the reference core (7.8, 12.3 and 58.5 ms). docs/lab.md states each source and how far it
may be off: another kind of program has another ratio (for integer code boards are up to four
times nearer to the reference core).
"""

from __future__ import annotations

import msgspec


class Power(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a device draws, in watts: idle, all ``cores`` busy, and extra while it sends."""

    idle_w: float
    busy_w: float
    transmit_w: float
    cores: int


class Preset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A device by name. ``share`` is that of one core, ``memory_mb`` what the board has."""

    share: float
    memory_mb: int
    power: Power
    source: str


_NCNN = "ncnn benchmark/README.md at a4d2ea1"
_SBC = "geerlingguy/sbc-reviews at 968b675"
_WIFI = "2.6 W while sending: 1.9 uJ/byte at 11 Mbit/s (Feeney and Nilsson, INFOCOM 2001)"

PRESETS: dict[str, Preset] = {
    "jetson-nano": Preset(
        share=0.075,
        memory_mb=4096,
        power=Power(idle_w=1.9, busy_w=5.0, transmit_w=2.6, cores=4),
        source=f"CPU only: {_NCNN}; power: a budget within NVIDIA's 10 W mode, not measured; "
        f"{_WIFI}",
    ),
    "raspberry-pi-4": Preset(
        share=0.095,
        memory_mb=4096,
        power=Power(idle_w=1.6, busy_w=5.0, transmit_w=2.6, cores=4),
        source=f"1.8 GHz: {_NCNN}; power: {_SBC}; {_WIFI}",
    ),
    "raspberry-pi-5": Preset(
        share=0.30,
        memory_mb=8192,
        power=Power(idle_w=2.8, busy_w=9.7, transmit_w=2.6, cores=4),
        source="the Raspberry Pi 4 times 3.13 (Geekbench 6 single core 904 to 289; ncnn's own "
        f"times are fp16 there): {_SBC}; power: {_SBC}; {_WIFI}",
    ),
    "laptop": Preset(
        share=0.47,
        memory_mb=16384,
        power=Power(idle_w=2.7, busy_w=46.7, transmit_w=4.9, cores=6),
        source=f"Intel Core i7-9750H (2019): {_NCNN}; power: Framework 13, {_SBC}; sending: Fedora "
        "wiki, WifiSpeedPowerConsumption (+4.92 W at 700 kB/s)",
    ),
    "server": Preset(
        share=0.67,
        memory_mb=65536,
        power=Power(idle_w=103.0, busy_w=357.0, transmit_w=0.0, cores=128),
        source=f"AMD EPYC 7742: {_NCNN}; power: Ampere Altra Max M128-30, {_SBC}; a wired card is "
        "part of the idle power",
    ),
}
