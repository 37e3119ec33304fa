"""Parts on disk: verified, shared, bounded, and honest about trouble."""

import errno
import hashlib
import os
import subprocess
import sys

import pytest
from tests.model import nets

import shoal.model as model
from shoal.errors import HashError, StoreError
from shoal.model import store as store_module
from shoal.model.engine import Engine
from shoal.model.store import PartStore, check_file, write_file


def name(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def store(tmp_path):
    return PartStore(tmp_path / "store")


@pytest.fixture(scope="module")
def parts():
    return model.load(nets.residual()).split([4])


@pytest.mark.parametrize("data", [b"", b"small", bytes(200_000)])
def test_what_is_put_is_got(store, data):
    hash = store.put(data)
    assert hash == name(data)
    assert store.has(hash)
    assert bytes(store.get(hash)) == data
    assert store.get(hash).readonly
    assert store.hashes() == (hash,)
    assert store.size_bytes() == len(data)


def test_parts_go_through_the_store_and_run(store, parts):
    feeds = {"x": nets.random(1, 3, 8, 8)}
    expected = tensors = feeds
    for part in parts:
        assert store.add_part(part) == part.hash
        assert store.missing(part.hash) == ()
        session = Engine().load(*store.load_part(part.hash))
        expected, tensors = part.run(expected), part.run_on(session, tensors)
    assert (expected["y"] == tensors["y"]).all()


def test_it_tells_what_is_missing(store, parts):
    part = parts[0]
    assert store.missing(part.hash) == (part.hash,)
    store.put(part.graph)
    assert set(store.missing(part.hash)) == set(part.blobs)
    with pytest.raises(StoreError, match="does not hold"):
        store.load_part(part.hash)


def test_bytes_that_do_not_match_their_hash_are_refused(store):
    with pytest.raises(HashError):
        store.put(b"other", hash=name(b"this"))
    assert store.hashes() == ()


@pytest.mark.parametrize("hash", ["", "../../etc/passwd", "A" * 64, "0" * 63, "/" + "0" * 63])
def test_names_that_are_no_hashes_are_refused(store, hash):
    for ask in (store.has, store.get, store.drop):
        with pytest.raises(HashError):
            ask(hash)


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_damaged_file_is_noticed_and_removed(tmp_path, size):
    hash = PartStore(tmp_path).put(bytes(size))
    path = tmp_path / hash[:2] / hash
    path.write_bytes(bytes(size - 1) + b"\1")
    later = PartStore(tmp_path)
    with pytest.raises(HashError, match="damaged"):
        later.get(hash)
    assert not later.has(hash)
    later.put(bytes(size))
    assert bytes(later.get(hash)) == bytes(size)


def test_a_file_that_changes_later_is_noticed(store, tmp_path):
    hash = store.put(b"first")
    assert bytes(store.get(hash)) == b"first"
    path = store.root / hash[:2] / hash
    path.write_bytes(b"wrong")
    os.utime(path, ns=(1, 1))
    with pytest.raises(HashError):
        store.get(hash)


def test_what_was_used_least_is_dropped_when_the_limit_is_reached(tmp_path):
    store = PartStore(tmp_path, limit_bytes=250)
    old, kept = store.put(b"a" * 100), store.put(b"b" * 100)
    os.utime(store.root / old[:2] / old, ns=(1, 1))
    os.utime(store.root / kept[:2] / kept, ns=(2, 2))
    new = store.put(b"c" * 100)
    assert set(store.hashes()) == {kept, new}
    with pytest.raises(StoreError, match="raise the limit"):
        store.put(b"d" * 300)
    assert set(store.hashes()) == {kept, new}


def test_a_part_that_is_used_stays(tmp_path, parts):
    size = sum(memoryview(blob).nbytes for blob in parts[0].blobs.values()) + len(parts[0].graph)
    store = PartStore(tmp_path, limit_bytes=size + 150)
    store.add_part(parts[0])
    idle = store.put(b"a" * 100)
    for hash in store.hashes():
        os.utime(store.root / hash[:2] / hash, ns=(1, 1) if hash != idle else (2, 2))
    store.load_part(parts[0].hash)
    store.put(b"b" * 100)
    assert store.missing(parts[0].hash) == ()
    assert not store.has(idle)


def test_a_part_over_the_limit_is_refused_at_once(tmp_path, parts):
    store = PartStore(tmp_path, limit_bytes=3000)
    with pytest.raises(StoreError, match="raise the limit"):
        store.add_part(parts[0])
    assert store.hashes() == ()


def test_what_a_killed_writer_left_is_cleared(tmp_path):
    PartStore(tmp_path).put(b"kept")
    folder = next(path for path in tmp_path.iterdir() if path.is_dir())
    dead, alive = folder / ".new-dead", folder / ".new-alive"
    dead.write_bytes(b"half")
    alive.write_bytes(b"half")
    os.utime(dead, ns=(1, 1))
    store = PartStore(tmp_path)
    assert not dead.exists()
    assert alive.exists()
    assert store.size_bytes() == 4


def test_several_processes_share_a_store(tmp_path):
    """Each puts the same blobs in its own order, and reads them all."""
    code = (
        "import sys\n"
        "from shoal.model.store import PartStore\n"
        "store = PartStore(sys.argv[1])\n"
        "order = range(40) if sys.argv[2] == '0' else range(39, -1, -1)\n"
        "names = [store.put(bytes([k]) * 5000) for k in order]\n"
        "assert all(bytes(store.get(n)) for n in names)\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(k % 2)]) for k in range(4)
    ]
    assert [process.wait(60) for process in running] == [0] * 4
    assert len(PartStore(tmp_path).hashes()) == 40
    assert not list(tmp_path.glob("*/.new-*"))


def test_a_full_disk_is_told_and_leaves_nothing(store, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_module.os, "fsync", full)
    with pytest.raises(StoreError, match="disk is full: make room"):
        store.put(b"data")
    assert store.hashes() == ()
    assert not [path for path in store.root.rglob("*") if path.is_file()]


FILL_A_SMALL_DISK = """
import ctypes, subprocess, sys
from shoal.errors import StoreError
from shoal.model.store import PartStore, check_file, write_file

folder = sys.argv[1]
libc = ctypes.CDLL(None)
NEW_MOUNTS, PRIVATE_ALL = 0x20000, 1 << 18 | 1 << 14
mounts = libc.unshare(NEW_MOUNTS) == 0 and libc.mount(b"none", b"/", None, PRIVATE_ALL, None) == 0
size = b"size=64k"
if not mounts or libc.mount(b"tmpfs", folder.encode(), b"tmpfs", 0, size) != 0:
    sys.exit(77)
store = PartStore(folder)
kept = store.put(b"k" * 1000)
try:
    store.put(bytes(range(256)) * 1000)
except StoreError as error:
    print(error)
assert [path.name for path in store.root.rglob("*") if path.is_file()] == [kept]
assert bytes(store.get(kept)) == b"k" * 1000
"""


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_that_is_really_full_is_told(tmp_path):
    command = [sys.executable, "-c", FILL_A_SMALL_DISK, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if result.returncode == 77:
        pytest.skip("no mount namespace here")
    assert result.returncode == 0, result.stderr
    assert "disk is full: make room" in result.stdout


def test_missing_rights_and_files_in_the_way_are_told(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="SHOAL_CACHE"):
        PartStore(tmp_path / "file" / "store")
    store = PartStore(tmp_path / "store")

    def denied(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(store_module.tempfile, "mkstemp", denied)
    with pytest.raises(StoreError, match="Rights are missing"):
        store.put(b"data")


def test_its_place_is_the_cache_that_the_user_names(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "mine"))
    assert PartStore().root == tmp_path / "mine" / "parts"


def test_a_link_that_leads_to_itself_cannot_be_written(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for attempt in (check_file, lambda path: write_file(path, b"data")):
        with pytest.raises(StoreError, match="cannot write"):
            attempt(loop)
    assert [path.name for path in tmp_path.iterdir()] == ["loop"]


def test_what_cannot_be_looked_at_is_not_there(tmp_path, monkeypatch):
    assert not PartStore(tmp_path).has("a" * 64)
    monkeypatch.setenv("SHOAL_CACHE", "/" + "x" * 300)
    from shoal import zoo

    assert not zoo.is_ready("efficientnet-lite0")
