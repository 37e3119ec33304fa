"""Labs of network namespaces and cgroups: what is asked is what is there, and then it is gone.

How exactly is measured by ``shoal lab check`` and ``shoal bench lab`` on a quiet machine. Bounds
here hold on any machine: what a limit forbids never happens, and what it allows happens somehow.
"""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from shoal.errors import LabCapacityError, LabError, LabStateError
from shoal_lab import check, command, probe, state, wiring
from shoal_lab.check import rates
from shoal_lab.faults import Cut, Freeze, Kill, Restart
from shoal_lab.host import Host
from shoal_lab.lab import Lab
from shoal_lab.machine import look
from shoal_lab.spec import LabSpec

pytestmark = [pytest.mark.root, pytest.mark.system]

LabOf = Callable[[str], LabSpec]
TWO = "{hosts: {pi: {share: 0.05}, gate: {share: 0.05}}, topology: {kind: mesh, link: %s}}"
PROBE = [sys.executable, "-I", "-S", probe.__file__]


def two(link: str = "{}") -> str:
    return TWO % link


def ping(host: Host, address: str, count: int = 10) -> tuple[list[float], int]:
    """Round trips in ms, and how many were lost. Not by the host's small share."""
    lab = host.environment()["SHOAL_LAB"]
    words = [*PROBE, "ping", address, str(count), "0.005"]
    said = json.loads(command.run([*wiring.inside(lab, host.name), *words]))
    return said["rtt_ms"], said["lost"]


def until(true: Callable[[], bool], within_s: float = 30.0) -> bool:
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_hosts_come_up_run_programs_and_go_with_them(lab_of: LabOf) -> None:
    hosts = ", ".join(f"h{i}: {{share: 0.05}}" for i in range(5))
    lab = Lab(lab_of(f"{{hosts: {{{hosts}}}, topology: {{kind: star, link: {{mbit: 20}}}}}}"))
    with lab:
        assert lab.up_s > 0
        programs = [host.spawn(["sleep", "100"]) for host in lab.hosts]
        assert [program.poll() for program in programs] == [None] * 5
    assert [program.returncode for program in programs] == [-signal.SIGKILL] * 5


def test_sixteen_hosts_reach_each_other_and_nobody_else(lab_of: LabOf) -> None:
    hosts = ", ".join(f"h{i}: {{share: 0.02}}" for i in range(16))
    with Lab(lab_of(f"{{hosts: {{{hosts}}}, topology: ring}}")) as lab:
        for other in lab.hosts[1:]:
            times, lost = ping(lab.hosts[0], other.address, 1)
            assert (len(times), lost) == (1, 0)
        said = lab.hosts[3].run(["sh", "-c", "ip -o addr; ip route get 8.8.8.8 2>&1 || true"])
        assert "unreachable" in said
        assert lab.hosts[3].address in said


def test_a_delay_is_there_for_any_protocol_and_in_both_directions(lab_of: LabOf) -> None:
    with Lab(lab_of(two("{mbit: 50, delay_ms: 10}"))) as lab:
        assert lab.cables[0].way in ("netem", "relay")
        for one, other in (lab.hosts, lab.hosts[::-1]):
            times, lost = ping(one, other.address)
            assert lost == 0
            assert 18.5 < min(times) < 100, "never early; how late is a matter of the machine"


def test_a_rate_is_that_of_each_direction(lab_of: LabOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "TRANSFER_S", 1.0)
    spec = lab_of(two("{up_mbit: 40, down_mbit: 5}"))
    with Lab(spec) as lab:
        up, down = rates(lab, lab.cables[0])
    assert (up.asked, down.asked) == (40, 5)
    assert 1 < down.got < 1.3 * 5
    assert 1.3 * 5 < up.got < 1.3 * 40


def test_a_host_never_gets_more_than_its_share_and_about_that(lab_of: LabOf) -> None:
    """By the CPU time that the kernel gives it, which is the same however fast the machine is."""
    with Lab(lab_of("{hosts: {pi: {share: 0.2}}}")) as lab:
        pi = lab.host("pi")
        busy = pi.spawn(
            [sys.executable, "-I", "-S", "-c", "print(flush=True)\nwhile 1: pass"],
            stdout=subprocess.PIPE,
        )
        assert busy.stdout is not None
        busy.stdout.readline()
        for factor in (1.0, 0.5):
            pi.slow(factor)
            began = time.monotonic()
            before_s = pi.usage().cpu_s
            time.sleep(1)
            used_s = pi.usage().cpu_s - before_s
            wall_s = time.monotonic() - began  # around both readings: at least their distance
            share = 0.2 * factor
            assert 0.3 * share * wall_s < used_s < 1.15 * share * wall_s + 0.02
        usage = pi.usage()
        assert usage.busy_s == pytest.approx(usage.cpu_s / 0.2)


def test_a_lossy_link_loses_as_many_as_asked(lab_of: LabOf) -> None:
    with Lab(lab_of(two("{mbit: 100, loss: 0.3}"))) as lab:
        wire = lab.network.wires[0]
        inside = wiring.inside(lab.spec.name, "pi")
        # Some at a time, so that no queue overflows where the relay gets no time for a while.
        code = (
            "import socket, time\n"
            "with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:\n"
            "    for i in range(1000):\n"
            f"        s.sendto(b'x' * 100, ('{lab.host('gate').address}', 9))\n"
            "        i % 50 or time.sleep(0.01)\n"
        )
        subprocess.run([*inside, sys.executable, "-I", "-S", "-c", code], check=True)

        def received() -> int:
            return lab.host("gate").usage().received_bytes // 128

        assert until(lambda: received() > 600)
        time.sleep(0.2)
        assert received() < 780, "128 bytes on the wire each, 70 % of 1000"
        assert wire.name == "pi:gate"


def test_a_cut_link_is_silent_and_then_as_before(lab_of: LabOf) -> None:
    with Lab(lab_of(two("{mbit: 20, delay_ms: 2}"))) as lab:
        pi, gate = lab.hosts
        listening = gate.spawn([*PROBE, "sink", "7000", "3"], stdout=subprocess.PIPE)
        assert listening.stdout is not None
        listening.stdout.readline()
        cable = lab.cable("gate", "pi")
        assert ping(pi, gate.address, 2)[1] == 0
        cable.change(cut=True)
        with pytest.raises(LabError, match=r"timed out|unreachable|No buffer"):
            pi.run([sys.executable, "-I", "-S", "-c", connect(gate.address)])
        cable.change(cut=False)
        assert ping(pi, gate.address, 2)[1] == 0
        pi.run([sys.executable, "-I", "-S", "-c", connect(gate.address, 30)])


def connect(address: str, within_s: int = 1) -> str:
    return f"import socket; socket.create_connection(('{address}', 7000), {within_s}).close()"


def test_a_trace_moves_the_link(lab_of: LabOf, tmp_path: Path) -> None:
    """To and fro, so that however late this test looks it sees both."""
    rows = "0,50,50,4\n1,50,50,100\n2,50,50,4\n3,50,50,100\n"
    (tmp_path / "jumps.csv").write_text(f"time_s,down_mbit,up_mbit,rtt_ms\n{rows}")
    spec = lab_of(two("{trace: jumps.csv}"))
    with Lab(spec, folder=tmp_path) as lab:

        def rtt_ms() -> float:
            times, _ = ping(lab.hosts[0], lab.hosts[1].address, 3)
            return min(times, default=50.0)

        assert until(lambda: 2.5 < rtt_ms() < 40)
        assert until(lambda: rtt_ms() > 98.5)
        assert until(lambda: 2.5 < rtt_ms() < 40)


def test_killing_takes_what_programs_started_too_and_restarting_brings_them_back(
    lab_of: LabOf, tmp_path: Path
) -> None:
    with Lab(lab_of(two())) as lab:
        pi = lab.host("pi")
        pi.spawn(["sh", "-c", f"setsid sleep 100 & echo x >> {tmp_path}/starts; sleep 100"])
        assert until(lambda: (tmp_path / "starts").exists())
        player = lab.play([Restart(at_s=0.1, host="pi", for_s=2)])
        assert until(lambda: len(player.happenings) == 1)
        assert not pi.processes
        assert player.wait(30)
        assert until(lambda: (tmp_path / "starts").read_text() == "x\nx\n")
        lab.play([Kill(at_s=0, host="pi")]).wait(30)
        seen = subprocess.run(["ps", "axe"], capture_output=True, text=True, check=True).stdout
        assert f"SHOAL_LAB={lab.spec.name} " not in seen


def test_a_frozen_host_does_nothing_and_can_still_be_killed(lab_of: LabOf) -> None:
    with Lab(lab_of(two())) as lab:
        pi, gate = lab.hosts
        counting = "import time\nwhile 1: print(time.monotonic(), flush=True); time.sleep(0.01)"
        process = pi.spawn(
            [sys.executable, "-I", "-S", "-c", counting], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        lab.play([Freeze(at_s=0.1, host="pi", for_s=1)]).wait(30)
        times = [float(process.stdout.readline()) for _ in range(40)]
        assert max(b - a for a, b in pairwise(times)) > 0.5
        pi.freeze()
        pi.kill()
        assert process.returncode == -signal.SIGKILL
        assert gate.run(["echo", "ok"]) == "ok\n"
        process.stdout.close()


def test_a_full_disk_is_full_for_this_host_only(lab_of: LabOf) -> None:
    with Lab(
        lab_of("{hosts: {pi: {share: 0.05, disk_mb: 8}, gate: {share: 0.05}}, topology: star}")
    ) as lab:
        pi = lab.host("pi")
        write = ["sh", "-c", "head -c 100000 /dev/zero > $SHOAL_CACHE/file"]
        pi.run(write)
        pi.fill_disk()
        with pytest.raises(LabError, match="No space"):
            pi.run(["sh", "-c", "head -c 200000 /dev/zero > $SHOAL_CACHE/more"])
        lab.host("gate").run(write)
        pi.free_disk()
        pi.run(["sh", "-c", "head -c 200000 /dev/zero > $SHOAL_CACHE/more"])


def test_memory_beyond_the_limit_ends_the_program_and_only_it(lab_of: LabOf) -> None:
    with Lab(lab_of("{hosts: {pi: {share: 0.1, memory_mb: 32}}}")) as lab:
        grab = "x = bytearray(100 << 20); print(len(x))"
        with pytest.raises(LabError, match="failed with -9"):
            lab.host("pi").run([sys.executable, "-I", "-S", "-c", grab])
        assert lab.host("pi").run(["echo", "alive"]) == "alive\n"


CLOCK = "{hosts: {pi: {share: 0.1}}, faults: [{kind: clock-jump, at_s: 0.2, host: pi, by_s: 600}]}"


def test_a_clock_jumps_while_a_program_runs_and_its_monotonic_clock_does_not(
    lab_of: LabOf,
) -> None:
    if look().compiler is None:
        pytest.skip("no C compiler for the library that lets clocks jump")
    with Lab(lab_of(CLOCK)) as lab:
        counting = (
            "import time\n"
            "while 1: print(time.time(), time.monotonic(), flush=True); time.sleep(0.05)"
        )
        process = lab.host("pi").spawn(
            [sys.executable, "-I", "-S", "-c", counting], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        wall, monotonic = map(float, process.stdout.readline().split())
        assert abs(wall - time.time()) < 5
        lab.play()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            now, now_monotonic = map(float, process.stdout.readline().split())
            if now - wall > 500:
                break
        assert (now - wall) - (now_monotonic - monotonic) == pytest.approx(600, abs=5)
        lab.host("pi").kill()
        process.stdout.close()


def test_a_clock_that_nobody_said_would_jump_cannot(lab_of: LabOf) -> None:
    with (
        Lab(lab_of("{hosts: {pi: {share: 0.05}}}")) as lab,
        pytest.raises(LabError, match="clock-jump"),
    ):
        lab.host("pi").jump_clock(5)


def test_shares_that_the_machine_does_not_have_are_refused(lab_of: LabOf) -> None:
    cores = look().cores
    hosts = ", ".join(f"h{i}: {{share: 1.0}}" for i in range(int(cores) + 1))
    with pytest.raises(LabCapacityError, match=f"this machine has {cores:g}"):
        Lab(lab_of(f"{{hosts: {{{hosts}}}, topology: star}}")).up()


CRASH = """
import sys
from shoal_lab import Lab, parse_lab
lab = Lab(parse_lab(sys.argv[1], name=sys.argv[2]))
lab.up()
lab.host("pi").spawn(["sh", "-c", "setsid sleep 100 & sleep 100"])
print("up", flush=True)
sys.stdin.read()
lab.down()
"""


def left(name: str) -> list[Path]:
    return list(Path(wiring.FOLDER).glob(f"shoal-{name}-*"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_killed_program_left_the_next_lab_removes(
    lab_of: LabOf, name: str, number: signal.Signals
) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", CRASH, two("{delay_ms: 1}"), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"up\n"
        program.send_signal(number)
    assert len(left(name)) == 2
    other = lab_of("{hosts: {nano: {share: 0.05}}}")
    with Lab(other) as lab:
        assert [path.name for path in left(name)] == [f"shoal-{name}-nano"]
        assert lab.host("nano").run(["echo", "ok"]) == "ok\n"


def test_a_namespace_that_nobody_remembers_is_in_nobodys_way(lab_of: LabOf, name: str) -> None:
    command.run(["ip", "netns", "add", wiring.space(name, "pi")])
    stray = subprocess.Popen([*wiring.inside(name, "pi"), "sleep", "100"])
    with Lab(lab_of("{hosts: {pi: {share: 0.05}}}")) as lab:
        assert lab.host("pi").run(["echo", "ok"]) == "ok\n"
        assert stray.wait(30) == -signal.SIGKILL


def test_an_interrupt_while_it_comes_up_leaves_nothing(lab_of: LabOf, name: str) -> None:
    """At many moments, so that some of them are bad ones."""
    main = threading.main_thread().ident
    assert main is not None
    for wait_s in (0.02, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4):
        lab = Lab(lab_of(two("{delay_ms: 1}")))
        timer = threading.Timer(wait_s, lambda: signal.pthread_kill(main, signal.SIGINT))
        try:
            timer.start()
            lab.up()
            time.sleep(1)
        except KeyboardInterrupt:
            pass
        finally:
            timer.join()
            lab.down()
        assert left(name) == []
        with pytest.raises(LabStateError):
            state.read(name)


def test_labs_of_two_names_do_not_meet(lab_of: LabOf, name: str) -> None:
    spec = lab_of(two())
    second = lab_of("{hosts: {pi: {share: 0.05}}}")
    with Lab(spec) as one, Lab(LabSpec(name=f"{name}-b", hosts=second.hosts)) as other:
        assert one.host("pi").address == other.host("pi").address
        assert ping(one.host("gate"), one.host("pi").address, 1)[1] == 0
        other.host("pi").kill()
        assert one.host("pi").run(["echo", "ok"]) == "ok\n"
    assert left(f"{name}-b") == []


def test_faults_on_links_and_traces_may_come_together(lab_of: LabOf) -> None:
    spec = lab_of(two("{trace: square, loss: 0.0}"))
    with Lab(spec) as lab:
        link = ("pi", "gate")
        player = lab.play(
            [Cut(at_s=0.0, link=link, for_s=0.2), Cut(at_s=0.1, link=link, for_s=0.3)]
        )
        assert player.wait(30)
        assert [happening.error for happening in player.happenings] == [None] * 4
        assert ping(*[lab.host("pi"), lab.host("gate").address, 2])[1] == 0


def test_energy_is_estimated_from_what_was_used(lab_of: LabOf) -> None:
    with Lab(
        lab_of("{hosts: {pi: {preset: raspberry-pi-4}, x: {share: 0.05}}, topology: star}")
    ) as lab:
        time.sleep(0.2)
        assert set(lab.energy_j()) == {"pi"}
        assert 0.3 < lab.energy_j()["pi"] < 60, "1.6 W when idle"
