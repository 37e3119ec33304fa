"""Hosts, slow links and faults on one machine.

A reader's path: :mod:`spec` (what a lab file says), :mod:`lab` (how it comes up and goes),
:mod:`relay` (how a packet is late without the kernel's help).

The names below are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from shoal.log import hold_to_a_rate

if TYPE_CHECKING:
    from shoal_lab.faults import Fault as Fault
    from shoal_lab.faults import random_faults as random_faults
    from shoal_lab.file import load_faults as load_faults
    from shoal_lab.file import load_lab as load_lab
    from shoal_lab.file import parse_lab as parse_lab
    from shoal_lab.host import Host as Host
    from shoal_lab.host import Usage as Usage
    from shoal_lab.lab import Lab as Lab
    from shoal_lab.player import Happening as Happening
    from shoal_lab.player import Player as Player
    from shoal_lab.spec import HostSpec as HostSpec
    from shoal_lab.spec import LabSpec as LabSpec
    from shoal_lab.spec import LinkSpec as LinkSpec
    from shoal_lab.spec import PairSpec as PairSpec

_HOMES = {
    "Fault": "faults",
    "Happening": "player",
    "Host": "host",
    "HostSpec": "spec",
    "Lab": "lab",
    "LabSpec": "spec",
    "LinkSpec": "spec",
    "PairSpec": "spec",
    "Player": "player",
    "Usage": "host",
    "load_faults": "file",
    "load_lab": "file",
    "parse_lab": "file",
    "random_faults": "faults",
}

__all__ = sorted(_HOMES)

hold_to_a_rate("shoal_lab")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
