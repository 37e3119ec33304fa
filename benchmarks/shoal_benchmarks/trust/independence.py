"""Images that are run together although one changes another: how many answers are wrong.

Networks are generated so that it is known whether they mix images. Each is planned and served by
two workers; every stage is told that running several images at once pays. Each answer is held
against what ONNX Runtime gives for that image alone, from the file as it is.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from shoal.model.network import Network
from shoal.model.proof import difference
from shoal.runtime.answer import Answer
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.trust.crowd import Crowd, Told, loaded
from shoal_benchmarks.trust.draft import Array
from shoal_benchmarks.trust.generated import Generated, apart, mixing

SEEDS = 200
QUICK_SEEDS = 40


@dataclass
class Count:
    """What came of some networks."""

    networks: int = 0
    refused: int = 0
    answers: int = 0
    wrong: int = 0
    together: int = 0
    stacked: int = 0
    mixed: int = 0


def rows(quick: bool) -> Iterator[Row]:
    """Networks that mix images, then networks that do not."""
    seeds = range(QUICK_SEEDS if quick else SEEDS)
    with tempfile.TemporaryDirectory() as folder, Crowd(folder) as crowd:
        found = counted(crowd, map(mixing, seeds))
        what = f"{found.networks} networks that mix images"
        yield row(f"{what}: wrong answers", found.wrong, "answers", "= 0")
        yield row(f"{what}: answers that were compared", found.answers, "answers")
        yield row(f"{what}: whose answers would be wrong together", found.mixed, "networks")
        yield row(f"{what}: refused when loaded", found.refused, "networks")
        found = counted(crowd, map(apart, seeds))
        what = f"{found.networks} networks that do not mix"
        share = found.together / found.networks
        yield row(f"{what}: share that is run together", share, "ratio", ">= 0.95")
        yield row(
            f"{what}: share of which stages run several", found.stacked / found.networks, "ratio"
        )
        yield row(f"{what}: wrong answers", found.wrong, "answers", "= 0")
        yield row(f"{what}: answers that were compared", found.answers, "answers")


def counted(crowd: Crowd, networks: Iterator[Generated]) -> Count:
    """Serve and ask each network."""
    count = Count()
    for generated in networks:
        count.networks += 1
        network = loaded(generated.model)
        if network is None:
            count.refused += 1
            continue
        images = generated.images()
        expected = alone(generated.model, images)
        told = crowd.ask(network, images)
        for answers in _lists(told):
            count.answers += len(answers)
            count.wrong += sum(
                answer is None or not same(network, wanted, answer.outputs)
                for wanted, answer in zip(expected, answers, strict=True)
            )
        count.together += told.together is not None
        count.stacked += told.most > 1
        count.mixed += not stays(generated.model, network, images, expected)
    return count


def _lists(told: Told) -> list[list[Answer | None]]:
    return [told.alone] if told.together is None else [told.alone, told.together]


def alone(model: bytes, images: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
    """What the engine gives for each image by itself."""
    session = _session(model)
    return [_run(session, feeds) for feeds in images]


def stays(
    model: bytes,
    network: Network,
    images: Sequence[Mapping[str, Array]],
    expected: Sequence[Mapping[str, Array]],
) -> bool:
    """Whether the engine gives each image the same when they are all run at once."""
    made = _run(
        _session(model),
        {name: np.concatenate([each[name] for each in images]) for name in images[0]},
    )
    for index, wanted in enumerate(expected):
        if any(array.ndim == 0 or len(array) != len(images) for array in made.values()):
            return False
        if not same(network, wanted, {n: array[[index]] for n, array in made.items()}):
            return False
    return True


def same(network: Network, expected: Mapping[str, Array], found: Mapping[str, Array]) -> bool:
    """Whether an answer is the expected one, but for roundings."""
    return all(
        difference(array, found[name]) <= network.tolerance for name, array in expected.items()
    )


def _session(model: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _run(session: ort.InferenceSession, feeds: Mapping[str, Array]) -> dict[str, Array]:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))
