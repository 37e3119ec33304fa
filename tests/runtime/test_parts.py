"""Parts by hash from whoever has them: liars, deaths in the middle, full disks."""

import hashlib
import threading

import msgspec
import psutil
import pytest
from tests.runtime import tiny

from shoal.errors import HashError, PlanError, ShoalError, StoreError, UnreachableError
from shoal.model.engine import Engine, give_back
from shoal.model.store import PartStore
from shoal.runtime import parts as module
from shoal.runtime.parts import CHUNK_BYTES, MAX_TRIES, WINDOW, Exchange, LoadedParts
from shoal.runtime.questions import Questions
from shoal.runtime.wire import Chunk, Fetch

DATA = bytes(range(256)) * (5 * CHUNK_BYTES // 256) + b"the end"
BLOB = hashlib.sha256(DATA).hexdigest()


class Hub:
    """Exchanges that mail each other at once; ``tamper`` sees every message and may change it,
    or lose it (None)."""

    def __init__(self, folder):
        self.folder = folder
        self.exchanges = {}
        self.stores = {}
        self.mails = []
        self.away = set()
        self.tamper = lambda giver, taker, message, body: (message, body)

    def add(self, name, *blobs, limit_bytes=0):
        store = self.stores[name] = PartStore(self.folder / name)
        for blob in blobs:
            store.put(blob)

        def others():
            return [n for n in self.exchanges if n not in {name, *self.away}]

        def mail(to, message, body=None):
            return self.carry(name, to, message, body)

        self.exchanges[name] = Exchange(store, Questions(mail), others, limit_bytes)
        return self.exchanges[name]

    def carry(self, giver, taker, message, body):
        if taker not in self.exchanges or {giver, taker} & self.away:
            return False
        self.mails.append((giver, taker, message))
        left = self.tamper(giver, taker, message, body)
        if left is not None:
            message, body = left
            other = self.exchanges[taker]
            if isinstance(message, Fetch):
                other.give(giver, message)
            else:
                other.questions.take(giver, message, body)
        return True

    def lose(self, name):
        """A node dies."""
        self.away.add(name)
        for exchange in self.exchanges.values():
            exchange.questions.gone(name)

    def fetches(self, giver):
        return [m for _, to, m in self.mails if to == giver and isinstance(m, Fetch) and m.length]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ASK_S", 0.05)
    monkeypatch.setattr(module, "RETURN_S", 0.1)
    monkeypatch.setattr(module, "PATIENCE_S", 0.2)
    return Hub(tmp_path)


def test_a_blob_comes_in_chunks_and_is_the_same(hub):
    hub.add("source", DATA)
    hub.add("me").get(BLOB, len(DATA), "source")
    assert bytes(hub.stores["me"].get(BLOB)) == DATA
    assert len(hub.fetches("source")) == 6


def test_what_is_here_is_not_asked_for(hub):
    hub.add("source", DATA)
    hub.add("me", DATA).get(BLOB, len(DATA), "source")
    assert hub.mails == []


@pytest.mark.parametrize("data", [b"", b"x", bytes(CHUNK_BYTES), bytes(CHUNK_BYTES * WINDOW * 2)])
def test_any_size(hub, data):
    hub.add("source", data)
    hub.add("me").get(hashlib.sha256(data).hexdigest(), len(data), "source")
    assert hub.stores["me"].size_bytes() == len(data)


def test_never_more_than_a_window_is_under_way(hub):
    """So that a slow link is not flooded, and little memory is taken at the other end."""
    hub.add("source", bytes(CHUNK_BYTES * WINDOW * 3))
    me = hub.add("me")
    most = 0

    def count(giver, taker, message, body):
        nonlocal most
        most = max(most, len(me.questions.asked))
        return message, body

    hub.tamper = count
    blob = hashlib.sha256(bytes(CHUNK_BYTES * WINDOW * 3)).hexdigest()
    me.get(blob, CHUNK_BYTES * WINDOW * 3, "source")
    assert most <= WINDOW
    assert me.questions.asked == {}


def test_it_comes_from_a_neighbour_when_that_answers_first(hub):
    hub.add("source", DATA)
    hub.add("a neighbour", DATA)
    hub.add("me").get(BLOB, len(DATA), "source")
    assert len(hub.fetches("a neighbour")) == 6
    assert hub.fetches("source") == []


def test_it_comes_from_any_peer_when_the_source_is_gone(hub):
    hub.add("neighbour", DATA)
    hub.add("another")
    hub.add("me").get(BLOB, len(DATA), "source that left")
    assert bytes(hub.stores["me"].get(BLOB)) == DATA


def test_nobody_has_it(hub):
    hub.add("source")
    me = hub.add("me")
    with pytest.raises(UnreachableError, match=f"blob {BLOB[:12]}"):
        me.get(BLOB, len(DATA), "source")
    assert me.questions.asked == {}


def test_nobody_is_there(hub):
    with pytest.raises(UnreachableError, match="is source still there"):
        hub.add("me").get(BLOB, len(DATA), "source")


def wrong_bytes_from(liar):
    def tamper(giver, taker, message, body):
        if giver == liar and body:
            body = b"\x00" * len(body)
        return message, body

    return tamper


def test_wrong_bytes_are_refused_and_the_next_giver_is_asked(hub):
    hub.add("source", DATA)
    hub.add("a liar", DATA)
    hub.tamper = wrong_bytes_from("a liar")
    hub.add("me").get(BLOB, len(DATA), "source")
    assert bytes(hub.stores["me"].get(BLOB)) == DATA
    assert len(hub.fetches("a liar")) == len(hub.fetches("source")) == 6


def test_wrong_bytes_from_everybody_are_a_hash_error(hub):
    hub.add("source", DATA)
    hub.tamper = wrong_bytes_from("source")
    me = hub.add("me")
    with pytest.raises(HashError):
        me.get(BLOB, len(DATA), "source")
    assert not hub.stores["me"].has(BLOB)
    assert list(hub.stores["me"].hashes()) == []
    assert len(hub.fetches("source")) == 6


def test_a_giver_that_dies_in_the_middle_is_replaced_at_once(hub, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_S", 600.0)
    hub.add("source", DATA)
    hub.add("a neighbour", DATA)

    def tamper(giver, taker, message, body):
        if isinstance(message, Chunk) and giver == "a neighbour" and len(hub.fetches(giver)) > 3:
            hub.lose("a neighbour")
            return None
        return message, body

    hub.tamper = tamper
    hub.add("me").get(BLOB, len(DATA), "source")
    assert len(hub.fetches("source")) == 6


def test_a_break_in_the_middle_is_made_good_with_the_same_giver(hub):
    """The link of source and me breaks for a moment: what was under way is lost."""
    hub.add("source", DATA)
    me = hub.add("me")
    breaks = 0

    def tamper(giver, taker, message, body):
        nonlocal breaks
        if isinstance(message, Chunk) and body and breaks < MAX_TRIES - 1:
            breaks += 1
            me.questions.gone("source")
            return None
        return message, body

    hub.tamper = tamper
    me.get(BLOB, len(DATA), "source")
    assert breaks == 2
    assert bytes(hub.stores["me"].get(BLOB)) == DATA


def test_a_giver_without_an_end_of_breaks_is_given_up(hub):
    hub.add("source", DATA)
    me = hub.add("me")

    def tamper(giver, taker, message, body):
        if isinstance(message, Chunk) and body:
            me.questions.gone("source")
            return None
        return message, body

    hub.tamper = tamper
    with pytest.raises(UnreachableError, match="source was lost while it gave"):
        me.get(BLOB, len(DATA), "source")


def test_a_silent_giver_is_given_up_after_a_while(hub):
    hub.add("source", DATA)
    hub.tamper = lambda giver, taker, message, body: (
        None if isinstance(message, Chunk) and body else (message, body)
    )
    me = hub.add("me")
    with pytest.raises(UnreachableError, match="gave nothing of the blob"):
        me.get(BLOB, len(DATA), "source")
    assert me.questions.asked == {}
    assert len(hub.fetches("source")) == 6  # not again: that would take as long


def test_a_source_that_is_out_of_sight_for_a_moment_is_waited_for(hub, monkeypatch):
    monkeypatch.setattr(module, "RETURN_S", 5.0)
    hub.add("source", DATA)
    me = hub.add("me")
    hub.lose("source")
    threading.Timer(0.05, hub.away.discard, ["source"]).start()
    me.get(BLOB, len(DATA), "source")
    assert hub.stores["me"].has(BLOB)


def lying_about(**changes):
    def tamper(giver, taker, message, body):
        if isinstance(message, Chunk):
            message = msgspec.structs.replace(message, **changes)
        return message, body

    return tamper


@pytest.mark.parametrize("total", [0, len(DATA) - 1, len(DATA) + 1, 1 << 62, -1])
def test_a_giver_that_lies_about_the_size_is_not_believed(hub, total):
    hub.add("source", DATA)
    hub.tamper = lying_about(total=total)
    me = hub.add("me")
    with pytest.raises(UnreachableError, match=f"does not give the blob .* of {len(DATA)} bytes"):
        me.get(BLOB, len(DATA), "source")


def test_a_size_that_is_not_the_blobs_is_refused(hub):
    hub.add("source", DATA)
    me = hub.add("me")
    for size in (0, len(DATA) - 1, 1 << 60):
        with pytest.raises(ShoalError):
            me.get(BLOB, size, "source")
    assert not hub.stores["me"].has(BLOB)


@pytest.mark.parametrize("size", [-1, 1001])
def test_a_size_over_the_limit_is_refused_before_anybody_is_asked(hub, size):
    hub.add("source", DATA)
    me = hub.add("me", limit_bytes=1000)
    with pytest.raises(StoreError, match=f"is said to have {size} bytes"):
        me.get(BLOB, size, "source")
    assert hub.mails == []


@pytest.mark.parametrize("keep", [0, 1, 99])
def test_a_chunk_of_another_length_is_refused(hub, keep):
    hub.add("source", DATA)
    hub.tamper = lambda giver, taker, message, body: (message, (body or b"")[:keep])
    me = hub.add("me")
    with pytest.raises(UnreachableError):
        me.get(BLOB, len(DATA), "source")


def test_a_chunk_that_comes_twice_counts_once(hub):
    hub.add("source", DATA)
    me = hub.add("me")
    hub.tamper = lambda giver, taker, message, body: (
        [me.questions.take(giver, message, body), (message, body)][1]
        if isinstance(message, Chunk)
        else (message, body)
    )
    me.get(BLOB, len(DATA), "source")
    assert bytes(hub.stores["me"].get(BLOB)) == DATA


def test_chunks_of_others_are_not_taken(hub):
    hub.add("source", DATA)
    me = hub.add("me")

    def tamper(giver, taker, message, body):
        if isinstance(message, Chunk):
            me.questions.take("a stranger", message, bytes(len(body or b"")))
        return message, body

    hub.tamper = tamper
    me.get(BLOB, len(DATA), "source")
    assert bytes(hub.stores["me"].get(BLOB)) == DATA


@pytest.mark.parametrize(
    ("blob", "offset", "length"),
    [
        ("../../../etc/passwd", 0, 100),
        ("", 0, 100),
        (BLOB.upper(), 0, 100),
        ("0" * 64, 0, 100),
        (BLOB, -5, -5),
        (BLOB, 1 << 62, 1 << 62),
        (BLOB, 0, 1 << 62),
    ],
)
def test_whatever_is_asked_for_gets_a_bounded_answer(hub, blob, offset, length):
    hub.add("asks")
    giver = hub.add("gives", DATA)
    seen = []
    hub.tamper = lambda giver, taker, message, body: seen.append((message, body))
    giver.give("asks", Fetch(1, blob, offset, length))
    ((reply, body),) = seen
    assert reply.total == (len(DATA) if blob == BLOB else -1)
    assert len(body or b"") <= CHUNK_BYTES


def test_a_full_disk_is_told_and_leaves_nothing(hub, monkeypatch):
    hub.add("source", DATA)
    me = hub.add("me")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shoal.model.store.os.fsync", full)
    with pytest.raises(StoreError, match="The disk is full: make room"):
        me.get(BLOB, len(DATA), "source")
    assert [p for p in (hub.folder / "me").rglob("*") if p.is_file()] == []


def test_closing_ends_a_download(hub, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_S", 60.0)
    hub.add("source", DATA)
    me = hub.add("me")
    hub.tamper = lambda giver, taker, message, body: (
        None if isinstance(message, Chunk) and body else (message, body)
    )
    threading.Timer(0.05, me.questions.close).start()
    with pytest.raises(UnreachableError):
        me.get(BLOB, len(DATA), "source")


# -- the shelf


@pytest.fixture
def shelf(hub, net):
    tiny.fill(hub.add("source") and hub.stores["source"], net)
    return LoadedParts(hub.add("me") and hub.stores["me"], Engine(), hub.exchanges["me"])


def test_a_part_is_fetched_with_its_weights_and_loaded(shelf, net):
    part = tiny.halves(net)[0]
    shelf.fetch(part.hash, part.info, "source")
    shelf.load(part.hash, part.info)
    (image,) = tiny.images(1)
    assert shelf.session(part.hash).run({"x": image}).keys() == set(part.outputs)


def test_weights_that_the_playbook_does_not_name_are_missed(shelf, hub):
    big = tiny.network(layers=2, width=64)
    (part,) = big.split([])
    assert part.blobs
    hub.stores["source"].add_part(part)
    info = msgspec.structs.replace(part.info, blobs={})
    with pytest.raises(StoreError, match="weights that its playbook does not name"):
        shelf.fetch(part.hash, info, "source")


@pytest.mark.parametrize("blobs_too", [False, True])
def test_a_playbook_that_lies_about_memory_does_not_get_around_the_limit(shelf, hub, blobs_too):
    big = tiny.network(layers=2, width=64)
    (part,) = big.split([])
    hub.stores["source"].add_part(part)
    lie = msgspec.structs.replace(part.info, memory=part.weight_bytes - 1)
    if blobs_too:
        lie = msgspec.structs.replace(lie, blobs=dict.fromkeys(lie.blobs, 1))
    with pytest.raises(PlanError, match="its weights alone have"):
        shelf.fetch(part.hash, lie, "source")
    assert not any(hub.stores["me"].has(blob) for blob in part.blobs)
    assert shelf.memory_bytes == 0


def test_it_knows_what_the_loaded_parts_take(shelf, net):
    first, second = tiny.halves(net)
    for part in (first, second):
        shelf.fetch(part.hash, part.info, "source")
        shelf.load(part.hash, part.info)
    assert shelf.memory_bytes == first.memory + second.memory
    shelf.unload(first.hash)
    assert shelf.memory_bytes == second.memory


def test_what_a_part_took_is_given_back_when_it_is_unloaded(hub):
    """In pieces that the C library would keep for itself: a worker that gets a new playbook must
    have room for it."""
    big = tiny.network(layers=40, width=256)
    (part,) = big.split([])
    hub.add("source") and hub.stores["source"].add_part(part)
    shelf = LoadedParts(hub.add("me") and hub.stores["me"], Engine(), hub.exchanges["me"])
    process = psutil.Process()
    shelf.fetch(part.hash, part.info, "source")
    shelf.load(part.hash, part.info)
    give_back()  # what fetching it left
    loaded = process.memory_full_info().uss
    shelf.unload(part.hash)
    assert loaded - process.memory_full_info().uss > part.weight_bytes / 2
