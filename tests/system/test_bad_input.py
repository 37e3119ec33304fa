"""Bad input for real processes: it is refused with a reason and harms nobody."""

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import sys

import msgspec
import numpy as np
import pytest
from tests.runtime import tiny
from tests.runtime.tiny import anywhere, expected, images, soon

import shoal
from shoal.codec.frame import FrameHead, Packed
from shoal.core.messages import PROTOCOL, Install, Itinerary, Task
from shoal.errors import (
    AddressInUseError,
    HashError,
    InputError,
    MeshError,
    NameTakenError,
    UnreachableError,
    VersionError,
)
from shoal.mesh.zenoh import ZenohLink
from shoal.model.store import PartStore
from shoal.plan.cluster import Cluster, Device, Gateway
from shoal.runtime import wire
from shoal.runtime.local import WorkerProcess
from shoal.runtime.worker import WorkerOptions

pytestmark = pytest.mark.system

HERE = "tcp/127.0.0.1:0"


@pytest.fixture
def store(tmp_path, net):
    return tiny.fill(PartStore(tmp_path / "gateway"), net)


@pytest.fixture
def net():
    return tiny.network()


@pytest.fixture
def worker(tmp_path):
    """Starts workers and ends them; ``store`` may be anywhere."""
    started = []

    def make(name="worker", **options):
        options = {"listen": (HERE,), "store": str(tmp_path / name), **options}
        log = tmp_path / f"{name}-{len(started)}.log"
        started.append(WorkerProcess(WorkerOptions(name=name, **options), log))
        started[-1].start()
        return started[-1]

    yield make
    for process in started:
        process.thaw()
        process.kill()


def cluster_of(*processes):
    return Cluster(devices=tuple(Device(name=p.name, address=p.addresses[0]) for p in processes))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def right(service, net, count=5):
    for image in images(count):
        answer = service.infer(image)
        np.testing.assert_allclose(answer.outputs["y"], expected(net, image), rtol=1e-5, atol=1e-6)


# -- inputs


def test_wrong_shapes_dtypes_and_values(net, store, worker):
    process = worker()
    process.wait_ready()
    with shoal.deploy(anywhere(net, "worker"), cluster_of(process), store=store) as service:
        for wrong in (
            np.zeros((1, 9), np.float32),
            np.zeros((1, 8, 1), np.float32),
            np.zeros((1, 8), np.float64),
            np.full((1, 8), np.nan, np.float32),
        ):
            with pytest.raises(InputError):
                service.infer(wrong)
        right(service, net)


# -- frames


@contextlib.contextmanager
def stranger(process, name="stranger"):
    """A node that may say anything to a worker."""
    link = ZenohLink(name, listen=[], connect=process.addresses)
    heard = []

    def sink(event):
        heard.append(event)
        return True

    link.start(sink)
    try:
        soon(lambda: process.name in link.peers())
        yield link, heard
    finally:
        link.close()


LIES = {
    "more bytes than there are": Packed("x", "float32", (1 << 20,), "raw", 4 << 20),
    "fewer bytes than there are": Packed("x", "float32", (1,), "raw", 4),
    "a shape of another size": Packed("x", "float32", (1 << 40,), "raw", 32),
    "a negative shape": Packed("x", "float32", (-8,), "raw", 32),
    "sizes beyond all bounds": Packed("x", "float32", (8,), "raw", 1 << 62),
    "an unknown codec": Packed("x", "float32", (8,), "lzma", 32),
    "an unknown dtype": Packed("x", "float128", (8,), "raw", 32),
}


def test_frames_with_lying_lengths(net, store, worker):
    """A worker refuses each task with such a body, and goes on."""
    process = worker()
    process.wait_ready()
    with shoal.deploy(anywhere(net, "worker"), cluster_of(process), store=store) as service:
        book = service.playbook
        with stranger(process) as (link, heard):
            for number, lie in enumerate(LIES.values()):
                itinerary = Itinerary(book.id, "whole", (("worker",),))
                about = "stranger", link.incarnation, number, 1
                task = Task(*about, 0, "stranger", 5e3, itinerary=itinerary)
                head = wire.encode(task, FrameHead((lie,), 0))
                assert link.send("worker", head, bytes(32))
                right(service, net, 1)

            def refusals():
                heads = [event.head for event in heard if hasattr(event, "head")]
                messages = [wire.decode(head).message for head in heads]
                return [m for m in messages if type(m).__name__ == "Refused"]

            soon(lambda: len(refusals()) == len(LIES))
            assert {str(refused.why) for refused in refusals()} == {"damaged body"}
        right(service, net)
    assert process.running


def test_heads_of_garbage(net, store, worker):
    process = worker()
    process.wait_ready()
    random = np.random.default_rng(0)
    with shoal.deploy(anywhere(net, "worker"), cluster_of(process), store=store) as service:
        with stranger(process) as (link, _):
            for size in (0, 1, 10, 100, 10_000):
                for _ in range(5):
                    assert link.send("worker", bytes((PROTOCOL,)) + random.bytes(size))
            book = msgspec.structs.replace(service.playbook, id="0" * 32)
            assert link.send("worker", wire.encode(Install(book)))
            soon(lambda: "a message cannot be read" in process.log.read_text())
        right(service, net)


# -- parts


def test_a_part_whose_hash_does_not_match(net, store, worker):
    """The gateway's store is damaged: nothing of it is sent, and the file is named."""
    process = worker()
    process.wait_ready()
    (whole,) = net.split([])
    path = store.root / whole.hash[:2] / whole.hash
    damaged = bytearray(path.read_bytes())
    damaged[-10] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(HashError, match=f"{path} was damaged; it is removed, get it again"):
        shoal.deploy(anywhere(net, "worker"), cluster_of(process), store=store, wait_s=5)
    assert process.running


def test_a_liar_that_offers_a_part_is_not_believed(net, store, worker):
    """It says that it has every part, and gives zeros."""
    process = worker()
    process.wait_ready()
    lies = []
    with stranger(process, "a-liar") as (link, _):
        info = net.split([])[0].info

        def sink(event):
            message = wire.decode(event.head).message if hasattr(event, "head") else None
            if isinstance(message, wire.Fetch):
                lies.append(message)
                reply = wire.encode(wire.Chunk(message.token, info.size))
                link.send("worker", reply, bytes(info.size) if message.length else None)
            return True

        link._sink = sink
        with shoal.deploy(anywhere(net, "worker"), cluster_of(process), store=store) as service:
            right(service, net)
    assert hashlib.sha256(bytes(info.size)).hexdigest() != net.split([])[0].hash


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_a_full_disk(net, store, worker, tmp_path):
    """The store of one worker is on a disk of 16 KiB; the network is larger."""
    large = tiny.network(layers=4, width=128)
    tiny.fill(store, large)
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)], check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("cannot mount here")
    try:
        full, other = worker("full", store=str(disk)), worker("other")
        for process in (full, other):
            process.wait_ready()
        cluster = cluster_of(full, other)
        with shoal.deploy(anywhere(large, "full", "other"), cluster, store=store) as service:
            for image in images(5, width=128):
                assert service.infer(image).trace[-1].device == "other"
            (why,) = service.stats().devices["full"].refused
            assert "No space left on device" in why
            assert "The disk is full: make room" in why
        assert [path for path in disk.rglob("*") if path.name.startswith(".new-")] == []
        full.kill()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_store_that_cannot_be_written(worker):
    with pytest.raises(MeshError, match="did not start: The store cannot make the folder"):
        worker(store="/proc/nowhere/parts").wait_ready()


# -- nodes


def test_a_worker_of_another_version(net, store, tmp_path):
    """It runs, says another protocol number, and is named with what to do."""
    script = (
        "import sys\n"
        "import shoal.core.messages as messages\n"
        f"messages.PROTOCOL = {PROTOCOL + 1}\n"
        "from shoal.runtime.worker import _main\n"
        "_main(sys.argv[1])\n"
    )
    options = WorkerOptions(name="new", listen=(HERE,), store=str(tmp_path / "new"))
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-c", script, msgspec.json.encode(options).decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        ) as process,
    ):
        try:
            (address,) = msgspec.json.decode(process.stdout.readline())["addresses"]
            # There is nothing to wait for, or this would take longer than a test may.
            cluster = Cluster(devices=(Device(name="new", address=address),), wait_s=600.0)
            with pytest.raises(VersionError) as caught:
                shoal.deploy(anywhere(net, "new"), cluster, store=store)
        finally:
            process.kill()
    assert f"new speaks protocol {PROTOCOL + 1}, this is protocol {PROTOCOL}" in str(caught.value)
    assert "install the same version of Shoal on both" in str(caught.value)
    assert f"speaks protocol {PROTOCOL}" in (tmp_path / "log").read_text()


def test_two_workers_with_one_name(worker):
    first = worker("twin")
    first.wait_ready()
    second = worker("twin", connect=tuple(first.addresses))
    with pytest.raises(MeshError, match=r"twin did not start: a node called 'twin' is alive"):
        second.wait_ready()
    assert second._process.returncode == NameTakenError.exit_code
    assert first.running


def test_a_worker_whose_name_was_taken_while_it_was_frozen_gives_way(net, store, worker):
    old = worker("twin")
    old.wait_ready()
    old.freeze()
    new = worker("twin", listen=(HERE,), connect=tuple(old.addresses))
    new.wait_ready()
    with shoal.deploy(anywhere(net, "twin"), cluster_of(new), store=store) as service:
        right(service, net)
        old.thaw()
        assert old._process.wait(60) == NameTakenError.exit_code
        right(service, net)
    assert "give one of them another name" in old.log.read_text()


def test_ports_that_are_taken(worker):
    first = worker("first")
    first.wait_ready()
    second = worker("second", listen=tuple(first.addresses))
    with pytest.raises(MeshError, match=r"second did not start: cannot listen on tcp/127.0.0.1:"):
        second.wait_ready()
    assert second._process.returncode == AddressInUseError.exit_code


def test_a_gateway_whose_port_is_taken(net, store, worker):
    first = worker("first")
    first.wait_ready()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"tcp/127.0.0.1:{taken.getsockname()[1]}"
        cluster = Cluster(
            devices=(Device(name="first", address=first.addresses[0]),),
            gateway=Gateway(address=address),
        )
        with pytest.raises(AddressInUseError, match="choose another port"):
            shoal.deploy(anywhere(net, "first"), cluster, store=store)


def test_hosts_that_cannot_be_reached(net, store):
    port = free_port()
    cluster = Cluster(
        devices=(
            Device(name="pi-1", address=f"127.0.0.1:{port}"),
            Device(name="pi-2", address="no-such-host.invalid:7447"),
        )
    )
    with pytest.raises(UnreachableError) as caught:
        shoal.deploy(anywhere(net, "pi-1", "pi-2"), cluster, store=store, wait_s=0.3)
    text = str(caught.value)
    assert f"pi-1 is not there (tcp/127.0.0.1:{port}: the host is there, but nothing" in text
    assert "pi-2 is not there (tcp/no-such-host.invalid:7447: the host name is unknown" in text
    assert "Start the missing workers with 'shoal worker --name NAME --listen ADDRESS'" in text


def test_one_host_of_two_cannot_be_reached(net, store, worker, caplog):
    process = worker("pi-1")
    process.wait_ready()
    there = cluster_of(process)
    away = Device(name="pi-2", address=f"127.0.0.1:{free_port()}")
    cluster = msgspec.structs.replace(there, devices=(*there.devices, away))
    book = anywhere(net, "pi-1", "pi-2")
    with shoal.deploy(book, cluster, store=store, wait_s=3.0) as service:
        right(service, net)
    assert "serving without pi-2, at least for now: it is not there" in caplog.text


def test_a_worker_with_too_little_memory_refuses_and_the_plan_without_it_is_used(
    net, store, worker
):
    small, large = worker("small", memory_limit=1 << 18), worker("large")
    for process in (small, large):
        process.wait_ready()
    cluster = cluster_of(small, large)
    with shoal.deploy(anywhere(net, "small", "large"), cluster, store=store) as service:
        right(service, net)
        assert "small has too little memory" in service.stats().devices["small"].refused[0]
        assert service.stats().devices["large"].answered == 5
