"""Coded layers of four devices: the weights that they take, what crosses the links for an image
beside the other ways, and what is kept, and how exactly, with any one or two devices lost.

The plan is that of the strategy with ``deal=all``, or what pays on some links; its parts are the
real ones. How far it is off is the largest difference of an output over all sets of devices that
may be lost, on the inputs that networks are proved on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from shoal.errors import MissingExtraError, PlanError
from shoal.model.network import Network
from shoal.strategies.shards.coded import Code, coded
from shoal.strategies.shards.deck import Deck
from shoal.strategies.shards.failures import failure_sets
from shoal.strategies.shards.plans import make_plan
from shoal.strategies.shards.proof import measure
from shoal.strategies.shards.replicate import uniform
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.shards.exact import FAMILIES, OF_LARGEST, QUICK
from shoal_benchmarks.shards.layouts import (
    ALL,
    INNER,
    dealt,
    dealt_share,
    ground_for,
    layout_of,
)
from shoal_benchmarks.shards.subjects import SUBJECTS, Subject, some
from shoal_benchmarks.subjects import FASHION, FASHION_VGG, LITE0, TEXT_ANGLE, of_pytorchcv

DEVICES = 4
LOST = (1, 2)
RHOS = (0.0, 0.25, 0.5, 1.0)
"""Of the other ways, whose bytes are told beside."""
LINKS = (1000, 100, 10)
"""Mbit/s, for devices of a hundred million multiplications a second (``layouts``)."""
IMAGES = {FASHION: 2_000, FASHION_VGG: 2_000, TEXT_ANGLE: 1_000, LITE0: 96}
QUICK_IMAGES = {FASHION: 64, FASHION_VGG: 16, TEXT_ANGLE: 16, LITE0: 4}


def rows(quick: bool) -> Iterator[Row]:
    """The trained networks, then some of other shapes with random weights."""
    for make in SUBJECTS:
        subject = make()
        if subject is not None:
            yield from trained(subject, (QUICK_IMAGES if quick else IMAGES)[subject.name])
    loaders = {name: partial(of_pytorchcv, module, name) for module, name in FAMILIES}
    yield from shaped(dict(list(loaders.items())[: QUICK if quick else None]))


def trained(subject: Subject, count: int) -> Iterator[Row]:
    """What is kept of the answers to ``count`` images, and the bytes of the other ways."""
    network, sample = subject.network, some(subject.test, count)
    for most in LOST:
        code = coded_of(network, most)
        what = f"{subject.name}, {most} of {DEVICES} lost, coded"
        yield from rows_of(what, network, code)
        for lost in failure_sets(DEVICES, most):
            names = [code.ground.devices[index] for index in lost]
            found = measure(code.made.plan, code.made.parts, network, sample, names)
            # An answer that hangs by a near tie may go either way.
            name = f"{subject.name}, {most} of {DEVICES} may be lost, coded, without {len(lost)}"
            yield row(f"{name} ({'+'.join(names)}): kept", found.share, "share", ">= 0.999")
    for mbit_s in LINKS:
        code = coded_of(network, 1, mbit_s)
        what = f"{subject.name}, 1 of {DEVICES} lost, coded where it pays at {mbit_s} Mbit/s"
        yield from rows_of(what, network, code)
    for deal in (ALL, INNER):
        ground = ground_for(network, DEVICES)
        layout = layout_of(ground, deal)
        deck = Deck(network, dealt(layout), ground.shares)
        for rho in RHOS:
            made = make_plan(ground, layout, deck, deck.deal(uniform(deck.layers, rho)), DEVICES)
            crossing = made.plan.forecast.bytes_per_image
            yield row(f"{subject.name}, {deal}, rho {rho:g}: on links", crossing, "bytes/image")


def shaped(loaders: Mapping[str, Callable[[], Network]]) -> Iterator[Row]:
    """Networks of other shapes, one device lost."""
    for name, loader in loaders.items():
        try:
            network = loader()
            code = coded_of(network, 1)
        except MissingExtraError as error:
            print(f"no rows for {name}: {error}", file=sys.stderr)
        except PlanError:
            yield row(f"{name}: multiplications that are coded", 0.0, "%")
        else:
            yield from rows_of(f"{name}, 1 of {DEVICES} lost, coded", network, code)


def coded_of(network: Network, most: int, mbit_s: int = 0) -> Code:
    """The plan for four equal devices of which so many may be lost: all is coded that can be, or
    what pays on such links."""
    links = f"links: {{default: {{mbit_s: {mbit_s}}}}}" if mbit_s else ""
    ground = ground_for(network, DEVICES, links)
    return coded(network, ground.cluster, ground.profiles, {}, most, not mbit_s, ())


def rows_of(what: str, network: Network, code: Code) -> Iterator[Row]:
    """What a plan takes and how exact it is."""
    plan, parts = code.made.plan, code.made.parts
    held = [
        sum(sum(parts[stage.parts[name]].info.blobs.values()) for stage in plan.stages)
        for name in code.ground.devices
    ]
    (whole,) = network.split((), prove=False)
    total = DEVICES * max(held) / sum(whole.info.blobs.values())
    share = dealt_share(network, code.layout)
    yield row(f"{what}: multiplications that are coded", 100 * share, "%")
    yield row(f"{what}: weights of all devices", total, "of the network")
    memory = max(plan.forecast.memory.values()) / whole.info.memory
    yield row(f"{what}: memory of a device, by the forecast", memory, "of the network")
    yield row(f"{what}: stages", len(plan.stages), "")
    yield row(f"{what}: on links", plan.forecast.bytes_per_image, "bytes/image")
    yield row(
        f"{what}: off the whole, worst set", code.off, OF_LARGEST, f"<= {network.tolerance:g}"
    )
