import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from shoal.cli.entry import run
from shoal.cli.worker import ANYWHERE, gather, to_listen_on
from shoal.errors import ClusterError, UsageError
from shoal.runtime.worker import WorkerOptions

CLUSTER = """
gateway: {address: "tcp/10.0.0.1:7447"}
lease_ms: 900
devices:
  - {name: pi-1, address: "tcp/10.0.0.11:7448", threads: 4, memory: 700 MiB}
  - {name: far, threads: 2}
"""


def options(name: str | None = None, **given: object) -> WorkerOptions:
    settings: dict[str, object] = {
        "cluster": None, "listen": [], "connect": [], "threads": None, "provider": None,
        "memory": None, "store": None, "store_limit": None,
    }  # fmt: skip
    return gather(name, **{**settings, **given})  # type: ignore[arg-type]


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_text(CLUSTER)
    return path


def test_without_options_it_listens_under_the_name_of_its_host() -> None:
    made = options()
    assert made.name == socket.gethostname().partition(".")[0]
    assert (made.listen, made.connect, made.threads) == ((ANYWHERE,), (), 1)


def test_settings_come_from_the_cluster_file(cluster: Path) -> None:
    made = options("pi-1", cluster=cluster)
    assert made.listen == ("tcp/10.0.0.11:7448",)
    assert (made.threads, made.memory_limit, made.lease_ms) == (4, 700 << 20, 900)
    assert made.members == ("pi-1", "far", "gateway")
    assert options().members == ()


def test_a_device_without_an_address_looks_for_the_gateway(cluster: Path) -> None:
    made = options("far", cluster=cluster)
    assert (made.listen, made.connect) == ((), ("tcp/10.0.0.1:7447",))


def test_what_is_given_goes_before_the_file(cluster: Path) -> None:
    made = options("pi-1", cluster=cluster, threads=1, memory="1 GiB", listen=["tcp/0.0.0.0:1"])
    assert (made.threads, made.memory_limit, made.listen) == (1, 1 << 30, ("tcp/0.0.0.0:1",))


def test_a_name_that_is_not_in_the_file(cluster: Path) -> None:
    with pytest.raises(ClusterError, match="pi-1"):
        options("pi-9", cluster=cluster)


def test_a_wrong_size() -> None:
    with pytest.raises(UsageError, match=r"--memory.*900 MiB"):
        options(memory="lots")
    with pytest.raises(UsageError, match=r"--store-limit.*900 MiB"):
        options(store_limit="-1")


@pytest.mark.parametrize(
    ("text", "limit"), [(None, 8 << 30), ("500MiB", 500 << 20), ("2 GB", 2 * 10**9), ("0", 0)]
)
def test_the_parts_on_disk_have_a_limit(cluster: Path, text: str | None, limit: int) -> None:
    assert options(store_limit=text).store_limit == limit
    assert options("pi-1", cluster=cluster, store_limit=text).store_limit == limit


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("tcp/10.0.0.11:7448", "tcp/10.0.0.11:7448"),
        ("tcp/[fe80::1]:7448", "tcp/[fe80::1]:7448"),
        ("tls/pi-1.local:7447", "tls/0.0.0.0:7447"),
        ("pi-1:7447", "tcp/0.0.0.0:7447"),
    ],
)
def test_a_device_listens_on_its_number_or_on_all_interfaces(address: str, place: str) -> None:
    assert to_listen_on(address) == place


def test_a_missing_cluster_file_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["worker", "--cluster", "nowhere.yaml"]) == 30
    assert capsys.readouterr().err.count("\n") == 1


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(port: int, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "shoal", "worker", "--name", "w", "--listen",
         f"tcp/127.0.0.1:{port}", *more],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip


@pytest.mark.system
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_says_when_it_is_ready_and_ends_well(how: signal.Signals) -> None:
    with start(free_port(), "--store-limit", "1GiB") as process:
        assert process.stderr is not None
        assert "w is ready on tcp/127.0.0.1" in process.stderr.readline()
        process.send_signal(how)
        out, err = process.communicate(timeout=90)
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.system
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_ctrl_c_that_was_ignored_from_the_start_stays_ignored() -> None:
    """As for what a script starts in the background, which Ctrl-C is not meant for."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = start(free_port())
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        assert process.stderr is not None
        assert "w is ready" in process.stderr.readline()
        status = Path(f"/proc/{process.pid}/status").read_text()
        (ignored,) = [line.split()[1] for line in status.splitlines() if line[:6] == "SigIgn"]
        assert int(ignored, 16) & 1 << signal.SIGINT - 1
        process.send_signal(signal.SIGINT)
        process.terminate()
        out, err = process.communicate(timeout=90)
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.system
def test_a_worker_that_calls_says_that_nobody_answers_and_when_somebody_does() -> None:
    port = free_port()
    address = f"tcp/127.0.0.1:{port}"
    calling = [sys.executable, "-m", "shoal", "worker", "--name", "far", "--connect", address]
    env = {**os.environ, "COLUMNS": "200"}
    with subprocess.Popen(calling, stderr=subprocess.PIPE, text=True, env=env) as far:
        assert far.stderr is not None
        assert far.stderr.readline() == "far is ready without an address, 1 thread(s)\n"
        assert far.stderr.readline() == f"no peer has answered yet at {address}; trying on\n"
        with start(port) as near:
            assert far.stderr.readline() == "in touch with w\n"
            near.kill()
            near.communicate()
        far.terminate()
        far.communicate(timeout=90)


@pytest.mark.system
def test_an_address_in_brackets_is_shown_whole() -> None:
    address = "tcp/[fe80::1]:9"
    calling = [sys.executable, "-m", "shoal", "worker", "--name", "far", "--connect", address]
    env = {**os.environ, "COLUMNS": "200"}
    with subprocess.Popen(calling, stderr=subprocess.PIPE, text=True, env=env) as far:
        assert far.stderr is not None
        far.stderr.readline()
        assert far.stderr.readline() == f"no peer has answered yet at {address}; trying on\n"
        far.terminate()
        far.communicate(timeout=90)


@pytest.mark.system
def test_a_taken_port_is_one_line_and_exit_code_55() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with start(taken.getsockname()[1]) as process:
            _, err = process.communicate(timeout=90)
    assert process.returncode == 55
    assert err.count("\n") == 1
