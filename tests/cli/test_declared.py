"""What strategies declare as options is taken from the command line, whoever brings it."""

import pytest

from shoal.cli.declared import declared, taken
from shoal.cli.entry import run
from shoal.errors import UsageError

FLAGS = {"--rho": "rho", "--high-s": "high_s"}


@pytest.mark.parametrize(
    ("args", "rest", "given"),
    [
        ("net --rho 0.5 -o out", "net -o out", {"rho": "0.5"}),
        ("--rho=0.5 net --high-s -1", "net", {"rho": "0.5", "high_s": "-1"}),
        ("net --rho= x", "net x", {"rho": ""}),
        ("net --rhos 1 --set rho=1", "net --rhos 1 --set rho=1", {}),
        ("net -- --rho 1", "net -- --rho 1", {}),
    ],
)
def test_they_are_taken_wherever_they_stand(args, rest, given):
    assert taken(args.split(), FLAGS) == (rest.split(), given)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("net --rho", "--rho needs a value"),
        ("net --rho --high-s 2", "--rho needs a value"),
        ("--rho 1 --rho=2", "--rho is given twice"),
    ],
)
def test_one_without_a_value_or_twice_is_a_mistake(args, said):
    with pytest.raises(UsageError, match=said):
        taken(args.split(), FLAGS)


def test_the_help_names_those_of_every_strategy(capsys):
    assert run(["plan", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for strategy, names in declared().items():
        assert not names or f"{strategy}: --" in shown
    assert "--batch-wait-ms" in shown
    assert "--survive" in shown


def test_a_flag_that_a_command_has_itself_is_not_listed_as_a_strategys(capsys):
    listed = {}
    for command in ("plan", "simulate"):
        assert run([command, "--help"]) == 0
        shown = " ".join(capsys.readouterr().out.split())
        listed[command] = shown.split("Options of strategies")[1]
    assert "window" in declared()["relay"]
    assert "--window" in listed["plan"]
    assert "--window" not in listed["simulate"]
    assert "relay: --fixed" in listed["simulate"]


def test_what_nobody_declares_is_no_option(capsys):
    assert run(["plan", "net", "--cluster", "c", "--wheels", "2"]) == 2
    assert "--wheels" in capsys.readouterr().err
