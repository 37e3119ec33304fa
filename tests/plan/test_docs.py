"""What docs/clusters.md shows and lists is what there is."""

import re
from pathlib import Path

import msgspec
import pytest

from shoal.errors import ClusterError
from shoal.plan.cluster import Cluster, Device, Gateway, Host, Links, Pair, Power, Rate

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "clusters.md").read_text(encoding="utf-8")


def blocks(kind):
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_the_examples_are_cluster_files(text):
    assert Cluster.from_yaml(text).devices


def test_the_example_in_python_runs():
    (code,) = blocks("python")
    exec(code, {})


@pytest.mark.parametrize("struct", [Cluster, Device, Gateway, Host, Links, Pair, Power, Rate])
def test_every_key_is_described(struct):
    for field in msgspec.structs.fields(struct):
        assert f"`{field.encode_name}`" in PAGE or f"{{{field.encode_name}:" in PAGE


def test_the_full_example_states_every_key():
    full = max(blocks("yaml"), key=len)
    for struct in (Cluster, Device, Gateway, Host, Links, Pair, Power, Rate):
        for field in msgspec.structs.fields(struct):
            assert f"{field.encode_name}:" in full


def test_the_message_that_is_shown_is_the_one_that_is_given():
    with pytest.raises(ClusterError) as found:
        Cluster.from_yaml("devices: [{name: a}, {name: b, speed: 0}]", "cluster.yaml")
    assert str(found.value) in PAGE
