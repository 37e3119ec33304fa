"""A node holds out: against its peers, its own faults, and the end."""

import queue
import threading
import time

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.runtime import tiny
from tests.runtime.test_service import right
from tests.runtime.tiny import SlowEngine, anywhere, expected, images, pipeline, soon

from shoal.codec.frame import FrameHead, Packed
from shoal.core.actions import Probe
from shoal.core.events import Ran
from shoal.core.messages import (
    PROTOCOL,
    Answered,
    Forget,
    Hello,
    Install,
    Itinerary,
    Task,
    Uninstall,
)
from shoal.core.policy import Choice
from shoal.errors import (
    NameTakenError,
    PolicyError,
    RequestError,
    StoreError,
    UnreachableError,
    UsageError,
    VersionError,
)
from shoal.mesh.events import NameLost, PeerDown, PeerUp
from shoal.model.store import PartStore
from shoal.runtime import node as module
from shoal.runtime import parts, threads, wire


class Peer:
    """Something on the mesh that sends what it likes."""

    def __init__(self, crowd, name="peer"):
        self.link = crowd.mesh(name)
        self.heard = []
        self.link.start(self._sink)

    def _sink(self, event):
        self.heard.append(event)
        return True

    def say(self, to, head, body=None):
        soon(lambda: to in self.link.peers())
        assert self.link.send(to, head, body)
        soon(lambda: self.link.waiting(to) == 0)

    def messages(self):
        heads = [event.head for event in self.heard if hasattr(event, "head")]
        return [wire.decode(head).message for head in heads]


@pytest.fixture
def peer(crowd):
    peers = []

    def make(name="peer"):
        peers.append(Peer(crowd, name))
        return peers[-1]

    yield make
    for each in peers:
        each.link.close()


# -- peers that are not as they should be


def garbage(net):
    book = anywhere(net, "a")
    itinerary = Itinerary(book.id, "whole", (("a",),))
    task = Task("peer", "1", 1, 1, 0, "peer", 1e3, itinerary=itinerary)
    no_part = msgspec.structs.replace(book, id="0" * 32, parts={})
    replace = msgspec.structs.replace
    return {
        "nothing": (b"", None),
        "noise": (bytes((PROTOCOL,)) + b"\xc1" * 50, b"noise"),
        "a playbook that lies": (wire.encode(Install(no_part)), None),
        "a task of an unknown plan": (wire.encode(task), b""),
        "a task of a stage that is none": (wire.encode(replace(task, stage=-7)), b"abc"),
        "a task with garbage for a body": (wire.encode(task, None), b"garbage"),
        "a question for a blob that is none": (
            wire.encode(wire.Fetch(1, "../x", -1, 1 << 62)),
            None,
        ),
        "a chunk that nobody asked for": (wire.encode(wire.Chunk(99, 5)), b"hello"),
        "a measurement nobody asked for": (wire.encode(wire.Measured(99, (1.0,))), None),
        "a hello of somebody else": (
            wire.encode(Hello(replace(tiny.device_info(), name="gateway", draining=True))),
            None,
        ),
    }


def test_garbage_of_any_kind_harms_nobody(crowd, net, peer):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    other = peer()
    for head, body in garbage(net).values():
        other.say("a", head, body)
        other.say("gateway", head, body)
    for image in images(20):
        right(net, service.infer(image), image)
    assert service.stats().failed == 0


def test_what_came_counts_and_not_what_its_head_says(crowd, net, peer):
    """Else a lie would fill the worker's inbox for all others."""
    engine = SlowEngine()
    worker = crowd.start("a", engine=engine)
    service = crowd.serve(anywhere(net, "a"))
    liar = peer("liar")
    engine.gate.clear()
    itinerary = Itinerary(service.playbook.id, "whole", (("a",),))
    task = Task("liar", liar.link.incarnation, 1, 1, 0, "liar", 6e4, itinerary=itinerary)
    lie = Packed("x", "float32", (8,), "raw", 1 << 62)
    future = service.submit(images(1)[0])
    soon(lambda: engine.runs)
    liar.say("a", wire.encode(task, FrameHead((lie,), 0)), bytes(32))
    soon(lambda: len(worker.core.worker.inbox.jobs) == 2)
    assert worker.ask(lambda: worker.core.worker.inbox.bytes) < 1000
    another = service.submit(images(1)[0])
    engine.gate.set()
    assert (future.result(60).attempts, another.result(60).attempts) == (1, 1)


def test_a_probe_is_left_to_the_link_and_nothing_comes_of_it(crowd, net, peer, monkeypatch):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    peer()
    soon(lambda: "peer" in service.node.link.peers())
    probed, really = [], service.node.link.probe
    monkeypatch.setattr(service.node.link, "probe", lambda to: (probed.append(to), really(to)))
    service.node.ask(lambda: service.node._perform([Probe("peer"), Probe("a"), Probe("nobody")]))
    soon(lambda: probed == ["peer", "a", "nobody"])
    (image,) = images(1)
    right(net, service.infer(image), image)


def test_an_impossible_measurement_is_refused_and_the_next_one_made(crowd, net, peer):
    crowd.start("a")
    other = peer()
    (whole,) = net.split([])
    crowd.nodes["a"].exchange.store.add_part(whole)
    for shapes in (
        {"x": ("float32", (1 << 40,))},
        {"x": ("float32", (-1, 8))},
        {"x": ("object", (1, 8))},
        {"x": ("V99999999999", (1, 8))},
        {"x": ("float32", (1 << 62, 1 << 62))},
        {"z": ("float32", (1, 8))},
        {},
    ):
        measure = wire.Measure(1, whole.hash, whole.info, shapes, 1, 0.0)
        other.say("a", wire.encode(measure))
    short = wire.Measure(1, whole.hash, whole.info, {"x": ("float32", (1, 8))}, 1, 0.0, {"x": b"1"})
    other.say("a", wire.encode(short))
    good = {"x": ("float32", (1, 8))}
    other.say(
        "a",
        wire.encode(wire.Measure(2, whole.hash, whole.info, good, 3, 0.0)),
    )
    soon(lambda: any(getattr(m, "token", 0) == 2 for m in other.messages()))
    replies = [message for message in other.messages() if isinstance(message, wire.Measured)]
    assert [bool(reply.error) for reply in replies] == [True] * 8 + [False]
    assert len(replies[-1].run_ms) >= 3


def test_questions_without_end_are_not_all_kept(crowd, monkeypatch):
    monkeypatch.setattr(threads, "MAX_ASKED", 5)
    node = crowd.start("a")
    node.ask(lambda: None)
    for k in range(50):
        node._received("peer", wire.encode(wire.Fetch(k, "0" * 64, 0, 0)), None, 0.0)
        assert node._threads.asked <= 5


def speaks_another_version(head):
    return bytes((PROTOCOL + 1,)) + head[1:]


def test_a_peer_of_another_version_is_named_with_what_to_do(crowd, net, peer):
    stranger = peer("a")

    def hello():
        soon(lambda: "gateway" in stranger.link.peers())
        head = wire.encode(Hello(tiny.device_info()))
        stranger.link.send("gateway", speaks_another_version(head))

    teller = threading.Thread(target=hello)
    teller.start()
    with pytest.raises(VersionError) as caught:
        crowd.serve(anywhere(net, "a"), wait_s=600.0)  # there is nothing to wait for
    teller.join()
    assert f"a speaks protocol {PROTOCOL + 1}, this is protocol {PROTOCOL}" in str(caught.value)
    assert "install the same version of Shoal on both" in str(caught.value)
    assert "Start the missing" not in str(caught.value)


def test_a_stranger_among_the_devices_is_done_without(crowd, net, peer, caplog):
    crowd.start("a")
    stranger = peer("b")

    def hello():
        soon(lambda: "gateway" in stranger.link.peers())
        head = wire.encode(Hello(tiny.device_info()))
        stranger.link.send("gateway", speaks_another_version(head))

    teller = threading.Thread(target=hello)
    teller.start()
    service = crowd.serve(anywhere(net, "a", "b"), wait_s=5.0)
    teller.join()
    assert "serving without b, at least for now: it speaks protocol" in caplog.text
    for image in images(10):
        right(net, service.infer(image), image)


def test_a_damaged_tensor_is_sent_again_and_never_answered(crowd, net, monkeypatch):
    """One byte of one body is changed on its way from ``a`` to ``b``."""
    crowd.start("a", "b")
    service = crowd.serve(pipeline(net))
    node = crowd.nodes["b"]
    really, damaged = node._received, []

    def receive(sender, head, body, now):
        if sender == "a" and body and len(damaged) < 3:
            damaged.append(head)
            body = bytes([body[0] ^ 1]) + bytes(body[1:])
        really(sender, head, body, now)

    monkeypatch.setattr(node, "_received", receive)
    inputs = images(30)
    for answer, image in zip(service.infer_many(inputs), inputs, strict=True):
        right(net, answer, image)
    assert damaged  # up to three: whoever is blamed for the first gets fewer
    assert service.stats().retried >= 1


# -- faults of its own


class Stubborn:
    """A policy that breaks as long as it is told to."""

    broken = True

    def choose(self, playbook, view, at, memory):
        if self.broken:
            raise RuntimeError("the policy is broken")
        return Choice("whole", (("a",),)), None


def test_a_policy_that_breaks_fails_requests_instead_of_letting_them_hang(crowd, net):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    policy = Stubborn()
    service.node.ask(lambda: setattr(service._gateway.playbooks.all()[0], "policy", policy))
    futures = [service.submit(image) for image in images(3)]
    for future in futures:
        with pytest.raises(PolicyError, match="the policy is broken"):
            future.result(60)
    policy.broken = False
    soon(lambda: service.stats().pending == 0)
    for image in images(3):
        right(net, service.infer(image), image)


def test_an_event_that_cannot_be_handled_does_not_end_the_node(crowd, net, caplog):
    node = crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    node.submit(Ran((), (), 1.0))  # of no run that was asked for
    right(net, service.infer(images(1)[0]), images(1)[0])
    assert "could not handle" in caplog.text


def test_an_answer_of_nothing_with_a_body_harms_no_request(crowd, net):
    engine = SlowEngine()
    engine.gate.clear()
    crowd.start("a", engine=engine)
    service = crowd.serve(anywhere(net, "a"))
    future = service.submit(images(1)[0])
    nothing = Answered(service.node.name, "1", 0, 1, "whole", 0, "a")
    head = wire.encode(nothing, FrameHead((), 0))
    service.node.ask(lambda: service.node._received("a", head, b"what is this?", 0.0))
    engine.gate.set()
    right(net, future.result(60), images(1)[0])


def test_a_question_that_fails_fails_only_for_who_asked(crowd):
    node = crowd.start("a")
    with pytest.raises(ZeroDivisionError):
        node.ask(lambda: 1 / 0)
    assert node.ask(lambda: 5) == 5


@pytest.mark.parametrize("at", [float("nan"), float("inf"), 1e300, -1e300])
def test_no_time_to_wake_at_stops_or_spins_the_node(crowd, at):
    node = crowd.start("a")
    node.ask(lambda: setattr(node.core.worker, "wake_at", at))
    before, began = time.process_time(), time.monotonic()
    time.sleep(0.2)
    assert time.process_time() - before < 0.7 * (time.monotonic() - began)
    assert node.ask(lambda: 5) == 5


def test_a_part_store_that_fails_refuses_the_part_and_the_rest_serves(crowd, net):
    class Broken(PartStore):
        def put(self, data, *, hash=None):
            raise StoreError("The disk is full: make room.")

    crowd.start("a", store=Broken(crowd.folder / "a"))
    crowd.start("b")
    service = crowd.serve(anywhere(net, "a", "b"))
    right(net, service.infer(images(1)[0]), images(1)[0])
    assert service.stats().devices["a"].refused == ("The disk is full: make room.",)


def test_a_part_that_nobody_can_load_is_told(crowd, net):
    """Bytes that have the right hash, and an operator that no engine knows."""
    node = helper.make_node("Riddle", ["x"], ["y"], domain="of.somebody.else")
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 8]) for n in "xy"]
    graph = helper.make_graph([node], "part", ends[:1], ends[1:])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("of.somebody.else", 1)]
    model = helper.make_model(graph, ir_version=8, opset_imports=opsets).SerializeToString()
    nonsense = crowd.store.put(model)
    book = anywhere(net, "a")
    (old,) = book.parts
    info = msgspec.structs.replace(book.parts[old], size=len(model), blobs={})
    stage = msgspec.structs.replace(book.plans[0].stages[0], parts={"a": nonsense})
    plan = msgspec.structs.replace(book.plans[0], stages=(stage,))
    book = tiny.with_parts(msgspec.structs.replace(book, plans=(plan,)), {nonsense: info})
    crowd.start("a")
    with pytest.raises(UnreachableError, match=r"a refused: .*Riddle"):
        crowd.serve(book)


# -- the name


def test_a_name_that_was_lost_ends_a_service_at_once(crowd, net):
    crowd.start("a")
    engine = SlowEngine()
    crowd.start("b", engine=engine)
    service = crowd.serve(anywhere(net, "b"))
    engine.gate.clear()
    future = service.submit(images(1)[0])
    service.node.submit(NameLost("gateway", "2"))
    with pytest.raises(NameTakenError, match="another node took its name"):
        future.result(60)
    with pytest.raises(NameTakenError):
        service.infer(images(1)[0])
    engine.gate.set()


def test_a_worker_that_lost_its_name_wants_to_stop(crowd):
    node = crowd.start("a")
    node.submit(NameLost("a", "2"))
    assert node.drained.wait(60)
    assert "give one of them another name" in str(node.name_lost)


# -- the end


def test_closing_twice_or_from_two_threads(crowd):
    node = crowd.start("a")
    closers = [threading.Thread(target=node.close) for _ in range(3)]
    for closer in closers:
        closer.start()
    for closer in closers:
        closer.join(60)
    node.close()
    with pytest.raises(RequestError, match="the node a is closed"):
        node.ask(lambda: 5)


def test_closing_does_not_wait_for_a_part_that_does_not_come(crowd, net, peer, monkeypatch):
    """A gateway asks for a part to be loaded and never gives it."""
    monkeypatch.setattr(parts, "PATIENCE_S", 600.0)
    node = crowd.start("a")
    mean = peer("mean")
    mean.say("a", wire.encode(Install(anywhere(net, "a"))))
    soon(lambda: any(isinstance(message, wire.Fetch) for message in mean.messages()))
    node.close()


def test_a_node_sees_itself_before_anybody_else(crowd):
    crowd.start("a")
    node = crowd.start("b")
    order = node.ask(lambda: list(node.core.worker.members._peers))
    assert order[0] == "b"


def test_what_is_sent_last_arrives(crowd, net):
    """A node may leave when flush() has ended."""
    node = crowd.start("a")
    other = crowd.start("b")
    soon(lambda: "b" in node.link.peers())
    for k in range(200):
        node._outbox.put(module.actions.Send("b", Forget("a", "1", (k,))))
    assert node.flush(5.0)
    assert node.link.waiting("b") == 0
    assert not node._outbox._open
    node.close()
    soon(lambda: other.link.stats().received >= 200)


def test_peers_are_told_of_draining(crowd, net):
    crowd.start("a", "b")
    service = crowd.serve(anywhere(net, "a", "b"))
    crowd.nodes["a"].drain()
    assert crowd.nodes["a"].drained.wait(60)
    soon(lambda: service.stats().devices["a"].state == "draining")
    for image in images(10):
        answer = service.infer(image)
        np.testing.assert_allclose(answer.outputs["y"], expected(net, image), rtol=1e-5)
        assert answer.trace[-1].device == "b"


def test_a_peer_that_comes_up_again_is_no_stranger_any_more(crowd):
    node = crowd.start("a")
    node.submit(PeerUp("old", "1"))
    node.ask(lambda: node._received("old", b"\x63", None, 0.0))
    assert "speaks protocol 99" in node.strangers["old"]
    node.submit(PeerUp("old", "2"))
    node.ask(lambda: None)
    assert node.strangers == {}
    node.ask(lambda: node._received("old", b"\x63", None, 0.0))
    node.submit(PeerDown("old", "2"))
    node.ask(lambda: None)
    assert node.strangers == {}, "one that is gone is not remembered"


def test_a_callback_may_ask_again_look_and_even_close(crowd, net):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    closed = threading.Event()

    def again(future):
        assert service.stats().answered == 1
        service.submit(images(1)[0]).add_done_callback(close)

    def close(future):
        future.result()
        service.close()
        closed.set()

    service.submit(images(1)[0]).add_done_callback(again)
    assert closed.wait(60)
    with pytest.raises(RequestError, match="closed"):
        service.infer(images(1)[0])


def test_a_callback_that_closes_says_goodbye_to_the_devices(crowd, net, monkeypatch):
    crowd.start("a", engine=SlowEngine(0.05))
    service = crowd.serve(anywhere(net, "a"))
    closed, told, send = threading.Event(), [], service.node._outbox.send

    def note(action):
        told.append(type(action.message))
        send(action)

    def close(future):
        service.close()
        closed.set()

    monkeypatch.setattr(service.node._outbox, "send", note)
    service.submit(images(1)[0]).add_done_callback(close)
    assert closed.wait(60)
    assert Uninstall in told


WAITING = {
    "infer": lambda service, image: service.infer(image),
    "result": lambda service, image: service.submit(image).result(),
    "result with a limit": lambda service, image: service.submit(image).result(60),
    "exception": lambda service, image: service.submit(image).exception(),
    "many": lambda service, image: list(service.infer_many([image] * 3)),
    "together": lambda service, image: list(service.infer_many([image] * 4, together=2)),
    "each of several": lambda service, image: service.submit_together([image] * 2)[1].result(),
    "readiness": lambda service, image: service.wait_ready(60.0),
}


@pytest.mark.parametrize("how", WAITING)
@pytest.mark.parametrize("large", [False, True])
def test_a_callback_that_waits_for_what_it_holds_up_is_told_so(crowd, net, how, large, monkeypatch):
    """Answers are brought by the thread that brings messages, or, large ones, by another."""
    if large:
        monkeypatch.setattr(module, "SMALL_BYTES", 0)
    crowd.start("a", engine=SlowEngine(0.02))
    service = crowd.serve(anywhere(net, "a"))
    (image,) = images(1)
    told = queue.SimpleQueue()

    def wait(future):
        try:
            told.put(WAITING[how](service, image))
        except Exception as error:
            told.put(error)

    service.submit(image).add_done_callback(wait)
    error = told.get(timeout=10)
    assert isinstance(error, UsageError), error
    assert "in a callback" in str(error)
    assert service.infer(image).outputs, "all others are served"


def test_what_is_there_may_be_taken_in_a_callback(crowd, net):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    taken = queue.SimpleQueue()
    service.submit(images(1)[0]).add_done_callback(lambda future: taken.put(future.result()))
    assert taken.get(timeout=10).plan == "whole"


@pytest.mark.parametrize("large", [False, True])
def test_a_callback_may_look_adopt_and_close_wherever_it_runs(crowd, net, large, monkeypatch):
    if large:
        monkeypatch.setattr(module, "SMALL_BYTES", 0)
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    done = threading.Event()

    def use(future):
        assert service.stats().answered == 1
        service.adopt(pipeline(net))
        service.close()
        done.set()

    service.submit(images(1)[0]).add_done_callback(use)
    assert done.wait(10)


def test_a_callback_may_have_another_playbook_served(crowd, net):
    crowd.start("a", engine=SlowEngine(0.05))
    service = crowd.serve(anywhere(net, "a"))
    other, adopted = pipeline(net), threading.Event()

    def adopt(future):
        service.adopt(other)
        adopted.set()

    service.submit(images(1)[0]).add_done_callback(adopt)
    assert adopted.wait(60)
    assert service.playbook is other


def test_nobody_is_called_back_on_the_thread_of_a_client_that_asks(crowd, net):
    """It may hold locks that the callback needs."""
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    me, asking, wrong = threading.current_thread(), False, []
    answered = threading.Semaphore(0)

    def take(future):
        wrong.extend([future] if asking and threading.current_thread() is me else [])
        answered.release()

    for image in images(200):
        asking = True
        future = service.submit(image)
        asking = False
        future.add_done_callback(take)
    for _ in range(200):
        assert answered.acquire(timeout=60)
    assert wrong == []
