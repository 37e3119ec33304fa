"""What must be true of a node between two events, whatever has happened to it.

That what is counted agrees, that nothing grows beyond its bound, and that whatever waits is looked
at some time: else it waits for ever. For tests; a node does not pay for it.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator

from shoal.core.gateway.gateway import GatewayCore
from shoal.core.gateway.installing import MAX_PLAYBOOKS as MAX_ADOPTED
from shoal.core.gateway.loads import MAX_KNOWN
from shoal.core.gateway.request import MAX_BLAMED, MAX_FAULTS, MAX_TRIES, Request
from shoal.core.gateway.suspects import MAX_CASES
from shoal.core.node import NodeCore
from shoal.core.shared.membership import MAX_STRANGERS, Membership, State
from shoal.core.shared.timers import soonest
from shoal.core.worker.kept import MAX_KEPT
from shoal.core.worker.library import MAX_PLAYBOOKS
from shoal.core.worker.worker import WorkerCore

_CLOSE = 1e-6


def broken(node: NodeCore) -> list[str]:
    """What is not true of a node and must be, in words; nothing, if all is well."""
    found = [*_worker(node.worker), *_members(node.worker.members)]
    if node.gateway is not None:
        found += [*_gateway(node.gateway), *_members(node.gateway.members)]
    return found


def _worker(worker: WorkerCore) -> Iterator[str]:
    yield from _inbox(worker)
    yield from _runs(worker)
    yield from _library(worker)
    if not worker._onward._memories.keys() <= worker.library._shelves.keys():
        yield "policies of playbooks that are not installed remember something"
    kept, attempts = worker.kept, worker.attempts
    sizes = [output.size for output in kept._outputs.values()]
    if kept.bytes != sum(sizes):
        yield f"{kept.bytes} bytes are counted as kept, {sum(sizes)} are"
    if kept.bytes > kept._limit_bytes or len(sizes) > MAX_KEPT:
        yield f"{len(sizes)} outputs of {kept.bytes} bytes are kept"
    for owner, owned in attempts._owners.items():
        if sorted(owned.numbers) != sorted(owned.newest):
            yield f"the attempts of {owner} are counted twice, or not at all"
        if len(owned.numbers) > attempts._limit or min(owned.numbers, default=0) < 0:
            yield f"{len(owned.numbers)} attempts of {owner} are remembered"
    if len(attempts._owners) > attempts._max_owners:
        yield f"attempts of {len(attempts._owners)} gateways are remembered"
    if not worker.wake_at <= soonest(
        worker._intake.next(),
        worker._trials.next(),
        worker.library.next(),
        worker.members.next_expiry(),
        worker._reports.next(),
        worker.inbox.opens,
        worker.outgoing.next(),
    ):
        yield "the worker does not wake up when something is due"


def _inbox(worker: WorkerCore) -> Iterator[str]:
    inbox = worker.inbox
    jobs = inbox.jobs
    if len(jobs) > inbox.limit:
        yield f"{len(jobs)} jobs are here, the limit is {inbox.limit}"
    early = [one for each in worker.itineraries._early.values() for one in each]
    size = sum(job.size for job in jobs.values()) + sum(one.size for one in early)
    if inbox.bytes != size:
        yield f"{inbox.bytes} bytes of inputs are counted, the jobs have others"
    if len(early) > inbox.limit or len(worker.itineraries) > worker.itineraries._limit:
        yield f"{len(early)} tasks wait to be told where they go"
    held = worker.outgoing._held.values()
    if worker.outgoing._bytes != sum(each.output.size for each in held):
        yield f"{worker.outgoing._bytes} bytes are counted as held, others are"
    if len(held) > worker.outgoing._limit:
        yield f"{len(held)} outputs are held"
    if [id(job) for job in jobs.values()] != [
        id(jobs.get(job.key)) for job in jobs.values()
    ] or sum(map(len, inbox._of.values())) != len(jobs):
        yield "the jobs of each request are not the jobs that are here"
    queued = {*inbox._ready, *inbox._apart}
    trial = worker._trials._trial
    asked = {trial.key} if trial is not None else set()
    for kind, keys in (("queued", queued), ("run", inbox.running)):
        if not keys <= jobs.keys():
            yield f"jobs are {kind} that are not here"
    if queued & inbox.running:
        yield "jobs are queued that are run"
    deadlines = worker._intake._deadlines
    for key, job in jobs.items():
        if job.gather.complete and key not in queued | inbox.running | asked:
            yield f"{key} has all that it waits for, and nobody will run it"
        if not job.gather.complete and key not in deadlines:
            yield f"{key} may wait for slices for ever"
    if not deadlines._at.keys() <= jobs.keys():
        yield "slices are awaited for jobs that are not here"


def _runs(worker: WorkerCore) -> Iterator[str]:
    runs = {key for keys in worker._runs for key in keys}
    apart = {worker._apart.key} if worker._apart is not None else set()
    if not worker.inbox.running <= runs | apart | _asked(worker):
        yield "jobs count as running that nobody runs"
    if len(worker._runs) > worker.settings.capacity:
        yield f"{len(worker._runs)} runs are under way at once"


def _asked(worker: WorkerCore) -> set[object]:
    """The job that waits for leave: it is out of the queue, and counts as running."""
    trial = worker._trials._trial
    return {trial.key} if trial is not None else set()


def _library(worker: WorkerCore) -> Iterator[str]:
    library = worker.library
    shelves, memory = library._shelves, library._memory
    if len(shelves) > MAX_PLAYBOOKS:
        yield f"{len(shelves)} playbooks are served"
    if library._memory_limit and sum(memory.values()) > library._memory_limit:
        yield f"parts of {sum(memory.values())} bytes are loaded"
    waiting = {part for shelf in shelves.values() for part in shelf.waiting}
    brought = {part for shelf in shelves.values() for part in shelf.bringing}
    if waiting & brought:
        yield "parts are waited for, and only to be brought"
    for kind, parts in (
        ("loaded", library._ready),
        ("waited for", waiting),
        ("queued", library._queue.keys() - brought),
    ):
        if not parts <= memory.keys():
            yield f"parts are {kind} for which no memory is counted"
    if waiting & library._ready:
        yield "parts are waited for that are loaded"
    if waiting | brought and library._fetching is None:
        yield "parts are waited for, and none is fetched"
    named = {part for shelf in shelves.values() for part in shelf.playbook.parts}
    if not memory.keys() <= named:
        yield "memory is counted for parts that no playbook has"
    if not all(shelf.owners for shelf in shelves.values()):
        yield "playbooks are served that nobody asked for"


def _members(members: Membership) -> Iterator[str]:
    suspects = {name for name, peer in members.items() if peer.state is State.SUSPECT}
    gone = {name for name, peer in members.items() if peer.state is State.GONE}
    if suspects != members._suspects.keys() or gone != members._gone.keys():
        yield "peers are remembered as suspect or gone that are not"
    if len(gone) > MAX_STRANGERS or len(members._early) > MAX_STRANGERS:
        yield f"{len(gone)} peers are remembered that are gone, {len(members._early)} not seen yet"


def _gateway(gateway: GatewayCore) -> Iterator[str]:
    state = gateway._state
    requests = state.requests
    if len(requests) > gateway.settings.max_pending:
        yield f"{len(requests)} requests are pending"
    yield from _waiting(gateway)
    yield from _given(gateway)
    for request in requests.values():
        yield from _request(request)
    if state.settling.settled > next(iter(requests), math.inf):
        settled, first = state.settling.settled, next(iter(requests))
        yield f"requests below {settled} count as over, {first} is not"
    if state.settling._highest and state.settling.next() is None:
        yield "devices are owed news, and will not be told"
    if len(state.suspects) > MAX_CASES or not all(
        case.charges or case.proof for case in state.suspects._cases.values()
    ):
        yield f"{len(state.suspects)} contents are suspect, some of nothing"
    if len(state.loads) > 2 * MAX_KNOWN:
        yield f"{len(state.loads)} deaths are remembered"
    if not all(limit.most >= 1 for limit in state.devices.limits._limits.values()):
        yield "something may never be given work again"
    if not gateway.wake_at <= state.next_due():
        yield "the gateway does not wake up when something is due"


def _waiting(gateway: GatewayCore) -> Iterator[str]:
    """Whether each request is under way or waits, and is looked at some time in either case."""
    state = gateway._state
    requests, flights, queue = state.requests, state.flights, state.queue
    in_flight = {number for number, request in requests.items() if request.in_flight}
    waiting = {*queue._waiting, *queue._paused}
    if flights.count != len(in_flight):
        yield f"{flights.count} attempts are counted as under way, {len(in_flight)} are"
    if flights.doubts._at.keys() != in_flight:
        yield "an attempt is never doubted, or is doubted although it is over"
    if state.deadlines._at.keys() != requests.keys():
        yield "a request has no deadline, or one that is over has"
    if waiting & in_flight or waiting | in_flight != requests.keys():
        yield "a request neither waits nor is under way, or both"
    asked = state.admission.opens is not None  # a policy, which may let none begin
    room = asked or flights.count < state.admission.window
    if queue._waiting and room and queue._look_again is None:
        yield "a request waits, and nobody will look at it"


def _given(gateway: GatewayCore) -> Iterator[str]:
    """Whether what is counted of devices and playbooks is what the requests say."""
    state = gateway._state
    count: Counter[str] = Counter()
    work_ms: defaultdict[str, float] = defaultdict(float)
    for request in state.requests.values():
        for name, (stages, ms) in request.given.items():
            count[name] += stages
            work_ms[name] += ms
    for name, device in state.devices.known().items():
        if device.outstanding != count[name]:
            yield f"{name} was given {count[name]} stages, {device.outstanding} are counted"
        if not math.isclose(device.work_ms, work_ms[name], rel_tol=_CLOSE, abs_tol=_CLOSE):
            yield f"{name} was given {work_ms[name]} ms of work, {device.work_ms} are counted"
    users = Counter(request.playbook for request in state.requests.values())
    for book in state.playbooks.all():
        if book.users != users[book.id]:
            yield f"{users[book.id]} requests follow {book.id}, {book.users} are counted"
    unused = sum(not book.users for book in state.playbooks.all())
    if unused > MAX_ADOPTED + 1:
        yield f"{unused} playbooks are kept that nobody follows"


def _request(request: Request) -> Iterator[str]:
    number = request.number
    if len(request.tries) > MAX_TRIES or len(request.faults) > MAX_FAULTS:
        yield f"request {number} remembers {len(request.tries)} attempts"
    if len(request.blamed) > MAX_BLAMED:
        yield f"request {number} blames {len(request.blamed)} devices"
    if not request.lives.keys() <= request.touched:
        yield f"request {number} may be run by devices that never got it"
    if not request.going.keys() <= request.touched:
        yield f"request {number} is run alone by devices that never got it"
    if request.in_flight and request.attempt not in request.tries:
        yield f"request {number} is under way in an attempt that was never begun"
    if request.given and not request.in_flight:
        yield f"request {number} waits, and devices count as busy with it"
