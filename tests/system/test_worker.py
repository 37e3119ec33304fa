"""A worker as a process: how it starts, what it costs, how it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tests.runtime import tiny
from tests.runtime.test_recovery import Load
from tests.runtime.tiny import anywhere, images, soon

import shoal
from shoal.errors import MeshError
from shoal.model.store import PartStore
from shoal.runtime.local import WorkerProcess
from shoal.runtime.worker import WorkerOptions
from shoal.scratch import sweep

pytestmark = pytest.mark.system


@pytest.fixture
def net():
    return tiny.network(layers=8, width=128)


@pytest.fixture
def store(tmp_path, net):
    return tiny.fill(PartStore(tmp_path / "gateway"), net)


@pytest.fixture
def worker(tmp_path):
    started = []

    def make(name="w", **options):
        options = {"listen": ("tcp/127.0.0.1:0",), **options}
        options = WorkerOptions(name=name, store=str(tmp_path / name), **options)
        started.append(WorkerProcess(options, tmp_path / f"{name}-{len(started)}.log"))
        started[-1].start()
        return started[-1]

    yield make
    for process in started:
        process.thaw()
        process.kill()


def test_idle_memory(worker):
    """The goal is 75 MB; ``shoal bench foundation`` measures it, and the time until it is ready."""
    process = worker()
    process.wait_ready()
    assert psutil.Process(process.pid).memory_info().rss < 75e6 * 1.2


def test_an_idle_worker_costs_no_cpu(worker):
    process = worker()
    process.wait_ready()
    time.sleep(0.3)
    before, began = psutil.Process(process.pid).cpu_times(), time.monotonic()
    time.sleep(1.0)
    after = psutil.Process(process.pid).cpu_times()
    share = (after.user + after.system - before.user - before.system) / (time.monotonic() - began)
    assert share < 0.25


def test_neither_pytorch_nor_onnx_is_loaded_by_working(net, store):
    with (
        shoal.local_cluster(1) as cluster,
        shoal.deploy(anywhere(net, "worker-1"), cluster, store=store) as service,
    ):
        service.infer(images(1, width=128)[0])
        maps = Path(f"/proc/{cluster.processes['worker-1'].pid}/maps")
        if not maps.exists():
            pytest.skip("needs /proc")
        loaded = maps.read_text()
    assert "/onnxruntime/" in loaded
    assert "/torch/" not in loaded
    assert "onnx_cpp2py" not in loaded


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_told_to_stop_finishes_what_it_has(net, store, number):
    with shoal.local_cluster(2) as cluster:
        book = anywhere(net, "worker-1", "worker-2")
        with shoal.deploy(book, cluster, store=store) as service:
            load = Load(net, service, 1500)
            load.after(300)
            leaving = cluster.processes["worker-2"]
            os.kill(leaving.pid, number)
            assert leaving._process.wait(60) == 0
            stats = load.check()
            assert stats.answered == 1500
            assert load.answers[-1].trace[-1].device == "worker-1"
        assert leaving.log.read_text() == ""


def test_a_worker_without_work_stops_at_once(worker):
    """It does not wait for the end of the time that it has to finish things."""
    process = worker(drain_s=600.0)
    process.wait_ready()
    process.stop(timeout_s=60.0)
    assert process._process.returncode == 0


CLUSTER = """
import os, time, shoal
cluster = shoal.local_cluster(2)
print(*(p.pid for p in cluster.processes.values()), cluster.scratch.path, flush=True)
"""


@pytest.fixture
def killed(tmp_path):
    """Start a program that has a local cluster, kill it, and see that nothing of it stays."""
    programs = []

    def check(then, how=lambda program, pids: None, folder_stays=False):
        env = {**os.environ, "TMPDIR": str(tmp_path)}
        program = subprocess.Popen(
            [sys.executable, "-c", CLUSTER + then], stdout=subprocess.PIPE, env=env
        )
        programs.append(program)
        *pids, folder = program.stdout.readline().decode().split()
        assert Path(folder).is_dir()
        how(program, [int(pid) for pid in pids])
        program.kill()
        program.wait()
        soon(lambda: not any(alive(int(pid)) for pid in pids))
        if not folder_stays:
            soon(lambda: list(tmp_path.iterdir()) == [])

    yield check
    for program in programs:
        program.kill()
        program.communicate()


def test_workers_end_with_the_process_that_started_them(killed):
    """Also when that is killed and cannot clean up; the last one removes what is on disk."""
    killed("time.sleep(60)")


def test_workers_that_were_stopped_end_as_well(killed):
    if sys.platform != "linux":
        pytest.skip("only Linux wakes them")

    def freeze(program, pids):
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)

    killed("time.sleep(60)", freeze)


@pytest.mark.parametrize("fork", ["os.fork", "ctypes.PyDLL(None).fork"])
def test_workers_end_although_a_child_of_that_process_lives(killed, tmp_path, fork):
    """It has copies of the pipes by which they notice, unless Python knows of it."""
    behind_python = "ctypes" in fork
    children = []

    def note(program, pids):
        children.append(int(program.stdout.readline()))

    then = f"import ctypes\npid = {fork}()\nif pid:\n    print(pid, flush=True)\ntime.sleep(60)\n"
    try:
        killed(then, note, folder_stays=behind_python)
        assert all(alive(child) for child in children)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
    if behind_python:
        soon(lambda: not any(alive(child) for child in children))
        sweep(tmp_path)  # as the next program that has a local cluster does
        assert list(tmp_path.iterdir()) == []


def test_a_cluster_that_nobody_closes_ends_with_the_program(tmp_path):
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", CLUSTER], stdout=subprocess.PIPE, env=env)
    *pids, _ = done.stdout.decode().split()
    soon(lambda: not any(alive(int(pid)) for pid in pids))
    soon(lambda: list(tmp_path.iterdir()) == [])


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_worker_that_is_started_again_is_used_again(net, store):
    with shoal.local_cluster(2) as cluster:
        book = anywhere(net, "worker-1", "worker-2")
        with shoal.deploy(book, cluster, store=store) as service:
            process = cluster.processes["worker-2"]
            for end in (process.kill, process.stop):
                end()
                soon(lambda: service.stats().devices["worker-2"].state != "alive")
                process.restart()
                soon(lambda: service.stats().devices["worker-2"].ready)
                list(service.infer_many(images(50, width=128)))
            assert service.stats().devices["worker-2"].answered > 0


def test_a_worker_that_died_by_itself_can_be_started_again(worker):
    process = worker()
    process.wait_ready()
    os.kill(process.pid, signal.SIGKILL)
    soon(lambda: not process.running)
    process.restart()
    assert process.running


def test_impossible_options_are_told(worker, tmp_path):
    with pytest.raises(MeshError, match="did not start: ONNX Runtime has no provider 'Abacus'"):
        worker("a", provider="Abacus").wait_ready()
    with pytest.raises(MeshError, match=r"did not start: .*is no address"):
        worker("b", listen=("nowhere",)).wait_ready()
    with pytest.raises(MeshError, match=r"did not start: .*cannot name a node"):
        worker("no name").wait_ready()


def test_a_cluster_that_cannot_start_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with pytest.raises(MeshError, match="worker-1 did not start"):
        shoal.local_cluster(2, provider="Abacus")
    assert list(tmp_path.iterdir()) == []
