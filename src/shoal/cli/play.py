"""How the demo plays: one thing happens after the other, and each is watched for a while."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import msgspec

TICK_S = 0.05
PATIENCE_S = 10.0
"""How much longer a chapter may be for what is still awaited in it."""


class Chapter(msgspec.Struct, frozen=True):
    """A part of the story, on the monotonic clock: what happened at ``began_s`` was over at
    ``happened_s``."""

    title: str
    began_s: float
    happened_s: float
    ended_s: float = math.inf


def play(
    plot: Iterable[tuple[str, Callable[[], object]]],
    each_s: float,
    show: Callable[[str], None],
    awaited: Callable[[int, float], bool] = lambda number, happened_s: False,
) -> list[Chapter]:
    """Let each thing happen, and take ``each_s`` for it, or longer while something is ``awaited``
    in the chapter of this number. What goes on is shown every moment, under the chapter's title.
    """
    chapters: list[Chapter] = []
    with ThreadPoolExecutor(1) as stage:
        for number, (title, happen) in enumerate(plot):
            began_s = time.monotonic()
            happening = stage.submit(happen)
            while not happening.done():
                time.sleep(TICK_S)
                show(title)
            happening.result()
            happened_s, end_s = time.monotonic(), began_s + each_s
            while time.monotonic() < end_s or (
                awaited(number, happened_s) and time.monotonic() < end_s + PATIENCE_S
            ):
                time.sleep(TICK_S)
                show(title)
            chapters.append(Chapter(title, began_s, happened_s, time.monotonic()))
    return chapters
