"""The plans of a split playbook as a picture: latency against bytes, and the latency of the
choice as the link gets faster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shoal.figure import empty_figure, save
from shoal.plan.plan import Playbook
from shoal.strategies.split.explain import Shown, at_bandwidth

COLOURS = {"device": "#264653", "link": "#e9a03b", "server": "#2a9d8f"}
BANDWIDTHS = np.geomspace(0.5, 200, 40)


def plot(playbook: Playbook, front: Sequence[Shown], folder: Path) -> Path:
    """Write ``folder/split.png`` and return its path.

    Raises MissingExtraError without matplotlib, UsageError when the folder cannot be written.
    """
    figure = empty_figure(7.5)
    above, below = figure.subplots(2, 1)
    for bound, colour in COLOURS.items():
        shown = [each for each in front if each.bound == bound]
        above.scatter(
            [each.bytes / 1e3 for each in shown],
            [each.latency_ms for each in shown],
            color=colour,
            label=f"bounded by {bound}",
        )
    for each in front:
        above.annotate(each.plan, (each.bytes / 1e3, each.latency_ms), fontsize=6)
    above.set_xlabel("kB per image")
    above.set_ylabel("latency, ms")
    above.set_title(f"{playbook.network}: the Pareto front", loc="left", fontsize=10)
    above.legend(fontsize=7, frameon=False)
    explained = [at_bandwidth(playbook, float(mbit)) for mbit in BANDWIDTHS]
    parts = {
        "device": [each.chosen.device_ms for each in explained],
        "link": [each.chosen.link_ms for each in explained],
        "server": [each.chosen.server_ms for each in explained],
    }
    below.stackplot(
        BANDWIDTHS, *parts.values(), labels=list(parts), colors=[COLOURS[name] for name in parts]
    )
    before = ""
    for at in explained:
        if at.chosen.plan != before:
            below.axvline(at.mbit_s, color="#888888", linewidth=0.5)
            below.annotate(
                at.chosen.plan,
                (at.mbit_s, at.chosen.latency_ms),
                fontsize=6,
                rotation=60,
                textcoords="offset points",
                xytext=(2, 2),
            )
        before = at.chosen.plan
    below.set_xscale("log")
    below.set_xlabel("Mbit/s")
    below.set_ylabel("latency of the choice, ms")
    below.legend(fontsize=7, frameon=False)
    for axis in (above, below):
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return save(figure, folder, "split")
