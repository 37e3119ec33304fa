"""What the policy ``split`` reads from a playbook: its settings, and the plans as columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

import msgspec
import numpy as np

from shoal.errors import PlanError
from shoal.plan.plan import Plan, Playbook
from shoal.strategies.promised import Promised
from shoal.strategies.split.choice import COLUMNS, STEADY, Wish
from shoal.strategies.split.table import Amount, Facts, LinkSetting, Table, stated


class PlanSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a plan costs beside the run times of its stages, which its forecast holds. ``bytes``
    cross the link, ``unpack_ms`` is by server."""

    bytes: Amount = 0.0
    pack_ms: Amount = 0.0
    unpack_ms: dict[str, Amount] = {}


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The settings of the policy. ``limits`` are upper bounds on columns of the costs, the most
    important first; ``power_w`` what the device draws waiting, computing and sending. What the
    plans' accuracy was measured as is ``promised`` (None: nothing is rounded)."""

    device: str
    servers: tuple[str, ...]
    links: dict[str, LinkSetting]
    plans: dict[str, PlanSetting]
    aims: tuple[str, ...]
    tolerance: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.02
    limits: tuple[tuple[str, Amount], ...] = ()
    answer_bytes: Amount = 0.0
    device_message_ms: Amount = 0.0
    device_stage_ms: Amount = 0.0
    server_message_ms: Amount = 0.0
    power_w: tuple[float, float, float] | None = None
    promised: Promised | None = None


@dataclass(frozen=True)
class Scene:
    """The plans that can be followed from some tensors: their table, the stage from which, and
    their rows by name. ``wish`` is that of the playbook without the limits that all of them meet
    whatever happens."""

    table: Table
    wish: Wish
    start: tuple[int, ...]
    plans: tuple[Plan, ...]
    rows: Mapping[str, int]


@dataclass(frozen=True)
class Book:
    """A playbook as the policy sees it: ``scenes`` by the names of the tensors at hand."""

    settings: Settings
    wish: Wish
    links: Facts
    scenes: Mapping[frozenset[str], Scene]
    inputs: frozenset[str]


def read_settings(playbook: Playbook) -> Settings:
    """The settings of a playbook; PlanError where they are not what the policy needs."""
    try:
        settings = msgspec.convert(playbook.policy.settings, Settings)
    except msgspec.ValidationError as error:
        raise PlanError(
            f"the playbook's settings are not those of the policy 'split' ({error}); make it again"
        ) from None
    unknown = {*settings.aims, *(name for name, _ in settings.limits)} - COLUMNS.keys()
    if unknown or not settings.links.keys() >= set(settings.servers):
        raise PlanError("the playbook's settings hold impossible names; make it again")
    return settings


def read_book(playbook: Playbook) -> Book:
    """The playbook for the policy; PlanError where it is not one for it."""
    settings = read_settings(playbook)
    inputs = frozenset(spec.name for spec in playbook.inputs)
    entries: dict[frozenset[str], list[tuple[Plan, int]]] = {inputs: []}
    for plan in playbook.plans:
        if not plan.spare:
            entries[inputs].append((plan, 0))
        for index, stage in enumerate(plan.stages[1:], 1):
            entries.setdefault(frozenset(stage.inputs), []).append((plan, index))
    wish = Wish(settings.aims, settings.tolerance, settings.limits)
    return Book(
        settings=settings,
        wish=wish,
        links=stated(settings.servers, settings.links),
        scenes={at: _scene(settings, wish, found) for at, found in entries.items() if found},
        inputs=inputs,
    )


def _scene(settings: Settings, wish: Wish, found: list[tuple[Plan, int]]) -> Scene:
    servers = settings.servers
    count = len(found)
    device, pack, size = np.zeros(count), np.zeros(count), np.zeros(count)
    work, unpack = np.zeros((count, len(servers))), np.zeros((count, len(servers)))
    here = np.zeros(count, bool)
    for row, (plan, start) in enumerate(found):
        setting = settings.plans.get(plan.name, PlanSetting())
        for index in range(start, len(plan.stages)):
            holders = plan.stages[index].parts
            if settings.device in holders:
                here[row] = True
                device[row] += plan.run_ms(index, settings.device)
                continue
            size[row] = max(setting.bytes, 1.0)
            pack[row] = setting.pack_ms
            for column, name in enumerate(servers):
                able = name in holders
                work[row, column] = plan.run_ms(index, name) if able else np.inf
                unpack[row, column] = setting.unpack_ms.get(name, 0.0)
    table = Table(
        names=tuple(plan.name for plan, _ in found),
        device_ms=device,
        pack_ms=pack,
        bytes=size,
        server_ms=work,
        unpack_ms=unpack,
        accuracy=np.array([plan.forecast.accuracy for plan, _ in found]),
        here=here,
        answer_bytes=settings.answer_bytes,
        device_message_ms=settings.device_message_ms,
        device_stage_ms=settings.device_stage_ms,
        server_message_ms=settings.server_message_ms,
        power_w=settings.power_w,
    )
    columns = dict(zip(STEADY, (table.lost, table.all_bytes), strict=True))
    limits = tuple(
        (name, limit)
        for name, limit in wish.limits
        if name not in STEADY or (columns[name] > limit).any()
    )
    return Scene(
        table,
        replace(wish, limits=limits),
        tuple(start for _, start in found),
        tuple(plan for plan, _ in found),
        {name: row for row, name in enumerate(table.names)},
    )
