import json

import msgspec
import numpy as np
import pytest
from rich.console import Console
from rich.text import Text

from shoal.cli.output import (
    bar,
    print_json,
    print_json_line,
    stderr,
    stdout,
    table,
)
from shoal.plan.size import readable


class Thing(msgspec.Struct):
    name: str
    sizes: dict[str, int]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3.0 TiB")],
)
def test_readable(count: int, text: str) -> None:
    assert readable(count) == text


def test_a_bar_is_as_long_as_its_share_and_never_longer_than_its_width() -> None:
    assert bar(0, 8) == ""
    assert bar(0.5, 8) == "████"
    assert bar(1 / 64, 8) == "▏"
    assert bar(7, 8) == "████████"


def test_json_takes_structs_and_arrays(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"thing": Thing("a", {"x": 1}), "array": np.arange(3)})
    assert json.loads(capsys.readouterr().out) == {
        "thing": {"name": "a", "sizes": {"x": 1}},
        "array": [0, 1, 2],
    }


def test_a_json_line_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_json_line({"a": [1, 2]})
    assert capsys.readouterr().out == '{"a":[1,2]}\n'


def test_numbers_are_not_broken_where_there_is_little_room(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """1667.4 over two lines would be read as 1667."""
    row = ("a name of some words" * 4, "1667.4", "12.6 KiB", "3")
    made = table("t", ("strategy", "images per second>", "bytes per image>", "n>"), [row])
    Console(width=40).print(made)
    out = capsys.readouterr().out
    assert "1667.4" in out
    assert "12.6 KiB" in out
    assert max(map(len, out.splitlines())) <= 40


def test_names_of_numbers_are_broken_only_where_the_table_is_wide(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for words, broken in (("a name", False), ("a name" * 20, True)):
        made = table("", ("what", "right by the labels>"), [(words, "99.6%")])
        Console(width=80).print(made)
        assert ("right by the labels" not in capsys.readouterr().out) is broken


def test_a_number_that_is_cut_off_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    Console(width=8).print(table("", ("n>",), [("1667.4321098",)]))
    assert "…" in capsys.readouterr().out


def test_brackets_in_cells_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    Console(width=80).print(table("t", ("name", "n>"), [("[red]x[/red]", 3)]))
    assert "[red]x[/red]" in capsys.readouterr().out


MARKED = "[red]x[/red] :smile: [link=http://a]b \x1b[2J"
PLAIN = "[red]x[/red] :smile: [link=http://a]b \\x1b[2J"


def test_text_is_printed_as_it_is_wherever_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    for console in (stdout(), stderr()):
        console.print(MARKED)
        console.print(Text(MARKED, "bold"))
        console.print(table(MARKED, ("name", "n>"), [(MARKED, 3), (Text(MARKED), 4)]))
        with console.status(MARKED) as status:
            status.update(MARKED)
            console.print(status.renderable)
    for printed in capsys.readouterr():
        assert printed.count(PLAIN) == 6
        assert "\x1b" not in printed


def test_a_cell_has_one_line_and_text_as_many_as_it_has(capsys: pytest.CaptureFixture[str]) -> None:
    stdout().print("one\ntwo")
    stdout().print(table("t", ("name",), [("three\nfour",)]))
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[:2] == ["one", "two"]
    assert "three\\nfour" in lines
