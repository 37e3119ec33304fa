"""How strategies are found, what they are given, and how they stand to each other."""

import sys
from pathlib import Path

import pytest
from tests.toys import distribution
from tests.toys.network import ToyNetwork, ToyProfile
from tests.toys.strategy import compare, whole

from shoal.errors import DataError, PlanError, PluginError
from shoal.plan.cluster import Cluster
from shoal.plan.objective import Objective
from shoal.plan.profiles import Profiles
from shoal.strategies import base, making
from shoal.strategies.base import Strategy, all_strategies, find_strategy
from shoal.strategies.making import Candidate, build, candidates, make, prepare
from shoal.strategies.options import Options, read_options

NETWORK = ToyNetwork()
CLUSTER = Cluster.from_yaml("devices: [{name: a}, {name: b}]")
FACTS = Profiles.scaled(CLUSTER, ToyProfile.even(NETWORK, 40.0))


class Colours(Options, frozen=True):
    count: int = 2
    share: float = 0.5
    folder: str | None = None


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a module of this name, which registers its ``strategy`` under the same name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    names = []

    def write(name, code):
        names.append(name)
        entries = distribution.entries(base.GROUP, **{name: f"{name}:strategy"})
        distribution.write(tmp_path, name, entries, code)

    yield write
    for name in names:
        sys.modules.pop(name, None)


def offered_by(monkeypatch, *strategies):
    monkeypatch.setattr(making, "all_strategies", lambda: list(strategies))


def test_options_are_read_by_their_types():
    given = {"count": "4", "share": "3", "folder": "2024"}
    assert read_options(Colours, given, "toy") == Colours(4, 3.0, "2024")
    assert read_options(Colours, {"folder": Path("photos")}, "toy").folder == "photos"
    assert read_options(Colours, {}, "toy") == Colours()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"count": "4.5"}, "count: '4.5' is not a whole number; write --count 4"),
        ({"count": True}, "count: True is not a whole number"),
        ({"share": "nan"}, "share: 'nan' is not a number"),
        ({"share": "1e999"}, "share: '1e999' is not a number"),
        ({"folder": 3}, "folder: 3 is not a text"),
        ({"colour": "red"}, r"'toy' has no option 'colour' \(it has: count, share, folder\)"),
    ],
)
def test_what_is_no_option_is_refused(given, said):
    with pytest.raises(PlanError, match=said):
        read_options(Colours, given, "toy")


def test_those_that_ship_come_from_simple_to_involved():
    names = [strategy.name for strategy in all_strategies()]
    assert names[:4] == ["local", "remote", "replicas", "pipeline"]
    assert [each.name for each in all_strategies() if not each.distributes] == ["local"]
    assert {each.name for each in all_strategies() if each.prepare or each.explain} == {
        "relay",
        "shards",
        "split",
    }


def test_hooks_get_what_is_declared_and_nothing_else(monkeypatch):
    (found,) = build(
        [Candidate(Strategy("toy", whole), Options())], NETWORK, CLUSTER, FACTS, Objective()
    )
    assert found.built.notes == ()

    def ready(network, cluster, objective, progress, options):
        progress(0.5, f"counting to {options.count}")
        return options.count + 1

    told = []
    toy = Strategy("toy", whole, ready, options=Colours)
    offered = prepare(
        [Candidate(toy, Colours())], NETWORK, CLUSTER, Objective(), lambda *said: told.append(said)
    )
    assert told == [("toy", 0.5, "counting to 2")]
    (found,) = build(offered, NETWORK, CLUSTER, FACTS, Objective())
    assert found.built.notes == (f"options is {Colours()!r}", "prepared is 3")


def test_one_that_cannot_is_shown_with_its_reason_and_stops_no_other(monkeypatch):
    def refuse(*given):
        raise PlanError("there is no map")

    offered_by(monkeypatch, Strategy("lost", whole, refuse), Strategy("toy", whole))
    found = compare(NETWORK, CLUSTER, FACTS)
    assert [(option.strategy, option.refused) for option in found.options] == [
        ("toy", ""),
        ("lost", "there is no map"),
    ]
    offered_by(monkeypatch, Strategy("lost", whole, refuse))
    with pytest.raises(PlanError, match=r"^there is no map$"):
        compare(NETWORK, CLUSTER, FACTS)


def test_one_that_breaks_is_shown_with_what_broke_it_and_stops_no_other(monkeypatch):
    def broken(*given):
        raise KeyError("map")

    offered_by(monkeypatch, Strategy("lost", broken), Strategy("toy", whole))
    found = compare(NETWORK, CLUSTER, FACTS)
    assert found.strategy == "toy"
    assert found.options[1].refused == "it broke, KeyError: 'map'"
    monkeypatch.setattr(making, "find_strategy", {"lost": Strategy("lost", broken)}.__getitem__)
    with pytest.raises(KeyError):
        make("lost", NETWORK, CLUSTER, FACTS)


def test_a_mistake_of_the_user_is_no_reason_to_leave_a_strategy_out(monkeypatch):
    def unreadable(*given):
        raise DataError("photos/: there is no such folder")

    offered_by(monkeypatch, Strategy("toy", whole, unreadable), Strategy("other", whole))
    with pytest.raises(DataError):
        compare(NETWORK, CLUSTER, FACTS)


def test_of_two_that_are_as_good_the_simpler_one_is_recommended(install):
    code = (
        "from tests.toys.strategy import compare, whole\n"
        "from shoal.strategies.base import Strategy\n"
        "strategy = Strategy('{name}', whole, rank={rank}, distributes={distributes})\n"
    )
    for name, rank, distributes in (("abacus", -1, False), ("zebra", -2, True)):
        install(name, code.format(name=name, rank=rank, distributes=distributes))
    found = compare(NETWORK, CLUSTER, FACTS)
    assert (found.strategy, found.distribute) == ("zebra", True)


def test_one_that_is_not_compared_is_taken_when_it_is_named(monkeypatch):
    slow = Strategy("slow", whole, compared=False)
    offered_by(monkeypatch, slow, Strategy("toy", whole))
    assert [each.strategy.name for each in candidates(None, {})] == ["toy"]
    monkeypatch.setattr(making, "find_strategy", {"slow": slow}.__getitem__)
    assert make("slow", NETWORK, CLUSTER, FACTS).playbook.plans[0].devices == {"a", "b"}


def test_in_a_comparison_each_gets_the_options_that_it_has(monkeypatch):
    plain, toy = Strategy("plain", whole), Strategy("toy", whole, options=Colours)
    offered_by(monkeypatch, plain, toy)
    found = candidates(None, {"count": "7"})
    assert [each.options for each in found] == [Options(), Colours(count=7)]
    with pytest.raises(PlanError, match="no strategy that is compared has an option 'wheels'"):
        candidates(None, {"count": "7", "wheels": "2"})


def test_packages_that_are_broken_are_said_to_be_and_stop_no_other(install, caplog):
    for name, code in (
        ("broken", "import nothing_of_this_name\n"),
        ("older", "class Older:\n    name = 'older'\nstrategy = Older()\n"),
    ):
        install(name, code)
    with pytest.raises(PluginError, match=r"broken 1\.2\) cannot be loaded: ModuleNotFoundError"):
        find_strategy("broken")
    with pytest.raises(PluginError, match=r"older 1\.2\) is no shoal\.strategies\.base\.Strategy"):
        find_strategy("older")
    assert {"local", "split"} <= {strategy.name for strategy in all_strategies()}
    assert len(caplog.messages) == 2
