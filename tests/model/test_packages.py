"""Trained networks of other people, as packages ship them: letters, sounds, sentences, in float and
in 8 bits. Every one is loaded, cut, and held against ONNX Runtime on its file."""

import pytest

from shoal_benchmarks.networks.others import OTHERS, Other, apart, expected

CUTS = 5
"""Are tried of each, spread evenly; ``shoal bench networks.packages`` tries all."""


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: other.name)
def test_a_network_of_others_is_cut_and_answers_as_its_file_does(other: Other) -> None:
    if other.path is None:
        pytest.skip(f"needs the package {other.package}")
    network = other.load()
    (feeds,) = other.inputs(network, 1)
    wanted = expected(other, feeds)
    assert len(network.cuts) > CUTS
    for cut in network.cuts[:: len(network.cuts) // CUTS]:
        tensors = dict(feeds)
        for part in network.split([cut]):
            tensors |= part.run({name: tensors[name] for name in part.inputs})
        assert apart(tensors, wanted) <= max(network.tolerance, 1e-3)
