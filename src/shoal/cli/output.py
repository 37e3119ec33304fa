"""What commands print: tables for people, JSON for programs, on the right stream.

Results go to stdout; progress, hints and errors go to stderr. With ``--json`` stdout holds JSON
and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, TypeAlias

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print JSON on stdout instead of a table.")
]

PIPE_WIDTH = 120
"""Columns where there is no terminal to ask."""


def stdout() -> Console:
    """The console for results."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)


def stderr() -> Console:
    """The console for progress, hints and errors."""
    return Console(stderr=True, width=None if sys.stderr.isatty() else PIPE_WIDTH, highlight=False)


def show_log() -> None:
    """Show what Shoal's modules log (warnings and worse) as plain lines on stderr."""
    import logging

    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")


def print_json(value: Any) -> None:
    """Print ``value`` (structs, arrays, plain data) as indented JSON on stdout."""
    import msgspec

    typer.echo(msgspec.json.format(_encode(value), indent=2).decode())


def print_json_line(value: Any) -> None:
    """Print ``value`` as one line of JSON on stdout, at once."""
    typer.echo(_encode(value).decode())
    sys.stdout.flush()


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A plain table. A column whose name ends in ``>`` is aligned right (numbers); without any
    names there is no header."""
    made = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_header=any(columns),
    )
    for column in columns:
        name = column.removesuffix(">")
        made.add_column(name, justify="right" if name != column else "left", overflow="fold")
    for row in rows:
        # As Text, so that a bracket in a tensor's name is not taken for markup.
        made.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    return made


def bar(share: float, width: int = 24) -> str:
    """A bar of ``share`` (0 to 1) of ``width`` characters, exact to an eighth."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + ("▏▎▍▌▋▊▉"[rest - 1] if rest else "")


def human_bytes(count: float) -> str:
    """A size in the unit in which it reads best (binary units)."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def human_count(count: float) -> str:
    """A count with a decimal prefix, for operations and parameters."""
    for unit in ("", " k", " M", " G"):
        if abs(count) < 1000:
            return f"{count:.0f}" if not unit else f"{count:.1f}{unit}"
        count /= 1000
    return f"{count:.1f} T"


def _encode(value: Any) -> bytes:
    import msgspec

    return msgspec.json.encode(value, enc_hook=_plain)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # NumPy arrays and scalars
        return value.tolist()
    return str(value)
