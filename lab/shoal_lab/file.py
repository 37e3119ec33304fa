"""Reading lab files and fault schedules (YAML), strictly.

A key given twice, an alias, an unknown field or a wrong type is an error that names the place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from shoal import safe_yaml
from shoal.errors import LabFileError
from shoal.sim.faults import faults_of
from shoal.sim.faults import load_faults as load_faults
from shoal_lab.network import network
from shoal_lab.spec import HostSpec, LabSpec, PairSpec, Topology, check
from shoal_lab.trace import load_trace


def load_lab(path: Path) -> LabSpec:
    """The lab in this file, checked, with the file's stem as its name if it gives none.

    Traces are looked for beside the file and checked too. LabFileError says what is wrong.
    """
    spec = parse_lab(
        safe_yaml.read_text(path, LabFileError),
        name=path.stem.lower().replace("_", "-"),
        where=str(path),
    )
    check_traces(spec, path.parent)
    return spec


def parse_lab(text: str, name: str = LabSpec.DEFAULT_NAME, where: str = "lab file") -> LabSpec:
    """The lab in YAML ``text``, checked, its network too. LabFileError says what is wrong."""
    raw = safe_yaml.parse(text, where, LabFileError)
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
            made["links"] = safe_yaml.convert_each(raw["links"], PairSpec, "links", LabFileError)
        if raw.get("faults") is not None:
            made["faults"] = faults_of(raw["faults"])
        for key, kind in (("name", str), ("core", float), ("seed", int)):
            if key in raw:
                made[key] = _convert(raw[key], kind, key)
        spec = check(msgspec.structs.replace(spec, **made))
        network(spec)
    except LabFileError as error:
        raise LabFileError(f"{where}: {error}") from None
    return spec


def check_traces(spec: LabSpec, folder: Path) -> None:
    """Read every trace that ``spec`` names; LabFileError for one that is missing or wrong."""
    for wire in network(spec).wires:
        if wire.link.trace is not None:
            load_trace(wire.link.trace, folder)


def _mapping(raw: Any, where: str) -> dict[Any, Any]:
    if not isinstance(raw, dict) or not raw:
        raise LabFileError(f"'{where}' must map names to what they are")
    return raw


def _convert(raw: Any, kind: Any, where: str) -> Any:
    return safe_yaml.convert(raw, kind, where, LabFileError)
