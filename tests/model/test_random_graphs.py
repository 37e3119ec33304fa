"""Networks of random shape: whatever the graph, every cut gives what the whole gives."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.model import nets
from tests.model.nets import node, random, tensor

import shoal.model as model
from shoal.model import proof

CHANNELS, SIDE = 4, 6
ONE = ["Relu", "Sigmoid", "Identity", "Neg", "Dropout", "BatchNormalization", "Conv", "Conv1",
       "MulConst", "AddConst", "MaxPool", "Transpose", "Split"]  # fmt: skip
TWO = ["Add", "Mul", "Max", "Concat"]


@st.composite
def networks(draw):
    """Nodes over images of CHANNELS x SIDE x SIDE, with branches, outputs made on the way,
    inputs read late, and weights that several nodes share."""
    inputs = [f"x{k}" for k in range(draw(st.integers(1, 2)))]
    known, nodes, weights = list(inputs), [], {"one": np.array([1, 3])}
    for index in range(draw(st.integers(1, 9))):
        op = draw(st.sampled_from(ONE + TWO))
        a, b = (draw(st.sampled_from(known[-4:])) for _ in range(2))
        made = f"t{index}"
        seed = draw(st.integers(0, 2))
        if op in ("Conv", "Conv1"):
            side = 1 if op == "Conv1" else 3
            weights[f"w{side}{seed}"] = random(CHANNELS, CHANNELS, side, side, seed=seed) / 3
            nodes.append(node("Conv", f"{a} w{side}{seed}", made, pads=[side // 2] * 4))
        elif op == "BatchNormalization":
            for part, low in (("s", 0.5), ("b", -1.0), ("m", -1.0), ("v", 0.5)):
                values = np.random.default_rng(seed).uniform(low, 1.5, CHANNELS)
                weights[f"{part}{seed}"] = values.astype(np.float32)
            nodes.append(node(op, f"{a} s{seed} b{seed} m{seed} v{seed}", made))
        elif op in ("MulConst", "AddConst"):
            shape = draw(st.sampled_from([(), (CHANNELS, 1, 1), (1, CHANNELS, 1, 1), (SIDE,)]))
            weights[f"c{index}"] = random(*shape, seed=seed)
            nodes.append(node(op[:3], f"{a} c{index}", made))
        elif op == "MaxPool":
            nodes.append(node(op, a, made, kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
        elif op == "Transpose":
            nodes.append(node(op, a, made, perm=[0, 1, 3, 2]))
        elif op == "Split":
            nodes.append(node(op, f"{a} one", f"{made}l {made}r", axis=1))
            nodes.append(node("Concat", f"{made}r {made}l", made, axis=1))
        elif op == "Concat":
            weights[f"half{seed}"] = random(CHANNELS, 2 * CHANNELS, 1, 1, seed=seed) / 3
            nodes.append(node(op, f"{a} {b}", f"{made}c", axis=1))
            nodes.append(node("Conv", f"{made}c half{seed}", made))
        else:
            nodes.append(node(op, f"{a} {b}" if op in TWO else a, made))
        known.append(made)
    made = known[len(inputs) :]
    outputs = draw(st.lists(st.sampled_from(made), min_size=1, max_size=2, unique=True))
    batch = draw(st.sampled_from(["n", 1, 2]))
    shaped = [tensor(name, [batch, CHANNELS, SIDE, SIDE]) for name in inputs]
    used = {name for made_by in nodes for name in made_by.input}
    kept = {name: value for name, value in weights.items() if name in used}
    return nets.model(nodes, shaped, sorted(outputs), kept)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(networks())
def test_every_cut_of_any_network_gives_the_whole(data):
    network = model.load(data)
    feeds = network.probe(seed=2)
    expected = network.run(feeds)
    places = [cut.at for cut in network.cuts]
    assert places == list(range(1, len(network.nodes)))
    for cuts in [places, *([place] for place in places)]:
        tensors = feeds
        for part in network.split(cuts, prove=False):
            inputs = {name: tensors[name] for name in part.inputs}
            tensors = part.run_on(part.session(), inputs)
            assert tuple(tensors) == part.outputs
        assert (
            max(proof.difference(expected[name], tensors[name]) for name in expected)
            <= network.tolerance
        )
