"""Commands of other distributions: found by name, loaded when asked for, harmful to no other."""

import functools
import sys
from importlib.metadata import EntryPoints
from pathlib import Path

import pytest
from tests.toys import distribution

from shoal import plugins
from shoal.cli.app import GROUP
from shoal.cli.entry import run

GOOD = """
import typer
app = typer.Typer()

@app.command()
def good(count: int = 1) -> None:
    \"\"\"Says how many.\"\"\"
    print(f"{count} it is")
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    yield functools.partial(distribution.write, tmp_path)
    for file in tmp_path.glob("*.py"):
        sys.modules.pop(file.stem, None)


commands = functools.partial(distribution.entries, GROUP)


def test_a_command_is_listed_with_a_line_and_loaded_when_it_runs(install, capsys):
    install("goodness", commands(good="goodness:app"), GOOD)
    assert run(["--help"]) == 0
    assert "Adds goodness." in capsys.readouterr().out
    assert "goodness" not in sys.modules
    assert run(["good", "--count", "3"]) == 0
    assert capsys.readouterr().out == "3 it is\n"


def test_it_explains_itself_under_its_name(install, capsys):
    install("goodness", commands(good="goodness:app"), GOOD)
    assert run(["good", "--help"]) == 0
    assert "Usage: shoal good" in capsys.readouterr().out


def test_its_mistyped_name_gets_a_suggestion(install, capsys):
    install("goodness", commands(good="goodness:app"), GOOD)
    assert run(["goood"]) == 2
    assert "'good'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("at", "code", "says"),
    [
        ("badness:app", "import nobody_has_this", "ModuleNotFoundError"),
        ("badness:app", "1 / 0", "ZeroDivisionError"),
        ("badness:nothing", "", "AttributeError"),
        ("badness_that_is_not_there:app", "", "ModuleNotFoundError"),
        ("badness:app", "app = 3", "no typer.Typer"),
    ],
)
def test_one_that_cannot_be_loaded_is_named_and_harms_no_other(install, at, code, says, capsys):
    install("badness", commands(bad=at), code)
    assert run(["bad"]) == 81
    err = capsys.readouterr().err
    assert says in err
    assert "of badness 1.2" in err
    assert err.count("\n") == 1
    assert run(["--help"]) == 0
    assert run(["zoo", "list"]) == 0


@pytest.mark.parametrize("metadata", ["", "\x00\xff", "Name: badness\nVersion: 1.2\n"])
def test_one_that_does_not_describe_itself_stands_without_a_line(install, metadata, capsys):
    install("badness", commands(bad="badness:app"), metadata=metadata)
    assert run(["--help"]) == 0
    assert " bad " in capsys.readouterr().out


def test_metadata_that_cannot_be_read_harms_no_command_of_ours(install, capsys):
    install("badness", "[shoal.commands]\nthere is no equals sign\n")
    assert run(["zoo", "list"]) == 0
    assert run(["--help"]) == 0
    out, err = capsys.readouterr()
    assert " plan " in out
    assert "shoal.commands" in err
    assert err.count("\n") == 1


def test_nobody_takes_the_name_of_a_command_of_ours(install, capsys):
    install("goodness", commands(zoo="goodness:app"), GOOD)
    assert run(["zoo", "list"]) == 0
    assert "fashion-resnet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "advice"),
    [("lab", "pip install ./lab"), ("train", "pip install ./train"), ("bench", "make bench")],
)
def test_what_is_not_installed_says_how_to_get_it(command, advice, monkeypatch, capsys):
    monkeypatch.setattr(plugins, "entry_points", lambda **only: EntryPoints())
    for words in ([command], [command, "status", "--json"], [command, "--help"]):
        assert run(words) == 80
        out, err = capsys.readouterr()
        assert out == ""
        assert advice in err
        assert err.count("\n") == 1
    assert run(["--help"]) == 0
    assert f" {command} " not in capsys.readouterr().out
