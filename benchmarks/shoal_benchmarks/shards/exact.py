"""All devices alive: what the real parts give together, against the whole network; and how much of
its computing is divided."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from shoal.errors import DataError, MissingExtraError, PlanError
from shoal.model.network import Network
from shoal.model.proof import difference
from shoal.plan.network import Feeds
from shoal.plan.prove import run_plan
from shoal.strategies.shards.deck import Deck
from shoal.strategies.shards.layout import Layout
from shoal.strategies.shards.plans import make_plan
from shoal.strategies.shards.replicate import uniform
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.shards.layouts import ALL, dealt, dealt_share, ground_for, layout_of
from shoal_benchmarks.subjects import (
    FASHION,
    FASHION_VGG,
    LITE0,
    LOADERS,
    OPEN_NSFW,
    TEXT_ANGLE,
    of_pytorchcv,
)

DEVICES = 4
RHOS = (0.0, 0.25)
SEEDS = 4
MOST = 1e-4
OF_LARGEST = "of the largest output"
TRAINED = (FASHION, FASHION_VGG, LITE0, OPEN_NSFW, TEXT_ANGLE)
FAMILIES = (
    ("resnet", "resnet18"),
    ("mobilenetv2", "mobilenetv2_w1"),
    ("vgg", "vgg11"),
    ("resnet", "resnet50"),
    ("mobilenet", "mobilenet_w1"),
    ("mobilenetv3", "mobilenetv3_small_w1"),
    ("squeezenet", "squeezenet_v1_1"),
    ("densenet", "densenet121"),
    ("resnext", "resnext50_32x4d"),
    ("regnet", "regnetx002"),
    ("shufflenetv2", "shufflenetv2_w1"),
    ("seresnet", "seresnet18"),
    ("igcv3", "igcv3_w1"),
    ("efficientnet", "efficientnet_b0"),
)
"""Modules and functions of the package ``pytorchcv``; their weights are random."""
QUICK = 2
"""How many of these."""


def rows(quick: bool) -> Iterator[Row]:
    """Trained networks, and some of other shapes."""
    loaders: dict[str, Callable[[], Network]] = {each: LOADERS[each] for each in TRAINED}
    for module, function in FAMILIES[:QUICK] if quick else FAMILIES:
        loaders[function] = partial(of_pytorchcv, module, function)
    yield from rows_for(loaders)


def rows_for(loaders: Mapping[str, Callable[[], Network]]) -> Iterator[Row]:
    """Each of these networks; one of which nothing can be dealt has a share of 0."""
    for name, loader in loaders.items():
        what = f"{name}, {DEVICES} devices"
        try:
            network = loader()
        except (DataError, MissingExtraError) as error:
            print(f"no rows for {name}: {error}", file=sys.stderr)
            continue
        try:
            layout = layout_of(ground_for(network, DEVICES), ALL)
        except PlanError:
            yield row(f"{what}: multiplications that are divided", 0.0, "%")
            continue
        share = dealt_share(network, layout)
        yield row(f"{what}: multiplications that are divided", 100 * share, "%")
        found = compared(network, layout)
        yield row(f"{what}: off the whole", found.off, OF_LARGEST, f"<= {MOST:g}")
        yield row(f"{what}: answers to two inputs, apart", found.apart, OF_LARGEST)


class Compared(NamedTuple):
    """The largest difference of an output for several inputs, and how far the whole network's
    outputs for two of these are apart, each relative to the largest value. What is less ``apart``
    than a difference that is allowed tells nothing."""

    off: float
    apart: float


def compared(network: Network, layout: Layout) -> Compared:
    """The real parts of equal devices, with nothing and with some units common."""
    ground = ground_for(network, DEVICES)
    deck = Deck(network, dealt(layout), ground.shares)
    plans = [
        make_plan(ground, layout, deck, deck.deal(uniform(deck.layers, rho)), DEVICES)
        for rho in RHOS
    ]
    worst, expected = 0.0, []
    for seed in range(SEEDS):
        feeds = network.probe(seed)
        expected.append(network.run(feeds))
        for made in plans:
            worst = max(worst, between(expected[-1], run_plan(made.plan, made.parts, feeds)))
    return Compared(worst, min(between(expected[0], each) for each in expected[1:]))


def between(expected: Feeds, found: Feeds) -> float:
    """The largest difference of an output."""
    return max(difference(array, found[name]) for name, array in expected.items())
