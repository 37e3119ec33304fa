"""All devices alive: what the real parts give together, against the whole network; and how much of
its computing is divided."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from shoal.errors import MissingExtraError, PlanError
from shoal.model.network import Network
from shoal.model.proof import difference
from shoal.plan.prove import run_plan
from shoal.strategies.shards.deck import Deck
from shoal.strategies.shards.layout import Layout
from shoal.strategies.shards.plans import make_plan
from shoal.strategies.shards.replicate import uniform
from shoal_benchmarks.networks import FASHION, LITE0, LOADERS, of_pytorchcv
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.shards.layouts import ALL, dealt, dealt_share, ground_for, layout_of

DEVICES = 4
RHOS = (0.0, 0.25)
SEEDS = 4
MOST = 1e-4
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
    """The networks that ship, and some of other shapes."""
    loaders: dict[str, Callable[[], Network]] = {each: LOADERS[each] for each in (FASHION, LITE0)}
    for module, function in FAMILIES[:QUICK] if quick else FAMILIES:
        loaders[function] = partial(of_pytorchcv, module, function)
    yield from rows_for(loaders)


def rows_for(loaders: Mapping[str, Callable[[], Network]]) -> Iterator[Row]:
    """Each of these networks; one of which nothing can be dealt has a share of 0."""
    for name, loader in loaders.items():
        what = f"{name}, {DEVICES} devices"
        try:
            network = loader()
        except MissingExtraError as error:
            print(f"no rows for {name}: {error}", file=sys.stderr)
            continue
        try:
            layout = layout_of(ground_for(network, DEVICES), ALL)
        except PlanError:
            yield row(f"{what}: multiplications that are divided", 0.0, "%")
            continue
        share = dealt_share(network, layout)
        yield row(f"{what}: multiplications that are divided", 100 * share, "%")
        off = worst_difference(network, layout)
        yield row(f"{what}: off the whole", off, "of the largest output", f"<= {MOST:g}")


def worst_difference(network: Network, layout: Layout) -> float:
    """The largest difference of an output for several inputs, relative to its largest value."""
    ground = ground_for(network, DEVICES)
    deck = Deck(network, dealt(layout), ground.shares)
    plans = [
        make_plan(ground, layout, deck, deck.deal(uniform(deck.layers, rho)), DEVICES)
        for rho in RHOS
    ]
    worst = 0.0
    for seed in range(SEEDS):
        feeds = network.probe(seed)
        expected = network.run(feeds)
        for made in plans:
            found = run_plan(made.plan, made.parts, feeds)
            worst = max(worst, *(difference(expected[name], found[name]) for name in expected))
    return worst
