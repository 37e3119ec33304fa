"""What a client sees: real workers and a real engine, on a mesh within this process."""

import asyncio
import itertools
import math
import threading
import time
from collections import deque
from concurrent.futures import Future

import msgspec
import numpy as np
import pytest
from tests.runtime import tiny
from tests.runtime.tiny import WIDTH, SlowEngine, anywhere, expected, images, pipeline, soon

from shoal.errors import (
    ClusterError,
    DeadlineError,
    InputError,
    NameTakenError,
    OverloadedError,
    PlanError,
    RemoteError,
    RequestError,
    UnreachableError,
    UnservedError,
    UsageError,
)
from shoal.plan.cluster import Cluster, Device
from shoal.plan.plan import Exit
from shoal.runtime import service as service_module
from shoal.runtime.deploy import deploy
from shoal.runtime.service import AHEAD


def right(net, answer, image):
    np.testing.assert_allclose(answer.outputs["y"], expected(net, image), rtol=1e-5, atol=1e-6)
    return True


# -- stories


def test_what_happened_to_a_request_can_be_told(crowd, net):
    crowd.start("a", "b")
    service = crowd.serve(pipeline(net))
    answer = service.infer(images(1)[0])
    told = service.story(answer)
    assert told == service.story(answer.number)
    texts = [line.text for line in told.lines]
    assert texts[:2] == ["asked: to be answered within 60 s", "attempt 1 by plan 'both': a -> b"]
    assert texts[-1].startswith("answered by plan 'both': a ran ")
    assert 0 < told.lines[-1].ms <= answer.latency_ms
    assert str(told).splitlines()[0] == "request 0, as gateway saw it"
    service.close()
    assert service.story(answer) == told, "also when it is closed"


def test_a_request_that_failed_has_a_story_too(crowd, net):
    crowd.start("a", "b", engine=SlowEngine(0.5))
    service = crowd.serve(pipeline(net))
    with pytest.raises(DeadlineError) as failed:
        service.infer(images(1)[0], deadline_ms=50.0)
    assert "failed (deadline): no answer within 50 ms" in str(service.story(failed.value))


def test_images_that_went_together_have_one_story(crowd, net):
    crowd.start("a", "b")
    service = crowd.serve(pipeline(net))
    answers = [future.result() for future in service.submit_together(images(3))]
    assert {answer.number for answer in answers} == {0}
    assert "asked: 3 images, to be answered within" in str(service.story(answers[2]))


def test_an_error_of_no_single_request_has_no_story(crowd, net):
    crowd.start("a", "b")
    service = crowd.serve(pipeline(net))
    with pytest.raises(UsageError, match="no single request"):
        service.story(RequestError("the service is closed"))
    with pytest.raises(UsageError, match="no story of a str"):
        service.story("7")
    assert "the log holds nothing of it" in str(service.story(99))


# -- asking


def test_an_answer_says_how_it_came_about(crowd, net):
    crowd.start("a", "b")
    service = crowd.serve(pipeline(net))
    (image,) = images(1)
    answer = service.infer(image)
    right(net, answer, image)
    assert (answer.plan, answer.attempts, answer.degraded) == ("both", 1, False)
    assert [(step.stage, step.device) for step in answer.trace] == [(0, "a"), (1, "b")]
    assert 0 < sum(step.run_ms for step in answer.trace) < answer.latency_ms


def test_full_traces_are_told_on_request(crowd, net):
    crowd.start("a", "b")
    service = crowd.serve(pipeline(net))
    (image,) = images(1)

    def told(step):
        return step.wait_ms, step.started_s, step.bytes_in, step.bytes_out

    for usual in (
        service.infer(image),
        asyncio.run(service.infer_async(image)),
        service.submit_together([image, image])[1].result(),
        *service.infer_many([image] * 3, together=2),
    ):
        assert [told(step) for step in usual.trace] == [(None,) * 4] * 2
    for traced in (
        service.infer(image, trace=True),
        asyncio.run(service.infer_async(image, trace=True)),
        service.submit_together([image], trace=True)[0].result(),
        service.submit_together([image, image], trace=True)[1].result(),
        *service.infer_many([image] * 3, trace=True),
        *service.infer_many([image] * 3, together=2, trace=True),
    ):
        for step in traced.trace:
            assert step.wait_ms >= 0
            assert min(step.started_s, step.bytes_in, step.bytes_out) > 0


def test_inputs_may_be_given_by_name(crowd, net):
    crowd.start("a", "b")
    service = crowd.serve(pipeline(net))
    (image,) = images(1)
    assert right(net, service.infer({"x": image}), image)


def test_a_batch_is_answered_as_a_batch(crowd, net):
    crowd.start("a", "b")
    service = crowd.serve(pipeline(net))
    batch = np.concatenate(images(5))
    assert right(net, service.infer(batch), batch)


@pytest.mark.parametrize(
    ("feeds", "why"),
    [
        ({"x": np.full((1, 8), np.nan, np.float32)}, "NaN"),
        ({"x": np.full((1, 8), np.inf, np.float32)}, "infinity"),
        ({"x": np.zeros((1, 8))}, "dtype float64"),
        ({"x": np.zeros((1, 9), np.float32)}, "shape"),
        ({"x": np.zeros(8, np.float32)}, "shape"),
        ({"x": np.zeros((0, 8), np.float32)}, "shape"),
        ({"x": [[0.0] * 8]}, "not a NumPy array"),
        ({"z": np.zeros((1, 8), np.float32)}, "Inputs are"),
        ({}, "Inputs are"),
        ({"x": np.zeros((1, 8), ">f4")}, "dtype"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_where_they_are_given(crowd, net, feeds, why):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    with pytest.raises(InputError, match=why):
        service.infer(feeds)
    assert service.stats().pending == 0


def test_what_is_too_large_to_be_sent_is_refused_with_what_fits(crowd, net, monkeypatch):
    monkeypatch.setattr(service_module, "MAX_BYTES", 10 * WIDTH * 4 + 5)
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    fits = np.ones((10, WIDTH), np.float32)
    assert service.infer(fits).images == 10
    for ask in (service.submit, service.infer, lambda x: service.submit_together([x])[0].result()):
        with pytest.raises(InputError, match=r"11 images and 352 bytes.*up to 10 images at a time"):
            ask(np.ones((11, WIDTH), np.float32))


def test_together_they_may_be_too_large_though_each_alone_is_not(crowd, net, monkeypatch):
    monkeypatch.setattr(service_module, "MAX_BYTES", 10 * WIDTH * 4)
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    with pytest.raises(InputError, match="give up to 10 images at a time"):
        service.submit_together([np.ones((6, WIDTH), np.float32)] * 2)


def test_what_is_not_sent_may_be_large(crowd, net, monkeypatch):
    monkeypatch.setattr(service_module, "MAX_BYTES", 8)
    crowd.start("a")
    service = crowd.serve(anywhere(net, "gateway"))
    assert service.infer(np.ones((3, WIDTH), np.float32)).images == 3


@pytest.mark.parametrize("deadline_ms", [0, -1, math.nan, math.inf])
def test_a_deadline_that_makes_no_sense_is_refused(crowd, net, deadline_ms):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    with pytest.raises(InputError, match="deadline"):
        service.infer(images(1)[0], deadline_ms=deadline_ms)
    assert right(net, service.infer(images(1)[0], deadline_ms=1e13), images(1)[0])


def test_the_array_may_be_used_again_as_soon_as_it_was_submitted(crowd, net):
    """As a camera does that writes every frame into the same buffer."""
    engine = SlowEngine()
    crowd.start("a", engine=engine)
    service = crowd.serve(anywhere(net, "a"))
    engine.gate.clear()
    buffer, inputs, futures = np.zeros((1, 8), np.float32), images(6), []
    for image in inputs:
        buffer[:] = image
        futures.append(service.submit(buffer))
    buffer[:] = 0
    engine.gate.set()
    for future, image in zip(futures, inputs, strict=True):
        right(net, future.result(60), image)


# -- many


def test_many_are_answered_in_order(crowd, net):
    crowd.start("a", "b")
    service = crowd.serve(anywhere(net, "a", "b"))
    inputs = images(200)
    for answer, image in zip(service.infer_many(inputs), inputs, strict=True):
        right(net, answer, image)
    assert {step.state for step in service.stats().devices.values()} == {"alive"}
    assert all(device.answered > 0 for device in service.stats().devices.values())
    soon(lambda: all(device.parts for device in service.stats().devices.values()))


def test_inputs_are_taken_as_they_are_needed(crowd, net):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    taken = []
    endless = (taken.append(k) or images(1)[0] for k in itertools.count())
    answers = service.infer_many(endless, window=4)
    assert taken == []
    for given in range(1, 6):
        next(answers)
        assert len(taken) == given + 3
    answers.close()
    soon(lambda: service.stats().pending == 0)


def test_one_that_is_slow_holds_up_no_others(crowd, net, monkeypatch):
    """The first answer comes when so much was asked for behind it as may be; all in order."""
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    inputs = images(60)
    taken, asked, submit, first = [], [], service.submit, Future()
    enough = threading.Event()

    def first_is_slow(feeds, *args, **more):
        asked.append(submit(feeds, *args, **more))
        return asked[-1] if len(asked) > 1 else first

    def let_go():
        enough.wait(5)
        first.set_result(asked[0].result(60))

    def watched():
        for image in inputs:
            taken.append(image)
            if len(taken) == 4 * AHEAD:
                enough.set()
            yield image

    waiter = threading.Thread(target=let_go)
    waiter.start()
    monkeypatch.setattr(service, "submit", first_is_slow)
    answers = service.infer_many(watched(), window=4)
    right(net, next(answers), inputs[0])
    assert len(taken) == 4 * AHEAD
    for answer, image in zip(answers, inputs[1:], strict=True):
        right(net, answer, image)
    waiter.join()


@pytest.mark.parametrize("window", [None, 1, 2, 64])
@pytest.mark.parametrize("together", [1, 4, 10, 16])
@pytest.mark.parametrize("progress", [False, True])
def test_an_end_of_inputs_that_is_an_error_comes_behind_the_answers(
    crowd, net, window, together, progress
):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    inputs = images(10)

    def broken_camera():
        yield from inputs
        raise OSError("the camera is unplugged")

    answers = service.infer_many(
        broken_camera(), window=window, together=together, progress=progress
    )
    for image in inputs:
        assert right(net, next(answers), image)
    with pytest.raises(OSError, match="unplugged"):
        next(answers)
    assert list(answers) == []
    soon(lambda: service.stats().pending == 0)


def test_a_camera_that_fails_at_once(crowd, net):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))

    def broken_camera():
        raise OSError("the camera is unplugged")
        yield

    with pytest.raises(OSError, match="unplugged"):
        next(service.infer_many(broken_camera()))


@pytest.mark.parametrize("together", [1, 4])
def test_an_earlier_failure_comes_before_that_of_the_inputs(crowd, net, together):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    inputs = images(6)
    inputs[5] = np.zeros((1, 3), np.float32)

    def broken_camera():
        yield from inputs
        raise OSError("the camera is unplugged")

    answers = service.infer_many(broken_camera(), together=together)
    for image in inputs[:5]:
        assert right(net, next(answers), image)
    with pytest.raises(InputError, match="shape"):
        next(answers)
    soon(lambda: service.stats().pending == 0)


NO_INPUTS = [7, None, "image", [1.0, 2.0], [("x", 1.0)], {"x": None}, {"x": 1.0, 1: 2.0}]


@pytest.mark.parametrize("wrong", NO_INPUTS, ids=str)
@pytest.mark.parametrize("together", [1, 4])
def test_what_is_no_input_at_all_is_an_error_in_its_turn(crowd, net, wrong, together):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    inputs = images(8)
    answers = service.infer_many([*inputs[:6], wrong, inputs[6]], together=together)
    for image in inputs[:6]:
        assert right(net, next(answers), image)
    with pytest.raises(InputError):
        next(answers)
    soon(lambda: service.stats().pending == 0)


@pytest.mark.parametrize("together", [1, 4])
@pytest.mark.parametrize("progress", [False, True])
def test_who_stops_early_leaves_nothing_running(crowd, net, together, progress):
    engine = SlowEngine()
    crowd.start("a", engine=engine)
    service = crowd.serve(anywhere(net, "a"))
    endless = itertools.cycle(images(3))
    answers = service.infer_many(endless, window=4, together=together, progress=progress)
    next(answers)
    engine.gate.clear()
    answers.close()
    soon(lambda: service.stats().pending == 0)
    engine.gate.set()
    assert right(net, service.infer(images(1)[0]), images(1)[0])


def test_a_wrong_input_in_the_middle_is_an_error_in_its_turn(crowd, net):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    inputs = images(10)
    inputs[5] = np.full((1, 8), np.nan, np.float32)
    answers = service.infer_many(inputs, window=8)
    for image in inputs[:5]:
        right(net, next(answers), image)
    with pytest.raises(InputError, match="NaN"):
        next(answers)


@pytest.mark.parametrize("together", [2, 3, 7, 64])
def test_several_in_one_request_are_answered_as_each_alone(crowd, net, together):
    crowd.start("a", "b")
    service = crowd.serve(pipeline(net))
    inputs = images(20)
    answers = list(service.infer_many(inputs, window=2, together=together))
    for answer, image in zip(answers, inputs, strict=True):
        assert right(net, answer, image)
        assert answer.outputs["y"].shape[0] == 1
    assert service.stats().answered == -(-20 // together)


def test_requests_of_several_images_each_may_be_put_together(crowd, net):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    inputs = [np.concatenate(images(count)) for count in (1, 3, 2)]
    futures = service.submit_together(inputs)
    for future, image in zip(futures, inputs, strict=True):
        assert right(net, future.result(60), image)


def test_no_more_requests_are_under_way_than_the_window_allows(crowd, net):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    taken = []
    endless = (taken.append(k) or images(1)[0] for k in itertools.count())
    answers = service.infer_many(endless, window=3, together=4)
    next(answers)
    assert len(taken) == 12
    answers.close()
    soon(lambda: service.stats().pending == 0)


def test_a_wrong_input_among_several_is_an_error_in_its_turn(crowd, net):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    inputs = images(8)
    inputs[5] = np.full((1, 8), np.nan, np.float32)
    answers = service.infer_many(inputs, together=4)
    for image in inputs[:5]:
        right(net, next(answers), image)
    with pytest.raises(InputError, match="NaN"):
        next(answers)
    futures = service.submit_together(inputs)
    assert isinstance(futures[5].exception(60), InputError)
    assert right(net, futures[6].result(60), inputs[6])


@pytest.mark.parametrize("wrong", NO_INPUTS, ids=str)
def test_what_is_no_input_at_all_costs_those_beside_it_nothing(crowd, net, wrong):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    with pytest.raises(InputError):
        service.submit(wrong)
    first, last = images(2)
    futures = service.submit_together([first, wrong, last])
    assert right(net, futures[0].result(60), first)
    assert isinstance(futures[1].exception(60), InputError)
    assert right(net, futures[2].result(60), last)


@pytest.mark.parametrize("together", [0, 65])
def test_so_many_cannot_be_put_together(crowd, net, together):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    with pytest.raises(InputError, match="give 1 to 64"):
        service.infer_many(images(1), together=together)


@pytest.mark.parametrize("window", [0, -1])
def test_a_window_that_holds_nothing_is_refused(crowd, net, window):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    with pytest.raises(InputError, match="at least one request"):
        service.infer_many(images(1), window=window)


def test_progress_is_shown_on_stderr_only(crowd, net, capsys):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    assert len(list(service.infer_many(images(5), progress=True))) == 5
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "answering" in shown.err


def test_several_threads_may_ask_at_once(crowd, net):
    crowd.start("a", "b")
    service = crowd.serve(pipeline(net))
    errors = []

    def client(seed):
        try:
            inputs = images(40, seed)
            for answer, image in zip(service.infer_many(inputs), inputs, strict=True):
                right(net, answer, image)
        except BaseException as error:
            errors.append(error)

    clients = [threading.Thread(target=client, args=(seed,)) for seed in range(4)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    assert errors == []
    assert service.stats().answered == 160


# -- asyncio


def test_asyncio(crowd, net):
    crowd.start("a", "b")
    service = crowd.serve(pipeline(net))
    inputs = images(20)

    async def ask():
        return await asyncio.gather(*(service.infer_async(image) for image in inputs))

    for answer, image in zip(asyncio.run(ask()), inputs, strict=True):
        right(net, answer, image)


def test_cancelling_a_task_cancels_its_request(crowd, net):
    engine = SlowEngine()
    crowd.start("a", engine=engine)
    service = crowd.serve(anywhere(net, "a"))
    engine.gate.clear()

    async def ask():
        task = asyncio.create_task(service.infer_async(images(1)[0]))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(ask())
    soon(lambda: service.stats().pending == 0)
    engine.gate.set()
    assert right(net, service.infer(images(1)[0]), images(1)[0])
    assert service.stats().answered == 1


def test_a_timeout_of_asyncio_works(crowd, net):
    engine = SlowEngine()
    crowd.start("a", engine=engine)
    service = crowd.serve(anywhere(net, "a"))
    engine.gate.clear()

    async def ask():
        async with asyncio.timeout(0.05):
            await service.infer_async(images(1)[0])

    with pytest.raises(TimeoutError):
        asyncio.run(ask())
    engine.gate.set()
    soon(lambda: service.stats().pending == 0)


def test_futures_cancelled_while_they_are_answered_disturb_nobody(crowd, net):
    crowd.start("a", "b")
    service = crowd.serve(anywhere(net, "a", "b"))
    inputs = images(300)
    futures = []
    for k, image in enumerate(inputs):
        futures.append(service.submit(image))
        if k % 3 == 0:
            futures[max(0, k - 4)].cancel()
    for future, image in zip(futures, inputs, strict=True):
        if not future.cancelled():
            right(net, future.result(60), image)
    soon(lambda: service.stats().pending == 0)
    stats = service.stats()
    assert stats.answered == sum(not future.cancelled() for future in futures)
    assert stats.failed == 0


# -- failures


def test_a_deadline_passes(crowd, net):
    engine = SlowEngine()
    crowd.start("a", engine=engine)
    service = crowd.serve(anywhere(net, "a"))
    engine.gate.clear()
    started = time.monotonic()
    with pytest.raises(DeadlineError, match="no answer within 100 ms"):
        service.infer(images(1)[0], deadline_ms=100)
    assert time.monotonic() - started > 0.09
    engine.gate.set()
    assert service.stats().failed == 1
    assert right(net, service.infer(images(1)[0]), images(1)[0])


def test_nobody_is_left(crowd, net):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    crowd.kill("a")
    with pytest.raises(UnservedError, match="a is not there"):
        service.infer(images(1)[0], deadline_ms=100)


def test_too_many_requests_are_refused_at_once(crowd, net):
    engine = SlowEngine()
    crowd.start("a", engine=engine)
    service = crowd.serve(anywhere(net, "a"))
    engine.gate.clear()
    futures = [service.submit(image) for image in images(1100)]
    refused = [f for f in futures if f.done() and isinstance(f.exception(), OverloadedError)]
    soon(lambda: sum(f.done() for f in futures) == 1100 - 1024)
    refused = [f for f in futures if f.done()]
    assert all(0.1 <= f.exception().retry_after_s <= 60.0 for f in refused)
    with pytest.raises(OverloadedError, match="wait for answers"):
        refused[0].result()
    engine.gate.set()
    assert all(future.result(60) for future in futures if future not in refused)


def test_a_run_that_fails_everywhere_is_told_with_the_reason(crowd, net):
    engine = SlowEngine()
    crowd.start("a", "b", engine=engine)
    service = crowd.serve(anywhere(net, "a", "b"))

    def spoil(feeds):
        raise ValueError("the engine is out of order")

    engine.spoil = spoil
    with pytest.raises(RemoteError, match="ValueError: the engine is out of order"):
        service.infer(images(1)[0])


def test_a_run_that_fails_on_one_device_goes_to_another(crowd, net):
    engine = SlowEngine()
    crowd.start("a", engine=engine)
    crowd.start("b")
    service = crowd.serve(anywhere(net, "a", "b"))

    def spoil(feeds):
        raise ValueError("the engine is out of order")

    engine.spoil = spoil
    inputs = images(30)
    for answer, image in zip(service.infer_many(inputs), inputs, strict=True):
        right(net, answer, image)
        assert answer.trace[-1].device == "b"
    assert service.stats().retried > 0


# -- the end


def test_closing_fails_what_is_pending_and_leaves_no_thread(crowd, net):
    before = set(threading.enumerate())
    engine = SlowEngine()
    crowd.start("a", engine=engine)
    service = crowd.serve(anywhere(net, "a"))
    engine.gate.clear()
    # Longer than this test may take: if it waited for them that would be seen.
    futures = [service.submit(image, deadline_ms=600_000.0) for image in images(10)]
    service.close()
    for future in futures:
        with pytest.raises(RequestError, match="closed before the answer came"):
            future.result(0)
    engine.gate.set()
    crowd.close()
    soon(lambda: set(threading.enumerate()) == before)


def test_a_closed_service_says_so(crowd, net):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    service.close()
    service.close()
    for ask in (
        lambda: service.infer(images(1)[0]),
        lambda: list(service.infer_many(images(2))),
        lambda: asyncio.run(service.infer_async(images(1)[0])),
        service.stats,
        lambda: service.adopt(pipeline(net)),
        lambda: service.wait_ready(1.0),
    ):
        with pytest.raises(RequestError, match="closed"):
            ask()


def test_closing_in_the_middle_of_many(crowd, net):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    answers = service.infer_many(itertools.cycle(images(3)))
    next(answers)
    threading.Timer(0.05, service.close).start()
    with pytest.raises(RequestError, match="closed"):
        deque(answers, maxlen=0)
    service.close()


def test_questions_that_meet_the_end_are_answered(crowd, net):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    ends = []

    def ask():
        try:
            while True:
                service.stats()
        except RequestError as error:
            ends.append(str(error))

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    time.sleep(0.02)
    service.close()
    for asker in askers:
        asker.join(60)
    assert len(ends) == 3


def test_a_callback_may_look_at_the_service(crowd, net):
    """It runs on the deciding thread, which cannot wait for itself."""
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    seen = []
    future = service.submit(images(1)[0])
    future.add_done_callback(lambda f: seen.append(service.stats().answered))
    soon(lambda: seen)


def test_devices_learn_of_the_end(crowd, net):
    crowd.start("a")
    with crowd.serve(anywhere(net, "a")) as service:
        book = service.playbook
        worker = crowd.nodes["a"]
        assert worker.ask(lambda: worker.core.worker.library.playbook(book.id)) == book
        # They are told: that the gateway is gone they would find out much later.
        worker.ask(lambda: setattr(worker.core.worker.members, "_grace_s", 600.0))
    soon(lambda: worker.ask(lambda: worker.core.worker.library.playbook(book.id)) is None)
    soon(lambda: worker.shelf.session(next(iter(book.parts))) is None)


# -- what is going on


def test_stats(crowd, net):
    crowd.start("a", "b")
    service = crowd.serve(pipeline(net))
    for image in images(20):
        service.infer(image)
    stats = service.stats()
    assert (stats.answered, stats.failed, stats.pending, stats.degraded) == (20, 0, 0, 0)
    assert stats.plans == {"both": 20}
    assert 0 < stats.p50_ms <= stats.p99_ms <= stats.max_ms
    assert stats.images_per_s > 0
    assert stats.devices.keys() == {"a", "b"}
    for device in stats.devices.values():
        assert (device.state, device.ready, device.outstanding) == ("alive", True, 0)
        assert device.answered == 20
    crowd.kill("b")
    soon(lambda: service.stats().devices["b"].state in ("suspect", "gone"))


# -- playbooks


def test_a_second_playbook_is_adopted_under_load_and_nothing_is_lost(crowd, net):
    crowd.start("a", "b")
    first, second = anywhere(net, "a"), pipeline(net)
    service = crowd.serve(first)
    plans, inputs = [], images(10)
    for k, answer in enumerate(service.infer_many(itertools.cycle(inputs))):
        right(net, answer, inputs[k % 10])
        plans.append(answer.plan)
        if k == 100:
            service.adopt(second)
        if plans.count("both") == 100 or k == 20_000:
            break
    assert plans[:100] == ["whole"] * 100
    assert plans[-80:] == ["both"] * 80
    worker = crowd.nodes["a"]
    soon(lambda: worker.ask(lambda: worker.core.worker.library.playbook(first.id)) is None)
    assert service.stats().failed == 0


def test_an_answer_is_judged_by_the_playbook_that_it_followed(crowd, net):
    """Plans of two playbooks may have one name and promise different things."""
    engine = SlowEngine()
    crowd.start("a", engine=engine)
    (whole,) = net.split([])
    rough = tiny.book(net, [whole], tiny.plan("whole", tiny.stage(whole, "a"), accuracy=0.9))
    service = crowd.serve(rough)
    engine.gate.clear()
    old = service.submit(images(1)[0])
    soon(lambda: engine.runs)
    service.adopt(anywhere(net, "a"))
    engine.gate.set()
    assert old.result(60).accuracy == 0.9
    soon(lambda: service.infer(images(1)[0]).accuracy == 1.0)


def test_a_playbook_of_another_network_is_not_adopted(crowd, net):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    wider = tiny.network(width=16)
    with pytest.raises(PlanError, match="inputs or outputs"):
        service.adopt(anywhere(wider, "a"))
    assert right(net, service.infer(images(1)[0]), images(1)[0])


def test_a_playbook_that_is_too_large_to_be_sent(crowd, net, monkeypatch):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    (whole,) = net.split([])
    many = [tiny.plan(f"{k:0190}", tiny.stage(whole, "a")) for k in range(4000)]
    monkeypatch.setattr("shoal.runtime.service.MAX_HEAD", 1 << 20)
    with pytest.raises(PlanError, match="plan for fewer devices"):
        service.adopt(tiny.book(net, [whole], *many))
    assert right(net, service.infer(images(1)[0]), images(1)[0])


def test_a_policy_that_is_not_installed_is_told_at_once(crowd, net):
    crowd.start("a")
    book = tiny.book(net, net.split([]), *anywhere(net, "a").plans, policy="of somebody else")
    with pytest.raises(PlanError, match="no policy is registered as 'of somebody else'"):
        crowd.serve(book, wait_s=600.0)


def test_a_playbook_for_devices_that_the_cluster_lacks(crowd, net):
    cluster = Cluster(devices=(Device(name="z"),))
    with pytest.raises(ClusterError, match="made for a, which the cluster"):
        deploy(anywhere(net, "a"), cluster, store=crowd.store, link=crowd.mesh("gateway"))


def test_a_gateway_may_have_another_name_unless_a_plan_or_a_device_has_it(crowd, net):
    crowd.start("a")
    cluster = Cluster(devices=(Device(name="a"),))
    with pytest.raises(ClusterError, match="'a' is a device of the cluster"):
        deploy(anywhere(net, "a"), cluster, store=crowd.store, name="a")
    with pytest.raises(
        ClusterError, match="runs parts on gateway, so its gateway cannot be called"
    ):
        deploy(anywhere(net, "gateway"), cluster, store=crowd.store, name="web-1")
    link = crowd.mesh("web-1")
    service = deploy(anywhere(net, "a"), cluster, store=crowd.store, link=link, name="web-1")
    crowd.services.append(service)
    assert right(net, service.infer(images(1)[0]), images(1)[0])


def test_a_device_that_is_not_there_is_done_without(crowd, net, caplog):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a", "b"), wait_s=1.5)
    assert "serving without b" in caplog.text
    assert right(net, service.infer(images(1)[0]), images(1)[0])
    assert service.stats().devices["b"].state == "expected"
    crowd.start("b")
    soon(lambda: service.stats().devices["b"].ready)
    list(service.infer_many(images(50)))
    assert service.stats().devices["b"].answered > 0


def test_nobody_is_there(crowd, net):
    with pytest.raises(UnreachableError) as caught:
        crowd.serve(anywhere(net, "a", "b"), wait_s=0.1)
    assert "a is not there; b is not there" in str(caught.value)
    assert "Start the missing workers with 'shoal worker --name" in str(caught.value)


def test_memory_that_does_not_suffice_is_refused_and_the_rest_is_used(crowd, net, caplog):
    """The plan that needs the whole network on ``a`` cannot be had; the pipeline can."""
    halves, (whole,) = tiny.halves(net), net.split([])
    book = tiny.book(
        net,
        [*halves, whole],
        tiny.plan("only a", tiny.stage(whole, "a")),
        tiny.plan("both", tiny.stage(halves[0], "a"), tiny.stage(halves[1], "b")),
    )
    info = msgspec.structs.replace(whole.info, memory=whole.info.memory * 100)
    book = tiny.with_parts(book, {**book.parts, whole.hash: info})
    crowd.start("a", memory=halves[0].info.memory)
    crowd.start("b")
    service = crowd.serve(book)
    answer = service.infer(images(1)[0])
    assert answer.plan == "both"
    assert "too little memory" in service.stats().devices["a"].refused[0]
    assert "serving without a, at least for now: it refused" in caplog.text


def test_memory_that_suffices_for_nothing_is_told(crowd, net):
    crowd.start("a", memory=1000)
    with pytest.raises(UnreachableError, match="a refused: a has too little memory: the part"):
        crowd.serve(anywhere(net, "a"))


def test_parts_of_the_playbook_before_do_not_count(crowd, net):
    """Each needs most of the memory; they are deployed one after the other."""
    part = net.split([])[0]
    crowd.start("a", memory=int(part.info.memory * 1.5))
    other = tiny.network(seed=7)
    tiny.fill(crowd.store, other)
    for network, name in ((net, "gateway"), (other, "another")):
        with crowd.serve(anywhere(network, "a"), name=name) as service:
            right(network, service.infer(images(1)[0]), images(1)[0])


# -- several gateways


def test_two_services_use_the_same_workers(crowd, net):
    crowd.start("a", "b")
    other = tiny.network(layers=6, seed=3)
    tiny.fill(crowd.store, other)
    one = crowd.serve(pipeline(net), name="one")
    two = crowd.serve(pipeline(other), name="two")
    inputs = images(50)
    both = zip(one.infer_many(inputs), two.infer_many(inputs), inputs, strict=True)
    for first, second, image in both:
        right(net, first, image)
        right(other, second, image)
    one.close()
    assert right(other, two.infer(inputs[0]), inputs[0])


def test_two_services_with_the_same_playbook(crowd, net):
    crowd.start("a", "b")
    one = crowd.serve(pipeline(net), name="one")
    two = crowd.serve(pipeline(net), name="two")
    one.close()
    assert right(net, two.infer(images(1)[0]), images(1)[0])


def test_two_gateways_of_one_name(crowd, net):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    with pytest.raises(NameTakenError):
        crowd.serve(anywhere(net, "a"))
    assert right(net, service.infer(images(1)[0]), images(1)[0])


def test_a_gateway_may_compute_itself(crowd, net):
    crowd.start("a")
    service = crowd.serve(pipeline(net, "a", "gateway"))
    answer = service.infer(images(1)[0])
    right(net, answer, images(1)[0])
    assert [step.device for step in answer.trace] == ["a", "gateway"]
    crowd.kill("a")
    answer = service.infer(images(1)[0])
    assert [step.device for step in answer.trace] == ["gateway"]


def test_a_gateway_alone(crowd, net):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "gateway"))
    inputs = images(20)
    for answer, image in zip(service.infer_many(inputs), inputs, strict=True):
        right(net, answer, image)


# -- early exits


def test_a_sure_answer_leaves_early(crowd, net):
    halves = tiny.halves(net)
    (between,) = halves[0].outputs
    crowd.start("a", "b")
    for threshold, leaves in ((0.0, True), (1.0, False)):
        exit = Exit(between, "y", threshold)
        book = tiny.book(
            net,
            halves,
            tiny.plan("exits", tiny.stage(halves[0], "a", exit=exit), tiny.stage(halves[1], "b")),
        )
        with crowd.serve(book) as service:
            answer = service.infer(images(1)[0])
        assert answer.left_early == leaves
        assert [step.device for step in answer.trace] == (["a"] if leaves else ["a", "b"])
        assert answer.confidence is None or answer.confidence > 0
        assert answer.outputs.keys() == {"y"}


# -- ways that there are not


def apart(crowd, a, b):
    """A firewall between two, which lets the mesh pass."""
    crowd.mesh.block(a, b)
    crowd.mesh.block(b, a)
    crowd.mesh.drop(a, b)


def test_who_is_there_and_cannot_be_reached_is_named_with_its_port(crowd, net):
    apart(crowd, "a", "gateway")
    crowd.start("a")
    with pytest.raises(UnreachableError) as caught:
        crowd.serve(anywhere(net, "a"), wait_s=0.5)
    assert "a is there, but gateway cannot reach a: a:1: " in str(caught.value)
    assert "Start the missing" not in str(caught.value)


def test_so_it_is_by_a_request(crowd, net):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    apart(crowd, "a", "gateway")
    soon(lambda: "a" in service.node.link.unreachable())
    with pytest.raises(UnservedError, match="; gateway cannot reach a: a:1: "):
        service.infer(images(1)[0], deadline_ms=300)


def test_two_workers_that_cannot_reach_each_other_are_named_by_a_request(crowd, net):
    book = pipeline(net)
    both = tiny.book(net, [*tiny.halves(net)], *book.plans[:1])
    worker = crowd.start("a")
    crowd.start("b")
    service = crowd.serve(both)
    apart(crowd, "a", "b")
    soon(lambda: "b" in worker.link.unreachable())
    with pytest.raises(RequestError, match=r"a: next device absent \(a cannot reach b: b:1: "):
        service.infer(images(1)[0], deadline_ms=1000)


@pytest.mark.parametrize("priority", [-101, 101, 10**9])
def test_a_priority_is_a_small_number(crowd, net, priority):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    (image,) = images(1)
    with pytest.raises(InputError, match="from -100 to 100"):
        service.submit(image, priority=priority)
    right(net, service.infer(image, priority=100), image)
