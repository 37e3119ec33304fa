"""docs/lab.md says what is so."""

import re
from pathlib import Path

from shoal_lab.faults import KINDS
from shoal_lab.file import parse_lab
from shoal_lab.presets import PRESETS
from shoal_lab.trace import SHIPPED

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "lab.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """Cells of the first table after a heading, without its head."""
    lines = PAGE.split(f"## {heading}\n")[1].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|---"))
    table = []
    for line in lines[start + 1 :]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table


def test_the_lab_file_of_the_page_is_a_lab() -> None:
    text = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0]
    lab = parse_lab(text)
    assert list(lab.hosts) == ["gate", "pi", "nano", "odd", "cloud"]
    assert len(lab.faults) == 2


def test_the_presets_of_the_page_are_those_there_are() -> None:
    listed = {row[0].split("`")[1]: row for row in rows("Presets")}
    assert set(listed) == set(PRESETS)
    for name, row in listed.items():
        power = PRESETS[name].power
        assert float(row[1]) == PRESETS[name].share
        assert row[2] == f"{PRESETS[name].memory_mb // 1024} GiB"
        idle, busy, sending = re.findall(r"[\d.]+", row[3])[:3]
        assert (float(idle), float(busy), float(sending)) == (
            power.idle_w,
            power.busy_w,
            power.transmit_w,
        )


def test_every_fault_and_trace_is_on_the_page() -> None:
    assert {row[0].split("`")[1] for row in rows("Faults")} == set(KINDS)
    for name in SHIPPED:
        assert f"`{name}`" in PAGE
