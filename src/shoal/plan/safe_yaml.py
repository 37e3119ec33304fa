"""YAML from strangers: bounded, without aliases, duplicate keys or objects of Python.

Aliases are refused because a few of them expand to any size ("billion laughs"); duplicate keys
because YAML would silently keep the last.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from shoal.errors import ClusterError

MAX_BYTES = 1 << 20
"""Largest document that is read; a cluster of a thousand devices needs a fifth of it."""


class _Loader(yaml.SafeLoader):
    """A safe loader that also refuses aliases and duplicate keys."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.events.AliasEvent):
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                None, None, "aliases (*name) are not allowed; write the value out", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    None,
                    None,
                    f"the key {key.value!r} stands here twice; remove one",
                    key.start_mark,
                )
            if isinstance(key.value, str):
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def read_text(path: Path) -> str:
    """The text of a file of at most :data:`MAX_BYTES`; ClusterError when it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ClusterError(
            f"{path}: cannot be read ({error.strerror or error}); check the path and your rights"
        ) from None
    if len(data) > MAX_BYTES:
        raise ClusterError(
            f"{path}: larger than {MAX_BYTES} bytes; a cluster file holds devices and links only"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ClusterError(
            f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from None


def parse(text: str, source: str) -> Any:
    """The document in ``text`` as plain data; ``source`` names it in errors (ClusterError)."""
    if len(text) > MAX_BYTES:
        raise ClusterError(
            f"{source}: larger than {MAX_BYTES} bytes; a cluster file holds devices and links only"
        )
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise ClusterError(f"{where}: is not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise ClusterError(f"{source}: is not valid YAML: {error}") from None
    except RecursionError:
        raise ClusterError(f"{source}: is nested too deeply; a cluster file is flat") from None
