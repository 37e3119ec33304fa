"""What ``split`` shows of why it chooses which plan: tables, a picture, and the data of both."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from shoal.plan.plan import Playbook
from shoal.plan.size import readable
from shoal.strategies.base import Explanation, Sheet
from shoal.strategies.split.book import read_settings
from shoal.strategies.split.explain import SHOWN, Explained, Shown, at_bandwidth, pareto
from shoal.strategies.split.plot import plot
from shoal.strategies.split.prepare import SplitOptions

COLUMNS = ("ms>", "images/s>", "bytes/image>", "accuracy>", "device ms>", "link ms>", "server ms>",
           "bounded by")  # fmt: skip


def explain(playbook: Playbook, options: SplitOptions) -> Explanation:
    """The Pareto front; what is chosen at which bandwidth, or at the one asked for all cuts."""
    front = pareto(playbook)
    asked = SHOWN if options.bandwidth is None else (options.bandwidth,)
    at = [at_bandwidth(playbook, mbit_s) for mbit_s in asked]
    promised = read_settings(playbook).promised
    notes = [] if promised is None else [f"accuracy: {promised.words}"]
    notes += [f"{each.mbit_s:g} Mbit/s: {each.chosen.why}" for each in at if each.relaxed]
    return Explanation(
        data={"front": front, "bandwidths": at, "promised": promised},
        sheets=(
            Sheet(
                "plans that no other beats by every measure, on the links as they are",
                ("plan", *COLUMNS),
                tuple((shown.plan, *_cells(shown)) for shown in front),
            ),
            _chosen(at) if options.bandwidth is None else _all(at[0]),
        ),
        notes=tuple(notes),
        draw=partial(plot, playbook, front),
    )


def _chosen(at: Sequence[Explained]) -> Sheet:
    """A line for each bandwidth: the plan that is chosen, and what bounds the next one."""
    rows = []
    for each in at:
        mine, others = each.chosen, each.others[:1]
        rest = "".join(f"{other.plan}: {other.bound}, {other.why}" for other in others)
        rows.append((f"{each.mbit_s:g}", mine.plan, *_cells(mine)[:4], mine.bound, rest))
    columns = ("Mbit/s>", "chosen", *COLUMNS[:4], "bounded by", "what bounds the next one")
    return Sheet("what is chosen at which bandwidth", columns, tuple(rows))


def _all(each: Explained) -> Sheet:
    """A line for each cut: its best plan, what bounds it, and why it is not chosen."""
    title = f"at {each.mbit_s:g} Mbit/s: the chosen plan, and the best of every other cut"
    rows = tuple((shown.plan, *_cells(shown), shown.why) for shown in (each.chosen, *each.others))
    return Sheet(title, ("plan", *COLUMNS, "why"), rows)


def _cells(shown: Shown) -> tuple[str, ...]:
    return (
        f"{shown.latency_ms:.1f}",
        f"{shown.images_per_s:.1f}",
        readable(shown.bytes),
        f"{shown.accuracy:.3f}",
        f"{shown.device_ms:.1f}",
        f"{shown.link_ms:.1f}",
        f"{shown.server_ms:.1f}",
        shown.bound,
    )
