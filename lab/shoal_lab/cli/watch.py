"""``shoal lab watch``: a lab that is up, live on the terminal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from shoal.cli.output import (
    Json,
    bar,
    print_json,
    print_json_line,
    stdout,
    table,
)
from shoal.plan.size import readable
from shoal_lab.cli.names import only_lab

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from shoal_lab.reporting import Report
    from shoal_lab.shape import Shape
    from shoal_lab.watching import HostNow, LinkNow, Snapshot

EVERY_S = 1.0


def watch(
    name: Annotated[str | None, typer.Argument(help="Which lab; without it: the only one.")] = None,
    once: Annotated[bool, typer.Option("--once", help="One look (a second), then end.")] = False,
    json: Json = False,
) -> None:
    """Watch a lab that is up: hosts, links, faults, energy (an estimate), and services with their
    queues and who runs which part. Ctrl-C ends it; it also ends with the lab.

    With --json: a line of JSON each second.
    """
    from rich.live import Live

    from shoal.errors import LabStateError
    from shoal_lab.watching import watch as look

    chosen = name or only_lab()
    _, before = look(chosen)
    if once:
        time.sleep(EVERY_S)
        snapshot, _ = look(chosen, before)
        if json:
            print_json(snapshot)
        else:
            stdout().print(view(snapshot))
        return
    console = stdout()
    live = Live(console=console, auto_refresh=False) if console.is_terminal and not json else None
    if live is not None:
        live.start()
    try:
        while True:
            time.sleep(EVERY_S)
            try:
                snapshot, before = look(chosen, before)
            except LabStateError:
                break  # it went down: the last picture stays
            if json:
                print_json_line(snapshot)
            elif live is not None:
                live.update(view(snapshot), refresh=True)
            else:
                console.print(view(snapshot))
    finally:
        if live is not None:
            live.stop()


def view(snapshot: Snapshot) -> Group:
    """A lab for people."""
    from rich.console import Group

    title = Text(f"lab {snapshot.name}", "bold")
    title.append(f"  up for {snapshot.up_for_s:.0f} s", "dim")
    if snapshot.loopback:
        title.append("  loopback: shares, links and disks are not emulated", "yellow")
    parts: list[Text | Table] = [title, hosts_table(snapshot)]
    if snapshot.links:
        parts.append(links_table(snapshot.links))
    parts += [service_table(report) for report in snapshot.services]
    return Group(*parts)


def hosts_table(snapshot: Snapshot) -> Table:
    """Load against the CPU share, memory, energy, faults."""
    return table(
        "hosts",
        ("host", "address", "CPU", "of share>", "memory>", "power>", "energy>", "faults"),
        (
            (
                host.name,
                host.address,
                Text(bar(host.load, 12), "blue") if host.load is not None else "",
                f"{100 * host.load:.0f} %" if host.load is not None else f"{host.cores:.2f} cores",
                _memory(host),
                "" if host.power_w is None else f"~{host.power_w:.1f} W",
                "" if host.energy_j is None else f"~{host.energy_j:.0f} J",
                Text(", ".join(host.faults), "bold red"),
            )
            for host in snapshot.hosts
        ),
    )


def links_table(links: tuple[LinkNow, ...]) -> Table:
    """What each link is now, and what it carries."""
    return table(
        "links",
        ("link", "by", "rate>", "delay>", "loss>", "up>", "down>", "faults"),
        (
            (
                link.name,
                link.way,
                _rates(link.up, link.down),
                f"{link.up.delay_ms:g} ms" if link.up.delay_ms else "",
                f"{100 * link.up.loss:g} %" if link.up.loss else "",
                f"{readable(link.up_bytes_per_s)}/s",
                f"{readable(link.down_bytes_per_s)}/s",
                Text(", ".join(link.faults), "bold red"),
            )
            for link in links
        ),
    )


def service_table(report: Report) -> Table:
    """A deployment: its queues, and who runs which part of the plan in use."""
    stats = report.stats
    title = (
        f"{report.strategy} of {report.network}, asked by {report.host}: plan {report.plan!r}, "
        f"{stats.images_per_s:.1f} images/s, p50 {stats.p50_ms:.0f} ms, {stats.pending} under way, "
        f"{stats.failed} failed"
    )
    return table(
        title,
        ("device", "state", "runs", "has>", "stages run>", "slowdown>"),
        (
            (
                name,
                Text(device.state, "green" if device.state == "alive" else "bold red"),
                _parts(report, name),
                device.outstanding,
                device.answered,
                f"{device.slowdown:.2f}",
            )
            for name, device in stats.devices.items()
        ),
    )


def _parts(report: Report, device: str) -> str:
    numbers = report.parts.get(device, ())
    if not numbers:
        return "standing by"
    return f"part {' and '.join(map(str, numbers))} of {report.stages}"


def _memory(host: HostNow) -> str:
    limit = host.memory_limit_bytes
    return readable(host.memory_bytes) + (f" of {readable(limit)}" if limit else "")


def _rates(up: Shape, down: Shape) -> str:
    rates = [f"{one.mbit:g}" if one.mbit is not None else "no limit" for one in (up, down)]
    words = rates[0] if rates[0] == rates[1] else " / ".join(rates)
    return words if words == "no limit" else f"{words} Mbit/s"
