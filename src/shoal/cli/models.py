"""How commands find the network that a user names: a file, or a name of the zoo; and what is said
of its inputs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

import typer

from shoal.errors import InputError, ModelFileError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from shoal.model.network import Network

    Array: TypeAlias = np.ndarray[Any, Any]

Model: TypeAlias = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="An .onnx or .fluid file, or a name of 'shoal zoo list'."),
]


Inputs: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="[NAME=]FILE|SIZES",
        help="An example of the inputs, .npy or .npz (by name): the network is proved on it, and "
        "it fixes free dimensions. Or only their sizes: 1x3x640x640. Once for each input.",
    ),
]

Fixed: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--fix",
        metavar="NAME=VALUE",
        help="A number or a .npy file that an input has for good: it is no input any more.",
    ),
]

_SIZES = re.compile(r"(\?|\d{1,18})(x(\?|\d{1,18}))*")


class Said(NamedTuple):
    """What was said of a network's inputs: the example (None: none), sizes and values, as
    :func:`shoal.load` takes them."""

    example: Array | Mapping[str, Array] | None = None
    shapes: Mapping[str, tuple[int | None, ...]] | tuple[int | None, ...] = ()
    values: Mapping[str, Array] = {}


def said(inputs: Sequence[str], fixed: Sequence[str] = ()) -> Said:
    """What these options say. UsageError for what contradicts itself or says nothing, InputError
    for a file that holds no array."""
    whole: list[Array | Mapping[str, Array]] = []
    sizes: list[tuple[int | None, ...]] = []
    example: dict[str, Array] = {}
    shapes: dict[str, tuple[int | None, ...]] = {}
    for text in inputs:
        name, sign, rest = ("", "", text) if os.path.lexists(text) else _parted(text)
        if sign and not (name and rest):
            raise UsageError(f"--input {text[:200]}: write NAME=FILE or NAME=SIZES")
        if sign and (name in example or name in shapes):
            raise UsageError(f"--input {text[:200]}: this input is told of already")
        if _SIZES.fullmatch(rest) and not os.path.lexists(rest):
            found = tuple(None if size == "?" else int(size) for size in rest.split("x"))
            if sign:
                shapes[name] = found
            else:
                sizes.append(found)
        elif sign:
            example[name] = _array(Path(rest), text)
        else:
            whole.append(_some(Path(rest)))
    if len(whole) > 1 or len(sizes) > 1 or (whole and example) or (sizes and shapes):
        raise UsageError("--input: say of which inputs these are, NAME=FILE or NAME=SIZES")
    values = {}
    for text in fixed:
        name, sign, rest = _parted(text)
        if not (sign and name and rest) or name in values:
            raise UsageError(f"--fix {text[:200]}: write NAME=VALUE, once for each input")
        values[name] = _value(rest, text)
    return Said(whole[0] if whole else example or None, sizes[0] if sizes else shapes, values)


def file_of(inputs: Sequence[str]) -> Path | None:
    """The file of a whole example among these options; None where there is none."""
    files = (t for t in inputs if os.path.lexists(t) or not (_SIZES.fullmatch(t) or "=" in t))
    return next(map(Path, files), None)


def _parted(text: str) -> tuple[str, str, str]:
    """Name, sign and what is said of it. Names may hold ``=``, and so may files: what looks like
    sizes or a number stands last."""
    name, sign, rest = text.rpartition("=")
    if sign and (_SIZES.fullmatch(rest) or "=" not in name):
        return name, sign, rest
    name, sign, rest = text.partition("=")
    return (name, sign, rest) if sign else ("", "", text)


def _some(path: Path) -> Array | Mapping[str, Array]:
    from shoal.cli.inputs import stored

    if not os.path.lexists(path):
        raise InputError(
            f"there is no file {str(path)[:200]!r}; an array is .npy or .npz, sizes are written "
            "like 1x3x640x640"
        )
    found = stored(path)
    if isinstance(found, Mapping) and not found:
        raise InputError(f"{path} holds no array; write it with numpy.savez")
    return found


def _array(path: Path, text: str) -> Array:
    found = _some(path)
    if isinstance(found, Mapping):
        raise UsageError(f"{text[:200]}: this file holds arrays by name; give it without a name")
    return found


def _value(rest: str, text: str) -> Array:
    import numpy as np

    number: object
    try:
        number = int(rest)
    except ValueError:
        try:
            number = float(rest)
        except ValueError:
            number = {"true": True, "false": False}.get(rest.lower())
    if number is not None:
        return np.asarray(number)
    return _array(Path(rest), f"--fix {text}")


def load_network(
    named: str, inputs: Sequence[str] | None = None, fixed: Sequence[str] | None = None
) -> Network:
    """The network in the file ``named``, or the zoo's network of that name; with what the options
    say of its ``inputs`` and of those that are ``fixed``.

    Raises ModelFileError when it is neither, UsageError for options that say nothing, InputError
    for what does not fit, and what loading raises.
    """
    from shoal import zoo
    from shoal.model.network import load

    example, shapes, values = said(inputs or (), fixed or ())
    if os.path.lexists(named):
        return load(named, example=example, shapes=shapes, values=values)
    if named not in zoo.names():
        raise ModelFileError(
            f"there is no file {named[:200]!r}, and the zoo has no network of this name "
            f"(it has: {', '.join(zoo.names())})"
        )
    path = zoo.path(named)
    return load(path, name=named, example=example, shapes=shapes, values=values)
