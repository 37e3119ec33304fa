"""What commands print: tables for people, JSON for programs, on the right stream.

Results go to stdout; progress, hints and errors go to stderr. With ``--json`` stdout holds JSON
and nothing else.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, TextIO, TypeAlias

import typer
from rich import box
from rich.console import Console, RenderableType
from rich.status import Status
from rich.table import Table
from rich.text import Text

Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print JSON on stdout instead of a table.")
]

PIPE_WIDTH = 120
"""Columns where there is no terminal to ask."""
NARROW = 80
"""Columns that a terminal has at least."""
BETWEEN = 3
"""Columns between two of a table."""


class Plain(Console):
    """A console that prints text as it is: a name that somebody gave (a file's, a tensor's, a
    device's) is no markup, and what a terminal would obey is shown instead."""

    def __init__(self, file: TextIO, *, error: bool) -> None:
        width = None if file.isatty() else PIPE_WIDTH
        super().__init__(stderr=error, width=width, highlight=False, markup=False, emoji=False)

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*map(_as_text, objects), **options)

    def status(self, status: RenderableType, **options: Any) -> Status:
        return _PlainStatus(_as_text(status), console=self, **options)


class _PlainStatus(Status):
    def update(self, status: RenderableType | None = None, **options: Any) -> None:
        super().update(_as_text(status), **options)


def _as_text(value: Any) -> Any:
    if isinstance(value, str):
        return Text(printable(value))
    if isinstance(value, Text) and (plain := printable(value.plain)) != value.plain:
        value = value.copy()
        value.plain = plain
    return value


def printable(text: str) -> str:
    """``text`` with what cannot be printed written as Python writes it; lines stay lines."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def stdout() -> Console:
    """The console for results."""
    return Plain(sys.stdout, error=False)


def stderr() -> Console:
    """The console for progress, hints and errors."""
    return Plain(sys.stderr, error=True)


def show_log() -> None:
    """Show what Shoal's modules log (warnings and worse) as plain lines on stderr."""
    import logging

    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")


def print_json(value: Any) -> None:
    """Print ``value`` (structs, arrays, plain data) as indented JSON on stdout."""
    typer.echo(_json(value, 2))


def print_json_line(value: Any) -> None:
    """Print ``value`` as one line of JSON on stdout, at once."""
    typer.echo(_json(value, 0))
    sys.stdout.flush()


def _json(value: Any, indent: int) -> str:
    """``value`` as JSON, on one line where ``indent`` is 0; characters that stdout does not have,
    or that are none (the name of a file need not be text), are written as escapes."""
    import msgspec

    try:
        text = msgspec.json.encode(value, enc_hook=_plain)
        text = msgspec.json.format(text, indent=indent) if indent else text
        text.decode().encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        import json

        return json.dumps(msgspec.to_builtins(value, enc_hook=_plain), indent=indent or None)
    return text.decode()


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A plain table. A column whose name ends in ``>`` is aligned right (numbers), and no cell of
    it is broken; where the table is wide their names are, between words. Without any names there is
    no header."""
    made = Table(
        title=Text(printable(title)),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_header=any(columns),
    )
    cells = [[*map(_cell, row)] for row in rows]
    names = [column.removesuffix(">") for column in columns]
    widest = [max(map(len, (row[k].plain for row in cells)), default=0) for k in range(len(names))]
    room = sum(max(pair) + BETWEEN for pair in zip(widest, map(len, names), strict=True))
    for name, column, width in zip(names, columns, widest, strict=True):
        if name == column:
            made.add_column(name, overflow="fold")
            continue
        shown = name if room <= NARROW else "\n".join(_lines(name, width))
        made.add_column(shown, justify="right", no_wrap=True, overflow="ellipsis")
    for row in cells:
        made.add_row(*row)
    return made


def _lines(name: str, width: int) -> list[str]:
    """A name in lines of whole words, no wider than ``width`` where its words are not."""
    width = max([1, width, *map(len, name.split())])
    return textwrap.wrap(name, width, break_on_hyphens=False)


def _cell(value: Any) -> Text:
    if isinstance(value, Text):
        return Text.assemble(_as_text(value))
    return Text(printable(str(value)).replace("\n", "\\n"))


def bar(share: float, width: int = 24) -> str:
    """A bar of ``share`` (0 to 1) of ``width`` characters, exact to an eighth."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + ("▏▎▍▌▋▊▉"[rest - 1] if rest else "")


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # NumPy arrays and scalars
        return value.tolist()
    return str(value)
