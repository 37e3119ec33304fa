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


class Joiner:
    """Joins slices as a :class:`Join` says; index arrays are worked out once per set of givers."""

    def __init__(self, join: Join) -> None:
        self._join = join
        self._axis = join.axis
        self._dtype = np.dtype(join.tensor.dtype)
        self._moves: OrderedDict[frozenset[str], _Moves] = OrderedDict()

    def __call__(self, slices: Mapping[str, Array]) -> Array:
        """The joined tensor from the slices that came, by giver.

        The first live copy of a channel wins, in the order of ``join.slices``; channels that no
        slice holds are filled. A sum adds the slices that came. Raises InputError for no slice at
        all, one of a stranger, or one of the wrong shape or dtype.
        """
        join = self._join
        strangers = slices.keys() - join.slices.keys()
        if strangers:
            raise InputError(
                f"{sorted(strangers)[0]!r} gave a slice of {join.tensor.name!r}, but it holds "
                "none of it; the playbooks of the devices differ, install it again"
            )
        givers = [name for name in join.slices if name in slices]
        if not givers:
            raise InputError(f"no slice of {join.tensor.name!r} came, so there is nothing to join")
        batch = self._check(givers, slices)
        if join.op == "sum":
            total = slices[givers[0]].copy()
            for name in givers[1:]:
                np.add(total, slices[name], out=total)
            return total
        moves = self._moves_for(frozenset(givers), givers)
        shape = [size if size is not None else batch for size in join.tensor.shape]
        joined: Array = np.empty(shape, self._dtype)
        before = (slice(None),) * self._axis
        for name, source, target in moves.copies:
            joined[(*before, target)] = slices[name][(*before, source)]
        if moves.missing is not None:
            joined[(*before, moves.missing)] = moves.fill
        return joined

    def _check(self, givers: Sequence[str], slices: Mapping[str, Array]) -> int:
        """The batch size; InputError unless every slice has the shape that it must have."""
        join = self._join
        batch = slices[givers[0]].shape[0] if slices[givers[0]].ndim else 1
        for name in givers:
            array = slices[name]
            wanted = [size if size is not None else batch for size in join.tensor.shape]
            if join.op == "channels":
                wanted[self._axis] = len(join.slices[name].channels)
            if list(array.shape) != wanted or array.dtype != self._dtype:
                raise InputError(
                    f"the slice of {join.tensor.name!r} from {name!r} is {array.dtype} "
                    f"{list(array.shape)}, expected {self._dtype} {wanted}"
                )
        return batch

    def _moves_for(self, key: frozenset[str], givers: Sequence[str]) -> _Moves:
        moves = self._moves.get(key)
        if moves is None:
            moves = self._moves[key] = _Moves(self._join, givers)
            if len(self._moves) > _MOST_SETS:
                self._moves.popitem(last=False)
        return moves


_MOST_SETS = 64
_MOST_JOINS = 256
_joiners: OrderedDict[int, tuple[Join, Joiner]] = OrderedDict()


def join(slices: Mapping[str, Array], how: Join) -> Array:
    """The joined tensor; see :meth:`Joiner.__call__`. Joiners are kept for the last joins used."""
    entry = _joiners.get(id(how))
    if entry is None or entry[0] is not how:
        entry = _joiners[id(how)] = (how, Joiner(how))  # holding it keeps its id from reuse
        if len(_joiners) > _MOST_JOINS:
            _joiners.popitem(last=False)
    return entry[1](slices)


class _Moves:
    """Which channels to copy from where to where when just ``givers`` gave slices."""

    def __init__(self, join: Join, givers: Sequence[str]) -> None:
        count = join.tensor.shape[join.axis]
        if count is None:
            raise InputError(f"axis {join.axis} of {join.tensor.name!r} has no fixed size")
        taken: npt.NDArray[np.bool_] = np.zeros(count, bool)
        self.copies: list[tuple[str, _Index, _Index]] = []
        for name in givers:
            channels = np.asarray(join.slices[name].channels, np.intp)
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
