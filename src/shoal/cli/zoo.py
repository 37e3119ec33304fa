"""``shoal zoo``: the networks that ship, and larger ones that are made on this machine."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import typer

from shoal.cli.output import Json, print_json, stderr, stdout, table
from shoal.plan.size import readable

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", no_args_is_help=True)

Name: TypeAlias = Annotated[str, typer.Argument(help="A name of 'shoal zoo list'.")]


@app.callback()
def zoo() -> None:
    """Trained networks to try things with."""


@app.command("list")
def list_(json: Json = False) -> None:
    """List the networks."""
    from shoal import zoo

    entries = [_facts(name) for name in zoo.names()]
    if json:
        print_json(entries)
        return
    stdout().print(
        table(
            "zoo",
            ("name", "network", "top-1>", "size>", "here"),
            (
                (
                    entry["name"],
                    entry.get("title", ""),
                    _percent(entry.get("test_top1")),
                    readable(entry["bytes"]) if "bytes" in entry else "",
                    "yes" if entry["ready"] else f"shoal zoo get {entry['name']}",
                )
                for entry in entries
            ),
        )
    )


@app.command()
def show(name: Name, json: Json = False) -> None:
    """Show the card of a network: how to feed it, how good it is, how it was made."""
    from shoal import zoo

    card = zoo.card(name)
    if json:
        print_json(card.facts)
        return
    training = card.facts.get("training", {})
    data = card.facts.get("data", {})
    first, *rest = ("?" if dim is None else str(dim) for dim in card.input_shape)
    shape = ", ".join(["batch" if first == "?" else first, *rest])
    rows = [
        ("file", zoo.path(name)),
        ("input", f"{card.input_name} [{shape}]"),
        ("output", f"{card.output_name}{f', {len(card.classes)} classes' * bool(card.classes)}"),
        ("test top-1", _percent(card.test_top1)),
        ("data", data.get("name", "")),
        ("licence", data.get("licence", "")),
        ("made to show", f"--strategy {zoo.SPREAD_BY[name]}" if name in zoo.SPREAD_BY else ""),
        ("made by", training.get("command", "")),
        *((f"file {file}", readable(about.bytes)) for file, about in card.files.items()),
    ]
    stdout().print(table(card.title, ("", ""), (row for row in rows if row[1])))


@app.command()
def get(name: Name, json: Json = False) -> None:
    """Make or copy a network that does not ship, and say where its file is."""
    from shoal.zoo.making import make

    path = make(name, stderr().print)
    if json:
        print_json({"name": name, "path": str(path)})
    else:
        stdout().print(str(path), soft_wrap=True)


def _facts(name: str) -> dict[str, Any]:
    from shoal import zoo

    if not zoo.is_ready(name):
        return {"name": name, "ready": False}
    card = zoo.card(name)
    return {
        "name": name,
        "ready": True,
        "title": card.title,
        "test_top1": card.test_top1,
        "bytes": sum(file.bytes for file in card.files.values()),
        "path": str(zoo.path(name)),
    }


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"
