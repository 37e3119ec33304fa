"""Measuring devices and links, and what a survey makes of it."""

import threading
import time

import msgspec
import pytest
from tests.runtime import tiny
from tests.runtime.tiny import SlowEngine, soon

from shoal.core.messages import PROTOCOL, Hello
from shoal.errors import (
    MeasureError,
    ModelError,
    PlanError,
    ShoalError,
    UnreachableError,
    VersionError,
)
from shoal.model.engine import Engine
from shoal.model.profiles import profile
from shoal.model.store import PartStore
from shoal.plan.cluster import Cluster, Device
from shoal.plan.profiles import Profiles
from shoal.plan.size import Size
from shoal.runtime import probe, wire
from shoal.runtime.node import Node
from shoal.runtime.planning import plan
from shoal.runtime.survey import NO_WAY, survey

SHAPES = {"x": ("float32", (1, tiny.WIDTH))}


@pytest.fixture
def asker(crowd):
    """A node that measures others."""
    node = Node(crowd.mesh("asker"), crowd.store, Engine())
    node.start()
    yield node
    node.close()


@pytest.fixture
def whole(net):
    return net.split([])[0]


def test_what_is_loaded_counts_when_something_is_measured(crowd, asker, net, whole):
    half = tiny.halves(net)[0]
    node = crowd.start("a", memory=whole.memory + half.memory // 2)
    soon(lambda: "a" in asker.link.peers())
    asker.prober.device("a", whole.hash, whole.info, SHAPES, runs=1, seconds=0.0)
    node.shelf.fetch(half.hash, half.info, "asker")
    node.shelf.load(half.hash, half.info)
    with pytest.raises(ShoalError, match=r"loaded parts take \d+ of it"):
        asker.prober.device("a", whole.hash, whole.info, SHAPES, runs=1, seconds=0.0)
    shapes = dict.fromkeys(half.inputs, ("float32", (1, tiny.WIDTH)))
    assert asker.prober.device("a", half.hash, half.info, shapes, runs=1, seconds=0.0)


def test_a_device_runs_a_part_that_it_has_to_fetch_first(crowd, asker, whole):
    crowd.start("a", engine=SlowEngine(0.004))
    soon(lambda: "a" in asker.link.peers())
    times = asker.prober.device("a", whole.hash, whole.info, SHAPES, runs=5, seconds=0.0)
    assert len(times) == 5
    assert all(ms >= 4.0 for ms in times)
    assert crowd.nodes["a"].shelf.session(whole.hash) is None  # nothing stays loaded


def test_it_runs_as_long_as_it_is_told_to(crowd, asker, whole):
    crowd.start("a", engine=SlowEngine(0.001))
    soon(lambda: "a" in asker.link.peers())
    times = asker.prober.device("a", whole.hash, whole.info, SHAPES, runs=1, seconds=0.1)
    assert sum(times) >= 100.0


def test_a_part_beyond_the_memory_limit_is_not_even_fetched(crowd, asker, whole):
    crowd.start("a", memory=1 << 18)
    soon(lambda: "a" in asker.link.peers())
    with pytest.raises(ShoalError, match=r"a could not measure the network: it needs \d+ MiB"):
        asker.prober.device("a", whole.hash, whole.info, SHAPES)
    assert not crowd.nodes["a"].exchange.store.has(whole.hash)


def test_a_link_is_measured(crowd, asker):
    crowd.start("a")
    soon(lambda: "a" in asker.link.peers())
    crowd.mesh.delay("asker", "a", 0.01)
    times = asker.prober.link("a", rounds=3)
    assert times.rtt_ms >= 10.0
    assert times.bytes_per_s > 0


def test_a_device_measures_its_way_to_another(crowd, asker):
    crowd.start("a", "b")
    soon(lambda: {"a", "b"} <= asker.link.peers().keys())
    soon(lambda: "b" in crowd.nodes["a"].link.peers())
    crowd.mesh.delay("a", "b", 0.01)
    assert asker.prober.way("a", "b").rtt_ms >= 10.0
    with pytest.raises(ShoalError, match="a cannot reach z: z is not there"):
        asker.prober.way("a", "z")


def test_who_is_not_there_is_told_at_once(asker, whole):
    with pytest.raises(UnreachableError, match="a is not there"):
        asker.prober.device("a", whole.hash, whole.info, SHAPES, timeout_s=600.0)
    with pytest.raises(UnreachableError, match="a is not there"):
        asker.prober.link("a", timeout_s=600.0)


def test_who_dies_while_measuring_is_not_waited_for(crowd, asker, whole):
    engine = SlowEngine()
    crowd.start("a", engine=engine)
    soon(lambda: "a" in asker.link.peers())
    engine.gate.clear()

    def die():
        soon(lambda: engine.runs)
        crowd.mesh.kill("a")
        engine.gate.set()

    killer = threading.Thread(target=die)
    killer.start()
    with pytest.raises(UnreachableError, match="a was lost before it answered"):
        asker.prober.device("a", whole.hash, whole.info, SHAPES)
    killer.join()


def test_who_does_not_answer_in_time(crowd, asker):
    crowd.start("a")
    soon(lambda: "a" in asker.link.peers())
    crowd.mesh.delay("asker", "a", 0.5)
    with pytest.raises(UnreachableError, match="a did not answer within 0 s"):
        asker.prober.link("a", timeout_s=0.05)
    assert asker.questions.asked == {}


def test_answers_of_others_do_not_count(crowd, asker):
    crowd.start("a")
    soon(lambda: "a" in asker.link.peers())
    crowd.mesh.delay("asker", "a", 0.05)
    stop = threading.Event()

    def lie():
        while not stop.is_set():
            for token in list(asker.questions.asked):
                asker.questions.take("a liar", wire.Pong(token))

    liar = threading.Thread(target=lie)
    liar.start()
    try:
        assert asker.prober.link("a", rounds=2).rtt_ms >= 50.0
    finally:
        stop.set()
        liar.join()


def test_closing_ends_a_measurement(crowd, asker, whole, monkeypatch):
    monkeypatch.setattr(probe, "MAX_SECONDS", 600.0)
    monkeypatch.setattr(probe, "MAX_RUNS", 1_000_000)
    node = crowd.start("a", engine=SlowEngine(0.01))
    soon(lambda: "a" in asker.link.peers())
    closer = threading.Timer(0.1, node.close)
    closer.start()
    with pytest.raises(UnreachableError):
        asker.prober.device("a", whole.hash, whole.info, SHAPES, seconds=600.0)
    closer.join()  # it was to measure for longer than this test may take


# -- surveys


def cluster_of(*names, **settings):
    devices = [
        Device(name=name, address=f"127.0.0.1:{7000 + k}", **settings)
        for k, name in enumerate(names)
    ]
    return Cluster(devices=tuple(devices))


def test_a_survey_tells_slow_devices_from_fast_ones(crowd, net):
    crowd.start("fast", engine=SlowEngine(0.002))
    crowd.start("slow", engine=SlowEngine(0.02))
    link = crowd.mesh("gateway-survey")
    found = survey(net, cluster_of("fast", "slow"), store=crowd.store, link=link)
    nodes = len(net.nodes)
    fast = found.profiles.device("fast").network.range_ms(0, nodes)
    slow = found.profiles.device("slow").network.range_ms(0, nodes)
    assert 1.9 < fast < slow
    assert slow > 19.0
    assert found.profiles.link("fast", "slow").bytes_per_s > 0
    assert all(device.memory > 0 for device in found.cluster.devices)


def test_a_survey_finds_out_where_it_pays_to_run_several_images_at_once(crowd, net):
    """Each run of this device costs the same, however many images are in it."""
    crowd.start("a", engine=SlowEngine(0.02))
    cluster = cluster_of("a")
    found = survey(net, cluster, store=crowd.store, link=crowd.mesh("gateway-survey"))
    ratio = found.profiles.device("a").batch_ratio
    assert set(ratio) == {4, 8}
    assert max(ratio.values()) < 0.8
    book = plan(net, cluster, "remote", profiles=found.profiles, store=crowd.store)
    assert book.plans[0].stages[0].batch > 1


def test_larger_runs_are_not_tried_where_smaller_ones_do_not_pay(crowd, net, monkeypatch):
    crowd.start("a")
    times = {1: 10.0, 4: 40.0, 8: 40.0}
    monkeypatch.setattr("shoal.runtime.survey._run_ms", lambda *given: times[given[4]])
    cluster = cluster_of("a")
    found = survey(net, cluster, store=crowd.store, link=crowd.mesh("gateway-survey"))
    assert found.profiles.device("a").batch_ratio == {4: 1.0}


def test_what_is_not_there_counts_as_stated(crowd, net, caplog):
    crowd.start("here")
    cluster = cluster_of("here", "away", speed=0.5)
    link = crowd.mesh("gateway-survey")
    found = survey(net, cluster, store=crowd.store, link=link, appear_s=0.1)
    assert caplog.messages == ["away is not there: its stated speed and link are used"]
    assert found.profiles.device("away").network.speed == 0.5
    assert found.profiles.device("here").network.speed != 0.5
    assert found.assumed == ("away",)


def test_a_device_without_room_for_any_part_counts_as_stated_and_gets_none(crowd, net, caplog):
    crowd.start("a", memory=1 << 18)
    link = crowd.mesh("gateway-survey")
    found = survey(net, cluster_of("a", speed=0.5), store=crowd.store, link=link)
    assert caplog.messages == ["a has not room for any part of the network; no plan will use it"]
    assert found.profiles.device("a").network.speed == 0.5
    assert found.cluster.devices[0].memory == 1 << 18
    with pytest.raises(PlanError):
        plan(net, found.cluster, "remote", profiles=found.profiles, store=crowd.store)


def test_a_device_that_cannot_hold_the_network_runs_as_much_of_it_as_it_can(crowd, caplog):
    net = tiny.network(layers=6, width=64)
    (whole,) = net.split([])
    engine = SlowEngine(0.05)
    crowd.start("a", memory=whole.memory - 1, engine=engine)
    link = crowd.mesh("gateway-survey")
    found = survey(net, cluster_of("a", speed=0.5), store=crowd.store, link=link)
    assert caplog.messages == []
    device = found.profiles.device("a")
    end = max(cut.at for cut in net.cuts)
    assert device.network.range_ms(0, end) == pytest.approx(50, rel=0.5)
    assert device.batch_ratio == {}
    assert not crowd.nodes["a"].exchange.store.has(whole.hash)


@pytest.mark.parametrize("free", [0.7, 0.0])
def test_memory_that_something_else_has_taken_is_not_counted_on(crowd, free):
    """The device holds a part of another service: what runs is what still fits, or nothing."""
    net = tiny.network(layers=8, width=512)
    (whole,), (_, half) = net.split([]), tiny.halves(net)
    node = crowd.start("a", memory=int(half.memory + free * whole.memory))
    other = Node(crowd.mesh("other"), tiny.fill(crowd.store, net), Engine())
    other.start()
    try:
        soon(lambda: "other" in node.link.peers())
        node.shelf.fetch(half.hash, half.info, "other")
        node.shelf.load(half.hash, half.info)
        link = crowd.mesh("gateway-survey")
        if free:
            found = survey(net, cluster_of("a", speed=777.0), store=crowd.store, link=link)
            assert found.profiles.device("a").network.speed < 700
        else:
            with pytest.raises(
                MeasureError, match=r"a is there and could not .* loaded parts take"
            ):
                survey(net, cluster_of("a"), store=crowd.store, link=link)
    finally:
        other.close()


class Blinking(Engine):
    """An engine whose worker is out of sight from the first run on, for so many seconds."""

    def __init__(self, crowd, seconds):
        super().__init__()
        self.crowd, self.seconds = crowd, seconds
        self.threads_started = []

    def load(self, graph, blobs, **settings):
        session = super().load(graph, blobs, **settings)
        really_run = session.run

        def run(feeds, outputs=None):
            if not self.threads_started:
                blink = threading.Thread(target=self.blink)
                self.threads_started.append(blink)
                blink.start()
                time.sleep(0.2)
            return really_run(feeds, outputs)

        session.run = run
        return session

    def blink(self):
        self.crowd.mesh.cut("gateway-survey", "a")
        time.sleep(self.seconds)
        self.crowd.mesh.heal("gateway-survey", "a")

    def wait(self):
        for thread in self.threads_started:
            thread.join()


def test_a_device_that_is_out_of_sight_for_a_moment_is_measured_again(crowd, net, caplog):
    engine = Blinking(crowd, 0.3)
    crowd.start("a", engine=engine)
    link = crowd.mesh("gateway-survey")
    found = survey(net, cluster_of("a", speed=777.0), store=crowd.store, link=link)
    engine.wait()
    assert found.profiles.device("a").network.speed < 700
    assert caplog.messages == []


def test_a_device_that_is_lost_while_it_is_measured_ends_a_survey(crowd, net, caplog, monkeypatch):
    monkeypatch.setattr("shoal.runtime.survey.RETURN_S", 0.1)
    engine = Blinking(crowd, 1.0)
    crowd.start("a", engine=engine)
    link = crowd.mesh("gateway-survey")
    with pytest.raises(MeasureError, match="no recommendation, because a is there and could not"):
        survey(net, cluster_of("a"), store=crowd.store, link=link)
    engine.wait()
    assert caplog.messages == []


def test_an_engine_that_fails_ends_a_survey(crowd, net):
    engine = SlowEngine()

    def spoil(feeds):
        raise ModelError("the engine is out of order")

    engine.spoil = spoil
    crowd.start("a", engine=engine)
    link = crowd.mesh("gateway-survey")
    with pytest.raises(MeasureError, match="out of order; see to it") as raised:
        survey(net, cluster_of("a"), store=crowd.store, link=link)
    assert raised.value.exit_code == 41


def test_devices_that_cannot_reach_each_other_are_told_once(crowd, net, caplog, monkeypatch):
    monkeypatch.setattr("shoal.runtime.survey.RETURN_S", 0.2)
    crowd.start("a", "b", "c")
    for other in ("b", "c"):
        crowd.mesh.cut("a", other)
    cluster = cluster_of("a", "b", "c")
    found = survey(net, cluster, store=crowd.store, link=crowd.mesh("gateway-survey"))
    vain = "no plan that passes anything that way is recommended"
    assert sorted(warnings(caplog)) == [
        f"a cannot reach b: b is not there; a cannot reach c: c is not there; {vain}",
        f"b cannot reach a: a is not there; {vain}",
        f"c cannot reach a: a is not there; {vain}",
    ]
    assert found.profiles.link("a", "b") == found.profiles.link("c", "a") == NO_WAY
    assert found.profiles.link("b", "c").bytes_per_s > 1000
    assert found.profiles.link("gateway", "a").bytes_per_s > 1000
    book = plan(net, cluster, "pipeline", profiles=found.profiles, store=crowd.store, stages=2)
    assert book.plans[0].devices == {"b", "c"}


def test_devices_that_a_firewall_keeps_apart_are_named_with_their_ports(
    crowd, net, caplog, monkeypatch
):
    """The mesh shows them to each other, and data does not get through."""
    monkeypatch.setattr("shoal.runtime.survey.RETURN_S", 0.2)
    apart(crowd, "a", "b")
    a, _ = crowd.start("a"), crowd.start("b")
    soon(lambda: "b" in a.link.unreachable())
    found = survey(net, cluster_of("a", "b"), store=crowd.store, link=crowd.mesh("gateway-survey"))
    first, second = sorted(caplog.messages)
    assert first.startswith("a cannot reach b: b:1: ")
    assert second.startswith("b cannot reach a: a:1: ")
    assert found.profiles.link("a", "b") == found.profiles.link("b", "a") == NO_WAY


def test_a_device_that_the_gateway_sees_and_cannot_reach_ends_a_survey(crowd, net, monkeypatch):
    """It is there, so what the file states of it is not taken for true."""
    apart(crowd, "a", "gateway-survey")
    crowd.start("a")
    link = crowd.mesh("gateway-survey")
    with pytest.raises(
        MeasureError, match=r"a is there and could not be .*: gateway-survey cannot reach a: a:1: "
    ):
        survey(net, cluster_of("a"), store=crowd.store, link=link, appear_s=0.3)


def warnings(caplog):
    """What is said of a survey, and not of the mesh below."""
    return [record.getMessage() for record in caplog.records if record.name == "shoal"]


def apart(crowd, a, b):
    """A firewall between two."""
    crowd.mesh.block(a, b)
    crowd.mesh.block(b, a)


def test_devices_have_a_moment_to_find_each_other(crowd, net, caplog):
    crowd.start("a", "b")
    crowd.mesh.cut("a", "b")
    finder = threading.Timer(2.5, crowd.mesh.heal, ("a", "b"))
    finder.start()
    found = survey(net, cluster_of("a", "b"), store=crowd.store, link=crowd.mesh("gateway-survey"))
    finder.join()
    assert warnings(caplog) == []
    assert found.profiles.link("a", "b") != NO_WAY


@pytest.mark.parametrize(("stated", "counts"), [(0, 64), (200, 64), (50, 50)])
def test_no_plan_counts_on_memory_that_a_device_does_not_have(crowd, net, stated, counts):
    crowd.start("a", memory=64 << 20)
    cluster = cluster_of("a", memory=Size(stated << 20))
    found = survey(net, cluster, store=crowd.store, link=crowd.mesh("gateway-survey"))
    assert found.cluster.devices[0].memory == counts << 20


def test_a_device_of_another_version_ends_a_survey(crowd, net):
    stranger = crowd.mesh("a")
    stranger.start(lambda event: True)

    def hello():
        soon(lambda: "gateway-survey" in stranger.peers())
        head = wire.encode(Hello(msgspec.structs.replace(tiny.device_info(), name="a")))
        stranger.send("gateway-survey", bytes((PROTOCOL + 1,)) + head[1:])

    teller = threading.Thread(target=hello)
    teller.start()
    try:
        with pytest.raises(VersionError, match="a speaks protocol"):
            survey(net, cluster_of("a"), store=crowd.store, link=crowd.mesh("gateway-survey"))
    finally:
        teller.join()
        stranger.close()


def test_a_plan_puts_its_parts_into_the_store(tmp_path, net):
    cluster = cluster_of("a", "b")
    profiles = Profiles.scaled(cluster, profile(net))
    store = PartStore(tmp_path / "store")
    book = plan(net, cluster, "pipeline", profiles=profiles, store=store, stages=2)
    assert set(book.parts) <= set(store.hashes())
    assert len(book.plans[0].stages) == 2


def test_nothing_to_measure_needs_no_mesh(net, tmp_path):
    cluster = Cluster(devices=(Device(name="a", speed=2.0),))
    found = survey(net, cluster, store=PartStore(tmp_path / "store"))
    assert found.profiles.device("a").network.speed == 2.0
