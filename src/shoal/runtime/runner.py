"""Runs a part on what was given: joins slices, stacks a batch, computes, judges an exit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from shoal.codec.codecs import Array
from shoal.codec.join import join
from shoal.core.actions import Given, Run
from shoal.core.events import Outcome
from shoal.errors import InputError
from shoal.model.engine import Session
from shoal.runtime.body import Body
from shoal.runtime.confidence import confidence


def gather(given: Given) -> dict[str, Array]:
    """The tensors of one job: one giver's, or all givers' with their slices joined.

    Raises FrameError when a body is damaged.
    """
    arrays = {giver: body.alike(given.codec).arrays() for giver, body in given.bodies.items()}
    merged: dict[str, Array] = {}
    for tensors in arrays.values():
        for name, array in tensors.items():
            merged.setdefault(name, array)
    if given.join is not None:
        name = given.join.tensor.name
        slices = {giver: tensors[name] for giver, tensors in arrays.items() if name in tensors}
        merged[name] = join(slices, given.join)
    return merged


def run(action: Run, session: Session) -> tuple[Outcome, ...]:
    """Run ``session`` for every job of the action; an outcome per job.

    Raises FrameError for a damaged body, InputError where a tensor is missing, ModelError where
    the engine fails.
    """
    feeds = [gather(given) for given in action.given]
    came = [sum(body.came for body in given.bodies.values()) for given in action.given]
    if len(feeds) == 1:
        return (_outcome(action, _compute(action, session, feeds[0]), came[0]),)
    counts, stacked = _stack(session, feeds)
    whole = _compute(action, session, stacked)
    ends = np.cumsum(counts)
    outcomes = []
    for end, count, size_in in zip(ends, counts, came, strict=True):
        rows = {name: _rows(name, array, end - count, end) for name, array in whole.items()}
        outcomes.append(_outcome(action, rows, size_in))
    return tuple(outcomes)


def _stack(session: Session, feeds: list[dict[str, Array]]) -> tuple[list[int], dict[str, Array]]:
    try:
        counts = [feed[session.inputs[0]].shape[0] for feed in feeds]
        for feed, count in zip(feeds, counts, strict=True):
            # Else the rows of one job could be taken for those of another.
            if any(feed[name].shape[0] != count for name in feeds[0]):
                raise InputError(f"tensors cannot be stacked: not all of them have {count} rows")
        return counts, {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
    except KeyError as error:
        raise InputError(f"tensor {error.args[0]!r} is missing in one of {len(feeds)}") from None
    except (ValueError, IndexError) as error:
        raise InputError(f"tensors cannot be stacked: {error}") from None


def _rows(name: str, array: Array, start: int, end: int) -> Array:
    """A copy: outputs are kept, and one of them must not keep all of the batch in memory."""
    if array.ndim == 0 or array.shape[0] < end:
        raise InputError(f"tensor {name!r} has no row for each image; run this stage unbatched")
    return array[start:end].copy()


def _compute(action: Run, session: Session, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The tensors that go on (carried ones as they came) and those of the exit."""
    wanted = list(action.outputs)
    if action.exit is not None and action.exit.tensor not in wanted:
        wanted.append(action.exit.tensor)
    if action.away is not None:
        feeds = {**feeds, action.away.tensor: np.asarray(action.away.missing, np.float32)}
    made = session.run(feeds, [name for name in wanted if name in session.outputs])
    try:
        return {name: made[name] if name in made else feeds[name] for name in wanted}
    except KeyError as error:
        raise InputError(f"tensor {error.args[0]!r} is neither computed nor given") from None


def _outcome(action: Run, arrays: dict[str, Array], size_in: int) -> Outcome:
    body = Body({name: arrays[name] for name in action.outputs}, home=action.home)
    if action.exit is None:
        return Outcome(body, body.size, size_in=size_in)
    logits = arrays[action.exit.tensor]
    early = Body({action.exit.output: logits})
    return Outcome(body, body.size, confidence(logits, action.exit), early, size_in)
