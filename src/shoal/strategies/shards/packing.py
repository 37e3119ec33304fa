"""How slices travel: with which codec, and what that saves and costs."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from shoal.codec.named import exact
from shoal.codec.parcel import SMALL
from shoal.codec.weigh import weigh
from shoal.plan.forecast import StageDuty
from shoal.plan.network import Feeds, Part
from shoal.plan.plan import Plan, Stage
from shoal.plan.prove import sent
from shoal.strategies.shards.costs import RAW, Ground, Packing

TRIED = ("half", "quant:8")
"""The codecs of which one is taken where it pays and nothing is said."""
GAIN = 0.1
"""The share of its time by which a request must be quicker for its slices to be packed unasked:
answers are not exact then."""
WEIGHED = 2
"""Images by which slices are weighed."""
_NOISE = (1, 64, 32, 32)


def packing(codec: str) -> Packing:
    """A codec as it packs noise, of which nothing can be compressed, here."""
    if codec == "raw":
        return RAW
    noise = np.random.default_rng(0).standard_normal(_NOISE, np.float32)
    size, pack_ms, unpack_ms = weigh({"noise": noise}, codec)
    return Packing(codec, size / noise.nbytes, pack_ms / noise.nbytes, unpack_ms / noise.nbytes)


def packed(stage: Stage, sizes: Sequence[int], codec: str, answers: bool) -> Stage:
    """The stage, whose outputs are packed with ``codec`` unless they are the answer or one of its
    holders gives fewer than so many values that they are rounded whatever is beside them: ``sizes``
    are the values that each gives for an image."""
    if answers or min(sizes) < SMALL:
        return stage
    return msgspec.structs.replace(stage, codec=codec)


def loses(plan: Plan) -> bool:
    """Whether what arrives is not all that was sent."""
    return not all(exact(stage.codec) for stage in plan.stages)


def weighed(
    ground: Ground,
    plan: Plan,
    parts: dict[str, Part],
    duties: Sequence[StageDuty],
    images: Sequence[Feeds],
) -> tuple[StageDuty, ...]:
    """The duties with what slices really weigh, and how long they are packed, as the parts make
    them of ``images``."""
    runs = [sent(plan, parts, feeds) for feeds in images[:WEIGHED]]
    found = []
    for number, (stage, duty) in enumerate(zip(plan.stages, duties, strict=True)):
        if stage.codec == "raw":
            found.append(duty)
            continue
        mine = {}
        for name, each in duty.duties.items():
            given = (run[number].get(name) or next(iter(run[number].values())) for run in runs)
            size, pack_ms, unpack_ms = np.mean([weigh(t, stage.codec) for t in given], axis=0)
            speed = ground.cluster.node(name).speed
            mine[name] = msgspec.structs.replace(
                each,
                out_bytes=float(size),
                pack_ms=float(pack_ms) / speed,
                unpack_ms=float(unpack_ms) / speed,
            )
        found.append(msgspec.structs.replace(duty, duties=mine))
    return tuple(found)
