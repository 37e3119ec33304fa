"""Reading lab files and fault schedules (YAML), strictly.

A key given twice, an alias, an unknown field or a wrong type is an error that names the place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import msgspec
import yaml

from shoal.errors import LabFileError
from shoal_lab.faults import Fault
from shoal_lab.network import network
from shoal_lab.spec import HostSpec, LabSpec, PairSpec, Topology, check, check_fault
from shoal_lab.trace import load_trace

MAX_BYTES = 1 << 20
YAML_WORDS = {"array": "a list", "object": "a mapping (key: value)", "str": "a text"}
"""What the names of JSON's types are called in a lab file."""


class _StrictLoader(yaml.SafeLoader):
    """YAML without aliases and without keys given twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise LabFileError(f"line {_line(self)}: aliases (*name) are not taken; write it out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                raise LabFileError(
                    f"line {key_node.start_mark.line + 1}: {key_node.value!r} is given twice; keep "
                    "one"
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def load_lab(path: Path) -> LabSpec:
    """The lab in this file, checked, with the file's stem as its name if it gives none.

    Traces are looked for beside the file and checked too. LabFileError says what is wrong.
    """
    spec = parse_lab(_read(path), name=path.stem.lower().replace("_", "-"), where=str(path))
    check_traces(spec, path.parent)
    return spec


def parse_lab(text: str, name: str = LabSpec.DEFAULT_NAME, where: str = "lab file") -> LabSpec:
    """The lab in YAML ``text``, checked, its network too. LabFileError says what is wrong."""
    raw = _yaml(text, where)
    if not isinstance(raw, dict):
        raise LabFileError(f"{where}: it must be a mapping with 'hosts'")
    raw = {"name": name, **raw}
    try:
        hosts = _mapping(raw.get("hosts"), "hosts")
        spec = LabSpec(
            hosts={
                str(host): _convert(value or {}, HostSpec, f"host {host!r}")
                for host, value in hosts.items()
            }
        )
        if (unknown := set(raw) - set(LabSpec.__struct_fields__)) != set():
            raise LabFileError(
                f"unknown key {sorted(map(str, unknown))[0]!r}; known are "
                f"{', '.join(LabSpec.__struct_fields__)}"
            )
        made: dict[str, Any] = {}
        if raw.get("topology") is not None:
            topology = raw["topology"]
            # 'topology: star' is short for a topology whose links are as fast as the machine.
            named = {"kind": topology} if isinstance(topology, str) else topology
            made["topology"] = _convert(named, Topology, "topology")
        if raw.get("links") is not None:
            made["links"] = _each(raw["links"], PairSpec, "links")
        if raw.get("faults") is not None:
            made["faults"] = _each(raw["faults"], Fault, "faults")
        for key, kind in (("name", str), ("core", float), ("seed", int)):
            if key in raw:
                made[key] = _convert(raw[key], kind, key)
        spec = check(msgspec.structs.replace(spec, **made))
        network(spec)
    except LabFileError as error:
        raise LabFileError(f"{where}: {error}") from None
    return spec


def load_faults(path: Path) -> tuple[Fault, ...]:
    """The fault schedule in this file: a list, or a mapping with 'faults'."""
    raw = _yaml(_read(path), str(path))
    if isinstance(raw, dict):
        raw = raw.get("faults")
    try:
        faults: tuple[Fault, ...] = _each(raw, Fault, "faults")
        for fault in faults:
            check_fault(fault)
    except LabFileError as error:
        raise LabFileError(f"{path}: {error}") from None
    return faults


def check_traces(spec: LabSpec, folder: Path) -> None:
    """Read every trace that ``spec`` names; LabFileError for one that is missing or wrong."""
    for wire in network(spec).wires:
        if wire.link.trace is not None:
            load_trace(wire.link.trace, folder)


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise LabFileError(f"{path} is larger than {MAX_BYTES >> 20} MiB; is it a lab file?")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise LabFileError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LabFileError(f"{path} is not text: {error}") from error


def _yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except LabFileError as error:
        raise LabFileError(f"{where}: {error}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise LabFileError(f"{where} is not YAML: line {line}: {error.problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise LabFileError(f"{where} is not YAML: {error}") from None


def _line(loader: Any) -> int:
    return int(loader.peek_event().start_mark.line) + 1


def _mapping(raw: Any, where: str) -> dict[Any, Any]:
    if not isinstance(raw, dict) or not raw:
        raise LabFileError(f"'{where}' must map names to what they are")
    return raw


def _each(raw: Any, kind: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(raw, list):
        raise LabFileError(f"'{where}' must be a list")
    return tuple(_convert(entry, kind, f"{where}[{i}]") for i, entry in enumerate(raw))


def _convert(raw: Any, kind: Any, where: str) -> Any:
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        known = ""
        if isinstance(raw, dict) and raw.get("kind") not in (kinds := _kinds(kind)) and kinds:
            known = f"; kinds are {', '.join(kinds)}"
        elif "unknown field" in str(error) and (fields := getattr(kind, "__struct_fields__", ())):
            known = f"; known are {', '.join(fields)}"
        said = str(error)
        for theirs, ours in YAML_WORDS.items():
            said = said.replace(f"`{theirs}`", ours)
        raise LabFileError(f"{where}: {said}{known}") from None


def _kinds(kind: Any) -> list[str]:
    """The kinds of a tagged union, empty for any other type."""
    tags = (getattr(one, "__struct_config__", None) for one in get_args(kind))
    return [str(config.tag) for config in tags if config is not None]
