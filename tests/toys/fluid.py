"""A tiny network whose groups of channels also work alone, as a bundle, with made-up weights.

Two convolutions and a classifier on 8x8 images; each sub-network has biases of its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tests.model.nets import model, node, random, tensor

from shoal.model.bundle import SubJoin, SubNetwork, SubStage, Variant, write_bundle
from shoal.model.spec import TensorSpec

Owners = tuple[tuple[int, ...], ...]
PAIR: Owners = ((0, 1), (2, 3))
CLASSES = 10
SPOTS = 16  # positions left after pooling
PADS = [1, 1, 1, 1]


class Fluid:
    """The weights, and the graphs of any of its sub-networks. ``unit`` is the number of channels
    of a group of width 1."""

    def __init__(self, widths: Sequence[int] = (1, 1, 1, 1), unit: int = 4) -> None:
        ends = np.cumsum([0, *widths]) * unit
        self.widths = tuple(widths)
        self.channels = [list(range(a, b)) for a, b in pairwise(ends)]
        count = int(ends[-1])
        self.first = random(count, 1, 3, 3, seed=1) / 3
        self.second = random(count, count, 3, 3, seed=2) / np.float32(np.sqrt(9 * count))
        self.last = random(count * SPOTS, CLASSES, seed=3) / np.float32(np.sqrt(count))

    def of(self, groups: Sequence[int]) -> list[int]:
        return [channel for group in groups for channel in self.channels[group]]

    def biases(self, groups: Sequence[int]) -> tuple[Any, Any, Any]:
        seed = 100 + sum(2**group for group in groups)
        size = len(self.of(groups))
        drawn = random(2 * size + CLASSES, seed=seed) / 10
        return drawn[:size], drawn[size : 2 * size], drawn[2 * size :]

    def alone(self, groups: Sequence[int]) -> bytes:
        own = self.of(groups)
        b1, b2, b3 = self.biases(groups)
        return model(
            [
                node("Conv", "x w1 b1", "a", pads=PADS),
                node("Relu", "a", "h"),
                *_rest(),
            ],
            [tensor("x", ["n", 1, 8, 8])],
            [tensor("y", ["n", CLASSES])],
            {
                "w1": self.first[own],
                "b1": b1,
                **self._weights(own, own, b2, b3),
            },
        )

    def first_stage(self, groups: Sequence[int], own: Sequence[int]) -> bytes:
        at = _places(self.of(groups), self.of(own))
        weights = {"w1": self.first[self.of(own)], "b1": self.biases(groups)[0][at]}
        return model(
            [node("Conv", "x w1 b1", "a", pads=PADS), node("Relu", "a", "h")],
            [tensor("x", ["n", 1, 8, 8])],
            [tensor("h", ["n", len(at), 8, 8])],
            weights,
        )

    def second_stage(self, groups: Sequence[int], own: Sequence[int], adds_bias: bool) -> bytes:
        all_, mine = self.of(groups), self.of(own)
        _, b2, b3 = self.biases(groups)
        b3 = b3 if adds_bias else np.zeros_like(b3)
        return model(
            _rest(),
            [tensor("h", ["n", len(all_), 8, 8])],
            [tensor("y", ["n", CLASSES])],
            self._weights(mine, all_, b2[_places(all_, mine)], b3),
        )

    def _weights(self, rows: list[int], columns: list[int], b2: Any, b3: Any) -> dict[str, Any]:
        flat = [row * SPOTS + spot for row in rows for spot in range(SPOTS)]
        return {
            "w2": self.second[rows][:, columns],
            "b2": b2,
            "w3": self.last[flat],
            "b3": b3,
        }


def _rest() -> list[Any]:
    return [
        node("Conv", "h w2 b2", "c", pads=PADS),
        node("Relu", "c", "d"),
        node("MaxPool", "d", "e", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", "e", "f"),
        node("Gemm", "f w3 b3", "y"),
    ]


def _places(all_: Sequence[int], some: Sequence[int]) -> list[int]:
    where = {channel: place for place, channel in enumerate(all_)}
    return [where[channel] for channel in some]


def subnets(
    net: Fluid, dealings: Sequence[Owners], accuracies: Mapping[str, float] | None = None
) -> tuple[list[SubNetwork], dict[str, bytes]]:
    """All non-empty sets of owners of each dealing, in all variants, and their graphs."""
    graphs: dict[str, bytes] = {}
    found: dict[tuple[Any, ...], SubNetwork] = {}

    def add(groups: tuple[int, ...], variant: Variant, owners: Owners, stages: Any) -> None:
        name = "+".join(map(str, groups))
        share = sum(net.widths[group] for group in groups) / sum(net.widths)
        accuracy = 0.9 + 0.1 * share - (0.01 if variant is Variant.LOGITS else 0.0)
        accuracy = (accuracies or {}).get(f"{name} {variant}", accuracy)
        found[owners, variant] = SubNetwork(
            name, groups, variant, owners, accuracy, 1000, tuple(stages)
        )

    def alone(groups: tuple[int, ...]) -> str:
        key = f"alone {groups}"
        graphs[key] = net.alone(groups)
        stage = SubStage({"0": key}, ("x",), ("y",))
        add(groups, Variant.ALONE, (groups,), [stage])
        return key

    alone(tuple(range(len(net.widths))))
    for dealing in dealings:
        for owners in sets(dealing):
            groups = tuple(sorted(group for owner in owners for group in owner))
            alone(groups)
            if len(owners) == 1:
                continue
            own = {str(index): owner for index, owner in enumerate(owners)}
            add(groups, Variant.LOGITS, owners, [_added({o: alone(g) for o, g in own.items()})])
            first, second = {}, {}
            for owner, mine in own.items():
                first[owner], second[owner] = f"first {groups} {mine}", f"second {groups} {mine}"
                graphs[first[owner]] = net.first_stage(groups, mine)
                graphs[second[owner]] = net.second_stage(groups, mine, owner == "0")
            hidden = TensorSpec("h", "float32", (None, len(net.of(groups)), 8, 8))
            slices = {
                owner: tuple(_places(net.of(groups), net.of(mine))) for owner, mine in own.items()
            }
            gathered = SubStage(first, ("x",), ("h",), SubJoin("channels", hidden, slices))
            add(groups, Variant.DENSE, owners, [gathered, _added(second, "h")])
    return list(found.values()), graphs


def _added(parts: dict[str, str], reads: str = "x") -> SubStage:
    spec = TensorSpec("y", "float32", (None, CLASSES))
    return SubStage(parts, (reads,), ("y",), SubJoin("sum", spec))


def sets(owners: Owners) -> Iterator[Owners]:
    for size in range(1, len(owners) + 1):
        yield from combinations(owners, size)


def write(
    path: Path,
    widths: Sequence[int] = (1, 1, 1, 1),
    dealings: Sequence[Owners] = (PAIR,),
    accuracies: Mapping[str, float] | None = None,
    unit: int = 4,
) -> Path:
    """Write such a bundle."""
    net = Fluid(widths, unit)
    made, graphs = subnets(net, dealings, accuracies)
    write_bundle(path, name="tiny", groups=widths, subnets=made, graphs=graphs, about="made up")
    return path
