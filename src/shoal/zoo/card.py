"""What is known about a network of the zoo."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoal.errors import DataError

MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class File:
    """Size and content hash of a file of an entry."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Card:
    """A network of the zoo: how to feed it, what it answers, how good it is, how it was made."""

    name: str
    title: str
    input_name: str
    input_shape: tuple[int | None, ...]
    """``None`` is the batch, which is free."""
    output_name: str
    classes: tuple[str, ...]
    """Their names, or their numbers where names are not at hand."""
    test_top1: float | None
    """Share of right answers on the test images of its data set, 0 to 1, if it was measured."""
    files: Mapping[str, File]
    facts: Mapping[str, Any]
    """The whole of ``card.json``: data set, licence, command, seed, versions."""


def read_card(name: str, path: Path) -> Card:
    """Read ``card.json``; raises ``DataError`` if it is missing or damaged."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise DataError(f"{path} is larger than {MAX_BYTES} bytes: not a card")
        facts = json.loads(content)
        network = facts["network"]
        return Card(
            name=name,
            title=str(facts["title"]),
            input_name=str(network["input"]["name"]),
            input_shape=tuple(network["input"]["shape"]),
            output_name=str(network["output"]["name"]),
            classes=tuple(facts["classes"]),
            test_top1=facts.get("accuracy", {}).get("test_top1"),
            files={
                file: File(int(about["bytes"]), str(about["sha256"]))
                for file, about in facts["files"].items()
            },
            facts=facts,
        )
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged: {error!r}; install or make it again") from error
