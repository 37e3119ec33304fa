"""Cgroups of both versions, on folders that only look like them."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal_lab.cgroup import Cgroup, Hierarchy, hierarchy, period_and_quota_us

V1_MOUNTS = """\
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0
cgroup /sys/fs/cgroup/freezer cgroup rw,freezer 0 0
cgroup2 {v2} cgroup2 rw 0 0
"""


def found(tmp_path: Path, text: str) -> Hierarchy | str:
    mounts = tmp_path / "mounts"
    mounts.write_text(text.format(v2=tmp_path))
    return hierarchy(mounts)


def test_version_1_is_found_by_its_controllers(tmp_path: Path) -> None:
    made = found(tmp_path, V1_MOUNTS)
    assert isinstance(made, Hierarchy)
    assert made.version == 1
    assert made.folders["cpu"] == made.folders["cpuacct"] == "/sys/fs/cgroup/cpu,cpuacct"


def test_version_2_is_found_where_it_has_the_controllers(tmp_path: Path) -> None:
    line = "cgroup2 {v2} cgroup2 rw 0 0\n"
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    made = found(tmp_path, line)
    assert isinstance(made, Hierarchy)
    assert made.version == 2
    (tmp_path / "cgroup.controllers").write_text("pids\n")
    assert "cpu and memory" in str(found(tmp_path, line))


def test_where_there_is_none_it_is_said_in_words(tmp_path: Path) -> None:
    assert "control groups" in str(found(tmp_path, "tmpfs /tmp tmpfs rw 0 0\n"))
    assert "control groups" in str(hierarchy(tmp_path / "none"))


@settings(deadline=None)
@given(st.floats(0.01, 64))
def test_period_and_quota_give_the_share_and_fit_the_kernel(cores: float) -> None:
    period, quota = period_and_quota_us(cores)
    assert quota / period == pytest.approx(cores, rel=0.002)
    assert quota >= 1000
    assert 10_000 <= period <= 1_000_000


def test_a_slow_device_is_slow_and_not_stuttering() -> None:
    assert period_and_quota_us(0.5) == (10_000, 5_000)
    assert period_and_quota_us(0.05) == (20_000, 1_000)


def fake(tmp_path: Path, version: int) -> tuple[Cgroup, Path]:
    """A cgroup whose kernel is a folder; where its files are."""
    if version == 2:
        where = Hierarchy({"": str(tmp_path)})
    else:
        names = ("cpu", "cpuacct", "memory", "freezer")
        where = Hierarchy({name: str(tmp_path / name) for name in names})
    group = Cgroup(where, "lab", "pi")
    group.make()
    return group, tmp_path


def test_version_1_gets_its_limits_in_the_folder_of_each_controller(tmp_path: Path) -> None:
    group, root = fake(tmp_path, 1)
    group.set_cpu(0.2)
    group.set_memory(64 << 20)
    group.freeze(True)

    def written(name: str) -> str:
        return (root / name.split(".")[0] / "shoal-lab/lab/pi" / name).read_text()

    assert (written("cpu.cfs_period_us"), written("cpu.cfs_quota_us")) == ("10000", "2000")
    assert written("memory.limit_in_bytes") == str(64 << 20)
    assert written("freezer.state") == "FROZEN"
    assert len(group.join_files) == 4
    assert (root / "cpu/shoal-lab/cpu.shares").read_text() == "262144"


def test_version_2_gets_its_limits_in_one_folder(tmp_path: Path) -> None:
    group, root = fake(tmp_path, 2)
    group.set_cpu(0.2)
    group.set_memory(64 << 20)
    group.freeze(False)
    own = root / "shoal-lab/lab/pi"
    assert (own / "cpu.max").read_text() == "2000 10000"
    assert (own / "memory.max").read_text() == str(64 << 20)
    assert (own / "memory.swap.max").read_text() == "0"
    assert (own / "cgroup.freeze").read_text() == "0"
    assert group.join_files == [own / "cgroup.procs"]
    for parent in (root, root / "shoal-lab", root / "shoal-lab/lab"):
        assert (parent / "cgroup.subtree_control").read_text() == "+cpu +memory"


def test_a_host_with_nearly_a_whole_core_keeps_what_the_kernel_would_throw_away(
    tmp_path: Path,
) -> None:
    for version, name in ((1, "cpu/shoal-lab/lab/pi/cpu.cfs_burst_us"),
                          (2, "shoal-lab/lab/pi/cpu.max.burst")):  # fmt: skip
        group, root = fake(tmp_path / str(version), version)
        for cores, burst in ((1.0, "5000"), (0.1, "0"), (1.5, "5000")):
            group.set_cpu(cores)
            assert (root / name).read_text() == burst


def test_use_is_read_from_both_versions(tmp_path: Path) -> None:
    one, root = fake(tmp_path / "one", 1)
    (root / "cpuacct/shoal-lab/lab/pi/cpuacct.usage").write_text("1500000000\n")
    (root / "memory/shoal-lab/lab/pi/memory.usage_in_bytes").write_text("4096\n")
    assert (one.cpu_s(), one.memory_bytes()) == (1.5, 4096)
    two, root = fake(tmp_path / "two", 2)
    (root / "shoal-lab/lab/pi/cpu.stat").write_text("usage_usec 1500000\nnr_throttled 3\n")
    (root / "shoal-lab/lab/pi/memory.current").write_text("4096\n")
    assert (two.cpu_s(), two.memory_bytes()) == (1.5, 4096)


def test_a_cgroup_that_is_not_there_has_no_processes(tmp_path: Path) -> None:
    gone = Cgroup(Hierarchy({"": str(tmp_path)}), "lab", "pi")
    assert gone.pids() == []
    gone.kill()
    gone.remove()


def test_removing_takes_the_empty_folders_above_with_it(tmp_path: Path) -> None:
    where = Hierarchy({name: str(tmp_path / name) for name in ("cpu", "memory")})
    for host in ("pi", "nano"):
        (tmp_path / "cpu/shoal-lab/lab" / host).mkdir(parents=True)
        (tmp_path / "memory/shoal-lab/lab" / host).mkdir(parents=True)
    Cgroup(where, "lab", "pi").remove()
    assert (tmp_path / "cpu/shoal-lab/lab/nano").exists()
    Cgroup(where, "lab", "nano").remove()
    assert not (tmp_path / "cpu/shoal-lab").exists()
    assert (tmp_path / "cpu").exists()
