"""The bench of networks: tests of the onnx package through Shoal."""

from __future__ import annotations

import numpy as np
import pytest

from shoal_benchmarks import registry
from shoal_benchmarks.networks import backend, conformance, fenced
from shoal_benchmarks.networks.fenced import Fenced
from shoal_benchmarks.networks.page import operators, page, reason_of
from shoal_benchmarks.networks.suite import CRASHED, HUNG, REFUSED, RIGHT, WRONG, Outcome, Suite

MANY_CUTS = "test_attention_4d_scaled_expanded"
SAMPLE = {
    "test_relu": RIGHT,
    "test_conv_with_strides_padding": RIGHT,
    "test_lstm_defaults": RIGHT,
    "test_max_float16": RIGHT,
    "test_add_uint8": RIGHT,
    "test_and_bcast3v1d": RIGHT,
    "test_clip_default_inbounds": RIGHT,  # inputs without an axis
    "test_constant": RIGHT,  # no inputs
    "test_nonzero_example": RIGHT,  # of a shape that depends on what is in it
    "test_sequence_insert_at_back": REFUSED,
    "test_string_concat": REFUSED,
    "test_loop11": REFUSED,
    "test_layer_normalization_4d_axis1_expanded": RIGHT,
    MANY_CUTS: RIGHT,
    "test_isnan": RIGHT,
    "test_reduce_sum_empty_set": RIGHT,
    "test_expand_dim_changed": RIGHT,
    "test_not_3d": RIGHT,  # of opset 1
}
"""Tests of the group ``node``, and what comes of them."""
OF_PYTORCH = {
    "test_Conv2d_groups": "pytorch-converted",
    "test_operator_maxpool": "pytorch-operator",
    "test_sequence_model1": "simple",
}
BY_EXAMPLE = {"test_isnan", "test_reduce_sum_empty_set", "test_expand_dim_changed"}


@pytest.fixture(scope="module")
def suite() -> Suite:
    return Suite()


def test_a_sample_of_the_tests_of_onnx_is_right_at_every_cut_or_refused_in_a_line() -> None:
    with Fenced() as process:
        known = process.begin()
        assert len(known) == len(set(known)) > 1500
        found = {name: process.run("node", name) for name in SAMPLE}
        found |= {name: process.run(group, name) for name, group in OF_PYTORCH.items()}
    assert {name: each.engine for name, each in found.items()} == dict.fromkeys(found, "")
    wanted = SAMPLE | dict.fromkeys(OF_PYTORCH, RIGHT)
    assert {name: each.shoal for name, each in found.items()} == wanted, found
    assert {name for name, each in found.items() if each.by_example} == BY_EXAMPLE
    for each in found.values():
        if each.shoal == REFUSED:
            assert "\n" not in each.why
            assert each.why.startswith("UnsupportedModelError: ")
    assert found[MANY_CUTS].cuts > 5


def test_a_wrong_tensor_at_a_cut_is_found(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    assert suite.run("node", MANY_CUTS).shoal == RIGHT
    sent = backend._sent
    monkeypatch.setattr(
        backend, "_sent", lambda a: sent(a * np.float32(1.01) if a.dtype == np.float32 else a)
    )
    found = suite.run("node", MANY_CUTS)
    assert found.shoal == WRONG
    assert found.why.startswith("cut at ")
    assert suite.run("node", "test_relu").shoal == RIGHT  # which is not cut


def test_what_is_no_error_of_shoals_own_is_a_crash(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(backend, "load", broken)
    found = suite.run("node", "test_relu")
    assert (found.shoal, found.why) == (CRASHED, "KeyError: 'x'")


def test_a_process_that_ends_or_hangs_is_told_of_and_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Fenced() as found:
        found.begin()
        assert found._process is not None
        found._process.kill()
        crashed = found.run("node", "test_relu")
        assert (crashed.shoal, crashed.why) == (CRASHED, "it ended with -9")
        found.begin()
        monkeypatch.setattr(found, "_most_s", 0.0)
        assert found.run("node", MANY_CUTS).shoal == HUNG
        monkeypatch.setattr(found, "_most_s", 60.0)
        assert found.run("node", "test_relu").shoal == RIGHT


OUTCOMES = [
    Outcome("test_abs", "node", ("Abs",), shoal=RIGHT),
    Outcome("test_abs_expanded", "node", ("Less", "Neg", "Where"), shoal=RIGHT, cuts=2),
    Outcome(
        "test_if", "node", ("If",), shoal=REFUSED, why="UnsupportedModelError: Node 'a' is If."
    ),
    Outcome(
        "test_if2", "node", ("If",), shoal=REFUSED, why="UnsupportedModelError: Node 'b' is If."
    ),
    Outcome("test_new", "node", ("New",), engine="NotImplemented", shoal=REFUSED),
    Outcome("test_mm", "pytorch-operator", ("Gemm", "Add"), shoal=RIGHT, cuts=1, by_example=True),
]


def test_what_came_of_them_is_counted_and_a_single_wrong_one_fails_the_goal() -> None:
    rows = {row.name: row for row in conformance.counted(OUTCOMES)}
    assert [row.value for row in rows.values()] == [6, 5, 0.6, 1, 2, 0, 0, 0, 3]
    failed = "of these, wrong, crashed or hung"
    assert rows[failed].met is True
    for state in (WRONG, CRASHED, HUNG):
        wrong = [*OUTCOMES, Outcome("test_x", "node", ("X",), shoal=state)]
        assert {row.name: row for row in conformance.counted(wrong)}[failed].met is False
    unclear = [*OUTCOMES, Outcome("test_x", "node", ("X",), shoal=REFUSED, why="a\nb")]
    told = {row.name: row.met for row in conformance.counted(unclear)}
    assert told["of these, refused in other than one clear line"] is False


def test_the_page_tells_groups_reasons_and_operators() -> None:
    text = page([*OUTCOMES, Outcome("test_x", "node", ("X",), shoal=WRONG, why="1 | 2")], "here")
    assert "| node | 6 | 5 | 2 | 0 | 2 | 1 | 2 |" in text
    assert "| all | 7 | 6 | 3 | 1 | 2 | 1 | 3 |" in text
    assert "| 2 | UnsupportedModelError: Node '...' is If. | `test_if`, `test_if2` |" in text
    assert "| `test_x` | wrong | 1 \\| 2 |" in text
    assert "| If | 2 | 0 | 2 | 0 |" in text
    assert "All of their tests are right: Abs (2)." in text
    assert "on here." in text
    assert operators(OUTCOMES)["test_abs_expanded"] == "Abs"
    assert reason_of("'a' has 3 of 'b'") == "'...' has N of '...'"


def test_a_quick_run_takes_some_of_them_and_writes_no_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[fenced.Test] = []

    def run_all(chosen: list[fenced.Test], processes: int) -> list[Outcome]:
        asked.extend(chosen)
        return OUTCOMES

    monkeypatch.setattr(conformance, "run_all", run_all)
    monkeypatch.setattr(conformance, "tests", lambda: [("node", str(k)) for k in range(100)])
    monkeypatch.setattr(conformance, "PAGE", None)
    assert len(list(registry.find("networks.conformance").rows(True))) == 9
    assert [name for _, name in asked] == [str(k) for k in range(0, 100, 10)]
