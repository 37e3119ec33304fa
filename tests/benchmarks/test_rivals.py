"""Rivals: what all get, what is made of what was seen, and each of them on real processes."""

import json
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import FrameError, UsageError
from shoal_benchmarks import registry
from shoal_benchmarks.rivals import contest, family, tensors
from shoal_benchmarks.rivals.asking import Asking, Record
from shoal_benchmarks.rivals.facts import Facts, Sight, facts_of, pause_s
from shoal_benchmarks.rivals.ground import Loopback
from shoal_benchmarks.rivals.job import Job, write_piece
from shoal_benchmarks.rivals.job import load as load_job
from shoal_benchmarks.rivals.lab_ground import spec_of
from shoal_benchmarks.rivals.rival import RIVALS, find, lacks
from shoal_benchmarks.rivals.scene import Scene, prepared
from shoal_benchmarks.rivals.stage import Session
from shoal_benchmarks.rivals.table import AGAINST, rows_of
from shoal_benchmarks.rivals.traffic import sum_of
from shoal_benchmarks.rivals.trial import Pace
from shoal_benchmarks.subjects import FASHION, load

PACE = Pace(start_s=30.0, warm_s=0.1, measure_s=0.3, patience_s=15.0, after_s=0.1)
HASTY = Pace(start_s=60.0, warm_s=0.1, measure_s=0.3, patience_s=0.1, after_s=0.1)
SHOAL = "shoal-pipeline"


# -- messages


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=4), st.booleans())
def test_tensors_come_through_as_they_were(shapes: list[tuple[int, int]], small: bool) -> None:
    dtype = np.uint8 if small else np.float32
    arrays = {
        str(k): np.arange(a * b).astype(dtype).reshape(a, b) for k, (a, b) in enumerate(shapes)
    }
    found = tensors.unpack(tensors.pack(arrays))
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@given(st.binary(max_size=200), st.integers(0, 100))
def test_a_damaged_message_is_refused(noise: bytes, place: int) -> None:
    good = tensors.pack({"x": np.ones((2, 3), np.float32)})
    for data in (noise, good[:place], good[:place] + noise):
        try:
            found = tensors.unpack(data)
        except FrameError:
            continue
        # What is read all the same is read as it is written, so nothing was made up.
        assert tensors.unpack(tensors.pack(found)).keys() == found.keys()


# -- facts


def sight(at_s: float, cpu_s: float, sent: int) -> Sight:
    return Sight(at_s, family.Usage(cpu_s, 100 << 20), sent)


def steady(first_s: float, last_s: float) -> list[Record]:
    """Ten answers a second, each after 0.2 s."""
    count = round((last_s - first_s) * 10)
    return [Record(first_s + k / 10 - 0.2, first_s + k / 10) for k in range(count)]


def test_facts_of_a_run_that_came_back() -> None:
    records = [*steady(0, 10), *(Record(9.9, 10.5, "gone") for _ in range(3)), *steady(13, 14)]
    facts = facts_of(1.5, sight(2, 10, 1000), sight(7, 11, 6000), 10.0, records)
    assert facts.images_per_s == pytest.approx(10)
    assert facts.p50_ms == pytest.approx(200)
    assert facts.wire_bytes == pytest.approx(100)
    assert facts.cpu_s == pytest.approx(0.02)
    assert (facts.asked, facts.lost, facts.why) == (113, 3, "gone")
    assert facts.back_s == pytest.approx(3.0)
    assert facts.pause_s == pytest.approx(3.1)


def test_what_never_comes_back_counts_as_the_patience() -> None:
    facts = facts_of(1.5, sight(2, 10, 1000), sight(7, 11, 6000), 10.0, steady(0, 10))
    assert facts.back_s is None
    found = {name: [facts] for name in RIVALS}
    rows = list(rows_of("scene", {name: name for name in RIVALS}, found, 60.0))
    (never,) = [
        row for row in rows if row.name.startswith("scene: torch: after a kill, first answer")
    ]
    assert "never within 60 s in 1 of 1" in never.name
    assert never.value == 60_000


def test_a_request_asked_before_the_kill_ends_the_pause_but_is_not_the_first_after_it() -> None:
    good = [Record(9.0, 10.0), Record(9.9, 10.4), Record(10.45, 10.9)]
    assert pause_s(good, 10.1) == pytest.approx(0.5)
    facts = facts_of(1, sight(2, 0, 0), sight(7, 0, 0), 10.1, good)
    assert facts.back_s == pytest.approx(0.8)
    assert np.isnan(facts.cpu_s)


def test_shoal_is_held_against_each_rival_in_the_same_round() -> None:
    quick = facts_of(1, sight(0, 0, 0), sight(10, 1, 1), 10.05, steady(0, 12))
    slow = msgspec.structs.replace(quick, images_per_s=2.5, pause_s=5.0)
    found: dict[str, list[Facts | None]] = {name: [slow, None] for name in RIVALS}
    found[SHOAL] = found["shoal-replicas"] = [quick, quick]
    rows = {row.name: row for row in rows_of("s", {n: n for n in RIVALS}, found, 60.0)}
    for name, ours in AGAINST.items():
        assert rows[f"s: {ours} over {name}: rate"].value == pytest.approx(4)
        assert rows[f"s: {ours} over {name}: rate"].met
        assert rows[f"s: {ours} over {name}: after a kill, shorter without an answer"].met


# -- the load


class Client:
    """Answers at once, but every third time wrongly, and every fifth time not at all."""

    def __init__(self) -> None:
        self.count = 0

    def submit(self, image: np.ndarray[Any, Any]) -> Future[np.ndarray[Any, Any]]:
        self.count += 1
        future: Future[np.ndarray[Any, Any]] = Future()
        if self.count % 5 == 0:
            return future
        future.set_result(image + (self.count % 3 == 0))
        return future

    def close(self) -> None:
        pass


def test_only_right_answers_in_time_count() -> None:
    client, images = Client(), [np.ones((1, 4), np.float32)]
    asking = Asking(client, images, images, window=4, deadline_s=0.1)
    asking.start()
    while client.count < 60:
        pass
    records = asking.finish()
    assert len(records) == client.count
    whys = {record.why for record in records}
    assert whys == {"", "wrong answer", "no answer before the deadline"}
    good = [record for record in records if not record.why]
    assert asking.first_good_s(good[0].asked_s) == good[0].ended_s
    assert asking.first_good_s(1e12) is None


# -- grounds


def test_bytes_are_those_of_the_processes_asked_for() -> None:
    line = 'ESTAB 0 0 1.2.3.4:1 1.2.3.4:2 users:(("python",pid={},fd=3)) cubic bytes_sent:{} x:1'
    table = "\n".join([line.format(7, 100), line.format(8, 10), line.format(71, 1), "ESTAB 0 0"])
    assert sum_of(table, {7, 8}) == 110


def test_a_lab_of_rivals_fits_on_the_cores() -> None:
    for cores in (1, 2, 16):
        spec = spec_of(3, 20.0, cores)
        assert sum(spec.quota(name) for name in spec.hosts) <= 0.9 * cores + 1e-9
        assert max(spec.quota(name) for name in spec.hosts) <= 1


def runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)  # or nobody waited for it yet
    except psutil.NoSuchProcess:
        return False


@pytest.mark.system
def test_processes_that_start_others_all_end(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys;"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], env={}).wait()"
    )
    with Loopback(tmp_path, 1) as ground:
        ground.spawn(ground.seats[0], ["-c", code], keep=True)
        while len(found := family.members(ground.run)) < 2:
            pass
        assert ground.usage().memory_bytes > 1 << 20
    assert not any(runs(process) for process in found)
    assert family.members(ground.run) == []


# -- the rivals


@pytest.fixture(scope="module")
def scene() -> Scene:
    network = load(FASHION)
    assert network is not None
    return contest.loopback_scene(network)


@pytest.fixture(scope="module")
def job(scene: Scene) -> Iterator[Job]:
    with prepared(scene) as job:
        yield job
    assert not Path(job.folder).exists()


@pytest.mark.system
def test_all_get_the_cuts_of_shoals_playbook(job: Job) -> None:
    """The pieces, one after the other, are the network."""
    assert len(job.pieces) == contest.STAGES
    with np.load(Path(job.folder) / "cases.npz") as cases:
        arrays = {job.input.name: cases["images"][0]}
        expected = cases["expected"][0]
    for piece in job.pieces:
        assert [spec.name for spec in piece.inputs] == list(arrays)
        arrays = Session(piece, 1).run(arrays)
    np.testing.assert_allclose(arrays[job.output.name], expected, atol=1e-4)


@pytest.mark.system
@pytest.mark.parametrize("name", ["replicas", "grpc", SHOAL])
def test_a_rival_answers_and_comes_back(scene: Scene, job: Job, name: str) -> None:
    if (package := lacks(find(name))) is not None:
        pytest.skip(f"{package} is not installed")
    facts = contest.one(scene, name, job, PACE, number=1)
    assert facts is not None
    assert facts.images_per_s > 0
    assert facts.wire_bytes > 28 * 28 * 4
    assert facts.cpu_s > 0
    assert facts.memory_bytes > 20 << 20
    assert facts.back_s is not None
    if name == SHOAL:
        assert facts.lost == 0


@pytest.mark.system
@pytest.mark.timeout(90)
@pytest.mark.parametrize("name", ["torch", "ray"])
def test_a_rival_that_starts_slowly_answers(scene: Scene, job: Job, name: str) -> None:
    """Nothing of it is left, which for Ray is a dozen processes."""
    if (package := lacks(find(name))) is not None:
        pytest.skip(f"{package} is not installed")
    facts = contest.one(scene, name, job, HASTY, number=0)
    assert facts is not None
    assert facts.images_per_s > 0


def test_a_piece_is_the_same_network_in_pytorch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from shoal_benchmarks.rivals.torch_piece import TorchPiece

    network = load(FASHION)
    assert network is not None
    (part,) = network.split([])
    module = TorchPiece(write_piece(part, tmp_path / "whole.onnx"))
    feeds = network.probe()
    with torch.inference_mode():
        found = module(*(torch.from_numpy(array) for array in feeds.values()))
    np.testing.assert_allclose(found.numpy(), network.run(feeds)["logits"], atol=1e-4)


def test_a_rival_without_its_package_gets_a_row_that_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(contest, "lacks", lambda rival: "ray" if "ray" in rival.needs else None)
    monkeypatch.setattr(contest, "QUICK", ())
    (row,) = registry.find("rivals").rows(True)
    assert row.name == "Ray actors: not measured, ray is not installed"


def test_a_file_that_is_no_job_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    with pytest.raises(UsageError, match="cannot be read"):
        load_job(path)
    path.write_text(json.dumps({"folder": 1}))
    with pytest.raises(UsageError, match="is not a job"):
        load_job(path)
