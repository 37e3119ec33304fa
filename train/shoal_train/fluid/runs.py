"""Finished trainings gathered in one file, for ``shoal bench fluid``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from shoal.errors import DataError, StoreError

MAX_CARD_BYTES = 1 << 20


def gather(folders: Iterable[Path], path: Path) -> int:
    """Write what the trainings in ``folders`` gave to ``path``; returns how many there are.

    Raises ``DataError`` for a folder that does not hold a fluid training or a baseline of one.
    """
    found = [as_run(_card(folder)) for folder in folders]
    found.sort(key=lambda run: (run["data"], run["owners"], run["kind"], run["seed"]))
    lines = ",\n".join(json.dumps(run) for run in found)
    try:
        path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
    return len(found)


def as_run(card: Mapping[str, Any]) -> dict[str, Any]:
    """What a card says of its training, in short."""
    fluid, training = card["fluid"], card["training"]
    subs = fluid["sub_networks"]
    return {
        "data": card["data"]["name"],
        "kind": fluid["kind"],
        "model": card["network"]["model"],
        "owners": len(fluid["owners"]),
        "epochs": training["epochs"],
        "seed": training["seed"],
        "images": card["accuracy"]["test_images"],
        "accuracy": {name: about["test_top1"] for name, about in subs.items()},
        "apart": {
            name: about["apart_test_top1"]
            for name, about in subs.items()
            if "apart_test_top1" in about
        },
        "command": training["command"],
    }


def _card(folder: Path) -> dict[str, Any]:
    path = folder / "card.json"
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CARD_BYTES + 1)
        if len(content) > MAX_CARD_BYTES:
            raise DataError(f"{path} is larger than {MAX_CARD_BYTES} bytes: not a card")
        card: dict[str, Any] = json.loads(content)
        as_run(card)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not the card of a training with groups: run shoal train fluid there"
        ) from error
    return card
