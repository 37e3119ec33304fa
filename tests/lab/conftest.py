"""Labs for tests: small, with a name of their own, and proof that nothing of them stays."""

import os
import subprocess
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from shoal_lab import state, wiring
from shoal_lab.cgroup import TOP, Hierarchy, hierarchy
from shoal_lab.machine import look
from shoal_lab.spec import LabSpec

NUMBERS = count()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Root tests run where their claim can be tested."""
    if item.get_closest_marker("root") is not None:
        machine = look()
        if not machine.can_emulate:
            pytest.skip(f"no network namespaces here: needs {'; '.join(machine.lacks)}")
        if not (machine.netem or machine.tun):
            pytest.skip("nothing delays packets here: neither netem nor /dev/net/tun")


def left_of(name: str) -> list[str]:
    """Everything of a lab that is still on this machine."""
    spaces = Path(wiring.FOLDER)
    found = [str(path) for path in spaces.glob(f"shoal-{name}-*")] if spaces.is_dir() else []
    where = hierarchy()
    if isinstance(where, Hierarchy):
        groups = (Path(folder) / TOP / name for folder in where.folders.values())
        found += [str(group) for group in groups if group.exists()]
    found += [str(state.lab_folder(name))] if state.lab_folder(name).exists() else []
    mounts = Path("/proc/self/mounts")
    lines = mounts.read_text().splitlines() if mounts.exists() else []
    found += [line for line in lines if f"/shoal-lab/{name}/" in line]
    seen = subprocess.run(["ps", "axeww"], capture_output=True, text=True, check=False).stdout
    return found + [
        line
        for line in seen.splitlines()
        if f"SHOAL_LAB={name} " in line or f"/{name}/relay" in line
    ]


@pytest.fixture
def name() -> Iterator[str]:
    """A name that no other lab on this machine has; nothing of the lab may stay."""
    made = f"t{os.getpid()}-{next(NUMBERS)}"
    yield made
    assert left_of(made) == []


@pytest.fixture
def lab_of(name: str) -> Callable[[str], LabSpec]:
    """A lab from YAML, under the test's own name."""
    from shoal_lab.file import parse_lab

    return lambda text: parse_lab(text, name=name)
