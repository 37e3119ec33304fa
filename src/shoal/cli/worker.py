"""``shoal worker``: make this machine a device of a cluster."""

from __future__ import annotations

import ipaddress
import socket
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shoal.cli.output import show_log, stderr
from shoal.cli.wish import size_of

if TYPE_CHECKING:
    from shoal.mesh.link import Link
    from shoal.runtime.worker import WorkerOptions

ANYWHERE = "tcp/0.0.0.0:7447"

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def worker(
    name: Annotated[
        str | None, typer.Option(help="Name on the mesh; without it: this host's name.")
    ] = None,
    cluster: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Take the settings of this name from a cluster file."),
    ] = None,
    listen: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help=f"Where to be found; without it: {ANYWHERE}."),
    ] = None,
    connect: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="A node to find the others by (behind a NAT)."),
    ] = None,
    data_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Where requests and parts are taken; without it: the port of --listen plus 1, "
            "or any free one where that is taken (0: any free one).",
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the engine; without it: 1.")
    ] = None,
    provider: Annotated[
        str | None, typer.Option(help="Execution provider of ONNX Runtime.")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Limit for loaded parts and what they run, such as 900MiB."
        ),
    ] = None,
    store: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where parts are kept on disk.")
    ] = None,
    store_limit: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Limit for the parts on disk, such as 2GiB (0: none); without it: 8GiB. What was "
            "not used for the longest time is dropped beyond it.",
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Record all that this worker does, for 'shoal replay' (docs/operations.md).",
        ),
    ] = None,
) -> None:
    """Join the mesh and run the parts that a gateway gives out, until Ctrl-C or SIGTERM.

    Then what is under way is finished and nothing new is taken. A second signal stops at once.
    """
    from shoal.runtime.worker import run_worker

    show_log()
    options = gather(
        name,
        cluster,
        listen or [],
        connect or [],
        threads,
        provider,
        memory,
        store,
        store_limit,
        data_port,
        record,
    )
    # An address of IPv6 is in brackets, which are no markup.
    say = partial(stderr().print, soft_wrap=True, markup=False)

    def on_ready(link: Link) -> None:
        where = f"on {', '.join(options.listen)}" if options.listen else "without an address"
        say(f"{link.name} is ready {where}, {options.threads} thread(s)")

    def on_contact(peers: list[str]) -> None:
        called = ", ".join(options.connect)
        if peers:
            say(f"in touch with {', '.join(peers)}")
        elif options.connect:
            say(f"no peer has answered yet at {called}; trying on")

    run_worker(options, on_ready, on_contact)


def gather(
    name: str | None,
    cluster: Path | None,
    listen: list[str],
    connect: list[str],
    threads: int | None,
    provider: str | None,
    memory: str | None,
    store: Path | None,
    store_limit: str | None,
    data_port: int | None = None,
    record: Path | None = None,
) -> WorkerOptions:
    """The settings of a worker: those given, else the cluster file's, else the defaults.

    Raises ClusterError for a wrong file or a name that is not in it, UsageError for a wrong size.
    """
    from msgspec.structs import replace

    from shoal.plan.cluster import Cluster, Device
    from shoal.runtime.worker import WorkerOptions

    name = name or socket.gethostname().partition(".")[0]
    device, lease_ms, known = Device(name=name), None, {}
    if cluster is not None:
        loaded = Cluster.load(cluster)
        device, lease_ms, known = loaded.node(name), loaded.lease_ms, loaded.known()
        data_port = loaded.data_port(name) if data_port is None else data_port
        if not listen and device.address:
            listen = [to_listen_on(device.address)]
        if not connect and not device.address and loaded.gateway.address:
            connect = [loaded.gateway.address]
    if not listen and not connect:
        listen = [ANYWHERE]
    options = WorkerOptions(
        name=name,
        listen=tuple(listen),
        connect=tuple(connect),
        data_port=data_port,
        known=known,
        threads=threads or device.threads,
        provider=provider or device.provider,
        memory_limit=int(device.memory if memory is None else size_of("--memory", memory)),
        store=None if store is None else str(store),
        record=None if record is None else str(record),
    )
    if store_limit is not None:
        options = replace(options, store_limit=size_of("--store-limit", store_limit))
    return options if lease_ms is None else replace(options, lease_ms=lease_ms)


def to_listen_on(address: str) -> str:
    """Where a device listens that others reach at ``address``: there if it is a number, else at
    its port on all interfaces, as its own name often means the loopback on the device itself."""
    from shoal.plan.cluster_check import normal_address

    scheme, _, place = (normal_address(address) or address).partition("/")
    host, _, port = place.rpartition(":")
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return f"{scheme}/0.0.0.0:{port}"
    return f"{scheme}/{place}"
