"""Example inputs that come along with a network, in whatever form they are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from shoal.errors import InputError
from shoal.model.dtypes import Array
from shoal.model.spec import TensorSpec

FORMS = "an array for the only input, a mapping from input names to arrays, or a list of one each"


def by_name(example: object, names: Sequence[str]) -> dict[str, Array]:
    """The arrays of ``example`` by input: ``names`` are those of all inputs, in order.

    It may be an array or tensor (for the only input), a sequence with one for each input, or a
    mapping that names some inputs. Raises :class:`InputError` for anything else.
    """
    if example is None:
        return {}
    if isinstance(example, Mapping):
        for name in example:
            if name not in names:
                raise InputError(
                    f"The example names {name!r}, which is no input of the network; it has "
                    f"{_listed(names)}."
                )
        return {name: array_of(value, f"the input {name!r}") for name, value in example.items()}
    values = each_of(example)
    if len(values) != len(names):
        raise InputError(
            f"The example holds {len(values)} arrays, the network takes {len(names)} "
            f"({_listed(names)}): give {FORMS}."
        )
    return {
        name: array_of(value, f"the input {name!r}")
        for name, value in zip(names, values, strict=True)
    }


def each_of(example: object) -> list[object]:
    """The values of an example that is no mapping: of a sequence each, else the only one."""
    return list(example) if isinstance(example, list | tuple) else [example]


def array_of(value: object, what: str) -> Array:
    """``value`` as an array of numbers; ``what`` it is for, for the message of InputError."""
    try:
        detach = getattr(value, "detach", None)  # a tensor of PyTorch, on whatever device
        array = np.asarray(value if detach is None else detach().cpu().numpy())
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise InputError(f"The example of {what} is no array: {reason}.") from None
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"The example of {what} is a {type(value).__name__} and holds no numbers: give {FORMS}."
        )
    return array


def fitted(
    example: Mapping[str, Array], inputs: Sequence[TensorSpec], what: str = "example"
) -> dict[str, Array]:
    """The arrays in the dtypes of their inputs; InputError where values would be others then.
    ``what`` they are called in it."""
    found = {}
    for spec in inputs:
        array = example.get(spec.name)
        if array is None:
            continue
        with np.errstate(all="ignore"):
            cast = array.astype(spec.dtype, order="C")
        exact = np.can_cast(array.dtype, cast.dtype, "same_kind") and cast.dtype.kind == "f"
        if not exact and not np.array_equal(cast, array):
            raise InputError(
                f"The {what} of the input {spec.name!r} has dtype {array.dtype}, the network "
                f"takes {spec.dtype}: its values would be others."
            )
        found[spec.name] = cast
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
