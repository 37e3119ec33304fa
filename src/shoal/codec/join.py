"""Slices of a tensor, computed by several devices, made one again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from shoal.codec import parity
from shoal.codec.slices import Join
from shoal.errors import InputError
from shoal.model.dtypes import Array

_Index: TypeAlias = slice | npt.NDArray[np.intp]


def join(slices: Mapping[str, Array], how: Join) -> Array:
    """The joined tensor from the slices that came, by giver.

    The first live copy of a channel wins, in the order of ``how.slices``; channels that no slice
    holds are filled. A sum adds the slices that came, and what stands in for others. Coded ones are
    copied where they are blocks themselves; the blocks that are missing follow from parity. Of
    slices of which some stays with its holder (see :class:`~shoal.codec.slices.Slice`) one must be
    whole. Raises InputError for no slice at all, one of a stranger, or one of the wrong shape or
    dtype; where too few coded ones came, and where numbers that are not finite hide what follows.
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
    if how.op == "coded":
        return _decoded(givers, whole[0], slices, how)
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


def _decoded(givers: Sequence[str], whole: str, slices: Mapping[str, Array], how: Join) -> Array:
    if len(givers) < how.least:
        raise InputError(
            f"{len(givers)} slices of {how.tensor.name!r} came, and it takes {how.least} of them"
        )
    before, mine, stays = (slice(None),) * how.axis, slices[whole], how.slices[whole].stays
    shape = list(mine.shape)
    size = shape[how.axis] = how.tensor.shape[how.axis] or 0
    joined: Array = np.empty(shape, mine.dtype)
    if stays:
        joined[(*before, slice(size - stays, None))] = mine[(*before, slice(how.block, None))]
    for block, terms in enumerate(_terms(how, tuple(givers))):
        start = block * how.block
        count = min(how.block, size - stays - start)
        if count > 0:
            target = (*before, slice(start, start + count))
            joined[target] = _combined(terms, slices, (*before, slice(count)), how)
    return joined


_Terms: TypeAlias = tuple[tuple[str, float], ...]


def _combined(
    terms: _Terms, slices: Mapping[str, Array], some: tuple[slice, ...], how: Join
) -> Array:
    """A block: a slice as it is, or a sum of several. That is made in float64, so that terms which
    cancel do not run over, and is refused where it is no number: an infinity in one slice would
    make that of blocks which are finite."""
    (giver, rate), *others = terms
    if not others and rate == 1:
        return slices[giver][some]
    with np.errstate(over="ignore", invalid="ignore"):
        total = rate * slices[giver][some].astype(np.float64)
        for giver, rate in others:
            total += rate * slices[giver][some]
        made: Array = total.astype(how.tensor.dtype)
    if not np.isfinite(made).all():
        raise InputError(
            f"slices of {how.tensor.name!r} hold what is not finite, so that those which are "
            "missing do not follow from them"
        )
    return made


@lru_cache(maxsize=1024)
def _terms_of(rows: parity.Rows) -> tuple[tuple[tuple[int, float], ...], ...]:
    """For each block the slices, by number among those with these rows, that it is the sum of, and
    the weight of each."""
    used = parity.chosen(rows)
    known = {parity.block_of(rows[number]): number for number in used}
    rates = parity.rates([rows[number] for number in used])
    return tuple(
        ((known[block], 1.0),)
        if block in known
        else tuple(zip(used, map(float, rates[block]), strict=True))
        for block in range(len(used))
    )


def _terms(how: Join, givers: tuple[str, ...]) -> list[_Terms]:
    terms = _terms_of(tuple(how.slices[name].code for name in givers))
    return [tuple((givers[number], rate) for number, rate in block) for block in terms]


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
        elif how.op == "coded":
            wanted[axis] = how.block + part.stays
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
