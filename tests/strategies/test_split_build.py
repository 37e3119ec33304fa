"""Calibration and playbook on the network that ships, with some of its sample images."""

import itertools

import msgspec
import numpy as np
import pytest
from tests.toys.network import ToyNetwork, ToyProfile

from shoal import zoo
from shoal.errors import DataError, PlanError, ProofError
from shoal.model.network import load
from shoal.model.spec import TensorSpec
from shoal.plan.cluster import Cluster
from shoal.plan.objective import Aim, Objective
from shoal.plan.playbook import load as load_playbook
from shoal.plan.playbook import save
from shoal.plan.profiles import Profiles
from shoal.plan.prove import prove, run_plan
from shoal.plan.size import Size
from shoal.plan.statistics import lower_bound
from shoal.strategies.images import open_folder
from shoal.strategies.making import make
from shoal.strategies.split import prepare as preparing
from shoal.strategies.split.book import read_book
from shoal.strategies.split.calibrate import calibrate
from shoal.strategies.split.cuts import places
from shoal.task import task_of

COUNT = 40
CLUSTER = """
devices: [{name: server, speed: 4}]
gateway: {name: cam, compute: true, power: {idle_w: 1, busy_w: 3, transmit_w: 2}}
links: {default: {mbit_s: 2, rtt_ms: 2}}
"""


@pytest.fixture(scope="module")
def network():
    return load(zoo.path("fashion-resnet"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHOAL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sample images, a folder for each class."""
    samples = zoo.samples("fashion-resnet")
    root = tmp_path_factory.mktemp("images")
    for number in range(COUNT):
        place = root / str(samples.labels[number])
        place.mkdir(exist_ok=True)
        np.save(place / f"{number}.npy", samples.images[number])
    return root


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory):
    samples = zoo.samples("fashion-resnet")
    root = tmp_path_factory.mktemp("unlabelled")
    np.save(root / "some.npy", samples.images[:12])
    return root


def cluster(text=CLUSTER):
    return Cluster.from_yaml(text)


def facts(network, where):
    """The last two nodes take nearly all the time, so that cuts before them are worth it, and
    plans do not depend on this machine."""
    node_ms = (0.1,) * (len(network.nodes) - 2) + (10.0, 10.0)
    return Profiles.scaled(where, ToyProfile(node_ms, fixed_ms=0.1))


def built(network, folder=None, objective=None, where=None, **options):
    where = where or cluster()
    given = {"calibrate": str(folder)} if folder else {}
    return make("split", network, where, facts(network, where), objective, **given, **options)


@pytest.fixture(scope="module")
def found(network, folder, cache):
    """A calibration for 0.5, so that much is tried."""
    return calibrate(
        network, open_folder(folder, network.inputs), task_of(network), 0.5, 0.95, cache=False
    )


def test_a_calibration_says_what_each_way_to_pack_costs(network, found):
    assert found.count == COUNT
    assert found.labelled
    assert 0.8 <= found.top1 <= 1.0
    assert {entry.at for entry in found.entries} == {place.at for place in places(network)}
    for entry in found.entries:
        assert entry.bytes_mean > 0
        if entry.exact:
            assert entry.accuracy(0.95) == 1.0
        else:
            assert entry.images == round(found.top1 * COUNT)
            assert entry.accuracy(0.95) == lower_bound(entry.good, entry.images) >= 0.5


def test_folders_that_are_other_classes_to_the_network_are_refused(network, tmp_path, cache):
    samples = zoo.samples("fashion-resnet")
    for label in range(10):
        (tmp_path / str((label + 1) % 10)).mkdir()
        chosen = samples.images[samples.labels == label][:5]
        np.save(tmp_path / str((label + 1) % 10) / "some.npy", chosen)
    images = open_folder(tmp_path, network.inputs)
    with pytest.raises(DataError, match="class 0 is its 9"):
        calibrate(network, images, task_of(network), 0.5, 0.95, cache=False)


def test_fewer_bits_are_fewer_bytes(found):
    for _, entries in itertools.groupby(found.entries, key=lambda entry: entry.at):
        least = {}
        for entry in entries:
            least[entry.bits] = min(entry.bytes_mean, least.get(entry.bits, entry.bytes_mean))
        sizes = [least[bits] for bits in sorted(least, reverse=True) if bits in (32, 16, 8, 4)]
        assert sizes == sorted(sizes, reverse=True)


def test_every_cut_at_32_bits_is_the_whole_network(network, found):
    where = cluster()
    exact = [entry for entry in found.entries if entry.exact and entry.at]
    assert len({entry.at for entry in exact}) == len(places(network)) - 1
    playbook, parts = all_plans(network, found, where)
    feeds = network.probe(3)
    (expected,) = network.run(feeds).values()
    plans = [plan for plan in playbook.plans if plan.tolerance is not None and not plan.spare]
    assert len(plans) >= len(exact)
    for plan in plans:
        (given,) = run_plan(plan, parts, feeds).values()
        assert np.allclose(given, expected, atol=1e-4 * np.abs(expected).max()), plan.name


def all_plans(network, found, where):
    """A playbook of all that was calibrated, useful or not."""
    from shoal.strategies.split.assemble import Assembly
    from shoal.strategies.split.options import Ground, options
    from shoal.strategies.split.wish import wish

    objective = Objective(min_accuracy=0.5)
    ground = Ground(network, where, facts(network, where), where.names, found.whole_ms)
    assembly = Assembly(ground, objective, 1, 0.0)
    for option in options(ground.device, places(network), found, 0.95, 0.5):
        assert assembly.take(option)
    playbook = assembly.playbook(wish(objective, "", True), objective)
    return playbook, assembly.ledger.parts


def test_a_rounded_plan_promises_what_calibration_guarantees(network, folder, cache):
    made = built(network, folder, Objective(aims=(Aim.LATENCY,), min_accuracy=0.8))
    rounded = [plan for plan in made.playbook.plans if plan.tolerance is None]
    assert rounded
    for plan in rounded:
        assert 0.8 <= plan.forecast.accuracy < 1.0
    for plan in made.playbook.plans:
        if plan.tolerance is not None:
            assert plan.forecast.accuracy == 1.0


def test_the_device_can_go_on_alone_from_every_cut_and_begin_alone(network, folder, cache):
    made = built(network, folder, Objective(aims=(Aim.LATENCY,), min_accuracy=0.8))
    scenes = read_book(made.playbook).scenes
    assert len(scenes) >= 2
    for scene in scenes.values():
        assert any(scene.plans[k].devices == {"cam"} for k in range(len(scene.plans)))


def test_first_comes_what_is_best_by_forecast(network, folder, cache):
    for aim in (Aim.LATENCY, Aim.THROUGHPUT, Aim.BYTES, Aim.SERVER_COST, Aim.ENERGY):
        objective = Objective(aims=(aim,), min_accuracy=0.8)
        plans = [p for p in built(network, folder, objective).playbook.plans if not p.spare]
        order = objective.order([plan.forecast for plan in plans])
        assert order[0] == 0
        assert plans[0].forecast.slowest.split()[0] in ("device", "link")


def test_a_playbook_is_the_same_from_its_file(network, folder, cache, tmp_path):
    made = built(network, folder)
    save(made.playbook, tmp_path / "book.json")
    assert load_playbook(tmp_path / "book.json") == made.playbook
    assert max(prove(made.playbook, made.parts, network, seeds=(5,)).values()) < 10


def test_plans_are_proved_on_the_calibrations_images_too(network, unlabelled, cache):
    made = built(network, unlabelled)
    assert len(made.images) == 4
    assert made.proof.inputs.startswith("images of the calibration; ")
    assert made.proof.images == network.strength().images + 4
    assert built(network).proof == network.strength()


def test_what_was_calibrated_once_is_not_calibrated_again(network, unlabelled, cache):
    told = []
    images = open_folder(unlabelled, network.inputs)
    first = calibrate(network, images, task_of(network), 0.7, 0.95)
    again = calibrate(
        network, images, task_of(network), 0.7, 0.95, lambda share, text: told.append(text)
    )
    assert again == first
    assert told == ["calibrated before"]
    assert (
        calibrate(network, images, task_of(network), 0.6, 0.95) != first
    )  # another floor is another question


def test_progress_runs_from_nothing_to_all(network, unlabelled):
    shares = []
    images = open_folder(unlabelled, network.inputs)
    calibrate(
        network,
        images,
        task_of(network),
        0.7,
        0.95,
        lambda share, _: shares.append(share),
        cache=False,
    )
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] <= 1


def test_without_labels_the_same_class_is_what_counts(network, unlabelled):
    images = open_folder(unlabelled, network.inputs)
    found = calibrate(network, images, task_of(network), 0.5, 0.95, cache=False)
    assert found.top1 is None
    assert not found.labelled
    assert {entry.images for entry in found.entries if not entry.exact} == {12}


def test_few_images_are_said_to_be_few(network, unlabelled, cache):
    notes = " ".join(built(network, unlabelled, Objective(min_accuracy=0.7)).notes)
    assert "only 12 images" in notes
    notes = " ".join(built(network, unlabelled, Objective(min_accuracy=0.99)).notes)
    assert "takes 268 images" in notes


def test_without_images_nothing_is_rounded(network):
    made = built(network)
    assert all(plan.tolerance is not None for plan in made.playbook.plans)
    assert {stage.codec for plan in made.playbook.plans for stage in plan.stages} == {"raw"}
    assert "--calibrate FOLDER" in made.notes[0]


def test_a_plan_that_does_not_do_what_was_found_is_refused(network, folder, cache, monkeypatch):
    real = preparing.calibrate

    def spoilt(*args):
        found = real(*args)
        entries = []
        for entry in found.entries:
            first = tuple(
                msgspec.structs.replace(outcome, apart=outcome.apart + 0.1)
                for outcome in entry.first
            )
            entries.append(msgspec.structs.replace(entry, first=first))
        return msgspec.structs.replace(found, entries=tuple(entries))

    monkeypatch.setattr(preparing, "calibrate", spoilt)
    with pytest.raises(ProofError, match="calibrate again"):
        built(network, folder, Objective(aims=(Aim.LATENCY,), min_accuracy=0.8))


def test_memory_limits_leave_out_what_does_not_fit(network, folder, cache):
    objective = Objective(aims=(Aim.LATENCY,), min_accuracy=0.8)
    free = built(network, folder, objective)
    need = {name: free.playbook.parts[name].memory for name in free.playbook.parts_of("cam")}
    small = cluster(
        CLUSTER.replace("compute: true", f"compute: true, memory: {max(need.values())}")
    )
    made = built(network, folder, objective, small)
    held = sum(made.playbook.parts[name].memory for name in made.playbook.parts_of("cam"))
    assert held <= max(need.values())
    assert any("memory" in note for note in made.notes)
    tiny = cluster(CLUSTER.replace("compute: true", "compute: true, memory: 1 MiB"))
    made = built(network, folder, objective, tiny)
    assert all("server" in plan.devices for plan in made.playbook.plans)
    assert "no answer" in " ".join(made.notes)
    with pytest.raises(PlanError, match="has the memory"):
        built(network, objective=Objective(max_memory=Size(1000)))


def test_several_servers_hold_the_same(network):
    two = cluster(CLUSTER.replace("speed: 4}", "speed: 4}, {name: other, speed: 2}"))
    made = built(network, where=two)
    plan = next(p for p in made.playbook.plans if "server" in p.devices)
    assert plan.devices >= {"server", "other"}
    assert plan.run_ms(len(plan.stages) - 1, "other") > plan.run_ms(len(plan.stages) - 1, "server")


def test_requests_that_change_each_other_are_not_batched_whatever_is_asked():
    network = load(zoo.path("fashion-resnet"))
    network.__dict__["mixes"] = "a node takes all images together"
    made = built(network, batch=8, batch_wait_ms=3.0)
    stages = [stage for plan in made.playbook.plans for stage in plan.stages]
    assert {(stage.batch, stage.batch_wait_ms) for stage in stages} == {(1, 0.0)}
    assert any("run one by one" in note for note in made.notes)


def test_requests_may_be_batched_on_the_server(network):
    made = built(network, batch=8, batch_wait_ms=3.0)
    stages = [stage for plan in made.playbook.plans for stage in plan.stages]
    assert {(s.batch, s.batch_wait_ms) for s in stages if "server" in s.parts} == {(8, 3.0)}
    assert {s.batch for s in stages if "cam" in s.parts} == {1}


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"calibrate": "/nowhere/at/all"}, DataError, "no folder"),
        ({"confidence": 1.0}, PlanError, "confidence"),
        ({"confidence": "much"}, PlanError, "not a number"),
        ({"calibrate": 3}, PlanError, "not a text"),
        ({"batch": 0}, PlanError, "batch"),
        ({"batch": 2.5}, PlanError, "whole number"),
        ({"relax": "accuracy"}, PlanError, "no limit that can be relaxed"),
        ({"bits": 4}, PlanError, "no option 'bits'"),
    ],
)
def test_impossible_options_are_refused(network, options, error, text):
    with pytest.raises(error, match=text):
        built(network, **options)


def test_energy_needs_powers(network):
    where = cluster(CLUSTER.replace(", power: {idle_w: 1, busy_w: 3, transmit_w: 2}", ""))
    with pytest.raises(PlanError, match="power"):
        built(network, objective="energy", where=where)


def test_a_gateway_that_may_not_compute_is_no_device(network):
    with pytest.raises(PlanError, match="compute: true"):
        built(network, where=cluster(CLUSTER.replace("compute: true, ", "")))


def test_a_folder_without_images_and_a_file_that_is_none_are_named(network, tmp_path):
    with pytest.raises(DataError, match="no images"):
        built(network, tmp_path)
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"broken\.png"):
        built(network, tmp_path)
    (tmp_path / "broken.png").unlink()
    np.save(tmp_path / "wrong.npy", np.zeros((3, 3), np.float32))
    with pytest.raises(DataError, match="the network takes float32"):
        built(network, tmp_path)


def test_photos_are_cut_to_the_middle_and_scaled(network, tmp_path):
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (300, 200), (255, 0, 0)).save(tmp_path / "red.jpg")
    ((feeds, label),) = open_folder(tmp_path, network.inputs)
    (array,) = feeds.values()
    assert array.shape == (1, 1, 28, 28)
    assert array.dtype == np.float32
    assert 0.28 < array.mean() < 0.32  # how bright red is
    assert label is None


def test_folders_are_classes_by_number_or_by_name(network, tmp_path):
    for name in ("bag", "coat"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "a.npy", np.zeros((1, 28, 28), np.float32))
    assert [label for _, label in open_folder(tmp_path, network.inputs)] == [0, 1]
    for name, number in (("bag", "8"), ("coat", "4")):
        (tmp_path / name).rename(tmp_path / number)
    assert [label for _, label in open_folder(tmp_path, network.inputs)] == [4, 8]


def test_a_folder_without_images_among_named_classes_is_not_passed_over(network, tmp_path):
    """The labels of all classes behind it would be those of others."""
    for name in ("bag", "coat", "dress"):
        (tmp_path / name).mkdir()
        if name != "coat":
            np.save(tmp_path / name / "a.npy", np.zeros((1, 28, 28), np.float32))
    with pytest.raises(DataError, match=r"without images \(coat\)"):
        open_folder(tmp_path, network.inputs)
    for name, number in (("bag", "8"), ("coat", "4"), ("dress", "3")):
        (tmp_path / name).rename(tmp_path / number)
    assert [label for _, label in open_folder(tmp_path, network.inputs)] == [3, 8]


def test_a_label_that_the_network_does_not_know_is_refused(network, tmp_path):
    for name in ("3", "10"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "a.npy", np.zeros((1, 28, 28), np.float32))
    images = open_folder(tmp_path, network.inputs)
    with pytest.raises(DataError, match=r"labelled 10 .* tells 10 classes apart \(0 to 9\)"):
        calibrate(network, images, task_of(network), 0.5, 0.95, cache=False)


@pytest.mark.parametrize("dtype", ["int8", "int64", "bool"])
def test_a_photo_is_not_cast_to_numbers_that_lose_it(tmp_path, dtype):
    image = pytest.importorskip("PIL.Image")
    image.new("L", (28, 28), 200).save(tmp_path / "a.png")
    images = open_folder(tmp_path, [TensorSpec("x", dtype, (None, 1, 28, 28))])
    with pytest.raises(DataError, match=f"of {dtype} .*is none for photos"):
        list(images)


def test_a_network_that_takes_several_images_at_once_cannot_be_calibrated(tmp_path):
    with pytest.raises(PlanError, match="one image at a time"):
        open_folder(tmp_path, [TensorSpec("x", "float32", (4, 1, 28, 28))])


def test_cuts_that_an_earlier_one_beats_are_left_out():
    toy = ToyNetwork(widths=(64, 128, 32, 32, 48, 36, 16, 8))
    assert [place.at for place in places(toy)] == [0, 2, 3, 5, 6]
    assert [place.at for place in places(toy, slack=1.0)] == [0, 2, 3, 6]
