"""Nodes that decide by :class:`Peers`, and a wire between them in virtual time, which delays, loses
and cuts as it is told. Every node is held to the grammar of sessions at each step."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable

from shoal.mesh.events import PeerDown, PeerUp
from shoal.mesh.hello import CallerHello, No, Refusal
from shoal.mesh.peers import Ask, Begin, Break, Call, Peers, Session, Tell
from shoal.mesh.place import Place

LEASE_S = 0.4
NEWS_S = 5.0
TIMEOUT_S = 2.0


class Wire:
    """The connections of one session, from the call on. ``silent``: nothing passes any more, and
    nobody is told."""

    def __init__(self) -> None:
        self.ends: dict[str, Session] = {}
        self.closed = False
        self.silent = False


class Villager:
    """A life of a node, and what it was told."""

    def __init__(self, village: "Village", name: str, life: str, calls_only: bool) -> None:
        self.village = village
        self.name, self.life = name, life
        self.peers = Peers(name, LEASE_S)
        self.peers.incarnation = life
        self.peers.places = () if calls_only else (Place(name, 1),)
        self.wires: dict[Session, Wire] = {}
        self.heard_at: dict[Session, float] = {}
        self.events: list[PeerUp | PeerDown] = []
        self.begun: set[Session] = set()
        self.broken: set[Session] = set()
        self.calls = 0
        self.asks = 0

    @property
    def up(self) -> dict[str, Session]:
        return {s.name: s for s in self.begun - self.broken}

    def act(self) -> None:
        for action in self.peers.take():
            match action:
                case Call(session):
                    self.calls += 1
                    self.village.post(("call", self.name, session), self._dial, session)
                case Begin(session):
                    self._begin(session)
                case Break(session):
                    self._break(session)
                case Ask(session):
                    self.asks += 1
                    self._say(session, "ping")
                case Tell(session, nodes):
                    self._say(session, "news", nodes)

    # -- its own steps --------------------------------------------------------------------------

    def _begin(self, session: Session) -> None:
        assert session in self.wires
        assert session not in self.begun
        assert session.name not in self.up
        last = [event for event in self.events if event.name == session.name][-1:]
        assert not last or isinstance(last[0], PeerDown), "up before it was down"
        self.begun.add(session)
        self.heard_at[session] = self.village.now
        self.events.append(PeerUp(session.name, session.incarnation))

    def _break(self, session: Session) -> None:
        assert session in self.begun
        assert session not in self.broken, "broken twice"
        self.broken.add(session)
        self.village.hang_up(self, self.wires[session])
        self.village.post(("end", self.name, session), self._end, session)

    def _end(self, session: Session) -> None:
        """The reader has told all."""
        self.peers.lost(session, "it left")
        self.events.append(PeerDown(session.name, session.incarnation))
        del self.wires[session]
        self.peers.ended(session, self.village.now)

    def _say(self, session: Session, what: str, *more: object) -> None:
        wire = self.wires[session]
        self.village.send(wire, self.name, lambda other: other.hear(wire, what, *more))

    def hear(self, wire: Wire, what: str, *more: object) -> None:
        """Something came on a session."""
        session = wire.ends.get(self.name)
        if session not in self.begun - self.broken:
            return
        self.heard_at[session] = self.village.now
        if what == "ping":
            self._say(session, "pong")
        elif what == "news":
            for node in more[0]:
                self.peers.heard(node, self.village.now)

    # -- calls ----------------------------------------------------------------------------------

    def _dial(self, session: Session) -> None:
        village = self.village
        other = village.at(session.places)
        if other is None or village.is_cut(self.name, other.name):
            self.peers.failed(session, "nobody is there", village.now)
            return
        if not self.peers.may_ask(session):
            self.peers.failed(session, "", village.now)
            return
        wire = Wire()
        wire.ends[self.name] = session
        hello = CallerHello(
            "c", self.name, self.life, session.name, session.incarnation, session.number, False,
            self.peers.places,
        )  # fmt: skip
        village.asking[wire] = (self, session, village.now + TIMEOUT_S)
        village.send(wire, self.name, lambda there: there.asked(wire, hello), to=other)

    def asked(self, wire: Wire, hello: CallerHello) -> None:
        """A hello came."""
        verdict = self.peers.called(hello, self.village.now)
        if isinstance(verdict, Session):
            wire.ends[self.name] = verdict
            self.wires[verdict] = wire
            self.village.send(wire, self.name, lambda there: there.answered(wire, None))
        else:
            self.village.send(
                wire, self.name, lambda there: there.answered(wire, verdict), to=hello.name
            )

    def answered(self, wire: Wire, refusal: Refusal | None) -> None:
        """A reply came to a hello; too late when it was given up."""
        found = self.village.asking.pop(wire, None)
        if found is None:
            return
        session = found[1]
        if refusal is None and self.peers.answered(session, self.village.now):
            self.wires[session] = wire
        else:
            again = refusal is not None and refusal.no is No.AGAIN
            self.village.hang_up(self, wire)
            self.peers.failed(session, "no", self.village.now, again=again)

    def give_up(self, wire: Wire, session: Session) -> None:
        self.village.hang_up(self, wire)
        self.peers.failed(session, "it does not answer", self.village.now)

    def lost(self, wire: Wire) -> None:
        """The other end hung up."""
        found = self.village.asking.get(wire)
        if found is not None and found[0] is self:
            del self.village.asking[wire]
            self.give_up(wire, found[1])
        session = wire.ends.get(self.name)
        if session in self.begun - self.broken:
            self.peers.lost(session, "it left")

    def tick(self) -> None:
        self.peers.tick(self.village.now, self.heard_at.__getitem__, lambda session: 0.0)
        self.act()


class Village:
    """Several nodes. Steps lie in lanes, which keep their order; between lanes there is none."""

    def __init__(self, names: str, calls_only: str = "", unseen: Iterable[str] = ()) -> None:
        """``unseen`` are pairs ("ab": the signs of b never come to a)."""
        self.now = 0.0
        self.lives = itertools.count(1)
        self.calls_only = calls_only
        self.unseen = set(unseen)
        self.cuts: set[frozenset[str]] = set()
        self.lanes: dict[object, deque[tuple[Callable[..., None], tuple[object, ...]]]] = {}
        self.asking: dict[Wire, tuple[Villager, Session, float]] = {}
        self.standing: list[Wire] = []
        self.shown: dict[tuple[str, str], set[str]] = {}
        self.nodes: dict[str, Villager] = {}
        self.gone: list[Villager] = []
        self.news_at = NEWS_S
        for name in names:
            self._add(name)
        self.show_all()

    def _add(self, name: str) -> None:
        life = f"{next(self.lives):016x}"
        self.nodes[name] = Villager(self, name, life, name in self.calls_only)

    # -- the wire -------------------------------------------------------------------------------

    def post(self, lane: object, step: Callable[..., None], *more: object) -> None:
        self.lanes.setdefault(lane, deque()).append((step, more))

    def send(
        self,
        wire: Wire,
        sender: str,
        step: Callable[[Villager], None],
        to: "Villager | str | None" = None,
    ) -> None:
        """Have a step happen at the other end, unless nothing passes."""
        if wire not in self.standing:
            self.standing.append(wire)
        for name in wire.ends:
            if to is None and name != sender:
                to = name
        if to is None or wire.closed:
            return
        target = self.nodes[to] if isinstance(to, str) else to
        self.post(("wire", id(wire), target.name), self._pass, wire, sender, target, step)

    def _pass(
        self, wire: Wire, sender: str, target: Villager, step: Callable[[Villager], None]
    ) -> None:
        if wire.silent or self.is_cut(sender, target.name):
            wire.silent = True
        elif target is self.nodes.get(target.name):
            step(target)
            target.act()

    def hang_up(self, node: Villager, wire: Wire) -> None:
        """One end closes: what is on its way to the other comes before that."""
        if wire.closed:
            return
        for name in [name for name in self.nodes if name != node.name]:
            if name in wire.ends or ("wire", id(wire), name) in self.lanes:
                self.send(wire, node.name, lambda there: there.lost(wire), to=name)
        wire.closed = True

    def at(self, places: tuple[Place, ...]) -> Villager | None:
        return next((self.nodes[p.host] for p in places if p.host in self.nodes), None)

    def is_cut(self, a: str, b: str) -> bool:
        return frozenset((a, b)) in self.cuts

    # -- what happens ---------------------------------------------------------------------------

    def step(self, number: int) -> None:
        """One step of one lane."""
        lanes = [lane for lane, steps in self.lanes.items() if steps]
        if not lanes:
            return
        lane = lanes[number % len(lanes)]
        step, more = self.lanes[lane].popleft()
        if not self.lanes[lane]:
            del self.lanes[lane]
        owner = step.__self__ if hasattr(step, "__self__") else None
        if isinstance(owner, Villager) and owner is not self.nodes.get(owner.name):
            return  # it has died
        step(*more)
        if isinstance(owner, Villager):
            owner.act()

    def sight(self, watcher: str, name: str, life: str, visible: bool) -> None:
        """The sign of a life comes or goes for one node, at once."""
        seen = self.shown.setdefault((watcher, name), set())
        if visible == (life in seen) or (visible and watcher + name in self.unseen):
            return
        (seen.add if visible else seen.discard)(life)
        node = self.nodes[watcher]
        if visible:
            places = () if name in self.calls_only else (Place(name, 1),)
            node.peers.appeared(name, life, places, self.now)
        else:
            node.peers.vanished(name, life, self.now)
        node.act()

    def show_all(self) -> None:
        """All nodes see who is there, and nobody else."""
        for watcher in self.nodes:
            for name, node in self.nodes.items():
                if name == watcher:
                    continue
                for life in set(self.shown.get((watcher, name), ())) - {node.life}:
                    self.sight(watcher, name, life, False)
                self.sight(watcher, name, node.life, True)

    def hide_all(self, name: str) -> None:
        """A node loses the mesh."""
        for watched in self.nodes:
            self.shown.pop((name, watched), None)
        self.nodes[name].peers.blinded(self.now)
        self.nodes[name].act()

    def restart(self, name: str, killed: bool) -> None:
        """A node dies and comes back; when it was not ``killed``, but cut off, nobody is told."""
        old = self.nodes[name]
        self.gone.append(old)
        wires = [wire for wire in self.standing if name in wire.ends and not wire.closed]
        for wire in wires:
            if killed:
                self.hang_up(old, wire)
            else:
                wire.silent = True
        for wire, (node, _, _) in list(self.asking.items()):
            if node is old:
                del self.asking[wire]
        for key in [key for key in self.shown if key[0] == name]:
            del self.shown[key]
        self._add(name)

    def break_one(self, number: int, silently: bool) -> None:
        """A connection breaks, and both sides are told, or neither is."""
        wires = [wire for wire in self.standing if len(wire.ends) == 2 and not wire.closed]
        if not wires:
            return
        wire = wires[number % len(wires)]
        if silently:
            wire.silent = True
            return
        for name in wire.ends:
            if name in self.nodes:
                self.post(("wire", id(wire), name), self._drop, wire, self.nodes[name])

    def _drop(self, wire: Wire, node: Villager) -> None:
        if node is self.nodes.get(node.name):
            node.lost(wire)
            node.act()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for wire, (node, session, until) in list(self.asking.items()):
            if self.now >= until:
                del self.asking[wire]
                node.give_up(wire, session)
                node.act()
        for node in self.nodes.values():
            node.tick()
        if self.now >= self.news_at:
            self.news_at = self.now + NEWS_S
            for node in self.nodes.values():
                node.peers.tell_all()
                node.act()
        self.standing = [wire for wire in self.standing if not wire.closed]

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> float:
        """All is well for so long, or until something holds; the time that it took."""
        since = self.now
        while self.now - since < seconds:
            for _ in range(10_000):
                if not self.lanes:
                    break
                self.step(0)
            else:
                raise AssertionError("it does not come to rest")
            if until():
                break
            due = min(node.peers.due(self.now) for node in self.nodes.values()) - self.now
            self.pass_time(max(min(due, 0.5, since + seconds - self.now), 0.001))
        return self.now - since

    # -- how it is ------------------------------------------------------------------------------

    def linked(self, a: str, b: str) -> bool:
        """Whether one session stands between two nodes, and both mean the same."""
        mine, theirs = self.nodes[a].up.get(b), self.nodes[b].up.get(a)
        if mine is None or theirs is None:
            return False
        wire = self.nodes[a].wires[mine]
        return (
            wire is self.nodes[b].wires[theirs]
            and not wire.silent
            and not wire.closed
            and mine.incarnation == self.nodes[b].life
            and theirs.incarnation == self.nodes[a].life
        )

    def all_linked(self) -> bool:
        pairs = itertools.combinations(self.nodes, 2)
        return all(self.linked(a, b) or {a, b} <= set(self.calls_only) for a, b in pairs)
