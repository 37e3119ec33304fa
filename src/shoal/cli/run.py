"""``shoal run``: answer images by a playbook on a cluster."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shoal.cli.answers import Tally, answers_table, stats_table
from shoal.cli.asking import Asking, End
from shoal.cli.inputs import Cases, from_arrays, from_images, from_samples
from shoal.cli.output import Json, print_json_line, show_log, stderr, stdout
from shoal.cli.stops import whole
from shoal.cli.telling import Stories
from shoal.errors import ShoalError, StoreError, UsageError

if TYPE_CHECKING:
    from shoal.plan.cluster import Cluster
    from shoal.plan.plan import Playbook
    from shoal.runtime.service import Service

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def run(
    playbook: Annotated[Path, typer.Argument(metavar="PLAYBOOK", help="From 'shoal plan -o'.")],
    cluster: Annotated[Path, typer.Option(metavar="FILE", help="The cluster file (YAML).")],
    samples: Annotated[
        str | None, typer.Option(metavar="NAME", help="The sample images of a zoo network.")
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="A photo or a folder of them, for networks of bytes, or with a file beside the "
            "model that says how a photo becomes an input; --input for others.",
        ),
    ] = None,
    input: Annotated[
        list[Path] | None,
        typer.Option(
            "--input",
            metavar="FILE",
            help="Arrays, .npy or .npz; the first axis counts images, of each input as many.",
        ),
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="How many at most; --samples are repeated as needed.")
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            min=1, help="Requests under way at once; without it: enough to keep all devices busy."
        ),
    ] = None,
    together: Annotated[
        int,
        typer.Option(
            min=1,
            help="Images in a request: more may be answered per second, and each one later "
            "(docs/operations.md).",
        ),
    ] = 1,
    deadline_ms: Annotated[
        float, typer.Option(min=1, help="How long a request may take.")
    ] = 10_000.0,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Write outputs as .npz (how they lie in it: docs/operations.md).",
        ),
    ] = None,
    stories: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Tell what happened to N requests: the first that failed, then the slowest.",
        ),
    ] = 0,
    record: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Record all that the gateway does, for 'shoal replay'."),
    ] = None,
    json: Json = False,
) -> None:
    """Answer images on a cluster, in order, and say how each answer came about.

    A request that fails is shown with its reason, the others go on; the exit code is that of the
    first failure. When nobody has served as many in a row as are under way at once, no more are
    sent. With --json: one line for each request ("error" where it failed), and a last line with the
    service's statistics (and the stories). After Ctrl-C, too, all that was answered is told and
    written.
    """
    from shoal.model.store import check_file
    from shoal.plan.cluster import Cluster
    from shoal.plan.playbook import load
    from shoal.runtime.deploy import deploy
    from shoal.runtime.service import MAX_WINDOW, busy_window
    from shoal.runtime.together import check_together

    show_log()
    if out is not None:
        check_file(out)
    loaded = load(playbook)
    check_together(together, loaded)
    cases = _cases(loaded, samples, images or [], input or [], count)
    devices = Cluster.load(cluster)
    _say_missing(loaded, devices)
    with stderr().status("waiting for the devices ..."):
        service = deploy(loaded, devices, deadline_ms=deadline_ms, record=record)
    width = min(window or busy_window(loaded, together), MAX_WINDOW)
    _serve(service, cases, width, together, out, json, stories)


def _serve(
    service: Service,
    cases: Cases,
    width: int,
    together: int,
    out: Path | None,
    json: bool,
    most_stories: int,
) -> None:
    """Ask for the cases and tell what came of it. Whatever ends it (a failure, Ctrl-C), what was
    answered by then is written and told before that is raised."""
    from shoal.cli.outfile import Outfile
    from shoal.cli.progress import RunProgress

    book = service.playbook
    tally = Tally(cases.count, book.outputs[0].name, cases.classes)
    outfile = None if out is None else Outfile(book.outputs)
    traced = json or most_stories > 0  # else nobody is told how long they waited
    asking = Asking(service, cases, width, together, traced)
    stories = Stories(service, most_stories)
    stopped: BaseException | None = None

    def tell(end: End) -> None:
        if outfile is not None and not isinstance(end.outcome, ShoalError):
            outfile.add(end.number, end.outcome.outputs)
        stories.take(end)
        facts = tally.take(end)
        if json and not isinstance(stopped, BrokenPipeError):
            print_json_line(facts)

    with service:
        try:
            with RunProgress(service, cases.count, json), closing(asking.ends()) as ends:
                for end in ends:
                    with whole():  # else an answer is counted that was not told
                        tell(end)
        except BaseException as stop:
            stopped = stop
        for end in asking.rest():
            if end.number >= tally.told:
                with whole():
                    tell(end)
        stats = service.stats()
    try:
        if out is not None and outfile is not None:
            outfile.write(out)
    except StoreError as error:
        stopped = error
    if isinstance(stopped, BrokenPipeError):
        raise stopped
    if json:
        summary = {"summary": stats, "right": tally.right, "labelled": tally.labelled}
        summary |= {"failed": tally.failed, "reasons": tally.reasons, "left": tally.left}
        summary |= {"stories": stories.told} if most_stories else {}
        print_json_line(summary)
    else:
        stdout().print(answers_table(tally))
        stdout().print(stats_table(stats, tally, width, together))
        for story in stories.told:
            stdout().print(str(story), soft_wrap=True)
    failure = stopped or tally.first_failure
    if failure is not None:
        raise failure


def _cases(
    playbook: Playbook,
    samples: str | None,
    images: list[Path],
    arrays: list[Path],
    count: int | None,
) -> Cases:
    given = [bool(samples), bool(images), bool(arrays)]
    if sum(given) != 1:
        raise UsageError(
            "say what to answer with one of --samples NAME, --images PATH or --input FILE"
        )
    if samples:
        return from_samples(samples, playbook, count)
    if images:
        return from_images(images, playbook, count)
    return from_arrays(arrays, playbook, count)


def _say_missing(playbook: Playbook, cluster: Cluster) -> None:
    """Say at once whom the deployment has to wait for."""
    from shoal.mesh.address import dial, parse_address

    missing = [
        device.name
        for device in cluster.devices
        if device.name in playbook.devices
        and device.address
        and dial(parse_address(device.address))
    ]
    if missing:
        stderr().print(
            f"waiting up to {cluster.wait_s:g} s for {', '.join(missing)} ...", soft_wrap=True
        )
