"""Hosts, slow links and faults on one machine.

A reader's path: :mod:`spec` (what a lab file says), :mod:`lab` (how it comes up and goes),
:mod:`relay` (how a packet is late without the kernel's help).
"""

from shoal.lab.faults import Fault, random_faults
from shoal.lab.file import load_faults, load_lab, parse_lab
from shoal.lab.host import Host, Usage
from shoal.lab.lab import Lab
from shoal.lab.player import Happening, Player
from shoal.lab.spec import HostSpec, LabSpec, LinkSpec, PairSpec

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
