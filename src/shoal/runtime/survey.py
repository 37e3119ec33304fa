"""Finds out how fast the devices and links of a cluster are, for one network.

A device that is not there counts with what the cluster file states of it. One that is there is
measured, or there is no survey: a forecast that mixes what was measured with what somebody guessed
recommends what nobody has seen.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import TypeVar

import msgspec

from shoal.core.messages import DeviceInfo
from shoal.errors import MeasureError, ShoalError, UnreachableError, VersionError
from shoal.mesh.link import Link
from shoal.model.engine import Engine
from shoal.model.network import Network
from shoal.model.part import Part
from shoal.model.profiles import BATCHES, NetworkProfile, profile, worth_more
from shoal.model.store import PartStore
from shoal.plan.cluster import Cluster
from shoal.plan.profiles import DeviceProfile, LinkProfile, Profiles
from shoal.plan.size import Size
from shoal.runtime.deploy import open_link
from shoal.runtime.node import Node
from shoal.runtime.probe import LinkTimes

log = logging.getLogger("shoal")

APPEAR_S = 2.0
BATCH_S = 0.3
"""How long a device runs the network for each size of a batch."""
STOPPED = 1.5
"""The mean of times over their median from which on a device is taken to be stopped again and
again."""
SETTING_BYTES = 256
"""Inputs up to this size may be settings (sizes, places, scales): devices measure with values of
such, and with zeros for all else."""
MAX_MESH = 8
"""Devices whose links with each other are all measured."""
RETURN_S = 5.0
"""How long a device that was out of sight has to come back, and devices have to find each other."""
NO_WAY = LinkProfile(rtt_ms=1e6, bytes_per_s=1.0)
"""A link that does not exist: no plan that uses it is ever better than another."""

T = TypeVar("T")


@dataclass(frozen=True)
class Survey:
    """What was found: the facts for planning, the cluster with the memory limits that its devices
    state where the file states none, and the devices that were not there (``assumed``): what the
    file states of them was taken for true."""

    profiles: Profiles
    cluster: Cluster
    assumed: tuple[str, ...] = ()


def survey(
    network: Network,
    cluster: Cluster,
    *,
    store: PartStore | None = None,
    link: Link | None = None,
    appear_s: float = APPEAR_S,
    progress: Callable[[str], None] = lambda text: None,
) -> Survey:
    """Profiles of every device and link of ``cluster`` for ``network``.

    This machine's profile tells how the time is spread over the network; every device that can be
    reached within ``appear_s`` runs the whole network for a second (or as much of it as its memory
    holds), which scales it, and the whole for several images at once, where they stack, to see
    whether that pays. Its links are measured (those between devices while there are at most
    ``MAX_MESH`` of them). For devices that are not there, what the cluster file states is used.

    Raises MeasureError for a device that is there and cannot be measured, VersionError for one of
    another version.
    """
    progress("profiling the network on this machine")
    measured = profile(network, threads=cluster.gateway.threads, provider=cluster.gateway.provider)
    if not any(device.address for device in cluster.devices):
        facts = Profiles.scaled(cluster, measured, batch_ratio=measured.batch_ratio)
        return Survey(facts, cluster, cluster.names)
    store = store or PartStore()
    engine = Engine(cluster.gateway.threads, cluster.gateway.provider)
    node = Node(link or open_link(cluster, f"{cluster.gateway.name}-survey"), store, engine)
    node.start()
    try:
        present = _appear(node, cluster, appear_s)
        known: dict[str, DeviceProfile] = {}
        for name in present:
            progress(f"measuring {name}")
            found = _device(node, name, network, measured, store)
            if found is not None:
                known[name] = found
        progress("measuring links")
        links = _links(node, cluster.gateway.name, present)
        stated = _with_memory(node, cluster)
    finally:
        node.close()
    facts = Profiles.scaled(stated, measured, links, known, measured.batch_ratio)
    return Survey(facts, stated, tuple(name for name in cluster.names if name not in present))


# -- who is there


def _appear(node: Node, cluster: Cluster, appear_s: float) -> tuple[str, ...]:
    """The devices that show up in time, and say who they are.

    Raises VersionError when one of them speaks another version, MeasureError when one is there and
    there is no way to it.
    """
    end = time.monotonic() + appear_s
    wanted = set(cluster.names)
    while time.monotonic() < end and any(device_info(node, name) is None for name in wanted):
        for name in sorted(wanted & node.strangers.keys()):
            raise VersionError(f"{name} {node.strangers[name]}")
        time.sleep(0.02)
    present = set(node.link.peers())
    for name in sorted(wanted - present):
        if no_way := node.no_way(name):
            raise _unmeasured(name, UnreachableError(no_way))
        log.warning("%s is not there: its stated speed and link are used", name)
    return tuple(name for name in cluster.names if name in present)


def device_info(node: Node, name: str) -> DeviceInfo | None:
    """What a peer said of itself."""
    peer = node.ask(lambda: node.core.worker.members.get(name))
    return peer.info if peer is not None else None


def _with_memory(node: Node, cluster: Cluster) -> Cluster:
    """The cluster with the devices' own memory limits where it states none, or more than they
    have."""
    devices = []
    for device in cluster.devices:
        info = device_info(node, device.name)
        if info is not None and 0 < info.memory < (device.memory or math.inf):
            device = msgspec.structs.replace(device, memory=Size(info.memory))
        devices.append(device)
    fields = {name: getattr(cluster, name) for name in Cluster.__struct_fields__}
    return Cluster(**{**fields, "devices": tuple(devices)})


# -- devices


def _device(
    node: Node, name: str, network: Network, measured: NetworkProfile, store: PartStore
) -> DeviceProfile | None:
    """A device's profile: this machine's, scaled to the time that the network takes there. None
    where the device has not room for any part of it."""
    info = device_info(node, name)
    room = info.memory if info is not None and info.memory else math.inf
    refusal: ShoalError | None = None
    for part in _beginnings(network, measured, room):
        store.add_part(part)
        run_ms = partial(_run_ms, node, name, network, part)
        try:
            one_ms = run_ms(1, 1.0)
            # There are ratios only where images stack, so the batch is what is free.
            whole = part.range[1] == len(network.nodes)
            sizes = BATCHES if whole and measured.batch_ratio else ()
            batches = [n for n in sizes if n * part.info.memory <= room]
            ratio: dict[int, float] = {}
            for count in batches:
                ratio[count] = run_ms(count, BATCH_S) / count / one_ms
                if not worth_more(ratio[count]):
                    break
        except MeasureError:
            raise
        except ShoalError as error:  # its memory may be taken by something else
            refusal = refusal or error
            continue
        speed = measured.range_ms(*part.range) / one_ms
        return DeviceProfile.scaled(measured, speed, ratio)
    if refusal is not None:
        raise _unmeasured(name, refusal)
    log.warning("%s has not room for any part of the network; no plan will use it", name)
    return None


def _beginnings(network: Network, measured: NetworkProfile, room: float) -> Iterator[Part]:
    """The network, as far as so many bytes hold it from its beginning; then, as often as there is
    something left, what takes half as many at the most."""
    whole = len(network.nodes)
    ends = (*(cut.at for cut in network.cuts), whole)
    while fitting := [end for end in ends if measured.range_memory(0, end) <= room]:
        end = max(fitting)
        yield network.split(() if end == whole else (end,), prove=False)[0]
        room = measured.range_memory(0, end) / 2


def _run_ms(
    node: Node, name: str, network: Network, part: Part, count: int, seconds: float
) -> float:
    shapes = {
        spec.name: (spec.dtype, tuple(count if side is None else side for side in spec.shape))
        for spec in network.inputs
    }
    values = {
        name: array.tobytes()
        for name, array in network.probe(batch=count).items()
        if array.nbytes <= SETTING_BYTES
    }
    return sustained_ms(
        _patiently(
            node,
            name,
            lambda: node.prober.device(
                name, part.hash, part.info, shapes, seconds=seconds, values=values
            ),
        )
    )


def sustained_ms(times: Sequence[float]) -> float:
    """The time of a run when one follows the other: the median, which a single disturbance leaves
    alone; the mean on a device that is stopped again and again, as where a quota gives it only a
    share of a core: most of its runs fall between two stops."""
    median, mean = statistics.median(times), statistics.fmean(times)
    return mean if mean > STOPPED * median else median


# -- links


def _links(node: Node, gateway: str, present: Sequence[str]) -> dict[tuple[str, str], LinkProfile]:
    """The links from and to the gateway, and those between the devices if they are not many."""
    links: dict[tuple[str, str], LinkProfile] = {}
    for name in present:
        there = partial(node.prober.link, name)
        back = partial(node.prober.way, name, node.name)
        try:
            links[gateway, name] = _profile(_patiently(node, name, there))
            links[name, gateway] = _profile(_patiently(node, name, back))
        except MeasureError:
            raise
        except ShoalError as error:
            raise _unmeasured(name, error) from None
    if len(present) <= MAX_MESH:
        links |= _ways(node, present)
    return links


def _ways(node: Node, present: Sequence[str]) -> dict[tuple[str, str], LinkProfile]:
    """The links between devices, which may be about to find each other. One that there is not
    carries next to nothing."""
    ways: dict[tuple[str, str], LinkProfile] = {}
    missing = dict.fromkeys(itertools.permutations(present, 2), "")
    end = math.inf
    while missing and time.monotonic() < end:
        for giver, taker in tuple(missing):
            try:
                times = _patiently(node, giver, partial(node.prober.way, giver, taker))
            except MeasureError:
                raise
            except ShoalError as error:  # the giver says that it gets no answer
                missing[giver, taker] = str(error)
                time.sleep(0.05)
                continue
            ways[giver, taker] = _profile(times)
            del missing[giver, taker]
        end = min(end, time.monotonic() + RETURN_S)
    for giver, group in itertools.groupby(missing, key=itemgetter(0)):
        takers = [taker for _, taker in group]
        for taker in takers:
            _patiently(node, taker, partial(node.prober.link, taker, rounds=1))  # is it there?
        log.warning(
            "%s; no plan that passes anything that way is recommended",
            "; ".join(missing[giver, taker] for taker in takers),
        )
        ways |= {(giver, taker): NO_WAY for taker in takers}
    return ways


def _profile(times: LinkTimes) -> LinkProfile:
    return LinkProfile(times.rtt_ms, times.bytes_per_s)


# -- what goes wrong


def _patiently(node: Node, name: str, measure: Callable[[], T]) -> T:
    """What ``measure`` finds out of a device; once more, where that was out of sight for a moment.

    Raises MeasureError when it does not answer, and what it says itself when it refuses.
    """
    with contextlib.suppress(UnreachableError):
        return measure()
    end = time.monotonic() + RETURN_S
    while name not in node.link.peers() and time.monotonic() < end:
        time.sleep(0.02)
    try:
        return measure()
    except UnreachableError as error:
        raise _unmeasured(name, error) from None


def _unmeasured(name: str, why: ShoalError) -> MeasureError:
    return MeasureError(
        f"no forecast and no recommendation, because {name} is there and could not be measured: "
        f"{why}; see to it, or take it out of the cluster file, and plan again"
    )
