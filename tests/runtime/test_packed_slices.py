"""Devices that join slices which a codec lost something of all hold the same, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.codec.frame import Frame, pack, unpack
from shoal.codec.home import arrived
from shoal.codec.parity import rows_of
from shoal.core.actions import Given
from shoal.model.spec import TensorSpec
from shoal.plan.plan import Forecast, Join, Plan, Slice, Spread, Stage
from shoal.runtime import body as module
from shoal.runtime.body import Body
from shoal.runtime.runner import gather

CODECS = ("half", "half:bytes,none", "quant:8", "quant:4,channel", "quant:2,zero,predict,bits")
EXACT = ("raw", "lossless")
COUNT, SIDE = 12, 5
GATEWAY = "gateway"


def over_the_wire(body: Body, codec: str) -> Body:
    frame = body.frame(codec)
    return Body(frame=Frame(frame.head, (bytes(frame.whole),)))


@st.composite
def cases(draw, last=False):
    """A stage of several devices, who is missing, and what each made."""
    op = draw(st.sampled_from(["channels", "sum", "coded"]))
    names = [f"d{k}" for k in range(draw(st.integers(2, 4)))]
    codec = draw(st.sampled_from(EXACT if op == "coded" else (*CODECS, *EXACT)))
    least = draw(st.integers(1, len(names))) if op == "coded" else 1
    lost = draw(st.sets(st.sampled_from(names), max_size=len(names) - least))
    batch, seed = draw(st.integers(1, 3)), draw(st.integers(0, 1 << 16))
    common = draw(st.integers(0, 4))
    spec = TensorSpec("t", "float32", (None, COUNT, SIDE, SIDE))
    block, rows = 0, [()] * len(names)
    if op == "channels":
        dealt = [tuple(range(k, COUNT - common, len(names))) for k in range(len(names))]
        shared = tuple(range(COUNT - common, COUNT))
        slices = {n: Slice((*mine, *shared), common) for n, mine in zip(names, dealt, strict=True)}
        own = [len(mine) for mine in dealt]
    elif op == "sum":
        common = COUNT if common else 0
        stand_in = tuple(float(k) for k in range(COUNT))
        slices = {name: Slice(stays=common, stand_in=stand_in) for name in names}
        own = [COUNT] * len(names)
    else:
        block = -(-(COUNT - common) // least)
        rows = list(rows_of(len(names), least))
        slices = {n: Slice(stays=common, code=row) for n, row in zip(names, rows, strict=True)}
        own = [block] * len(names)
    join = Join(op, spec, slices, fill=(-1.0,), least=least, block=block)
    stage = Stage(dict.fromkeys(names, "part"), ("x",), ("t",), Spread.ALL, join, codec=codec)
    after = Stage(dict.fromkeys(names, "next"), ("t",), ("y",), Spread.ALL, join)
    plan = Plan("p", (stage,) if last else (stage, after), Forecast(1, 1))
    random = np.random.default_rng(seed)
    shared_values = random.standard_normal((batch, common, SIDE, SIDE), np.float32)
    made = {
        name: np.concatenate(
            [random.standard_normal((batch, count, SIDE, SIDE), np.float32), shared_values], 1
        )
        for name, count in zip(names, own, strict=True)
    }
    return plan, lost, made


def held_by(taker, plan, lost, made):
    """What a device has after it joined: its own body, and those that came."""
    stage = plan.stages[0]
    bodies = {
        name: Body({"t": array}, home=plan.home(0, name))
        for name, array in made.items()
        if name not in lost
    }
    there = {
        name: body if name == taker else over_the_wire(body, stage.codec)
        for name, body in bodies.items()
    }
    return gather(Given(there, stage.join, plan.alike(1)))["t"]


@given(cases())
@settings(deadline=None, max_examples=200)
def test_all_who_join_hold_the_same(case):
    plan, lost, made = case
    found = {name: held_by(name, plan, lost, made) for name in made if name not in lost}
    first, *others = found.values()
    for other in others:
        assert first.tobytes() == other.tobytes()


@given(cases(last=True))
@settings(deadline=None)
def test_a_gateway_that_ran_a_slice_itself_answers_what_another_would(case):
    plan, lost, made = case
    there = next(name for name in made if name not in lost)
    mine, strange = (held_by(taker, plan, lost, made) for taker in (there, GATEWAY))
    assert mine.tobytes() == strange.tobytes()


@given(cases())
@settings(deadline=None)
def test_an_image_is_the_same_alone_and_among_others(case):
    """Slices here have more than the few values that are rounded only together with others."""
    plan, lost, made = case
    taker = next(name for name in made if name not in lost)
    together = held_by(taker, plan, lost, made)
    sent = [array.shape[1] - plan.stays(0, name) for name, array in made.items()]
    if min(sent) * SIDE * SIDE < 64:
        return
    for row in range(len(together)):
        alone = {name: array[row : row + 1] for name, array in made.items()}
        assert held_by(taker, plan, lost, alone).tobytes() == together[row : row + 1].tobytes()


@given(cases())
@settings(deadline=None)
def test_the_proof_joins_what_devices_do(case):
    plan, lost, made = case
    stage = plan.stages[0]
    slices = {
        name: arrived({"t": array}, stage.codec, plan.home(0, name))
        for name, array in made.items()
        if name not in lost
    }
    proved = gather(Given({name: Body(each) for name, each in slices.items()}, stage.join))["t"]
    taker = next(iter(slices))
    assert proved.tobytes() == held_by(taker, plan, lost, made).tobytes()


def test_what_was_sent_once_is_packed_once(monkeypatch):
    packed = []
    monkeypatch.setattr(module, "pack", lambda *given: packed.append(given) or pack(*given))
    body = Body({"t": np.random.default_rng(0).standard_normal((1, 100), np.float32)})
    frames = [body.frame("quant:8") for _ in range(3)]
    own = body.alike("quant:8").arrays()["t"]
    assert len(packed) == 1
    assert frames[0] is frames[2]
    np.testing.assert_array_equal(own, unpack(frames[0])["t"])
    assert body.alike("raw") is body


def test_what_came_is_not_packed_again():
    came = over_the_wire(Body({"t": np.ones((1, 100), np.float32)}), "half")
    assert came.alike("quant:2") is came


@pytest.mark.parametrize(
    ("spreads", "alike"),
    [
        ((Spread.ONE, Spread.ONE), ["raw", "raw", "raw"]),
        ((Spread.ALL, Spread.ONE), ["quant:6", "half", "raw"]),
        ((Spread.ONE, Spread.ALL), ["raw", "half", "quant:4"]),
        ((Spread.ALL, Spread.ALL), ["quant:6", "half", "quant:4"]),
    ],
)
def test_a_codec_counts_for_all_where_several_take_or_give(spreads, alike):
    codecs = ("half", "quant:4")
    stages = [
        Stage({"a": "p", "b": "p"}, ("x",), ("x",), spread, codec=codec)
        for spread, codec in zip(spreads, codecs, strict=True)
    ]
    plan = Plan("p", tuple(stages), Forecast(1, 1), codec="quant:6")
    assert [plan.alike(stage) for stage in range(3)] == alike
    exact = Plan(
        "p", (Stage({"a": "p"}, ("x",), ("x",), Spread.ALL, codec="lossless"),) * 2, plan.forecast
    )
    assert [exact.alike(stage) for stage in range(3)] == ["raw"] * 3
