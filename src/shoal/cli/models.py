"""How commands find the network that a user names: a file, or a name of the zoo."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from shoal.errors import ModelFileError

if TYPE_CHECKING:
    from shoal.model.network import Network

Model: TypeAlias = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="An .onnx or .fluid file, or a name of 'shoal zoo list'."),
]


def load_network(named: str) -> Network:
    """The network in the file ``named``, or the zoo's network of that name.

    Raises ModelFileError when it is neither, and what loading raises.
    """
    from shoal import zoo
    from shoal.model.network import load

    if os.path.lexists(named):
        return load(named)
    if named not in zoo.names():
        raise ModelFileError(
            f"there is no file {named[:200]!r}, and the zoo has no network of this name "
            f"(it has: {', '.join(zoo.names())})"
        )
    return load(zoo.path(named), name=named)
