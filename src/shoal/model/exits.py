"""What a network says of its early exits: where they stand, and how sure and how right they are.

It stands in the metadata of an ordinary ONNX file, whose further outputs are the logits of the
exits. Data, and the check that it makes sense. :mod:`shoal.model.staged` makes parts of it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from shoal.errors import ModelFileError
from shoal.model.confidence import CRITERIA

if TYPE_CHECKING:
    import onnx

    from shoal.model.cuts import Cut

KEY = "shoal.exits"
"""In the metadata of an ONNX file."""
CALIBRATION = "calibration"
"""The setting of a policy that is the table of :class:`Exits`."""
VERSION = 1
MAX_EXITS = 16
MAX_IMAGES = 2_000
"""Of the calibration table."""
MAX_JSON = 1 << 20
"""Characters."""
MAX_TEMPERATURE = 1e6
MAX_NAME = 1000
LABELS, NETWORK, ORIGINAL = "labels", "network", "original"
AGAINST = {
    LABELS: "labels",
    NETWORK: "the network's own answers",
    ORIGINAL: "the answers of the network that it was trained from",
}
"""What a calibration may be held against, and in words."""


class ExitHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An early exit. It stands after the tensor ``after``, the only one that crosses a cut of the
    network. Beside it crosses ``tensor`` where the next exit reads it.

    ``tensor``, ``output``, ``criterion`` and ``temperature`` are those of a plan's exit: the
    tensor with its logits (batch, classes), the output of the network that it is answered as, and
    how its confidence is measured (:func:`shoal.model.confidence.confidences`).
    """

    after: str
    tensor: str
    output: str
    criterion: str = "softmax"
    temperature: float = 1.0


class Exits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The exits of a network, in the order in which they are passed, and their calibration.

    ``table`` has a column for each exit and one for the network's end, with a number for each of
    the same images, none of which the exits were trained on: the confidence in permille, rounded
    down, at least 1, and negative where the answer is wrong. ``against`` says what it was held
    against: ``"labels"``, the ``"network"``'s own answers (whose column is never negative), or
    those of the ``"original"``, the network as it was before it was trained on with its exits.
    """

    heads: tuple[ExitHead, ...]
    table: tuple[tuple[int, ...], ...]
    against: str = LABELS
    version: int = VERSION

    @property
    def truth(self) -> str:
        """What the table was held against, in words."""
        return AGAINST[self.against]

    @property
    def images(self) -> int:
        """How many images the table is of."""
        return len(self.table[0])

    @property
    def afters(self) -> tuple[str, ...]:
        """The tensors after which exits stand."""
        return tuple(head.after for head in self.heads)

    @property
    def tensors(self) -> tuple[str, ...]:
        """The tensors that hold logits of exits."""
        return tuple(head.tensor for head in self.heads)

    @property
    def accuracies(self) -> tuple[float, ...]:
        """The share of images that each exit, and at last the network, answers rightly."""
        return tuple(sum(sure > 0 for sure in column) / len(column) for column in self.table)


def check(exits: Exits, what: str) -> None:
    """ModelFileError unless it makes sense by itself; ``what`` is the network, for the message."""
    if not 1 <= len(exits.heads) <= MAX_EXITS:
        raise ModelFileError(f"{what}: {len(exits.heads)} exits; 1 to {MAX_EXITS} are possible.")
    for head in exits.heads:
        place = f"{what}: exit {head.tensor[:60]!r}"
        if not all(0 < len(n) <= MAX_NAME for n in (head.after, head.tensor, head.output)):
            raise ModelFileError(f"{place}: a name of a tensor is empty or too long.")
        if head.criterion not in CRITERIA:
            raise ModelFileError(
                f"{place}: there is no criterion {head.criterion[:60]!r}; "
                f"use {', '.join(CRITERIA)}."
            )
        if not (math.isfinite(head.temperature) and 0 < head.temperature <= MAX_TEMPERATURE):
            raise ModelFileError(f"{place}: {head.temperature} is no temperature.")
    names = [*exits.afters, *exits.tensors]
    if len(set(names)) != len(names):
        raise ModelFileError(f"{what}: two of its exits name the same tensor.")
    if exits.against not in AGAINST:
        raise ModelFileError(
            f"{what}: its calibration is against {exits.against[:60]!r}, and not against "
            f"{' or '.join(AGAINST)}."
        )
    sizes = {len(column) for column in exits.table}
    if len(exits.table) != len(exits.heads) + 1 or len(sizes) != 1:
        raise ModelFileError(
            f"{what}: its calibration table needs a column for each exit and one for the network's "
            "end, all of the same length."
        )
    if not 1 <= exits.images <= MAX_IMAGES:
        raise ModelFileError(
            f"{what}: its calibration table is of {exits.images} images; 1 to {MAX_IMAGES}."
        )
    if not all(1 <= abs(sure) <= 1000 for column in exits.table for sure in column):
        raise ModelFileError(f"{what}: its calibration table holds what is no permille.")
    if exits.against == NETWORK and min(exits.table[-1]) < 0:
        raise ModelFileError(f"{what}: a network is not wrong against its own answers.")


def told(model: onnx.ModelProto, what: str) -> Exits | None:
    """What the metadata of a model says of its exits; None where it says nothing.

    Raises ModelFileError for what is damaged, of another version or does not make sense, and for
    tensors that are no outputs of the model."""
    entries = [entry.value for entry in model.metadata_props if entry.key == KEY]
    if not entries:
        return None
    damaged = f"{what}: its metadata {KEY!r} is damaged or not Shoal's"
    if len(entries) > 1 or len(entries[0]) > MAX_JSON:
        raise ModelFileError(f"{damaged}: it is there twice, or longer than {MAX_JSON}.")
    try:
        version = msgspec.json.decode(entries[0], type=_Version).version
        if version != VERSION:
            raise ModelFileError(
                f"{what}: its exits are told in version {version}; this Shoal reads version "
                f"{VERSION}: make them again with this version."
            )
        exits = msgspec.json.decode(entries[0], type=Exits)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ModelFileError(
            f"{damaged} ({error}). Take it out, or make the exits again."
        ) from None
    check(exits, what)
    outputs = {info.name for info in model.graph.output}
    for head in exits.heads:
        if head.tensor not in outputs:
            raise ModelFileError(f"{what}: exit {head.tensor[:60]!r} is no output of its graph.")
        if head.output not in outputs - set(exits.tensors):
            raise ModelFileError(
                f"{what}: exit {head.tensor[:60]!r} answers as {head.output[:60]!r}, which is no "
                "output of the network."
            )
    return exits


class _Version(msgspec.Struct):
    version: int = VERSION


def tell(model: onnx.ModelProto, exits: Exits) -> None:
    """Write into the metadata of a model what :func:`told` reads, in the place of what was there.
    Raises ModelFileError for what does not make sense or does not fit its outputs."""
    others = [entry for entry in model.metadata_props if entry.key != KEY]
    text = msgspec.json.encode(exits).decode()
    del model.metadata_props[:]
    for entry in others:
        model.metadata_props.add(key=entry.key, value=entry.value)
    model.metadata_props.add(key=KEY, value=text)
    told(model, "the network")


def places(exits: Exits, cuts: Collection[Cut], what: str) -> tuple[int, ...]:
    """Where the exits stand: the cuts (their ``at``) that their tensors cross alone. ModelFileError
    where there is no such cut, or they are not in order."""
    found: dict[str, int] = {}
    for cut in cuts:
        if len(cut.tensors) == 1:
            found.setdefault(cut.tensors[0].name, cut.at)
    missing = [name for name in exits.afters if name not in found]
    if missing:
        raise ModelFileError(
            f"{what}: an exit stands after {missing[0][:60]!r}, which is no tensor that crosses a "
            "cut of the network alone; see 'shoal inspect --cuts'."
        )
    at = tuple(found[name] for name in exits.afters)
    if any(a >= b for a, b in pairwise(at)):
        raise ModelFileError(f"{what}: its exits are not in the order in which they are passed.")
    return at


def stage_bounds(at: Sequence[int], nodes: int) -> list[tuple[int, int]]:
    """The nodes of each stage between exits at these places."""
    return list(pairwise([0, *at, nodes]))
