"""Minutes of chaos: what ``shoal lab chaos`` plays, as rows."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from shoal_benchmarks.measure import samples
from shoal_benchmarks.row import Row, row
from shoal_lab.chaos import Story, play, scene
from shoal_lab.machine import look

MINUTES, QUICK_MINUTES = 10.0, 1.0
SEED = 7


def rows(quick: bool) -> Iterator[Row]:
    """The counts, and how long no answer came."""
    minutes = QUICK_MINUTES if quick else MINUTES
    played = scene(None, 60 * minutes, SEED, look())
    story = play(played, on_warning=lambda text: print(f"warning: {text}", file=sys.stderr))
    yield from rows_of(story, f"{minutes:g} minutes of chaos, seed {SEED}")


def rows_of(story: Story, what: str) -> Iterator[Row]:
    """A story as rows."""
    found = story.totals
    yield row(f"{what}: faults", len(story.effects), "faults")
    hits = sum(effect.hit for effect in story.effects)
    yield row(f"{what}: faults that took away a device at work", hits, "faults")
    yield row(f"{what}: requests", found.asked, "requests")
    yield row(f"{what}: lost", found.lost, "requests", "= 0")
    yield row(f"{what}: answered twice", found.twice, "requests", "= 0")
    yield row(f"{what}: wrong", found.wrong, "requests", "= 0")
    yield row(f"{what}: answers", found.images_per_s, "images/s")
    yield row(f"{what}: usual time of an answer", found.usual_ms, "ms")
    yield row(f"{what}: slowest answer", found.slowest_ms, "ms")
    if story.effects:
        silence = samples([effect.silence_ms for effect in story.effects])
        yield row(f"{what}: longest silence after a fault", silence, "ms")
    back = [effect.back_s for effect in story.effects if effect.back_s is not None]
    if back:
        yield row(f"{what}: at work again after", samples(back), "s")
