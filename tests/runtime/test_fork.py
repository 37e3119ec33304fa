"""A process forks while it has a service, or after it had one: real processes, on real links.

The parent goes on as if nothing had happened. The child is told at once what it cannot use, may
deploy anew, and ends without taking down what is not its own.
"""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from tests.runtime import tiny

import shoal
from shoal.model.store import PartStore

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked on this system"),
]

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE_S = float(os.environ.get("SHOAL_TEST_PATIENCE", "15")) * 2
"""What hangs, hangs for ever; machines that run tests are slow."""

PRELUDE = f"""
import asyncio, atexit, functools, multiprocessing, os, signal, subprocess, sys, threading, time
import warnings
import shoal
from shoal.errors import *
from shoal.model.store import PartStore
from tests.runtime import tiny

warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of every fork
net, image = tiny.network(), tiny.images(1)[0]
expected = tiny.expected(net, image)
here = sys.argv[1]
cluster = shoal.Cluster.load(here + "/cluster.yaml")
store = PartStore(here + "/store")
book = tiny.anywhere(net, *cluster.names)

def deploy(name, book=book):
    return shoal.deploy(book, cluster, store=store, name=name)

def right(service):
    answer = service.infer(image)
    assert abs(answer.outputs["y"] - expected).max() < 1e-5
    return answer

def told(ask):
    began = time.monotonic()
    try:
        ask()
    except ForkError as error:
        assert "forked" in str(error) and time.monotonic() - began < 2, error
    else:
        raise AssertionError("nothing was said")

def in_child(work, fork=os.fork):
    "Run work in a child, which then exits as a program does that ends."
    pid = fork()
    if pid == 0:
        try:
            work()
        except SystemExit:
            raise
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(9)
        sys.exit(0)
    return ended(pid)

def ended(pid):
    "The exit code of a child; it is killed when it hangs."
    end = time.monotonic() + {PATIENCE_S}
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "it hung"

def begin():
    global own
    own = deploy(f"p-{{os.getpid()}}")

def ask(number):
    return right(own) is not None

def main():
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with a cluster file, whose workers run, and a store with the parts."""
    folder = tmp_path_factory.mktemp("fork")
    tiny.fill(PartStore(folder / "store"), tiny.network())
    with shoal.local_cluster(2) as cluster:
        (folder / "cluster.yaml").write_text(cluster.to_yaml())
        yield folder


@pytest.fixture
def program(here, tmp_path):
    """Runs a program to its end: what it says, and nothing on stderr."""

    def run(body, within_s=3 * PATIENCE_S):
        lines = [f"    {line}" for line in body.strip("\n").splitlines()]
        script = tmp_path / "program.py"
        script.write_text(
            "\n".join([PRELUDE, *lines, "", 'if __name__ == "__main__":', "    main()"])
        )
        process = subprocess.Popen(
            [sys.executable, str(script), str(here)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            start_new_session=True,
        )
        try:
            out, words = process.communicate(timeout=within_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, words = process.communicate()
            pytest.fail(f"it hung: {out} {words}")
        assert (process.returncode, words) == (0, "")
        return out

    return run


def environment():
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path}


def test_a_child_is_told_at_once_that_the_service_is_not_its_own(program):
    program("""
with deploy("a") as service:
    right(service)
    pending, many = service.submit(image), service.infer_many([image] * 9)
    next(many)
    asks = [
        lambda: service.infer(image),
        lambda: service.submit(image),
        lambda: service.submit_together([image, image])[1].result(),
        lambda: asyncio.run(service.infer_async(image)),
        lambda: list(service.infer_many([image] * 3)),
        lambda: list(many),
        lambda: service.adopt(book),
        lambda: service.wait_ready(1),
        service.stats,
    ]
    for ask in asks:
        assert in_child(lambda: told(ask)) == 0, ask
    assert in_child(service.close) == 0
    assert in_child(lambda: service.__exit__(None, None, None)) == 0
    assert len([right(service) for _ in range(5)]) == 5
    assert pending.result().outputs and len(list(many)) == 8
""")


def test_requests_that_were_pending_are_not_waited_for_by_a_child(program):
    program("""
with deploy("a") as service:
    done = service.submit(image)
    done.result()
    def ask(pending, parts):
        assert (done.result().outputs["y"] == pending_answer).all()
        told(pending.result)
        told(pending.exception)
        told(lambda: [part.result() for part in parts])
        assert not pending.cancel()
    pending_answer = done.result().outputs["y"]
    # The loop of the core is kept from going on, so that nothing is answered meanwhile.
    hold, held = threading.Event(), threading.Event()
    holder = threading.Thread(target=service.node.ask, args=(lambda: (held.set(), hold.wait()),))
    holder.start()
    held.wait()
    pending, parts = service.submit(image), service.submit_together([image] * 2)
    assert in_child(lambda: ask(pending, parts)) == 0
    hold.set()
    holder.join()
    assert pending.result().outputs and all(part.result() for part in parts)
""")


@pytest.mark.parametrize(
    "end", ["sys.exit(0)", "os._exit(0)", "return", "service.close()", "raise KeyboardInterrupt"]
)
def test_a_child_ends_however_it_likes(program, end):
    program(f"""
with deploy("a") as service:
    right(service)
    def child():
        try:
            with service:
                {end}
        except KeyboardInterrupt:
            pass
    assert in_child(child) == 0
    right(service)
""")


def test_a_child_that_runs_to_the_end_of_the_program_ends(program):
    out = program("""
service = deploy("a")
right(service)
pid = os.fork()
if pid:
    assert ended(pid) == 0
right(service) if pid else told(lambda: service.infer(image))
print("parent" if pid else "child", flush=True)
""")
    assert out == "child\nparent\n"


def test_a_child_deploys_anew(program):
    """While its parent serves, after it served; and so does a child of the child."""
    program("""
def child(name="b"):
    with deploy(name) as own:
        for _ in range(20):
            right(own)
        assert in_child(lambda: told(lambda: own.infer(image))) == 0
        if name == "b":
            assert in_child(lambda: child("c")) == 0
        right(own)

with deploy("a") as service:
    right(service)
    assert in_child(child) == 0
    right(service)
assert in_child(child) == 0
assert in_child(lambda: child("a")) == 0
""")


def test_a_name_is_for_one_process_at_a_time(program):
    program("""
def child():
    try:
        deploy("a")
    except NameTakenError as error:
        assert "choose another name" in str(error)
    else:
        raise AssertionError("two of one name")

with deploy("a") as service:
    assert in_child(child) == 0
    right(service)
""")


def test_a_child_that_is_not_closed_leaves_by_itself(program):
    """As a program does that ends without a word."""
    program("""
with deploy("a") as service:
    assert in_child(lambda: right(deploy("b"))) == 0
    assert in_child(lambda: right(deploy("b"))) == 0, "its name is free again"
    right(service)
""")


def test_forks_amid_all_that_threads_do(program):
    """Whatever lock another thread holds in that moment."""
    program("""
over = threading.Event()
def work(service):
    while not over.is_set():
        list(service.infer_many([image] * 50))
        shoal.load(net_bytes).run({"x": image})

net_bytes = net.split([])[0].graph
with deploy("a") as service:
    right(service)
    threads = [threading.Thread(target=work, args=(service,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    def child():
        told(lambda: service.infer(image))
        assert abs(tiny.expected(net, image) - expected).max() < 1e-5
        with deploy("b") as own:
            right(own)
    for round in range(8):
        time.sleep(0.01 * round)
        assert in_child(child) == 0
    over.set()
    for thread in threads:
        thread.join()
    right(service)
""")


def test_a_fork_of_another_thread(program):
    program("""
from concurrent.futures import ThreadPoolExecutor
with deploy("a") as service, ThreadPoolExecutor(2) as pool:
    right(service)
    def child():
        told(lambda: service.infer(image))
        with deploy("b") as own:
            right(own)
    def fork():
        pid = os.fork()
        if pid == 0:
            try:
                child()
            finally:
                sys.stdout.flush()
                os._exit(0 if sys.exc_info()[0] is None else 9)
        return ended(pid)
    assert pool.submit(fork).result() == 0
    right(service)
""")


def test_what_is_run_in_the_gateway_itself(program):
    """Its threads of computing are the parent's too."""
    program("""
from shoal.model.engine import Engine
session = Engine(threads=2).load(*store.load_part(net.split([])[0].hash))
feeds = {"x": image}
session.run(feeds)
alone = tiny.anywhere(net, cluster.gateway.name)
with shoal.deploy(alone, cluster, store=store) as service:
    right(service)
    def child():
        told(lambda: session.run(feeds))
        assert abs(net.run(feeds)["y"] - expected).max() < 1e-5, "a network is at home anywhere"
        own = Engine(threads=2).load(*store.load_part(net.split([])[0].hash))
        assert abs(own.run(feeds)["y"] - expected).max() < 1e-5
    assert in_child(child) == 0
    right(service)
def anew():
    with shoal.deploy(alone, cluster, store=store) as own:
        right(own)
assert in_child(anew) == 0
session.run(feeds)
""")


def test_a_local_cluster_stays_its_parents(program):
    program("""
with shoal.local_cluster(1) as local:
    worker = local.processes["worker-1"]
    with shoal.deploy(tiny.anywhere(net, "worker-1"), local, store=store, name="a") as service:
        right(service)
        def child():
            for do in (worker.kill, worker.stop, worker.freeze, worker.restart, lambda: worker.pid):
                told(do)
            local.close()
            with local:
                pass
            with shoal.deploy(tiny.anywhere(net, "worker-1"), local, store=store, name="b") as own:
                right(own)
            raise SystemExit(7)  # out of the blocks above
        pid = os.fork()
        if pid == 0:
            child()
        assert ended(pid) == 7
        assert worker.running and local.scratch.path.exists()
        right(service)
        def another():
            with shoal.local_cluster(1) as own:
                assert own.scratch.path != local.scratch.path
        assert in_child(another) == 0
        right(service)
assert not local.scratch.path.exists()
""")


def test_programs_that_are_started_disturb_nobody(program):
    out = program("""
with deploy("a") as service:
    right(service)
    for _ in range(3):
        assert os.system("exit 3") == 3 << 8
        subprocess.run(["true"], check=True)
        subprocess.run(["true"], check=True, preexec_fn=lambda: None)
        subprocess.run(["true"], check=True, close_fds=False, start_new_session=True)
        with os.popen("echo hello") as said:
            print(said.read(), end="", flush=True)
        right(service)
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", "pass"], os.environ)
    assert ended(pid) == 0
    right(service)
""")
    assert out == "hello\n" * 3


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(program, method):
    """Processes that deploy for themselves, as the manual has it, whatever the parent holds."""
    program(f"""
context = multiprocessing.get_context({method!r})
with deploy("a") as service:
    right(service)
    with context.Pool(2, begin) as pool:
        assert pool.map(ask, range(20)) == [True] * 20
        try:
            pool.apply(service.infer, (image,))
        except ForkError as error:
            assert "deploy there" in str(error)
        else:
            raise AssertionError("a service was sent away")
        pool.close()
        pool.join()
    if {method!r} == "fork":
        process = context.Process(target=told, args=(functools.partial(service.infer, image),))
        process.start()
        process.join({PATIENCE_S})
        assert process.exitcode == 0, process.exitcode
    right(service)
""")


def test_a_loop_that_runs_as_in_a_notebook(program):
    program("""
async def cell():
    with deploy("a") as service:
        await service.infer_async(image)
        def child():
            told(lambda: service.infer(image))
            with deploy("b") as own:
                right(own)
            os._exit(0)
        assert in_child(child) == 0
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        await asyncio.to_thread(process.join, 30)
        assert process.exitcode == 0
        assert os.system("true") == 0
        started = await asyncio.create_subprocess_exec("true")
        assert await started.wait() == 0
        answers = await asyncio.gather(*(service.infer_async(image) for _ in range(5)))
        assert len(answers) == 5
asyncio.run(cell())
""")


def test_where_a_gateway_listened_another_can_although_a_child_lives(program, here):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program(f"""
import msgspec
gateway = msgspec.structs.replace(cluster.gateway, address="tcp/127.0.0.1:{port}")
fields = {{name: getattr(cluster, name) for name in cluster.__struct_fields__}}
listening = shoal.Cluster(**{{**fields, "gateway": gateway}})
with shoal.deploy(book, listening, store=store) as service:
    right(service)
    stays, end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(end)
        os.read(stays, 1)
        os._exit(0)
    right(service)
with shoal.deploy(book, listening, store=store) as service:
    right(service)
os.close(end)
assert ended(pid) == 0
""")


APPLICATION = """
import os, sys
import shoal
from shoal.errors import ForkError
from shoal.model.store import PartStore
from tests.runtime import tiny

here, when = os.environ["HERE"], os.environ["WHEN"]
net, image = tiny.network(), tiny.images(1)[0]
cluster = shoal.Cluster.load(here + "/cluster.yaml")
book, store = tiny.anywhere(net, *cluster.names), PartStore(here + "/store")

def deploy():
    return shoal.deploy(book, cluster, store=store, name=f"web-{os.getpid()}")

service = deploy() if when == "at import" else None
if when == "once":  # say, to try it out
    with deploy() as tried:
        tried.infer(image)

def application(environ, start_response):
    global service
    try:
        service = service or deploy()
        service.infer(image)
        words, status = f"answered {os.getpid()}", "200 OK"
    except ForkError as error:
        words, status = f"ForkError: {error}", "503 Service Unavailable"
    start_response(status, [("Content-Type", "text/plain")])
    return [words.encode()]
"""


@pytest.mark.skipif(importlib.util.find_spec("gunicorn") is None, reason="gunicorn is missing")
@pytest.mark.parametrize(
    ("preload", "when", "kind"),
    [
        (False, "at import", "sync"),
        (False, "at first", "gthread"),
        (True, "at first", "gthread"),
        (True, "once", "sync"),
        (True, "at import", "sync"),
        (True, "at import", "gthread"),
    ],
)
def test_gunicorn(here, tmp_path, preload, when, kind):
    (tmp_path / "application.py").write_text(APPLICATION)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["--workers=2", f"--worker-class={kind}", "--threads=2", f"--bind=127.0.0.1:{port}"]
    words += ["--graceful-timeout=5", "--preload"] if preload else ["--graceful-timeout=5"]
    log = (tmp_path / "log").open("wb")
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", *words, f"--chdir={tmp_path}", "application"],
        env={**environment(), "HERE": str(here), "WHEN": when},
        stdout=log,
        stderr=log,
    )
    try:
        said = [asked(port) for _ in range(12)]
        refused = preload and when == "at import"
        right = "503 ForkError: the service was made by" if refused else "200 answered"
        assert all(words.startswith(right) for words in said), said
        began = time.monotonic()
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE_S) == 0
        assert time.monotonic() - began < PATIENCE_S
    finally:
        server.kill()
        server.wait()
        log.close()
    words = (tmp_path / "log").read_text()
    assert "Traceback" not in words, words
    assert "SIGKILL" not in words, words


def asked(port):
    """What the server says; it is waited for."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE_S) as reply:
                return f"{reply.status} {reply.read().decode()}"
        except urllib.error.HTTPError as error:
            with error:
                return f"{error.code} {error.read().decode()}"
        except OSError:
            assert time.monotonic() < end, "the server did not come up"
            time.sleep(0.05)
