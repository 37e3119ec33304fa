"""What the command line promises whatever the command: exit codes, plain words, streams."""

import os
import subprocess
import sys

import pytest

from shoal.cli import app as app_module
from shoal.cli import entry
from shoal.cli.stops import Terminated
from shoal.errors import CutError

EVERY_COMMAND = (*app_module.COMMANDS, *app_module.ELSEWHERE)


def shoal(*arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "shoal", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "COLUMNS": "120"},
        check=False,
        **settings,
    )


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def command(arguments: object) -> int:
        raise error

    monkeypatch.setattr(entry, "_command", command)


def test_help_names_every_command() -> None:
    done = shoal("--help")
    assert done.returncode == 0
    for command in EVERY_COMMAND:
        assert f" {command} " in done.stdout


def test_help_imports_nothing_heavy() -> None:
    """So it is quick: 0.25 s of work were measured."""
    heavy = ("numpy", "onnx", "onnxruntime", "zenoh", "torch", "matplotlib", "shoal.runtime",
             "shoal_lab", "shoal_benchmarks", "shoal_train")  # fmt: skip
    code = (
        "import sys, shoal.cli.entry as e; code = e.run(['--help']);"
        f"print([m for m in {heavy!r} if m in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0
    assert done.stderr.strip() == "[]"


def test_a_command_of_ours_looks_up_no_other() -> None:
    """That takes 2 MB, which a worker on a small board would hold for as long as it runs."""
    code = (
        "import sys; from typer.main import get_command; from shoal.cli.app import app;"
        "get_command(app).get_command(None, 'worker'); print('importlib.metadata' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("command", EVERY_COMMAND)
def test_each_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.run([command, "--help"]) == 0
    out, err = capsys.readouterr()
    assert "Usage: shoal" in out
    assert err == ""


def test_version() -> None:
    assert shoal("--version").stdout.startswith("shoal 0.")


def test_a_mistyped_command_gets_a_suggestion_and_exit_code_2() -> None:
    done = shoal("bnech")
    assert done.returncode == 2
    assert "bench" in done.stderr
    assert done.stdout == ""


def test_our_errors_are_one_line_with_the_exit_code_of_their_class(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, CutError("there is no cut at 99;\n  choose one of 0 to 12 " + "x" * 200))
    assert entry.run([]) == 13
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error 13: there is no cut at 99; choose one of 0 to 12 xxx")
    assert err.count("\n") == 1


def test_markup_in_an_error_is_shown_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, CutError("tensor [bold]x[/bold] and shoal[torch]"))
    entry.run([])
    assert "[bold]x[/bold] and shoal[torch]" in capsys.readouterr().err


def test_an_unforeseen_error_is_called_a_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, ZeroDivisionError("division by zero"))
    assert entry.run([]) == entry.BUG
    err = capsys.readouterr().err
    assert "bug in Shoal" in err
    assert "Traceback" not in err


def test_developers_can_ask_for_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHOAL_TRACEBACK", "1")
    fail_with(monkeypatch, CutError("no cut"))
    assert entry.run([]) == 13
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_is_quiet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())
    assert entry.run([]) == 130
    assert capsys.readouterr() == ("", "")


def test_sigterm_cleans_up_as_ctrl_c_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, Terminated())
    assert entry.run([]) == 143
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("command", [["--help"], ["inspect", "fashion-resnet", "--cuts"]])
def test_a_reader_that_goes_away_has_a_code_of_its_own(command: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [sys.executable, "-m", "shoal", *command], stdout=writing, stderr=subprocess.PIPE,
        timeout=60, check=False,
    )  # fmt: skip
    os.close(writing)
    assert (process.returncode, process.stderr) == (entry.BROKEN_PIPE, b"")


def test_a_reader_that_goes_away_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [sys.executable, "-m", "shoal", "--help"],
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(writing)
    assert process.stderr == b""
    assert process.returncode in (1, entry.BROKEN_PIPE)
