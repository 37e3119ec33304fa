"""What a process may take, by control groups that only look like them, and by real ones."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shoal import allowance
from shoal_lab.cgroup import Cgroup, Hierarchy, hierarchy

MIB = 1 << 20
FREE = "9223372036854771712\n"
"""What version 1 says where there is no limit."""


class Machine:
    """A machine of 8 cores and 4 GiB, in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def process(self, groups: str, mounts: str) -> None:
        self.write("proc/self/cgroup", groups)
        self.write("proc/self/mountinfo", mounts)

    @property
    def memory(self) -> int:
        return allowance.memory_bytes(self.root)

    @property
    def cores(self) -> float:
        return allowance.cores(self.root)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    names = {"SC_PHYS_PAGES": 4096 * MIB // 4096, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", names.__getitem__)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    return Machine(tmp_path)


V2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "31 24 0:27 {inside} /sys/fs/cgroup/memory rw shared:5 - cgroup cgroup rw,memory\n"
    "32 24 0:28 {inside} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "33 24 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)


def test_without_groups_it_is_the_machine(machine):
    assert (machine.memory, machine.cores) == (4096 * MIB, 8.0)
    machine.process("0::/\n", V2)
    assert (machine.memory, machine.cores) == (4096 * MIB, 8.0)


def test_affinity_counts(machine, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5}, raising=False)
    assert machine.cores == 2.0


def test_version_2_is_the_least_of_all_around_it(machine):
    machine.process("0::/system.slice/shoal-worker.service\n", V2)
    base = "sys/fs/cgroup/system.slice"
    machine.write(f"{base}/shoal-worker.service/memory.max", "max\n")
    machine.write(f"{base}/shoal-worker.service/cpu.max", "max 100000\n")
    assert (machine.memory, machine.cores) == (4096 * MIB, 8.0)
    machine.write(f"{base}/memory.max", f"{900 * MIB}\n")
    machine.write(f"{base}/cpu.max", "250000 100000\n")
    assert (machine.memory, machine.cores) == (900 * MIB, 2.5)
    machine.write(f"{base}/shoal-worker.service/memory.max", f"{500 * MIB}\n")
    machine.write(f"{base}/shoal-worker.service/cpu.max", "5000 10000\n")
    assert (machine.memory, machine.cores) == (500 * MIB, 0.5)
    machine.write(f"{base}/shoal-worker.service/memory.high", f"{400 * MIB}\n")
    assert machine.memory == 400 * MIB, "beyond it the kernel makes it wait"
    assert allowance.whole_cores(machine.root) == 1


def test_a_container_of_version_2_sees_its_own_group_as_the_top(machine):
    machine.process("0::/\n", V2)
    machine.write("sys/fs/cgroup/memory.max", f"{200 * MIB}\n")
    machine.write("sys/fs/cgroup/cpu.max", "150000 100000\n")
    assert (machine.memory, machine.cores) == (200 * MIB, 1.5)
    assert allowance.whole_cores(machine.root) == 1
    machine.process("0::/../../elsewhere\n", V2)
    assert machine.memory == 200 * MIB, "a group that lies outside of what is shown"


def test_version_1_has_a_folder_for_each_controller(machine):
    groups = "5:memory:/user/shoal\n4:cpu,cpuacct:/user/shoal\n1:name=systemd:/x\n0::/y\n"
    machine.process(groups, V1.format(inside="/"))
    memory, cpu = "sys/fs/cgroup/memory/user", "sys/fs/cgroup/cpu,cpuacct/user"
    for folder, text in ((f"{memory}/shoal", FREE), (memory, f"{700 * MIB}\n")):
        machine.write(f"{folder}/memory.limit_in_bytes", text)
    machine.write(f"{cpu}/shoal/cpu.cfs_quota_us", "-1\n")
    machine.write(f"{cpu}/shoal/cpu.cfs_period_us", "100000\n")
    assert (machine.memory, machine.cores) == (700 * MIB, 8.0)
    machine.write(f"{cpu}/cpu.cfs_quota_us", "300000\n")
    machine.write(f"{cpu}/cpu.cfs_period_us", "100000\n")
    machine.write(f"{memory}/shoal/memory.limit_in_bytes", f"{300 * MIB}\n")
    assert (machine.memory, machine.cores) == (300 * MIB, 3.0)


@pytest.mark.parametrize("inside", ["/docker/abc", "/elsewhere"])
def test_a_container_of_version_1_is_what_is_mounted(machine, inside):
    """Its group has the host's name; what is shown begins there, or the name says nothing."""
    groups = "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n"
    machine.process(groups, V1.format(inside=inside))
    machine.write("sys/fs/cgroup/memory/memory.limit_in_bytes", f"{256 * MIB}\n")
    machine.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "50000\n")
    machine.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    assert (machine.memory, machine.cores) == (256 * MIB, 0.5)


def test_names_with_spaces_and_colons(machine):
    machine.process("0::/a b:c\n", "30 24 0:26 / /sys/fs/my\\040groups rw - cgroup2 cgroup2 rw\n")
    machine.write("sys/fs/my groups/a b:c/memory.max", f"{64 * MIB}\n")
    assert machine.memory == 64 * MIB


@pytest.mark.parametrize("text", ["", "nonsense\n", "-7\n", "0\n", "1e400 0\n", "nan\n", "\xff"])
def test_what_makes_no_sense_limits_nothing(machine, text):
    machine.process("0::/\n", V2)
    for name in ("memory.max", "memory.high", "cpu.max"):
        machine.write(f"sys/fs/cgroup/{name}", text)
    assert (machine.memory, machine.cores) == (4096 * MIB, 8.0)
    machine.process("nonsense\n", "nonsense - cgroup2\n")
    assert (machine.memory, machine.cores) == (4096 * MIB, 8.0)


def test_a_system_that_says_nothing(machine, monkeypatch):
    def unknown(name):
        raise ValueError(name)

    monkeypatch.setattr(os, "sysconf", unknown)
    assert machine.memory == 0


@pytest.mark.root
@pytest.mark.system
def test_real_groups_are_read(tmp_path):
    where = hierarchy()
    if not isinstance(where, Hierarchy) or os.geteuid() != 0:
        pytest.skip("needs root and control groups")
    group = Cgroup(where, f"allowance-{os.getpid()}", "pi")
    code = "from shoal import allowance; print(allowance.memory_bytes(), allowance.cores())"
    joins = "".join(f"echo $$ > {file} && " for file in group.join_files)
    try:
        group.make()
        group.set_cpu(0.4)
        group.set_memory(300 * MIB)
        done = subprocess.run(
            ["sh", "-c", f'{joins}exec "$@"', "sh", sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    finally:
        group.remove()
    memory, cores = done.stdout.split()
    assert int(memory) == 300 * MIB
    assert float(cores) == pytest.approx(0.4)
