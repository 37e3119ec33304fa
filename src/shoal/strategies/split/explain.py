"""Why a plan is chosen: the Pareto front of a playbook, and what bounds others at a bandwidth."""

from __future__ import annotations

import msgspec
import numpy as np

from shoal.plan.plan import Playbook
from shoal.strategies.split.book import Book, Scene, read_book
from shoal.strategies.split.choice import allowed, best, column, front
from shoal.strategies.split.table import Costs, costs, with_goodput

SHOWN = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
"""Mbit/s at which the choice is shown when no other bandwidth is asked for."""
FRONT = ("latency", "throughput", "bytes", "server-cost", "accuracy")
WORDS = {
    "latency": "latency",
    "throughput": "time per image",
    "accuracy": "loss of accuracy",
    "bytes": "bytes",
    "energy": "energy",
    "server-cost": "server time",
}


class Shown(msgspec.Struct, frozen=True):
    """A plan and what it costs, ``images_per_s`` apart in ms, bytes and joules. ``bound`` is the
    slowest of device, link and server, ``why`` the reason why it is chosen or is not."""

    plan: str
    latency_ms: float
    images_per_s: float
    bytes: float
    accuracy: float
    device_ms: float
    link_ms: float
    server_ms: float
    bound: str
    why: str = ""


class Explained(msgspec.Struct, frozen=True):
    """The choice at a bandwidth: the plan, the limits that had to be relaxed, the others."""

    mbit_s: float
    chosen: Shown
    others: tuple[Shown, ...]
    relaxed: tuple[str, ...] = ()


def pareto(playbook: Playbook) -> list[Shown]:
    """The plans that no other beats by every measure, on the links as stated or measured when the
    playbook was built; the quickest first."""
    book, scene = _open(playbook)
    found = costs(scene.table, book.links)
    plans = allowed(found, book.wish).plans
    return [_shown(scene, found, row) for row in front(found, FRONT, plans)]


def at_bandwidth(playbook: Playbook, mbit_s: float) -> Explained:
    """What is chosen when the links to all servers carry ``mbit_s`` (and back as much less or
    more as stated), and what becomes of the others: of each cut, the best one."""
    book, scene = _open(playbook)
    found = costs(scene.table, with_goodput(book.links, mbit_s * 1e6 / 8))
    meets = allowed(found, book.wish)
    row = best(found, book.wish, meets.plans)
    others = []
    for cut in dict.fromkeys(_cut(scene, other) for other in range(len(scene.plans))):
        rows = np.array([_cut(scene, r) == cut and r != row for r in range(len(scene.plans))])
        rows &= found.usable
        if rows.any():
            good = rows & meets.plans
            other = best(found, book.wish, good if good.any() else rows)
            others.append(_shown(scene, found, other, _why_not(book, found, row, other)))
    others.sort(key=lambda shown: shown.latency_ms)
    why = "chosen"
    if meets.relaxed:
        why = f"chosen, though no plan meets the limit of {' and '.join(meets.relaxed)}"
    chosen = _shown(scene, found, row, why)
    return Explained(mbit_s, chosen, tuple(others), meets.relaxed)


def _open(playbook: Playbook) -> tuple[Book, Scene]:
    book = read_book(playbook)
    return book, book.scenes[book.inputs]


def _cut(scene: Scene, row: int) -> tuple[str, ...]:
    """What crosses the link in a plan: the tensors, or nothing."""
    plan = scene.plans[row]
    if scene.table.bytes[row] <= 0:
        return ()
    return plan.stages[-1].inputs


def _shown(scene: Scene, found: Costs, row: int, why: str = "") -> Shown:
    device, server = float(found.device_ms[row]), float(found.server_ms[row])
    link = 0.0
    if scene.table.bytes[row] > 0:
        link = float(found.latency_ms[row]) - device - server
    bounds = {"device": device, "link": link, "server": server}
    return Shown(
        plan=scene.table.names[row],
        latency_ms=float(found.latency_ms[row]),
        images_per_s=1e3 / max(float(found.period_ms[row]), 1e-9),
        bytes=float(found.bytes[row]),
        accuracy=float(scene.table.accuracy[row]),
        device_ms=device,
        link_ms=link,
        server_ms=server,
        bound=max(bounds, key=lambda name: bounds[name]),
        why=why,
    )


def _why_not(book: Book, found: Costs, row: int, other: int) -> str:
    """What speaks against a plan beside the chosen one: a limit, or the first aim that tells."""
    for name, limit in book.wish.limits:
        value = float(column(found, name)[other])
        if value > limit and column(found, name)[row] <= limit:
            return f"over the limit: {WORDS[name]} {value:.4g} > {limit:.4g}"
    for aim in book.wish.aims:
        mine, its = float(column(found, aim)[row]), float(column(found, aim)[other])
        if its > mine * (1 + book.wish.tolerance):
            ratio = f"{its / mine:.2f}x" if mine > 0 else "more than"
            return f"{ratio} the {WORDS[aim]}"
    return "as good"
