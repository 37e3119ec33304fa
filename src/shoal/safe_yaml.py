"""YAML from strangers: bounded, without aliases, duplicate keys or objects of Python.

Aliases are refused because a few of them expand to any size ("billion laughs"); duplicate keys
because YAML would silently keep the last. Who reads says which ``error`` a mistake is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import msgspec
import yaml

from shoal.errors import ClusterError, ShoalError

MAX_BYTES = 1 << 20
"""Largest document that is read; a cluster of a thousand devices needs a fifth of it."""
_WORDS = {"array": "a list", "object": "a mapping (key: value)", "str": "a text"}
"""What the names of JSON's types are called in YAML."""


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


def read_text(path: Path, error: type[ShoalError] = ClusterError) -> str:
    """The text of a file of at most :data:`MAX_BYTES`; ``error`` when it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as failed:
        raise error(
            f"{path}: cannot be read ({failed.strerror or failed}); check the path and your rights"
        ) from None
    if len(data) > MAX_BYTES:
        raise error(f"{path}: larger than {MAX_BYTES} bytes; is it the file that you mean?")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as failed:
        raise error(f"{path}: is not UTF-8 text (byte {failed.start}); save it as UTF-8") from None


def parse(text: str, source: str, error: type[ShoalError] = ClusterError) -> Any:
    """The document in ``text`` as plain data; ``source`` names it where there is an ``error``."""
    if len(text) > MAX_BYTES:
        raise error(f"{source}: larger than {MAX_BYTES} bytes; is it the file that you mean?")
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as failed:
        mark = failed.problem_mark
        where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise error(f"{where}: is not valid YAML: {failed.problem}") from None
    except (yaml.YAMLError, ValueError, TypeError) as failed:
        raise error(f"{source}: is not valid YAML: {failed}") from None
    except RecursionError:
        raise error(f"{source}: is not valid YAML: it is nested too deeply") from None


def convert(raw: Any, kind: Any, where: str, error: type[ShoalError]) -> Any:
    """Plain data as ``kind``; ``error`` names the place and what there may be."""
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as failed:
        known, said = "", str(failed)
        if isinstance(raw, dict) and raw.get("kind") not in (kinds := _kinds(kind)) and kinds:
            known = f"; kinds are {', '.join(kinds)}"
        elif "unknown field" in said and (fields := getattr(kind, "__struct_fields__", ())):
            known = f"; known are {', '.join(fields)}"
        for theirs, ours in _WORDS.items():
            said = said.replace(f"`{theirs}`", ours)
        raise error(f"{where}: {said}{known}") from None


def convert_each(raw: Any, kind: Any, where: str, error: type[ShoalError]) -> tuple[Any, ...]:
    """A list of plain data, each entry as ``kind``; ``error`` as :func:`convert`."""
    if not isinstance(raw, list):
        raise error(f"'{where}' must be a list")
    return tuple(convert(entry, kind, f"{where}[{i}]", error) for i, entry in enumerate(raw))


def _kinds(kind: Any) -> list[str]:
    """The kinds of a tagged union, empty for any other type."""
    tags = (getattr(one, "__struct_config__", None) for one in get_args(kind))
    return [str(config.tag) for config in tags if config is not None]
