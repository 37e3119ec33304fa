"""The trained bundles of the zoo, and what is left of one when it is trained another way.

``static``: only all groups together, so all devices are needed. ``dynamic``: the first device's
groups answer alone as well; those of the others were trained on top of them and do not. For the
time that these take, the weights do not matter; their accuracy is in the recorded trainings.
"""

from __future__ import annotations

from pathlib import Path

from shoal.model.bundle import SUFFIX, Bundle, SubNetwork, Variant, load_bundle

STATIC, DYNAMIC, FLUID = "static", "dynamic", "fluid"
DENSE = "dense"
"""As ``fluid``, but those who answer together always exchange channels."""


def team_of(bundle: Bundle, devices: int) -> SubNetwork:
    """All groups, exchanged by ``devices`` owners (or as many as there are parts for)."""
    whole = bundle.reference.groups
    dense = [s for s in bundle.subnets if s.groups == whole and s.variant is Variant.DENSE]
    return min(dense, key=lambda s: (abs(len(s.owners) - devices), len(s.owners)))


def kept_by(kind: str, bundle: Bundle, devices: int) -> list[SubNetwork]:
    """The sub-networks that there are when the network was trained as ``kind``."""
    if kind == FLUID:
        return list(bundle.subnets)
    if kind == DENSE:
        return [subnet for subnet in bundle.subnets if subnet.variant is not Variant.LOGITS]
    team = team_of(bundle, devices)
    kept = {id(bundle.reference): bundle.reference, id(team): team}
    if kind == DYNAMIC:
        first = bundle.alone(team.owners[0])
        kept[id(first)] = first
    return list(kept.values())


def write_as(kind: str, path: Path, folder: Path, devices: int) -> Path:
    """A file of the bundle ``path`` as if it were trained as ``kind``."""
    made = folder / f"{kind}{SUFFIX}"
    bundle = load_bundle(path)
    bundle.write(made, kept_by(kind, bundle, devices))
    return made
