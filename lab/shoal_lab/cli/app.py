"""``shoal lab``: unequal devices, slow links and faults on this one machine."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from shoal.cli.output import Json, print_json, stderr, stdout, table
from shoal_lab.cli.chaos import chaos
from shoal_lab.cli.names import only_lab
from shoal_lab.cli.watch import watch

if TYPE_CHECKING:
    from rich.table import Table

    from shoal_lab.player import Happening
    from shoal_lab.reading import Reading
    from shoal_lab.spec import LabSpec

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", no_args_is_help=True)

File = Annotated[Path, typer.Argument(metavar="LAB.YAML", help="The lab file.")]
Loopback = Annotated[
    bool, typer.Option("--loopback", help="Plain processes; emulate no device and no link.")
]
Logs = Annotated[
    Path | None, typer.Option("--logs", metavar="DIR", help="Keep what the hosts print here.")
]
Command = Annotated[list[str], typer.Argument(metavar="-- COMMAND", help="What to run.")]
LOOK_S = 0.5
"""How often 'run' looks whether lines of the lab file's 'run' failed."""
INSIDE = {"allow_extra_args": False, "ignore_unknown_options": True}


@app.callback()
def lab() -> None:
    """Unequal devices, slow links and faults on this one machine."""
    import logging

    # Commands print a lab's warnings themselves.
    logging.getLogger("shoal_lab").addHandler(logging.NullHandler())


@app.command()
def up(file: File, loopback: Loopback = False, logs: Logs = None, json: Json = False) -> None:
    """Bring a lab up and return. Its faults begin now; 'shoal lab down' takes it down."""
    from shoal_lab import keeper, state
    from shoal_lab.file import load_lab

    spec = load_lab(file)
    report = keeper.up(
        keeper.Order(
            spec=spec,
            folder=str(file.parent.absolute()),
            loopback=loopback,
            logs=str(logs.absolute()) if logs else None,
        )
    )
    _warn(report.warnings)
    if json:
        print_json(state.read(spec.name))
    else:
        _show(spec.name)
        stderr().print(f"up in {report.up_s:.2f} s", style="dim")


@app.command()
def down(
    name: Annotated[str | None, typer.Argument(help="Which lab; without it: the only one.")] = None,
) -> None:
    """Take a lab down: nothing of it stays."""
    from shoal_lab import keeper

    keeper.down(name or only_lab())


@app.command(context_settings=INSIDE)
def run(
    file: File,
    words: Command,
    on: Annotated[
        str | None, typer.Option("--on", metavar="HOST", help="Where; default: the first host.")
    ] = None,
    loopback: Loopback = False,
    logs: Logs = None,
) -> None:
    """Bring a lab up, run COMMAND on one of its hosts, take the lab down.

    Exits with COMMAND's exit code. The faults of the lab file begin with COMMAND.
    """
    import signal

    from shoal_lab.file import load_lab
    from shoal_lab.lab import Lab

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    spec = load_lab(file)
    made = Lab(spec, loopback=loopback, logs=logs, folder=file.parent)
    with made:
        _warn(made.warnings)
        host = made.host(on or next(iter(spec.hosts)))
        # Our own terminal and process group: Ctrl-C is for COMMAND too.
        process = host.spawn(words, stdin=None, stdout=None, stderr=None, start_new_session=False)
        made.play(say=_tell)
        code = None
        while code is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(LOOK_S)
            _warn(failed.text for failed in made.failed_lines())
    raise typer.Exit(code if code >= 0 else 128 - code)


@app.command("exec", context_settings=INSIDE)
def execute(
    host: Annotated[str, typer.Argument(help="Which host.")],
    words: Command,
    name: Annotated[
        str | None, typer.Option("--lab", metavar="NAME", help="Which lab; default: the only one.")
    ] = None,
) -> None:
    """Run COMMAND on a host of a lab that is up, with its share, memory and links."""
    from shoal_lab.attach import enter

    made = enter(name or only_lab(), host, words)
    try:
        code = subprocess.run(made.argv, env=made.environment, check=False).returncode
    except OSError as error:
        stderr().print(f"cannot run {words[0]}: {error.strerror}", style="red")
        code = 127
    raise typer.Exit(code if code >= 0 else 128 - code)


@app.command()
def status(json: Json = False) -> None:
    """List the labs that are up, and those that a dead program left behind."""
    from shoal_lab import conditions, state

    labs = state.labs()
    if json:
        print_json(labs)
        return
    if not labs:
        stderr().print("no lab is up", style="dim")
    for found in labs:
        _show(found.spec.name)
        hosts = conditions.read(state.lab_folder(found.name)).hosts
        _warn(failed.text for host in hosts.values() for failed in host.failed)
        if not found.alive:
            stderr().print(
                f"its program is gone: 'shoal lab down {found.name}' or the next 'up' cleans up",
                style="yellow",
            )


@app.command()
def check(
    file: Annotated[
        Path | None, typer.Argument(metavar="[LAB.YAML]", help="A lab; without it: this machine.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer rates, delays and shares (a minute).")
    ] = False,
    json: Json = False,
) -> None:
    """Measure rates, delays and CPU shares independently and hold them against what was asked.

    Exits with 1 if one is off by more than promised.
    """
    from shoal_lab.check import check_lab, check_machine
    from shoal_lab.file import load_lab
    from shoal_lab.lab import Lab

    progress = stderr()
    readings: list[Reading] = []

    def measure(found: Iterable[Reading]) -> None:
        with progress.status("measuring ..."):
            for reading in found:
                readings.append(reading)
                progress.print(f"  {reading.what}: {reading.got:.2f} {reading.unit}", style="dim")

    if file is None:
        measure(check_machine(quick))
    else:
        with Lab(load_lab(file), folder=file.parent) as made:
            _warn(made.warnings)
            measure(check_lab(made))
    if json:
        print_json([{**_plain(reading), "met": reading.met} for reading in readings])
    else:
        stdout().print(_readings(readings))
    raise typer.Exit(0 if all(reading.met for reading in readings) else 1)


app.command()(chaos)
app.command()(watch)


def _plain(reading: Reading) -> dict[str, object]:
    import msgspec

    made: dict[str, object] = msgspec.structs.asdict(reading)
    return made


def _readings(readings: list[Reading]) -> Table:
    return table(
        "shoal lab check",
        ("what", "by", "asked>", "got>", "low to high>", "unit", "allowed>", "met", "note"),
        (
            (
                one.what,
                one.way,
                f"{one.asked:g}",
                f"{one.got:.2f}",
                f"{one.low:.2f} to {one.high:.2f}" if one.low != one.high else "",
                one.unit,
                f"± {one.within:.2g}",
                "yes" if one.met else "NO",
                one.note,
            )
            for one in readings
        ),
    )


def _show(name: str) -> None:
    """The hosts and links of a lab that is up."""
    from shoal_lab import state
    from shoal_lab.assembly import loopback_addresses
    from shoal_lab.network import network

    found = state.read(name)
    spec = found.spec
    net = network(spec)
    addresses = loopback_addresses(spec) if found.loopback else net.addresses
    stdout().print(
        table(
            f"lab {name}" + (" (loopback)" if found.loopback else ""),
            ("host", "address", "preset", "CPU share>", "cores>", "memory>"),
            (
                (
                    host,
                    addresses[host],
                    made.preset or "",
                    "" if found.loopback else f"{100 * made.core_share / spec.core:g} %",
                    made.cores,
                    f"{made.memory_limit_mb} MiB"
                    if made.memory_limit_mb and not found.loopback
                    else "",
                )
                for host, made in spec.hosts.items()
            ),
        )
    )
    if not found.loopback:
        stdout().print(_links(spec, found.ways))


def _links(spec: LabSpec, ways: dict[str, str]) -> Table:
    from shoal_lab.network import network

    def rate(mbit: float | None) -> str:
        return "" if mbit is None else f"{mbit:g} Mbit/s"

    return table(
        "links",
        ("link", "up>", "down>", "delay>", "loss>", "trace", "by"),
        (
            (
                wire.name,
                *(rate(mbit) for mbit in wire.link.rates_mbit),
                f"{wire.link.delay_ms:g} ms" if wire.link.delay_ms else "",
                f"{100 * wire.link.loss:g} %" if wire.link.loss else "",
                wire.link.trace or "",
                ways.get(wire.name, ""),
            )
            for wire in network(spec).wires
        ),
    )


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        stderr().print(Text(f"warning: {warning}", "yellow"), soft_wrap=True)


def _tell(happening: Happening) -> None:
    failed = f" failed: {happening.error}" if happening.error else ""
    print(f"[{happening.at_s:7.2f} s] {happening.text}{failed}", file=sys.stderr, flush=True)
