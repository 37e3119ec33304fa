"""Measuring devices and links, and what a survey makes of it."""

import threading
import time

import msgspec
import pytest
from tests.runtime import tiny
from tests.runtime.tiny import SlowEngine, soon

from shoal.core.messages import PROTOCOL, Hello
from shoal.errors import ShoalError, UnreachableError, VersionError
from shoal.model.engine import Engine
from shoal.model.profiles import profile
from shoal.model.store import PartStore
from shoal.plan.cluster import Cluster, Device
from shoal.plan.profiles import Profiles
from shoal.runtime import wire
from shoal.runtime.machine import make_node
from shoal.runtime.planning import plan
from shoal.runtime.survey import survey

SHAPES = {"x": ("float32", (1, tiny.WIDTH))}


@pytest.fixture
def asker(crowd):
    """A node that measures others."""
    node = make_node(crowd.mesh("asker"), crowd.store, Engine())
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
    assert not crowd.nodes["a"].exchange._store.has(whole.hash)


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
    with pytest.raises(ShoalError, match="a could not measure its way to z: z is not there"):
        asker.prober.way("a", "z")


def test_who_is_not_there_is_told_at_once(asker, whole):
    began = time.monotonic()
    with pytest.raises(UnreachableError, match="a is not there"):
        asker.prober.device("a", whole.hash, whole.info, SHAPES)
    with pytest.raises(UnreachableError, match="a is not there"):
        asker.prober.link("a")
    assert time.monotonic() - began < 9.0  # else it would wait for 10 s, and for 120 s


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
    assert asker.prober._asked == {}


def test_answers_of_others_do_not_count(crowd, asker):
    crowd.start("a")
    soon(lambda: "a" in asker.link.peers())
    crowd.mesh.delay("asker", "a", 0.05)
    stop = threading.Event()

    def lie():
        while not stop.is_set():
            for token in list(asker.prober._asked):
                asker.prober.take("a liar", wire.Pong(token))

    liar = threading.Thread(target=lie)
    liar.start()
    try:
        assert asker.prober.link("a", rounds=2).rtt_ms >= 50.0
    finally:
        stop.set()
        liar.join()


def test_closing_ends_a_measurement(crowd, asker, whole):
    node = crowd.start("a", engine=SlowEngine(0.01))
    soon(lambda: "a" in asker.link.peers())
    closer = threading.Timer(0.1, node.close)
    closer.start()
    with pytest.raises(UnreachableError):
        asker.prober.device("a", whole.hash, whole.info, SHAPES, seconds=10.0)
    began = time.monotonic()
    closer.join()
    assert time.monotonic() - began < 9.0  # it was to measure for 10 s


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
    assert ratio[8] < ratio[4] < 0.8
    book = plan(net, cluster, "remote", profiles=found.profiles, store=crowd.store)
    assert book.plans[0].stages[0].batch == 8


def test_what_is_not_there_counts_as_stated(crowd, net, caplog):
    crowd.start("here")
    cluster = cluster_of("here", "away", speed=0.5)
    link = crowd.mesh("gateway-survey")
    found = survey(net, cluster, store=crowd.store, link=link, appear_s=0.1)
    assert "away is not there: its stated speed and link are used" in caplog.text
    assert found.profiles.device("away").network.speed == 0.5
    assert found.profiles.device("here").network.speed != 0.5


def test_a_device_that_cannot_hold_the_network_counts_as_stated(crowd, net, caplog):
    crowd.start("a", memory=1 << 18)
    link = crowd.mesh("gateway-survey")
    found = survey(net, cluster_of("a", speed=0.5), store=crowd.store, link=link)
    assert "what the cluster file states is used" in caplog.text
    assert found.profiles.device("a").network.speed == 0.5
    assert found.cluster.devices[0].memory == 1 << 18


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
