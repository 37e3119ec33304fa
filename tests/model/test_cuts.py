"""Where a network can be cut: pure functions on names of tensors."""

from hypothesis import given
from hypothesis import strategies as st

from shoal.model.cuts import Node, Tensor, crossing_bytes, crossings, find_cuts, lifetimes
from shoal.model.spec import TensorSpec


def step(reads, makes):
    return Node("", "", reads, makes)


def travelling(names, size=4):
    return {name: Tensor(TensorSpec(name, "float32", (None, 1)), size) for name in names}


def test_a_chain_is_cut_between_any_two_nodes():
    steps = [step(("x",), ("a",)), step(("a",), ("b",)), step(("b",), ("y",))]
    cuts = find_cuts(steps, ["x"], ["y"], travelling("xaby"))
    assert [(cut.at, cut.names, cut.bytes) for cut in cuts] == [(1, ("a",), 4), (2, ("b",), 4)]


def test_a_residual_crosses_until_it_is_added():
    steps = [step(("x",), ("a",)), step(("a",), ("b",)), step(("a", "b"), ("y",))]
    assert crossings(steps, ["x"], ["y"]) == [("x",), ("a",), ("a", "b"), ("y",)]


def test_an_input_that_is_needed_late_crosses_all_the_way():
    steps = [step(("x",), ("a",)), step(("a",), ("b",)), step(("b", "late"), ("y",))]
    assert crossings(steps, ["x", "late"], ["y"])[1:3] == [("late", "a"), ("late", "b")]


def test_an_output_that_is_made_early_crosses_to_the_end():
    steps = [step(("x",), ("early",)), step(("early",), ("a",)), step(("a",), ("y",))]
    assert crossings(steps, ["x"], ["y", "early"])[2] == ("early", "a")


def test_an_input_that_nobody_reads_crosses_nowhere():
    steps = [step(("x",), ("a",)), step(("a",), ("y",))]
    assert crossings(steps, ["x", "unused"], ["y"]) == [("x",), ("a",), ("y",)]


def test_where_a_tensor_cannot_travel_there_is_no_cut():
    steps = [step(("x",), ("list",)), step(("list",), ("a",)), step(("a",), ("y",))]
    assert [cut.at for cut in find_cuts(steps, ["x"], ["y"], travelling("xay"))] == [2]


@st.composite
def graphs(draw):
    """Steps over numbered tensors, each reading some that exist; inputs; outputs."""
    inputs = [f"i{k}" for k in range(draw(st.integers(1, 3)))]
    known, steps = list(inputs), []
    for index in range(draw(st.integers(1, 8))):
        read = draw(st.lists(st.sampled_from(known), min_size=1, max_size=3, unique=True))
        made = [f"t{index}_{k}" for k in range(draw(st.integers(1, 2)))]
        steps.append(step(tuple(read), tuple(made)))
        known += made
    outputs = draw(st.lists(st.sampled_from(known), min_size=1, max_size=3, unique=True))
    return steps, inputs, outputs


@given(graphs())
def test_what_crosses_is_what_exists_before_and_is_needed_after(graph):
    steps, inputs, outputs = graph
    found = crossings(steps, inputs, outputs)
    assert len(found) == len(steps) + 1
    for at, names in enumerate(found):
        before = set(inputs).union(*(step.makes for step in steps[:at]))
        after = set(outputs).union(*(step.reads for step in steps[at:]))
        assert len(set(names)) == len(names)
        assert set(names) == before & after


@given(graphs(), st.data())
def test_every_valid_cut_is_found_and_no_other(graph, data):
    steps, inputs, outputs = graph
    known = [*inputs, *(name for step in steps for name in step.makes)]
    able = data.draw(st.sets(st.sampled_from(known)))
    cuts = find_cuts(steps, inputs, outputs, travelling(able, size=3))
    every = crossings(steps, inputs, outputs)
    valid = [at for at in range(1, len(steps)) if set(every[at]) <= able]
    assert [cut.at for cut in cuts] == valid
    assert all(cut.names == every[cut.at] and cut.bytes == 3 * len(cut.names) for cut in cuts)


@given(graphs(), st.data())
def test_the_bytes_that_cross_are_those_of_what_crosses(graph, data):
    steps, inputs, outputs = graph
    known = [*inputs, *(name for step in steps for name in step.makes)]
    sizes = data.draw(st.dictionaries(st.sampled_from(known), st.integers(1, 99)))
    found = crossing_bytes(steps, inputs, outputs, sizes)
    every = crossings(steps, inputs, outputs)
    assert found == [sum(sizes.get(name, 0) for name in names) for names in every]


@given(graphs())
def test_a_tensor_lives_from_where_it_is_made_to_where_it_is_needed_last(graph):
    steps, inputs, outputs = graph
    every = crossings(steps, inputs, outputs)
    for name, (first, last) in lifetimes(steps, inputs, outputs).items():
        there = [at for at, names in enumerate(every) if name in names]
        assert there == list(range(first, last + 1))


def test_as_many_tensors_may_cross_as_a_message_holds():
    for count, crosses in ((256, True), (257, False)):
        names = tuple(f"a{k}" for k in range(count))
        steps = [Node("a", "Op", ("x",), names), Node("b", "Op", names, ("y",))]
        assert (crossings(steps, ["x"], ["y"])[1] == names) == crosses
        cuts = find_cuts(steps, ["x"], ["y"], travelling(names))
        assert [cut.bytes for cut in cuts] == [4 * count] * crosses
