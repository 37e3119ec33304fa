"""Running a program on a host of a lab that another process owns."""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec

from shoal.errors import LabError, LabRightsError, LabStateError
from shoal_lab import state
from shoal_lab.assembly import loopback_host, namespace_host
from shoal_lab.cgroup import Hierarchy, hierarchy
from shoal_lab.host import Host


class Entry(msgspec.Struct, frozen=True):
    """A command line that runs on a host, and its environment."""

    argv: list[str]
    environment: dict[str, str]


def enter(lab: str, host: str, argv: Sequence[str]) -> Entry:
    """How to run ``argv`` on ``host`` of the lab called ``lab``.

    LabStateError if the lab is not up, LabError if there is no such host, LabRightsError if this
    machine has no cgroups any more.
    """
    found = state.read(lab)
    if not (found.alive and found.ready):
        raise LabStateError(f"lab {lab} is not up; 'shoal lab status' lists those that are")
    if host not in found.spec.hosts:
        raise LabError(f"there is no host {host!r}; there are {', '.join(found.spec.hosts)}")
    folder, where = state.lab_folder(lab), hierarchy()
    made: Host
    if found.loopback:
        made = loopback_host(found.spec, host, folder, None)
    elif isinstance(where, Hierarchy):
        made = namespace_host(found.spec, host, where, folder, None)
    else:
        raise LabRightsError(f"the lab needs {where}")
    return Entry(made.inside(argv), {**os.environ, **made.environment()})
