"""Slices that are packed, four devices: what crosses the links for an image, and what is kept of
the accuracy with all there and with any one lost, by codec.

A quarter of each layer is common, what is missing is filled with its mean; who holds what is the
same with each codec. The parts are the real ones, and what they give goes through the codec as it
does between devices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from shoal.codec.named import exact
from shoal.strategies.shards.deck import Deck
from shoal.strategies.shards.failures import failure_sets
from shoal.strategies.shards.packing import packing
from shoal.strategies.shards.plans import make_plan
from shoal.strategies.shards.proof import measure
from shoal.strategies.shards.replicate import uniform
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.shards.layouts import ALL, INNER, dealt, ground_for, layout_of
from shoal_benchmarks.shards.subjects import Subject, fashion, lite0, some
from shoal_benchmarks.subjects import FASHION, LITE0

DEVICES = 4
RHO = 0.25
CODECS = ("raw", "lossless", "half", "quant:8", "quant:4,channel")
QUICK_CODECS = ("raw", "quant:8")
IMAGES = {FASHION: 1_000, LITE0: 64}
QUICK_IMAGES = {FASHION: 64, LITE0: 4}


def rows(quick: bool) -> Iterator[Row]:
    """Both networks, all layers dealt and inner ones."""
    for make in (fashion, lite0):
        subject = make()
        if subject is not None:
            codecs = QUICK_CODECS if quick else CODECS
            yield from rows_of(subject, codecs, (QUICK_IMAGES if quick else IMAGES)[subject.name])


def rows_of(subject: Subject, codecs: tuple[str, ...], count: int) -> Iterator[Row]:
    """One network, measured on ``count`` images."""
    network, sample = subject.network, some(subject.test, count)
    for deal in (ALL, INNER):
        ground = ground_for(network, DEVICES)
        layout = layout_of(ground, deal)
        deck = Deck(network, dealt(layout), ground.shares, subject.calibration.images)
        dealings = deck.deal(uniform(deck.layers, RHO))
        for codec in codecs:
            with_it = replace(ground, packing=packing(codec))
            made = make_plan(with_it, layout, deck, dealings, DEVICES - 1)
            plan, parts = made.plan, made.parts
            what = f"{subject.name}, {deal}, {codec}"
            yield row(f"{what}: on links", plan.forecast.bytes_per_image, "bytes/image")
            if codec != "raw" and exact(codec):
                continue  # keeps what it does raw
            alive = measure(plan, parts, network, sample, ())
            yield row(f"{what}: kept, all there", alive.share, "share")
            lost = [
                measure(plan, parts, network, sample, [ground.devices[k] for k in each]).share
                for each in failure_sets(DEVICES, 1)
            ]
            yield row(f"{what}: kept, 1 lost, mean", sum(lost) / len(lost), "share")
            yield row(f"{what}: kept, 1 lost, worst", min(lost), "share")
