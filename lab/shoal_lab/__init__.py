"""Hosts, slow links and faults on one machine.

A reader's path: :mod:`spec` (what a lab file says), :mod:`lab` (how it comes up and goes),
:mod:`relay` (how a packet is late without the kernel's help).
"""

from shoal.log import hold_to_a_rate
from shoal_lab.faults import Fault, random_faults
from shoal_lab.file import load_faults, load_lab, parse_lab
from shoal_lab.host import Host, Usage
from shoal_lab.lab import Lab
from shoal_lab.player import Happening, Player
from shoal_lab.spec import HostSpec, LabSpec, LinkSpec, PairSpec

__all__ = [
    "Fault",
    "Happening",
    "Host",
    "HostSpec",
    "Lab",
    "LabSpec",
    "LinkSpec",
    "PairSpec",
    "Player",
    "Usage",
    "load_faults",
    "load_lab",
    "parse_lab",
    "random_faults",
]

hold_to_a_rate("shoal_lab")
