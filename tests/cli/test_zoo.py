import json
from importlib.metadata import EntryPoints

import pytest

from shoal import plugins
from shoal.cli.entry import run


def test_the_list_says_what_is_here_and_how_to_get_the_rest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["zoo", "list"]) == 0
    assert "shoal zoo get efficientnet-lite0" in capsys.readouterr().out


def test_the_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["zoo", "list", "--json"]) == 0
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert entries["efficientnet-lite0"] == {"name": "efficientnet-lite0", "ready": False}


def test_a_network_that_is_not_here_yet(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["zoo", "show", "efficientnet-lite0"]) == 25
    assert "shoal zoo get efficientnet-lite0" in capsys.readouterr().err


def test_an_unknown_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["zoo", "get", "gpt-9"]) == 2
    assert "efficientnet-lite0" in capsys.readouterr().err


def test_without_shoal_train_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plugins, "entry_points", lambda **only: EntryPoints())
    assert run(["zoo", "get", "efficientnet-lite0"]) == 80
    assert "pip install './train[efficientnet]'" in capsys.readouterr().err
