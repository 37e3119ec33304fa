"""What the demo shows: a live view while it serves, and what came of it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from shoal import allowance
from shoal.cli.output import bar, table

if TYPE_CHECKING:
    from shoal.cli.play import Chapter
    from shoal.observe.load_generator import LoadGenerator, Record
    from shoal.plan.plan import Playbook
    from shoal.runtime.local import LocalCluster
    from shoal.runtime.service import Service

FIRST_PORT = 7501


def words(recent: Sequence[Record], labels: Sequence[int], lost: int) -> list[str]:
    """The answers of the last second."""
    if not recent:
        return ["no answers", f"lost {lost}"]
    times = sorted(record.latency_ms for record in recent)
    return [
        f"{len(recent):5d} images/s",
        f"p50 {times[len(times) // 2]:5.1f} ms",
        f"slowest {times[-1]:5.1f} ms",
        f"right {right(recent, labels):6.1%}",
        f"lost {lost}",
    ]


def right(records: Sequence[Record], labels: Sequence[int]) -> float:
    """The share that is right by the labels."""
    return sum(record.best == labels[record.case] for record in records) / max(1, len(records))


def devices_table(service: Service, cluster: LocalCluster, recent: Sequence[Record]) -> Table:
    """Who does what, by the answers of the last second."""
    playbook = service.playbook
    stages = playbook.plan(recent[-1].plan if recent else playbook.plans[0].name).stages
    rows = []
    for name, device in service.stats().devices.items():
        share = sum(name in record.devices for record in recent) / max(len(recent), 1)
        number = [str(k + 1) for k, stage in enumerate(stages) if name in stage.parts]
        process = cluster.processes[name]
        state = device.state if process.running else "dead"
        rows.append(
            (
                name,
                process.pid if process.running else "",
                Text(state, "green" if state == "alive" else "bold red"),
                f"part {' and '.join(number)} of {len(stages)}" if number else "standing by",
                device.outstanding,
                Text(bar(share, 20), "blue"),
            )
        )
    columns = ("worker", "pid>", "state", "does", "has>", "in the answers of the last second")
    return table("", columns, rows)


def outcome(
    load: LoadGenerator, chapters: Sequence[Chapter], labels: Sequence[int], victim: str
) -> dict[str, Any]:
    """What came of it, in numbers."""
    calm, killed, back = chapters
    records = load.records
    spans = {
        "before": (calm.began_s, killed.began_s),
        "without": (killed.began_s, back.began_s),
        "after": (back.happened_s, records[-1].answered_s),
    }
    around = [r for r in records if r.answered_s >= killed.began_s and r.asked_s < back.began_s]
    without = [r.answered_s for r in around if victim not in r.devices]
    again = [r.answered_s for r in records if victim in r.devices and r.asked_s > back.happened_s]
    calmly = [r for r in records if calm.began_s <= r.asked_s and r.answered_s < killed.began_s]
    pauses = [b.answered_s - a.answered_s for a, b in pairwise(around)]
    return {
        "asked": load.asked,
        "answered": len(records),
        "lost": len(load.lost),
        "answered_twice": load.twice,
        "different_from_whole_network": sum(record.wrong for record in records),
        "accuracy": right(records, labels),
        "images_per_s": {
            name: sum(begin <= r.answered_s < end for r in records) / (end - begin)
            for name, (begin, end) in spans.items()
        },
        "killed": victim,
        "retried": sum(record.attempts > 1 for record in records),
        "usual_slowest_ms": max(record.latency_ms for record in calmly),
        "slowest_after_kill_ms": max(record.latency_ms for record in around),
        "first_answer_without_ms": (min(without) - killed.began_s) * 1e3,
        "longest_pause_ms": max(pauses) * 1e3,
        "used_again_ms": (min(again) - back.began_s) * 1e3 if again else None,
    }


def outcome_text(found: dict[str, Any]) -> Group:
    """What came of it, in words; to be printed without ``crop``: commands are not broken."""
    rates = found["images_per_s"]
    lost = found["lost"] + found["different_from_whole_network"] + found["answered_twice"]
    lines = [
        ("asked and answered", f"{found['asked']:,} and {found['answered']:,}"),
        (
            "lost, answered twice, wrong",
            f"{found['lost']}, {found['answered_twice']}, "
            f"{found['different_from_whole_network']}   (wrong: not as the whole network says)",
        ),
        ("right by the labels", f"{100 * found['accuracy']:.1f} %"),
        (
            "images/s",
            f"{rates['before']:.0f} with all, {rates['without']:.0f} without {found['killed']}, "
            f"{rates['after']:.0f} when it was back",
        ),
        (
            "after the kill",
            f"first answer without {found['killed']} after "
            f"{found['first_answer_without_ms']:.0f} ms, longest pause "
            f"{found['longest_pause_ms']:.0f} ms, {found['retried']} requests done again",
        ),
        (
            "after its return",
            f"first answer with {found['killed']} after {found['used_again_ms']:.0f} ms"
            if found["used_again_ms"] is not None
            else f"{found['killed']} was not used again",
        ),
        (
            "slowest request",
            f"{found['slowest_after_kill_ms']:.0f} ms around the kill, "
            f"{found['usual_slowest_ms']:.0f} ms before",
        ),
    ]
    return Group(
        Text(""),
        Text(
            "No request was lost." if lost == 0 else "Requests were lost or wrong: please report.",
            "bold green" if lost == 0 else "bold red",
        ),
        table("", ("", ""), lines),
        Text(
            f"All workers share the {allowance.cores():g} cores of this machine, so this shows "
            "what happens to requests, not a gain in speed.\n",
            "dim",
        ),
        Text("The same by hand:", "bold"),
        *(
            Text.assemble(
                (f"  # {what}\n", "dim"),
                *(f"  {line}\n" for line in command),
                no_wrap=True,
                overflow="ignore",
            )
            for what, command in found["commands"]
        ),
    )


def commands(
    cluster: LocalCluster, playbook: Playbook, network: str, victim: str
) -> list[tuple[str, list[str]]]:
    """What to type to do all of this step by step: what for, and the lines."""
    listed = [
        f'  - {{name: {name}, address: "tcp/127.0.0.1:{FIRST_PORT + k}", host: here}}'
        for k, name in enumerate(cluster.names)
    ]
    workers = [
        f"shoal worker --cluster cluster.yaml --name {name} & echo $! > {name}.pid"
        for name in cluster.names
    ]
    plan = (
        f"shoal plan {network} --cluster cluster.yaml --strategy {playbook.strategy} "
        f"--stages {len(playbook.plans[0].stages)} -o playbook.json"
    )
    run = f"shoal run playbook.json --cluster cluster.yaml --samples {network} --count 5000"
    ends = ["gateway: {host: here}", f"hosts: {{here: {{cores: {allowance.cores():g}}}}}", "END"]
    file = ["cat > cluster.yaml <<'END'", "devices:", *listed, *ends]
    steps = {
        "where the command is": [f'export PATH="{Path(sys.executable).parent}:$PATH"'],
        "cluster.yaml: who takes part, and where to find them": file,
        "a worker for each of them, on each board the same": workers,
        "where the network can be cut": [f"shoal inspect {network} --cuts"],
        "measure, forecast, recommend, and write a playbook": [plan],
        "answer images": [run],
        "meanwhile, in another terminal": [f"kill -9 $(cat {victim}.pid)"],
    }
    if shutil.which("shoal") is not None:
        del steps["where the command is"]
    return list(steps.items())
