"""A package that somebody installed beside Shoal."""

from collections.abc import Mapping
from pathlib import Path

import pytest


def install(
    folder: Path, patch: pytest.MonkeyPatch, name: str, code: str, groups: Mapping[str, str]
) -> None:
    """Make a module importable, with the entry points of its metadata: in each group it registers,
    under its own name, the object called so."""
    (folder / f"{name}.py").write_text(code)
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    points = [f"[{group}]\n{name} = {name}:{member}\n" for group, member in groups.items()]
    (about / "entry_points.txt").write_text("\n".join(points))
    patch.syspath_prepend(str(folder))
