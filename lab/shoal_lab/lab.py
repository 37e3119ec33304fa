"""A lab: hosts, links and faults on this machine, in a ``with`` block.

    with Lab(Path("lab.yaml")) as lab:
        lab.host("pi").spawn(["shoal", "worker", ...])
        lab.play()

Leaving the block (also by an error or Ctrl-C) removes every process, namespace, cgroup and disk.
If this process is killed before it can, the next lab that comes up on the machine does it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

import msgspec

from shoal.errors import LabError, LabRightsError, LabStateError
from shoal.process import home
from shoal.sim.faults import Fault, Lossy, check_fault
from shoal_lab import clock, command, conditions, state, wiring
from shoal_lab.assembly import jumping, loopback_host, namespace_host
from shoal_lab.cable import Cable, Load, needs_delay, shapes
from shoal_lab.capacity import check_capacity, warnings
from shoal_lab.cgroup import Hierarchy, hierarchy
from shoal_lab.file import check_traces, load_lab
from shoal_lab.host import Host
from shoal_lab.interrupt import held_back
from shoal_lab.machine import Machine, look
from shoal_lab.network import Network, Wire, check_place, network
from shoal_lab.player import Happening, Player, traces_of
from shoal_lab.relaying import Relay
from shoal_lab.shape import tc_line
from shoal_lab.spec import LabSpec, check

log = logging.getLogger("shoal_lab")


class Lab:
    """A lab that this process owns; a child made by fork can only leave the block.

    ``spec`` is a lab file or its content. ``loopback`` runs the hosts as plain processes even
    where more could be emulated. ``logs`` is a folder for what the hosts' processes print; without
    it that is thrown away with the lab. ``folder`` is where traces are looked for (default: beside
    the lab file).
    """

    def __init__(
        self,
        spec: LabSpec | Path,
        *,
        loopback: bool = False,
        logs: Path | None = None,
        folder: Path | None = None,
        keeper: bool = False,
    ) -> None:
        if isinstance(spec, Path):
            folder = folder or spec.parent
            spec = load_lab(spec)
        self.spec = check(spec)
        self.network = network(spec)
        self.warnings: tuple[str, ...] = ()
        self.up_s = 0.0
        self._wants_loopback = loopback
        self._logs = logs
        self._folder = folder or Path()
        self._keeper = keeper
        self._hosts: dict[str, Host] = {}
        self._cables: dict[int, Cable] = {}
        self._players: list[Player] = []
        self._relay: Relay | None = None
        self._state: state.State | None = None
        self._began = 0.0
        self._writing = threading.Lock()
        self._home = home()

    def __enter__(self) -> Lab:
        self.up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()

    def up(self) -> None:
        """Make everything and start what the hosts ``run``.

        LabStateError if a lab of this name is up, LabCapacityError if the machine cannot hold it,
        LabRightsError if it cannot delay packets and a link asks for it. Where there is no root or
        no namespaces it runs on loopback and :attr:`warnings` says what is not emulated.
        """
        self._check_home()
        if self._state is not None:
            raise LabStateError(f"lab {self.spec.name} is up already, by this very object")
        try:
            with held_back():
                self._up()
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """End and remove everything. May be called twice. An interrupt waits until it is done.
        Nothing in a child made by fork."""
        if not self._home.here:
            return
        with held_back():
            self._down()

    def host(self, name: str) -> Host:
        """The host of this name; LabError if there is none or the lab is not up."""
        self._check_home()
        try:
            return self._hosts[name]
        except KeyError:
            raise self._no("host", name, self._hosts) from None

    @property
    def hosts(self) -> tuple[Host, ...]:
        """All hosts, in the order of the lab file."""
        self._check_home()
        return tuple(self._hosts.values())

    def cable(self, a: str, b: str) -> Cable:
        """The link between two nodes; LabError if there is none or links are not emulated."""
        self._check_home()
        wire = self.network.wire(a, b)
        try:
            return self._cables[wire.index]
        except KeyError:
            raise LabError(f"link {wire.name} is not emulated: the lab runs on loopback") from None

    @property
    def cables(self) -> tuple[Cable, ...]:
        """All links that are emulated."""
        return tuple(self._cables.values())

    @property
    def _parts(self) -> list[Host | Cable]:
        return [*self._hosts.values(), *self._cables.values()]

    @property
    def is_loopback(self) -> bool:
        """Whether hosts are only processes."""
        return self._state is not None and self._state.loopback

    @property
    def relay(self) -> Relay | None:
        """The program that delays packets, where the kernel cannot."""
        return self._relay

    def play(
        self,
        faults: Sequence[Fault] | None = None,
        say: Callable[[Happening], object] | None = None,
    ) -> Player:
        """Let faults happen from now on (without an argument: those of the lab file)."""
        self._check_home()
        chosen = self.spec.faults if faults is None else tuple(faults)
        for fault in chosen:
            check_fault(fault)
            check_place(fault, self.spec, self.network)
        player = Player(self, chosen, say=say).start()
        self._players.append(player)
        return player

    def failed_lines(self) -> list[conditions.FailedLine]:
        """The lines of hosts' ``run`` that failed since this was asked last."""
        return [failed for host in self.hosts for failed in host.failed_lines()]

    def energy_j(self) -> dict[str, float]:
        """Joules that each host with a preset would have used so far. An estimate."""
        wall_s = time.monotonic() - self._began
        made = {}
        for name, host in self._hosts.items():
            if host.spec.power is not None:
                made[name] = host.energy(wall_s, self.network.sending_mbit(name)).total_j
        return made

    def _check_home(self) -> None:
        self._home.check(f"the lab {self.spec.name}")

    def _up(self) -> None:
        began = time.monotonic()
        check_traces(self.spec, self._folder)
        machine = look()
        loopback = self._wants_loopback or not machine.can_emulate
        self.warnings = warnings(self.spec, machine, loopback, self._wants_loopback)
        for warning in self.warnings:
            log.warning("%s", warning)
        if not loopback:
            check_capacity(self.spec, machine.cores)
        owner, started = state.this_process()
        mine = state.State(
            spec=self.spec,
            loopback=loopback,
            owner=owner,
            started=started,
            keeper=self._keeper,
            folder=str(self._folder.absolute()),
        )
        folder = state.claim(mine)
        self._state = mine  # only now: what another lab has made is not ours to remove
        if self._logs is not None:
            self._logs.mkdir(parents=True, exist_ok=True)
        if loopback:
            self._make_processes(folder)
        else:
            self._make_namespaces(folder, machine)
        traces = traces_of(self, self._folder)
        for cable, trace in traces:  # from the first packet on
            cable.change(sample=trace.at(0))
        if traces:
            self._players.append(Player(self, traces=traces).start())
        for host in self._hosts.values():
            host.start_lines()
        self._began = time.monotonic()
        self.up_s = self._began - began
        self._write_conditions()
        for part in self._parts:
            part.on_change = self._write_conditions
        self._save(ready=True, up_at_s=self._began)

    def _make_processes(self, folder: Path) -> None:
        for name in self.spec.hosts:
            host = loopback_host(self.spec, name, folder, self._logs)
            self._hosts[name] = host
            host.make()

    def _make_namespaces(self, folder: Path, machine: Machine) -> None:
        where = hierarchy()
        if not isinstance(where, Hierarchy):
            raise LabRightsError(f"the lab needs {where}")
        net = self.network
        if jumping(self.spec) and machine.compiler is not None:
            clock.build(machine.compiler, folder)
        for name in self.spec.hosts:
            host = namespace_host(self.spec, name, where, folder, self._logs)
            self._hosts[name] = host
            host.make()
        ways = {wire.index: _way(wire, self.spec, net, machine) for wire in net.wires}
        relayed = [wire for wire in net.wires if ways[wire.index] == "relay"]
        wiring.make(self.spec.name, net, _tc_lines(net, ways), {wire.index for wire in relayed})
        if relayed:
            self._relay = Relay.start(
                [
                    {
                        "device": wire.device,
                        "spaces": [
                            f"{wiring.FOLDER}/{wiring.space(self.spec.name, end)}"
                            for end in wire.ends
                        ],
                        "delay_ms": wire.link.delay_ms,
                        "loss": wire.link.loss,
                        "seed": self.spec.seed * 10_000 + 2 * wire.index,
                    }
                    for wire in relayed
                ],
                folder / "relay.sock",
            )
        for wire in net.wires:
            way = ways[wire.index]
            relay = self._relay if way == "relay" else None
            self._cables[wire.index] = Cable(wire, way, relay, self._tc)
        self._save(
            relay_pid=self._relay.pid if self._relay else None,
            ways={wire.name: ways[wire.index] for wire in net.wires},
        )

    def _tc(self, node: str, line: str) -> None:
        command.run([*wiring.inside(self.spec.name, node), "tc", *line.split()])

    def _save(self, **change: object) -> None:
        if self._state is None:
            raise LabStateError(f"lab {self.spec.name} is not up")
        self._state = msgspec.structs.replace(self._state, **change)
        state.write(self._state)

    def _write_conditions(self) -> None:
        """For whoever watches."""
        links = {
            cable.wire.name: conditions.LinkCondition(
                up=cable.shapes[0], down=cable.shapes[1], load=cable.load
            )
            for cable in self._cables.values()
        }
        with self._writing:
            hosts = {name: host.condition for name, host in self._hosts.items()}
            folder = state.lab_folder(self.spec.name)
            conditions.write(conditions.Conditions(hosts=hosts, links=links), folder)

    def _down(self) -> None:
        for player in self._players:
            player.stop()
        if self._state is None:
            return
        for part in self._parts:
            part.on_change = _nothing
        for host in self._hosts.values():
            host.close()
        if self._relay is not None:
            if not self._relay.alive:
                log.error("the relay for delays had ended before lab %s did", self.spec.name)
            self._relay.stop()
        state.release(self._state)
        self._players, self._hosts, self._cables = [], {}, {}
        self._relay = self._state = None

    def _no(self, what: str, name: str, known: dict[str, Host]) -> LabError:
        if self._state is None:
            return LabStateError(f"lab {self.spec.name} is not up")
        return LabError(f"there is no {what} {name!r}; there are {', '.join(known)}")


def _nothing() -> None:
    """Nobody has to know any more."""


def _way(wire: Wire, spec: LabSpec, net: Network, machine: Machine) -> str:
    """What makes a wire here; LabRightsError if it has to delay and nothing can."""
    lossy = any(net.wire(*fault.link) == wire for fault in spec.faults if isinstance(fault, Lossy))
    if not needs_delay(wire.link, lossy):
        return "veth"
    if machine.netem:
        return "netem"
    if machine.tun:
        return "relay"
    raise LabRightsError(
        f"link {wire.name} delays or loses packets, and this kernel has neither netem (modprobe "
        "sch_netem) nor /dev/net/tun (modprobe tun)"
    )


def _tc_lines(net: Network, ways: dict[int, str]) -> dict[str, list[str]]:
    """The first ``tc`` lines of each node: one for each direction that begins there."""
    lines: dict[str, list[str]] = {}
    for wire in net.wires:
        for node, shape in zip(wire.ends, shapes(wire.link, Load()), strict=True):
            line = tc_line(wire.device, shape, ways[wire.index] == "netem")
            lines.setdefault(node, []).append(line)
    return lines
