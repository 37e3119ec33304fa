"""``shoal train``: train networks with PyTorch."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from shoal.cli.models import Fixed, Inputs, Model, load_network
from shoal.cli.output import Json, print_json, stderr, stdout, table
from shoal.plan.size import readable
from shoal_train.packages import packages

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", no_args_is_help=True)

Data: TypeAlias = Annotated[str, typer.Option(help="fashion-mnist, mnist or imagefolder:PATH.")]
Threads: TypeAlias = Annotated[
    int | None, typer.Option(min=1, help="CPU threads; without it: all cores.")
]
Patience: TypeAlias = Annotated[
    int | None, typer.Option(min=1, help="Stop after so many epochs without a better validation.")
]
Seed: TypeAlias = Annotated[int, typer.Option(help="Every random choice follows from it.")]
Epochs: TypeAlias = Annotated[int, typer.Option(min=1, help="How often to go over the images.")]
LearningRate: TypeAlias = Annotated[
    float, typer.Option(min=0.0, help="At the highest; lower where the weights grow.")
]
Out: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where the results go; without it: results/COMMAND."),
]


@app.callback()
def train() -> None:
    """Train networks with PyTorch."""


@app.command()
def classifier(
    context: typer.Context,
    data: Data = "fashion-mnist",
    model: Annotated[str, typer.Option(help="resnet, mobilenet, vgg, cnn or cnn-wide.")] = "resnet",
    epochs: Epochs = 15,
    seed: Seed = 7,
    patience: Patience = None,
    threads: Threads = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Train a classifier and leave DIR/model.onnx, its card, its log and sample images.

    The same command goes on from where an interrupted one stopped. Data sets are looked for in
    the folder named by SHOAL_DATA, then in Shoal's cache, then downloaded.
    """
    with packages():
        from shoal_train import datasets
        from shoal_train.classifier import train_classifier
        from shoal_train.loop import Settings
        from shoal_train.progress import Bar
    console = stderr()
    folder = out or _folder(context)
    settings = Settings(epochs=epochs, seed=seed, patience=patience)
    loaded = datasets.load(data, console.print)
    with _goes_on(console, folder), Bar(console, epochs) as bar:
        card = train_classifier(
            loaded,
            model,
            settings,
            folder,
            threads=threads,
            command=_command(context),
            watcher=bar,
            say=console.print,
        )
    if json:
        print_json(card)
        return
    accuracy = card["accuracy"]
    stdout().print(
        table(
            card["title"],
            ("what", "value>"),
            (
                ("test accuracy", f"{100 * accuracy['test_top1']:.2f} %"),
                ("test images", accuracy["test_images"]),
                ("validation accuracy", f"{100 * accuracy['validation_top1']:.2f} %"),
                ("best epoch", card["training"]["best_epoch"]),
                ("training", f"{card['training']['seconds']:.0f} s"),
                ("model.onnx", readable(card["files"]["model.onnx"]["bytes"])),
            ),
        )
    )


@app.command()
def fluid(
    context: typer.Context,
    data: Data = "fashion-mnist",
    model: Annotated[str, typer.Option(help="cnn, cnn-wide, resnet, or FILE.py:FUNCTION.")] = "cnn",
    groups: Annotated[
        str, typer.Option(help="Number of devices, or their relative widths: 4, 2:1:1.")
    ] = "2",
    kind: Annotated[
        str | None, typer.Option(help="A baseline instead: static, dynamic, slimmable.")
    ] = None,
    policy: Annotated[
        str, typer.Option(help="How the sub-networks take turns: joint, none, nested.")
    ] = "joint",
    epochs: Epochs = 10,
    seed: Seed = 7,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many legs without a better score.")
    ] = None,
    threads: Threads = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Train a network whose groups of channels work alone and together; leave DIR/model.fluid.

    Its card, log, curves and sample images lie beside it. The same command goes on from where an
    interrupted one stopped. CUDA is used where it is there.
    """
    with packages():
        from shoal_train import datasets
        from shoal_train.fluid.groups import KINDS
        from shoal_train.fluid.recipe import Recipe, prepare
        from shoal_train.fluid.report import table_rows
        from shoal_train.fluid.train import train_fluid
        from shoal_train.loop import Settings
        from shoal_train.progress import LegBar
    console = stderr()
    folder = out or _folder(context)
    recipe = Recipe(model, groups, kind or KINDS[0], policy)  # type: ignore[arg-type]  # checked below
    loaded = datasets.load(data, console.print)
    training = prepare(loaded, recipe, Settings(epochs=epochs, seed=seed, patience=patience))
    with _goes_on(console, folder), LegBar(console, len(training.legs)) as bar:
        card = train_fluid(
            training,
            folder,
            threads=threads,
            command=_command(context),
            watcher=bar,
            say=console.print,
        )
    if json:
        print_json(card)
        return
    stdout().print(
        table(
            f"{card['title']}: accuracy on {card['accuracy']['test_images']} test images",
            ("groups", "width>", "together>", "apart (logits added)>"),
            table_rows(card),
        )
    )


@app.command()
def exits(
    model: Model,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="OUT.onnx", help="Where it goes, with exits.")
    ],
    data: Annotated[
        str, typer.Option(help="fashion-mnist, mnist, imagefolder:PATH or images:FOLDER.")
    ],
    at: Annotated[str, typer.Option(help="Cuts of 'shoal inspect' (3,8), or auto.")] = "auto",
    target_drop: Annotated[
        float, typer.Option(min=0.0, max=100.0, help="Points of accuracy that may be lost.")
    ] = 0.5,
    cells: Annotated[
        int, typer.Option(min=1, max=16, help="Averages along each side; 1: of the whole.")
    ] = 4,
    criterion: Annotated[
        str, typer.Option(help="softmax, margin, entropy or agreement.")
    ] = "softmax",
    joint: Annotated[
        bool, typer.Option("--joint/--heads-only", help="Train the network itself as well.")
    ] = False,
    bottleneck: Annotated[
        str | None,
        typer.Option(metavar="N|auto", help="Channels that are left where exits stand."),
    ] = None,
    learning_rate: LearningRate = 0.001,
    epochs: Epochs = 12,
    images: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Learn from so many at most.")
    ] = 20_000,
    plot: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Draw how right exits are when how sure.")
    ] = None,
    inputs: Inputs = None,
    fixed: Fixed = None,
    seed: Seed = 7,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Give a trained network early exits, and write it as one ONNX file that tells of them.

    The network stays as it is, but with --joint or --bottleneck. Each exit learns its answers, and
    the labels where there are some.
    """
    with packages():
        from shoal_train.exits.job import Job, run, summary
        from shoal_train.exits.report import crossing_rows, draw, drop_rows, exit_rows
        from shoal_train.progress import Doing
    network = load_network(model, inputs, fixed)
    job = Job(
        network,
        out,
        data,
        at,
        cells,
        epochs,
        images,
        criterion,
        target_drop,
        seed,
        threads,
        joint=joint,
        bottleneck=bottleneck,
        learning_rate=learning_rate,
    )
    with Doing(stderr()) as bar:
        trained = run(job, bar.tell)
    found = summary(trained, target_drop)
    drawn = None if plot is None else draw(trained.judged, plot)
    if json:
        print_json({**found, "file": out, "plot": drawn})
        return
    console = stdout()
    names = ("cut>", "after", "time>", "temperature>", "accuracy>")
    console.print(table(f"{network.name} with exits", names, exit_rows(found)))
    if bottleneck is not None:
        names = ("cut>", "channels before>", "after>", "bytes before>", "after>")
        console.print(table("what crosses for an image", names, crossing_rows(found)))
    leaving = [f"exit {number + 1}>" for number in range(len(found["exits"]))]
    heading = ("points lost>", "accuracy>", "at least>", *leaving, "end>", "time>")
    console.print(table("where images leave", heading, drop_rows(found)))
    console.print(
        f"Held against {trained.exits.truth} on {found['images']['judged']} images; thresholds "
        f"from {found['images']['table']} others. 'at least' is sure to 95 %."
    )
    if joint or bottleneck is not None:
        before, after = (f"{100 * found[when]:.2f} %" for when in ("before", "accuracy"))
        console.print(f"Of these the network answered {before} rightly before, now {after}.")
    for path in filter(None, (out, drawn)):
        console.print(f"wrote {path}", soft_wrap=True)


@app.command()
def failout(
    context: typer.Context,
    model: Model,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="OUT.onnx", help="Where the new one goes.")
    ],
    data: Annotated[
        str, typer.Option(help="fashion-mnist, mnist, imagefolder:PATH or images:FOLDER.")
    ],
    cluster: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The devices that share it (YAML).")
    ] = None,
    devices: Annotated[
        int | None, typer.Option(min=2, max=64, help="So many equal devices, instead.")
    ] = None,
    survive: Annotated[int, typer.Option(min=1, help="How many may be lost together.")] = 1,
    rho: Annotated[float, typer.Option(help="The share of each layer that all hold.")] = 0.25,
    deal: Annotated[str, typer.Option(help="What is dealt: all that can be, or inner.")] = "all",
    epochs: Epochs = 3,
    learning_rate: LearningRate = 0.003,
    seed: Seed = 7,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Train a network on to bear the loss of devices that share its layers (strategy shards).

    The graph stays (in normal form, batch norm folded), weights change. It learns the answers that
    it gave before, and the labels, with channels missing as they will be.
    """
    with packages():
        from shoal_train.failout.job import Job, checked, run, table_rows
        from shoal_train.progress import Bar
    network = load_network(model)
    job = Job(network, out, data, survive, rho, deal, epochs, learning_rate, seed, threads)
    ready = checked(job, cluster, devices)
    console = stderr()
    with Bar(console, epochs) as bar:
        found = run(job, ready, bar, console.print)
    found["command"] = _command(context)
    if json:
        print_json(found)
        return
    title = f"{found['counted']}, {found['images']} images held out"
    stdout().print(table(title, ("devices lost", "before>", "after>"), table_rows(found)))


@app.command()
def runs(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Finished trainings.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where they are written.")] = Path(
        "runs.json"
    ),
) -> None:
    """Gather what fluid trainings and their baselines gave in one file, for 'shoal bench fluid'."""
    with packages():
        from shoal_train.fluid.runs import gather
    count = gather(folders, out)
    stdout().print(f"{count} trainings in {out}", soft_wrap=True)


@contextmanager
def _goes_on(console: Console, out: Path) -> Iterator[None]:
    """Say what becomes of a training that is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        from shoal.cache import is_file
        from shoal_train.checkpoint import FILE

        if is_file(out / FILE):
            console.print(f"stopped; the same command goes on from {out / FILE}", soft_wrap=True)
        raise


def _folder(context: typer.Context) -> Path:
    """Where the results of a command go that is not told where."""
    return Path("results", context.info_name or "")


def _command(context: typer.Context) -> str:
    """The command line with all that was set, as it is noted in a card."""
    words = ["shoal", "train", context.info_name or ""]
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if value is not None and not isinstance(value, bool):
            words += [parameter.opts[0], str(value)]
    return shlex.join(words)
