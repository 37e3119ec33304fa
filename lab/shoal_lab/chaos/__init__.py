"""A deployment in a lab, kept under load while faults fall on it.

A reader's path: :mod:`scene` (what is played), :mod:`play` (how), :mod:`driver` (the program on the
gateway's host that deploys and asks), :mod:`verdict` (what it did to the requests).
"""

from shoal_lab.chaos.play import Moment, Story, play
from shoal_lab.chaos.scene import Scene, scene

__all__ = ["Moment", "Scene", "Story", "play", "scene"]
