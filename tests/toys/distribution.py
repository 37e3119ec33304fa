"""Distributions that add to Shoal by entry points, as an installer leaves them in a folder."""

from pathlib import Path


def write(
    folder: Path, name: str, entries: str, code: str = "", metadata: str | None = None
) -> None:
    """One called ``name``, with a module of that name; ``entries`` is its entry_points.txt."""
    info = folder / f"{name}-1.2.dist-info"
    info.mkdir()
    if metadata is None:
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\nSummary: Adds {name}.\n"
    (info / "METADATA").write_text(metadata)
    (info / "entry_points.txt").write_text(entries)
    (folder / f"{name}.py").write_text(code)


def entries(group: str, **named: str) -> str:
    """The lines of a group."""
    return f"[{group}]\n" + "".join(f"{name} = {at}\n" for name, at in named.items())
