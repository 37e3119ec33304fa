"""The strategy of docs/strategies.md works as it stands there."""

import importlib.metadata
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.runtime.test_service import right
from tests.runtime.tiny import images
from tests.toys.network import ToyProfile

import shoal
from shoal.core.policy import GROUP, find_policy
from shoal.plan.objective import Objective
from shoal.plan.profiles import Profiles
from shoal.strategies import base

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")


@pytest.fixture
def made(monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names = {}
    exec(code, names)
    really = importlib.metadata.entry_points

    def entry_points(group, **wanted):
        if wanted.get("name") == "nearest":
            return [SimpleNamespace(name="nearest", load=lambda: names["policy"])]
        return really(group=group, **wanted)

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    yield names
    find_policy.cache_clear()


def test_the_groups_are_those_that_are_looked_at():
    found = re.findall(r'entry-points\."(.*?)"', PAGE)
    assert found == [base.GROUP, GROUP]


def test_it_answers_and_goes_on_without_a_device(made, crowd, net):
    crowd.start("a", "b")
    cluster = shoal.Cluster.from_yaml("devices: [{name: a}, {name: b}]\n")
    built = made["strategy"].build(
        net, cluster, Profiles.scaled(cluster, ToyProfile((0.1,) * 8)), Objective()
    )
    for part in built.parts.values():
        crowd.store.add_part(part)
    service = crowd.serve(built.playbook)
    inputs = images(8)
    for image in inputs[:4]:
        right(net, service.infer(image), image)
    crowd.kill("a")
    for image in inputs[4:]:
        right(net, service.infer(image), image)
