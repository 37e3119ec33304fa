"""The strategy of docs/strategies.md works as it stands there, in all that it brings."""

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
from tests.runtime.test_service import right
from tests.runtime.tiny import images
from tests.toys import distribution
from tests.toys.network import ToyProfile
from tests.toys.strategy import compare

import shoal
from shoal.cli.entry import run
from shoal.core import policy
from shoal.plan.profiles import Profiles
from shoal.strategies import base
from shoal.strategies.making import make

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")
CLUSTER = "devices: [{name: a}, {name: b, speed: 2}, {name: c}]\n"


@pytest.fixture
def made(tmp_path, monkeypatch):
    """The package of the page, installed."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    entries = "\n".join(distribution.entries(group, **at) for group, at in registered().items())
    distribution.write(tmp_path, "nearest", entries, code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "flat.json").write_text(json.dumps({"a": 3, "b": 4.5, "c": 80}))
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    yield tmp_path
    policy.find_policy.cache_clear()
    sys.modules.pop("nearest", None)


def registered():
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    return tomllib.loads(text)["project"]["entry-points"]


def facts(cluster):
    return Profiles.scaled(cluster, ToyProfile((0.1,) * 8))


def plan(made, *words):
    return run(["plan", "fashion-resnet", "--cluster", str(made / "cluster.yaml"), *words])


def test_the_groups_are_those_that_are_looked_at():
    assert list(registered()) == [base.GROUP, policy.GROUP]


def test_it_answers_and_goes_on_without_a_device(made, crowd, net):
    crowd.start("a", "b")
    cluster = shoal.Cluster.from_yaml("devices: [{name: a}, {name: b}]\n")
    built = make("nearest", net, cluster, facts(cluster), store=crowd.store)
    service = crowd.serve(built.playbook)
    inputs = images(8)
    for image in inputs[:4]:
        right(net, service.infer(image), image)
    crowd.kill("a")
    for image in inputs[4:]:
        right(net, service.infer(image), image)


def test_it_is_compared_with_those_that_ship_and_stands_where_it_says(made, net):
    cluster = shoal.Cluster.from_yaml(CLUSTER)
    options = compare(net, cluster, facts(cluster)).options
    offered = [option.strategy for option in options if option.forecast is not None]
    assert {"nearest", "local", "remote", "replicas"} <= set(offered)
    names = [strategy.name for strategy in base.all_strategies()]
    assert names.index("remote") < names.index("nearest") < names.index("pipeline")


def test_it_is_prepared_and_explained_from_the_command_line(made, capsys):
    out = made / "book.json"
    words = ["--strategy", "nearest", "--map", str(made / "flat.json"), "--explain"]
    assert plan(made, *words, "-o", str(out)) == 0
    shown = capsys.readouterr().out
    assert "nearest: c is too far" in shown
    assert ["b", "4.5", "yes"] in [line.split() for line in shown.splitlines()]
    playbook = json.loads(out.read_text())
    assert playbook["policy"]["name"] == "nearest"
    assert set(playbook["plans"][0]["stages"][0]["parts"]) == {"a", "b"}

    assert plan(made, *words, "--within-m", "100", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metres"] == {"a": 3, "b": 4.5, "c": 80}
    assert found["options"][0]["devices"] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--within-m", "-1"], 40, "within_m: -1 m is no distance"),
        (["--within-m", "near"], 40, "within_m: 'near' is not a number"),
        (["--stages", "1"], 40, "it has: map, within_m"),
        (["--map", "nowhere.json"], 25, "nowhere.json"),
        (["--explain", "--plot", "pictures"], 2, "without a picture"),
    ],
)
def test_its_mistakes_are_told_like_those_of_others(made, words, code, said, capsys):
    assert plan(made, "--strategy", "nearest", *words) == code
    assert said in capsys.readouterr().err


def test_all_that_explain_are_named_to_who_asks_for_it_of_another(made, capsys):
    assert plan(made, "--strategy", "local", "--explain") == 2
    assert "for --strategy nearest or relay or shards or split" in capsys.readouterr().err
