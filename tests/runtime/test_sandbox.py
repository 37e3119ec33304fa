"""Runs in a process of their own: the same answers, and deaths that others survive."""

import threading

import msgspec
import numpy as np
import pytest
from tests.runtime import tiny

from shoal.codec.frame import Frame, pack, unpack
from shoal.core.actions import Given, Run
from shoal.core.events import JobKey, Ran, RunFailed
from shoal.core.messages import Why
from shoal.model.engine import Engine
from shoal.model.store import PartStore
from shoal.plan.plan import Exit, Home
from shoal.runtime import sandbox as module
from shoal.runtime.body import Body
from shoal.runtime.sandbox import Sandbox
from shoal_benchmarks.trust.supervisor import fragile

JOBS = (JobKey("g", "g1", 0, 1, 0),)


@pytest.fixture
def store(tmp_path, net):
    return tiny.fill(PartStore(tmp_path / "parts"), net)


@pytest.fixture
def sandbox(store):
    sandbox = Sandbox(store.root, Engine())
    yield sandbox
    sandbox.close()


@pytest.fixture
def mortal():
    with fragile(SHOAL_DEADLY_VALUE="12345"):
        yield


def a_run(net, x, **settings):
    (whole,) = net.split([])
    body = x if isinstance(x, Body) else Body({"x": x})
    return Run(JOBS, whole.hash, (Given({"g": body}),), ("y",), apart=True, **settings)


def test_what_is_run_there_is_as_if_it_were_run_here(sandbox, net):
    for image in tiny.images(3):
        ran = sandbox.run(a_run(net, image))
        assert isinstance(ran, Ran)
        assert ran.jobs == JOBS
        (outcome,) = ran.outcomes
        made = outcome.body.arrays()["y"]
        np.testing.assert_allclose(made, tiny.expected(net, image), rtol=1e-5, atol=1e-6)
        assert (outcome.size, outcome.body.came) == (made.nbytes, 0)
        assert ran.run_ms > 0


def test_exits_are_judged_and_packed_bodies_read_there(sandbox, net):
    (image,) = tiny.images(1)
    exit = Exit("y", "early", 0.5)
    ran = sandbox.run(a_run(net, Body(frame=pack({"x": image})), exit=exit))
    (outcome,) = ran.outcomes
    assert outcome.confidence > 0
    assert outcome.exit_body.arrays().keys() == {"early"}
    assert outcome.size_in == image.nbytes


def test_what_stays_at_home_comes_back_beside_what_others_are_given(sandbox, net):
    (image,) = tiny.images(1)
    (outcome,) = sandbox.run(a_run(net, image, home=Home("y", 1, 1))).outcomes
    own, given = outcome.body.arrays()["y"], unpack(outcome.body.frame("raw"))["y"]
    np.testing.assert_allclose(own, tiny.expected(net, image), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(given, own[:, :-1])


def test_of_what_never_left_the_node_it_is_given_what_others_were_sent(sandbox, net):
    (image,) = tiny.images(1)
    image = np.tile(image, (64, 1))
    body = Body({"x": image})
    asked = msgspec.structs.replace(a_run(net, body), given=(Given({"g": body}, None, "quant:2"),))
    (outcome,) = sandbox.run(asked).outcomes
    packed = unpack(pack({"x": image}, "quant:2"))["x"]
    assert not np.allclose(packed, image, atol=1e-3)
    np.testing.assert_allclose(
        outcome.body.arrays()["y"], tiny.expected(net, packed), rtol=1e-5, atol=1e-5
    )


def test_a_run_that_kills_its_process_is_told_and_the_next_one_is_well(mortal, sandbox, net):
    poison = np.full((1, tiny.WIDTH), 12345, np.float32)
    failed = sandbox.run(a_run(net, poison))
    assert failed == RunFailed(JOBS, "its process was ended by SIGSEGV", Why.RUN_KILLED)
    assert isinstance(sandbox.run(a_run(net, tiny.images(1)[0])), Ran)


def test_what_is_damaged_or_wrong_is_an_error_and_no_death(sandbox, net):
    (image,) = tiny.images(1)
    frame = pack({"x": image})
    damaged = Body(frame=Frame(frame.head, (bytes(image.nbytes),)))
    assert sandbox.run(a_run(net, damaged)).why is Why.BAD_BODY
    wrong = sandbox.run(a_run(net, image[:, :2]))
    assert wrong.why is Why.RUN_FAILED
    unknown = sandbox.run(msgspec.structs.replace(a_run(net, image), part="0" * 64))
    assert unknown.why is Why.RUN_FAILED
    assert "does not hold" in unknown.text
    assert isinstance(sandbox.run(a_run(net, image)), Ran)


def test_it_ends_when_nothing_comes_and_starts_again_when_something_does(store, net):
    sandbox = Sandbox(store.root, Engine(), idle_s=0.05)
    (image,) = tiny.images(1)
    try:
        for _ in range(2):
            assert isinstance(sandbox.run(a_run(net, image)), Ran)
            assert sandbox._process.wait(10) == 0
    finally:
        sandbox.close()


def test_a_run_that_does_not_end_is_ended(sandbox, net, monkeypatch):
    monkeypatch.setattr(module, "MOST_S", 0.0)
    failed = sandbox.run(a_run(net, tiny.images(1)[0]))
    assert failed.why is Why.RUN_FAILED
    assert "longer than" in failed.text


def test_closing_ends_it_in_the_middle(sandbox, net):
    threading.Timer(0.1, sandbox.close).start()
    failed = sandbox.run(a_run(net, tiny.images(1)[0]))
    assert isinstance(failed, Ran) or failed.why is Why.NO_SANDBOX
    assert sandbox.run(a_run(net, tiny.images(1)[0])).why is Why.NO_SANDBOX
