"""``shoal train``: train networks with PyTorch (extra ``train``)."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from shoal.cli.output import Json, human_bytes, print_json, stderr, stdout, table

app = typer.Typer(add_completion=False, no_args_is_help=True)

TRAIN_PACKAGES = ("torch", "onnxscript")


@app.callback()
def train() -> None:
    """Train networks with PyTorch (extra train)."""


@app.command()
def classifier(
    data: Annotated[
        str, typer.Option(help="fashion-mnist, mnist or imagefolder:PATH.")
    ] = "fashion-mnist",
    model: Annotated[str, typer.Option(help="Which network.")] = "resnet",
    epochs: Annotated[int, typer.Option(min=1, help="How often to go over the images.")] = 15,
    seed: Annotated[int, typer.Option(help="Every random choice follows from it.")] = 7,
    patience: Annotated[
        int | None,
        typer.Option(min=1, help="Stop after so many epochs without a better validation."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; without it: all cores.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the results go.")] = Path(
        "results/classifier"
    ),
    json: Json = False,
) -> None:
    """Train a classifier and leave DIR/model.onnx, its card, its log and sample images.

    The same command goes on from where an interrupted one stopped. Data sets are looked for in
    the folder named by SHOAL_DATA, then in Shoal's cache, then downloaded.
    """
    from shoal.errors import MissingExtraError

    try:
        from shoal.train import datasets
        from shoal.train.classifier import train_classifier
        from shoal.train.loop import Settings
        from shoal.train.progress import Bar
    except ModuleNotFoundError as error:
        if error.name not in TRAIN_PACKAGES:
            raise
        raise MissingExtraError(
            f"training needs the package {error.name}: pip install 'shoal[train]'"
        ) from error
    console = stderr()
    settings = Settings(epochs=epochs, seed=seed, patience=patience)
    loaded = datasets.load(data, console.print)
    words = ["shoal", "train", "classifier", "--data", data, "--model", model]
    words += ["--epochs", str(epochs), "--seed", str(seed)]
    for name, value in (("--patience", patience), ("--threads", threads), ("--out", out)):
        words += [name, str(value)] if value is not None else []
    with Bar(console, epochs) as bar:
        card = train_classifier(
            loaded,
            model,
            settings,
            out,
            threads=threads,
            command=shlex.join(words),
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
                ("model.onnx", human_bytes(card["files"]["model.onnx"]["bytes"])),
            ),
        )
    )
