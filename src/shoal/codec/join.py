"""Slices of a tensor, computed by several devices, made one again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from shoal.codec.slices import Join
from shoal.errors import InputError
from shoal.model.dtypes import Array

_Index: TypeAlias = slice | npt.NDArray[np.intp]


def join(slices: Mapping[str, Array], how: Join) -> Array:
    """The joined tensor from the slices that came, by giver.

    The first live copy of a channel wins, in the order of ``how.slices``; channels that no slice
    holds are filled. A sum adds the slices that came, and what stands in for others. Of slices of
    which some stays with its holder (see :class:`~shoal.codec.slices.Slice`) one must be whole.
    Raises InputError for no slice at all, one of a stranger, or one of the wrong shape or dtype.
    """
    strangers = slices.keys() - how.slices.keys()
    if strangers:
        raise InputError(
            f"{sorted(strangers)[0]!r} gave a slice of {how.tensor.name!r}, but it holds "
            "none of it; the playbooks of the devices differ, install it again"
        )
    givers = tuple(name for name in how.slices if name in slices)
    if not givers:
        raise InputError(f"no slice of {how.tensor.name!r} came, so there is nothing to join")
    batch, whole = _check(givers, slices, how)
    if not whole:
        raise InputError(
            f"no slice of {how.tensor.name!r} is whole: who joins them must have its own"
        )
    if how.op == "sum":
        return _sum(givers, whole[0], slices, how)
    moves = _moves(how, givers, whole)
    shape = [size if size is not None else batch for size in how.tensor.shape]
    joined: Array = np.empty(shape, how.tensor.dtype)
    before = (slice(None),) * how.axis
    for name, source, target in moves.copies:
        joined[(*before, target)] = slices[name][(*before, source)]
    if moves.missing is not None:
        joined[(*before, moves.missing)] = moves.fill
    return joined


def _sum(givers: Sequence[str], whole: str, slices: Mapping[str, Array], how: Join) -> Array:
    before, mine = (slice(None),) * how.axis, slices[whole]
    stays = how.slices[whole].stays
    sent = (*before, slice(mine.shape[how.axis] - stays)) if stays else (...,)
    total = slices[givers[0]][sent].copy()
    for name in givers[1:]:
        np.add(total, slices[name][sent], out=total)
    if stays:
        np.add(total, mine[(*before, slice(-stays, None))], out=total)
    for name, part in how.slices.items():
        if part.stand_in and name not in slices:
            stand_in = np.asarray(part.stand_in, total.dtype)
            total += stand_in.reshape(-1, *(1,) * (total.ndim - how.axis - 1))
    return total


def _check(
    givers: Sequence[str], slices: Mapping[str, Array], how: Join
) -> tuple[int, tuple[str, ...]]:
    """The batch size, and whose slices are as their holders have them, with what these send to
    nobody; InputError unless every slice has the shape that it must have."""
    axis, dtype = how.axis, np.dtype(how.tensor.dtype)
    batch = slices[givers[0]].shape[0] if slices[givers[0]].ndim else 1
    shape = [size if size is not None else batch for size in how.tensor.shape]
    whole = []
    for name in givers:
        array, part, wanted = slices[name], how.slices[name], shape.copy()
        if how.op == "channels":
            wanted[axis] = len(part.channels)
        elif part.stays:
            wanted[axis] += part.stays
        if part.stays and array.shape[axis : axis + 1] != (wanted[axis],):
            wanted[axis] -= part.stays
        else:
            whole.append(name)
        if list(array.shape) != wanted or array.dtype != dtype:
            raise InputError(
                f"the slice of {how.tensor.name!r} from {name!r} is {array.dtype} "
                f"{list(array.shape)}, expected {dtype} {wanted}"
            )
    return batch, tuple(whole)


MOST_KEPT = 1024
_kept: OrderedDict[tuple[object, ...], tuple[Join, _Moves]] = OrderedDict()


def _moves(how: Join, givers: tuple[str, ...], whole: tuple[str, ...]) -> _Moves:
    """Index arrays are worked out once for each join and set of givers; the last ones are kept."""
    key = (id(how), givers, whole)
    entry = _kept.get(key)
    if entry is None:
        entry = _kept[key] = (how, _Moves(how, givers, whole))  # holding it keeps its id from reuse
        if len(_kept) > MOST_KEPT:
            _kept.popitem(last=False)
    return entry[1]


class _Moves:
    """Which channels to copy from where to where when just ``givers`` gave slices, those in
    ``whole`` with what they send to nobody."""

    def __init__(self, join: Join, givers: Sequence[str], whole: Sequence[str]) -> None:
        count = join.tensor.shape[join.axis]
        if count is None:
            raise InputError(f"axis {join.axis} of {join.tensor.name!r} has no fixed size")
        taken: npt.NDArray[np.bool_] = np.zeros(count, bool)
        self.copies: list[tuple[str, _Index, _Index]] = []
        for name in givers:
            part = join.slices[name]
            sent = len(part.channels) - (0 if name in whole else part.stays)
            channels = np.asarray(part.channels[:sent], np.intp)
            source = np.flatnonzero(~taken[channels])
            if source.size:
                target = channels[source]
                taken[target] = True
                self.copies.append((name, _short(source), _short(target)))
        missing = np.flatnonzero(~taken)
        self.missing = _short(missing) if missing.size else None
        fill = np.asarray(join.fill, np.dtype(join.tensor.dtype))
        values = fill[missing] if fill.size == count else fill[:1]
        self.fill = values.reshape(-1, *(1,) * (len(join.tensor.shape) - join.axis - 1))


def _short(index: npt.NDArray[np.intp]) -> _Index:
    """The same index as a slice where it counts up by one: copies are then block copies."""
    if index.size and index[-1] - index[0] + 1 == index.size and np.all(np.diff(index) == 1):
        return slice(int(index[0]), int(index[-1]) + 1)
    return index
