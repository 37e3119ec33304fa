"""``shoal demo``: a network spread over four processes, one of which is killed on the way."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from shoal.cli.output import Json, print_json, show_log, stderr, stdout

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from shoal.cli.play import Chapter, View
    from shoal.observe.load_generator import LoadGenerator
    from shoal.plan.plan import Playbook
    from shoal.runtime.local import LocalCluster

NETWORK = "fashion-resnet"
HALVES = "mnist-fluid"
"""The network of the second act."""
EXITS = "fashion-exits"
"""That of the last one."""
SHARE, DEALT_SHARE = 0.6, 0.3
"""Of the time for the first act, for the second and the third one."""
LAST = 50
"""Answers that are looked at to see who takes part."""

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def demo(
    workers: Annotated[int, typer.Option(min=2, max=16, help="Processes to spread it over.")] = 4,
    seconds: Annotated[float, typer.Option(min=3, help="How long to serve.")] = 21.0,
    json: Json = False,
) -> None:
    """Spread a trained network over worker processes, answer real images, kill a worker on the
    way, and show what became of the requests. Then the same with a network whose halves also
    answer alone, with one whose layers are shared, and with one whose answers leave early.
    """
    import shoal
    from shoal import zoo
    from shoal.cli import burst, dealt, together
    from shoal.cli.play import View
    from shoal.cli.story import commands, devices_table, outcome, outcome_text, words
    from shoal.observe.load_generator import LoadGenerator, answers_of

    show_log()
    console = stderr() if json else stdout()
    samples = zoo.samples(NETWORK)
    network = shoal.load(zoo.path(NETWORK), name=NETWORK)
    _step(console, 1, f"Starting {workers} workers, each a process of its own, without PyTorch.")
    with shoal.local_cluster(workers) as cluster:
        _step(
            console,
            2,
            f"Spreading {NETWORK} ({len(network.nodes)} nodes, {len(network.cuts)} "
            "places to cut) over them.",
        )
        playbook = shoal.plan(network, cluster, zoo.SPREAD_BY[NETWORK], stages=workers)
        cases = list(samples.feeds())
        expected = answers_of(network, cases)
        victim = _victim(playbook)
        with (
            shoal.deploy(playbook, cluster) as service,
            LoadGenerator(service, cases, expected, window=2 * workers) as load,
        ):
            _step(
                console,
                3,
                f"Answering {len(cases)} test images over and over; {victim} will be "
                "killed without warning, and come back.",
            )
            labels = samples.labels.tolist()
            view = View(
                console,
                [load],
                lambda recent: words(recent, labels, len(load.lost)),
                lambda recent: devices_table(service, cluster, recent),
            )
            with view.live or nullcontext():
                chapters = _serve(load, cluster, victim, seconds, view)
    found = outcome(load, chapters, labels, victim)
    found |= {"network": NETWORK, "workers": workers}
    found["commands"] = commands(cluster, playbook, NETWORK, victim)
    if not json:
        console.print(outcome_text(found), crop=False)
    console.print()
    _step(
        console,
        4,
        f"{HALVES}: {together.WORKERS} workers with half of the channels each. "
        "Together they are more accurate, each for itself they answer more.",
    )
    found["together"] = together.act(
        console,
        zoo.path(HALVES),
        zoo.samples(HALVES),
        zoo.SPREAD_BY[HALVES],
        seconds * SHARE,
    )
    if not json:
        console.print(together.act_text(found["together"]))
    console.print()
    _step(
        console,
        5,
        f"{NETWORK}: {dealt.WORKERS} workers share each layer, and one is killed in the middle: "
        "the others go on without its channels.",
    )
    found["dealt"] = dealt.act(
        console, zoo.path(NETWORK), samples, zoo.DEALT_BY[NETWORK], seconds * DEALT_SHARE
    )
    if not json:
        console.print(dealt.act_text(found["dealt"]))
    console.print()
    _step(
        console,
        6,
        f"{EXITS}: {burst.BOARDS} slow boards hand on its tasks, and are asked three times what "
        f"they can do, {burst.EACH_S * len(burst.LOADS):g} s in virtual time.",
    )
    found["burst"] = burst.act(zoo.path(EXITS), zoo.SPREAD_BY[EXITS])
    if not json:
        console.print(burst.act_text(found["burst"]))
    if json:
        print_json(found)


def _step(console: Console, number: int, text: str) -> None:
    console.print(Text.assemble((str(number), "bold"), f" {text}"))


def _victim(playbook: Playbook) -> str:
    """A worker in the middle of the first plan."""
    stages = playbook.plans[0].stages
    return next(iter(stages[len(stages) // 2].parts))


def _serve(
    load: LoadGenerator, cluster: LocalCluster, victim: str, seconds: float, view: View
) -> list[Chapter]:
    """Serve in three chapters of equal length: all are well, one is gone, it is back."""
    from shoal.cli.play import play

    worker = cluster.processes[victim]
    plot: list[tuple[str, Callable[[], object]]] = [
        ("everybody is well", lambda: None),
        (f"{victim} was killed (SIGKILL)", worker.kill),
        (f"{victim} is back", worker.restart),
    ]

    def awaited(number: int, happened_s: float) -> bool:
        """What was asked in this chapter is not answered, in the last one by the worker that came
        back, too."""
        last = number == len(plot) - 1
        return not any(
            record.asked_s >= happened_s and (victim in record.devices or not last)
            for record in load.records[-LAST:]
        )

    return play(plot, seconds / len(plot), view.show, awaited)
