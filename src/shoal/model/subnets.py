"""What a bundle says of itself: its groups of channels and the sub-networks that they make.

A *sub-network* is made of some groups. It is run by *owners*, each with some of its groups, in one
of the ways of :class:`Variant`. Data, and the check that it makes sense.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import StrEnum

import msgspec

from shoal.errors import ModelFileError
from shoal.model.spec import TensorSpec

VERSION = 1
MAX_GROUPS = 64
MAX_SUBNETS = 4096
MAX_STAGES = 256
MAX_TEXT = 200
MAX_ABOUT = 4096


class Variant(StrEnum):
    """How owners run a sub-network together."""

    ALONE = "alone"
    """One device runs all of it."""
    DENSE = "dense"
    """Each owner computes the channels of its groups from all channels of the layer before; the
    owners exchange these after each such layer."""
    LOGITS = "logits"
    """Each owner runs its groups alone, as in ``alone``; what they give is added."""


class SubJoin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the slices of a stage's owners become one tensor, ``tensor`` (the joined one).

    ``op`` is ``"channels"`` (``channels`` maps each owner to the indices along ``axis`` that its
    slice holds, in order) or ``"sum"`` (the slices are added; ``channels`` is empty).
    """

    op: str
    tensor: TensorSpec
    channels: dict[str, tuple[int, ...]] = {}
    axis: int = 1


class SubStage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One step of a sub-network, as :class:`shoal.plan.plan.Stage`, but with owners in place of
    devices: "0" is the first of the sub-network's owners, "1" the second. ``parts`` maps each
    owner to its part; ``join`` is None where there is one owner."""

    parts: dict[str, str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    join: SubJoin | None = None


class SubNetwork(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Some groups of the network as one that can answer, and one way to run it.

    ``name`` is for people, the same for all ways to run the same groups. ``owners`` deals out
    ``groups`` (``((0, 1), (2,))``: the first of two owners has groups 0 and 1). ``accuracy`` is
    the share of right answers on ``images`` test images.
    """

    name: str
    groups: tuple[int, ...]
    variant: Variant
    owners: tuple[tuple[int, ...], ...]
    accuracy: float
    images: int
    stages: tuple[SubStage, ...]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``manifest.json`` holds. ``groups`` are relative widths, ``about`` is free text."""

    version: int
    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    groups: tuple[float, ...]
    subnets: tuple[SubNetwork, ...]
    about: str = ""


def check(manifest: Manifest, what: str) -> None:
    """ModelFileError unless a manifest makes sense; ``what`` is the file, for the message."""
    if not 1 <= len(manifest.groups) <= MAX_GROUPS:
        raise ModelFileError(f"{what}: {len(manifest.groups)} groups; 1 to {MAX_GROUPS} are used.")
    if not all(math.isfinite(width) and width > 0 for width in manifest.groups):
        raise ModelFileError(f"{what}: the widths {manifest.groups} of groups are not positive.")
    if not 1 <= len(manifest.subnets) <= MAX_SUBNETS:
        raise ModelFileError(f"{what}: {len(manifest.subnets)} sub-networks; 1 to {MAX_SUBNETS}.")
    if not 1 <= len(manifest.name) <= MAX_TEXT or len(manifest.about) > MAX_ABOUT:
        raise ModelFileError(f"{what}: its name or what it says of itself is empty or too long.")
    seen = set()
    for subnet in manifest.subnets:
        place = f"{what}: sub-network {subnet.name[:MAX_TEXT]!r} ({subnet.variant})"
        _check_subnet(subnet, len(manifest.groups), place)
        if (subnet.owners, subnet.variant) in seen:
            raise ModelFileError(f"{place} is there twice.")
        seen.add((subnet.owners, subnet.variant))
    needed = {tuple(range(len(manifest.groups)))}
    for subnet in manifest.subnets:
        if subnet.variant is Variant.DENSE:
            needed.add(subnet.groups)
        elif subnet.variant is Variant.LOGITS:
            needed.update(subnet.owners)
    there = {subnet.groups for subnet in manifest.subnets if subnet.variant is Variant.ALONE}
    for groups in sorted(needed - there):
        raise _without(groups, what)


def _check_subnet(subnet: SubNetwork, groups: int, place: str) -> None:
    if not 1 <= len(subnet.name) <= MAX_TEXT:
        raise ModelFileError(f"{place}: its name is empty or too long.")
    dealt = [group for owner in subnet.owners for group in owner]
    ordered = all(owner and list(owner) == sorted(owner) for owner in subnet.owners)
    if not ordered or sorted(dealt) != list(subnet.groups) or len(set(dealt)) != len(dealt):
        raise ModelFileError(f"{place}: its owners do not share out its groups.")
    if not dealt or min(dealt) < 0 or max(dealt) >= groups:
        raise ModelFileError(f"{place}: it has groups that are not among the {groups}.")
    if (subnet.variant is Variant.ALONE) != (len(subnet.owners) == 1):
        raise ModelFileError(f"{place}: {len(subnet.owners)} owners do not go with that.")
    if not 0.0 <= subnet.accuracy <= 1.0 or subnet.images < 1:
        raise ModelFileError(
            f"{place}: {subnet.accuracy} on {subnet.images} images is no accuracy."
        )
    most = MAX_STAGES if subnet.variant is Variant.DENSE else 1
    if not 1 <= len(subnet.stages) <= most:
        raise ModelFileError(f"{place}: {len(subnet.stages)} stages; 1 to {most} are possible.")
    owners = {str(index) for index in range(len(subnet.owners))}
    for stage in subnet.stages:
        if stage.parts.keys() != owners:
            raise ModelFileError(f"{place}: a stage does not have a part for each owner.")
        join = stage.join
        if join is None and len(owners) == 1:
            continue
        sliced = owners if join is not None and join.op == "channels" else set()
        if join is None or join.op not in ("channels", "sum") or join.channels.keys() != sliced:
            raise ModelFileError(f"{place}: a stage does not say how its slices are joined.")


def alone_of(subnets: Iterable[SubNetwork], groups: tuple[int, ...], what: str) -> SubNetwork:
    """The sub-network of just these groups in one piece; ModelFileError if there is none, with
    ``what`` for the message."""
    for subnet in subnets:
        if subnet.variant is Variant.ALONE and subnet.groups == groups:
            return subnet
    raise _without(groups, what)


def _without(groups: tuple[int, ...], what: str) -> ModelFileError:
    return ModelFileError(
        f"{what}: the sub-network of the groups {'+'.join(map(str, groups))} in one piece is "
        "missing; export the bundle again."
    )


def parts_of(manifest: Manifest) -> set[str]:
    """The parts that some stage names."""
    stages = [stage for subnet in manifest.subnets for stage in subnet.stages]
    return {part for stage in stages for part in stage.parts.values()}
