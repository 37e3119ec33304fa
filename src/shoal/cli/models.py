"""How commands find the network that a user names: a file, or a name of the zoo."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from shoal.errors import InputError, ModelFileError

if TYPE_CHECKING:
    from shoal.model.network import Network

Model: TypeAlias = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="An .onnx or .fluid file, or a name of 'shoal zoo list'."),
]


Example: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--input",
        metavar="FILE",
        help="An example of the inputs, .npy or .npz (by name): the network is proved on it, and "
        "it fixes free dimensions.",
    ),
]


def load_network(named: str, example: Path | None = None) -> Network:
    """The network in the file ``named``, or the zoo's network of that name; proved on the inputs
    in the file ``example``.

    Raises ModelFileError when it is neither, InputError for an example that is no array or does
    not fit, and what loading raises.
    """
    from shoal import zoo
    from shoal.cli.inputs import stored
    from shoal.model.network import load

    given = None if example is None else stored(example)
    if isinstance(given, Mapping) and not given:
        raise InputError(f"{example} holds no array; write it with numpy.savez")
    if os.path.lexists(named):
        return load(named, example=given)
    if named not in zoo.names():
        raise ModelFileError(
            f"there is no file {named[:200]!r}, and the zoo has no network of this name "
            f"(it has: {', '.join(zoo.names())})"
        )
    return load(zoo.path(named), name=named, example=given)
