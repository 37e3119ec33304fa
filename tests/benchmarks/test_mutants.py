"""Mistakes that are made on purpose: which there are, whom they concern, how they are counted."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from shoal.errors import UsageError
from shoal_benchmarks.node import mutants
from shoal_benchmarks.node.mutants.runner import UNENDED, Done, Job
from shoal_benchmarks.node.mutants.sites import Mutant, draw, mutants_of
from shoal_benchmarks.node.mutants.trial import RUNNER, concerned


def changed(source: str) -> set[str]:
    """What the sources are that a change may make of one."""
    return {
        mutant.applied(source.encode()).decode() for mutant in mutants_of("a.py", source.encode())
    }


@pytest.mark.parametrize(
    ("source", "becomes"),
    [
        ("a < b", {"a <= b"}),
        ("a < b <= c", {"a <= b <= c", "a < b < c"}),
        ("x is None", {"x is not None"}),
        ("a and b or c", {"((a and b) and c)", "(a or b) or c"}),
        ("a + b", {"(a - b)"}),
        ("f(7)", {"pass", "f(8)", "f(6)"}),
        ("x = 0", {"x = 1", "x = (-1)"}),
        ("x = 0.5", {"x = 1.0", "x = 0.25"}),
        ("x = 1e300", {"x = 2e+300", "x = 5e+299"}),
        ("x = True", {"x = False"}),
        ("x = min(a, b)", {"x = max(a, b)"}),
        ("x = not a", {"x = (a)"}),
        ("a.b = c", {"pass"}),
        ("a[b] += c", {"pass"}),
        ("if a: b", {"if (not a): b"}),
        ("if a and b: c", {"if (a or b): c", "if (not (a and b)): c"}),
        ("if a == b: c", {"if a != b: c"}),
        ("x = [a for a in b if c]", {"x = [a for a in b if (not c)]"}),
        ("raise E(1 + 2)", {"pass"}),
        ("def f() -> int | None:\n return a", {"def f() -> int | None:\n return None"}),
        ("def f(a: int = 1): pass", {"def f(a: int = 2): pass", "def f(a: int = 0): pass"}),
    ],
)
def test_what_a_line_may_become(source: str, becomes: set[str]) -> None:
    assert changed(source) == becomes


@pytest.mark.parametrize(
    "source",
    [
        '"""Text."""',
        'x = "a" + b',
        "x = f'{a + 1}'",
        "x: int | None",
        "X: TypeAlias = int | str",
        "log.info('%s', 1 + 2)",
        "assert a < b",
        "if TYPE_CHECKING: x = 1",
        "class A(frozen=True): pass",
        "@d(1)\ndef f(): pass",
        "def __repr__(self): return self.a + 1",
        "def f() -> int: return a",
        "x = isinstance(a, int | str)",
    ],
)
def test_what_is_not_behaviour_is_left_as_it_is(source: str) -> None:
    assert changed(source) == set()


def test_every_change_to_what_decides_is_another_program() -> None:
    for path in mutants.scope_of():
        source = (mutants.ROOT / path).read_bytes()
        before = ast.dump(ast.parse(source))
        for mutant in mutants_of(path, source)[::25]:
            assert ast.dump(ast.parse(mutant.applied(source))) != before, mutant


def test_a_change_says_where_it_is_and_how_the_line_reads_then() -> None:
    source = b"@d\ndef f():\n    # \xc3\xa4\n    return g(a,\n        b < c)\n"
    (found,) = mutants_of("a.py", source)
    assert (found.line, found.function) == (5, 1)
    assert str(found) == "a.py:5: b < c) -> b <= c)"


def test_the_same_seed_draws_the_same() -> None:
    every = mutants_of("a.py", b"\n".join(b"x = %d" % number for number in range(50)))
    assert draw(every, 9, 4) == draw(every, 9, 4) != draw(every, 9, 5)
    assert len(set(draw(every, 9, 4))) == 9
    assert len(draw(every, 1000, 4)) == len(every)


# -- whom it concerns


def mutant(function: int = 3, path: str = "src/a.py") -> Mutant:
    return Mutant(path, function + 1, function, 0, 1, "x", "before", "after")


def test_those_tests_are_run_that_enter_the_function_the_quickest_first() -> None:
    here, elsewhere = ("src/a.py", 3), ("src/a.py", 9)
    reach = {
        "slow": Done(entered=(here,), took_s=9.0, loaded=("src/a.py",)),
        "quick": Done(entered=(here, elsewhere), took_s=1.0, loaded=("src/a.py",)),
        "other": Done(entered=(elsewhere,), took_s=2.0, loaded=("src/a.py",)),
        "imports": Done(took_s=0.1, loaded=("src/a.py",)),
        "none": Done(took_s=0.1),
    }
    assert concerned(mutant(), reach) == ["quick", "slow"]
    assert concerned(mutant(function=0), reach) == ["quick", "other", "slow", "imports"]


# -- running tests


def asked(folder: Path, *jobs: Job) -> list[Done]:
    """What the process that runs tests answers, in a project of its own."""
    lines = b"".join(msgspec.json.encode(job) + b"\n" for job in jobs)
    done = subprocess.run(
        [sys.executable, "-P", str(RUNNER)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "src")},
        input=lines,
        stdout=subprocess.PIPE,
        check=True,
    )
    return [msgspec.json.decode(line, type=Done) for line in done.stdout.splitlines()]


def test_tests_are_run_until_one_fails_and_what_they_reach_is_seen(tmp_path: Path) -> None:
    package = tmp_path / "src" / "shoal"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("def f():\n    return 1\n\n\ndef g():\n    return 2\n")
    (tmp_path / "test_good.py").write_text("import shoal\ndef test(): assert shoal.f() == 1\n")
    (tmp_path / "test_bad.py").write_text("import shoal\ndef test(): assert shoal.g() == 1\n")
    (tmp_path / "test_dead.py").write_text("import os\ndef test(): os._exit(0)\n")
    (tmp_path / "test_idle.py").write_text("import time\ndef test(): time.sleep(1000)\n")
    (tmp_path / "test_broken.py").write_text("import nothing_of_that_name\n")
    watched, passed, failed, dead, idle, slow, broken = asked(
        tmp_path,
        Job({"test_good.py": 60}, 60, watch=True),
        Job({"test_good.py": 60}, 60),
        Job({"test_good.py": 60, "test_bad.py": 60, "test_idle.py": 60}, 60),
        Job({"test_dead.py": 60}, 60),
        Job({"test_idle.py": 60}, 3),
        Job({"test_idle.py": 3}, 60),
        Job({"test_broken.py": 60}, 60),
    )
    assert ("src/shoal/__init__.py", 1) in watched.entered
    assert ("src/shoal/__init__.py", 5) not in watched.entered
    assert watched.loaded == ("src/shoal/__init__.py",)
    assert passed.failed is None
    assert failed.failed == "test_bad.py::test"
    assert dead.failed == idle.failed == slow.failed == UNENDED
    assert broken.failed == "test_broken.py"


# -- counting


def test_what_nobody_noticed_is_named_and_what_changes_nothing_is_not_counted() -> None:
    same = mutants.known("# words\nIt only saves time.\n  src/a.py: before -> after\n")
    tally = mutants.Tally()
    found = [
        row.name
        for path, done in (
            ("src/a.py", Done()),
            ("src/b.py", Done()),
            ("src/c.py", Done("a test")),
            ("src/d.py", Done(UNENDED)),
        )
        for row in mutants.counted(mutant(path=path), done, tally, same)
    ]
    assert found == [
        "changes nothing: src/a.py:4: before -> after (It only saves time.)",
        "survived: src/b.py:4: before -> after",
    ]
    assert vars(tally) == {"caught": 2, "survived": 1, "same": 1}
    rows = {row.name: row for row in mutants.rows_of({"core": tally, "plan": mutants.Tally()})}
    assert rows["mutants of core that are caught"].value == pytest.approx(200 / 3)
    assert "mutants of plan that are caught" not in rows
    assert rows["mutants: change behaviour"].value == 3
    goal = rows["mutants: caught of those that change behaviour"]
    assert (goal.goal, goal.met) == (">= 95", False)


def test_what_is_said_to_change_nothing_is_a_change_that_can_be_drawn() -> None:
    every = {
        mutants.key_of(each)
        for path in mutants.scope_of()
        for each in mutants_of(path, (mutants.ROOT / path).read_bytes())
    }
    assert set(mutants.known(mutants.SAME.read_text(encoding="utf-8"))) <= every


def test_every_scope_has_files_and_no_file_two() -> None:
    found = [mutants.files_of(patterns) for patterns in mutants.SCOPES.values()]
    assert all(found)
    assert len(mutants.scope_of()) == sum(map(len, found))
    assert all(mutants.files_of([pattern]) for pattern in mutants.TESTS)


def test_a_seed_that_is_no_number_is_the_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_SEED", "seven")
    with pytest.raises(UsageError, match="SHOAL_SEED"):
        next(mutants.rows(quick=True))


def test_a_few_are_tried_from_beginning_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutants, "SCOPES", {"codec": ("src/shoal/codec/slices.py",)})
    monkeypatch.setattr(mutants, "TESTS", ("tests/codec/test_slices.py",))
    monkeypatch.setattr(mutants, "QUICK", 4)
    monkeypatch.setenv("SHOAL_SEED", "7")
    before = (mutants.ROOT / "src/shoal/codec/slices.py").read_bytes()
    rows = {row.name: row.value for row in mutants.rows(quick=True)}
    assert (mutants.ROOT / "src/shoal/codec/slices.py").read_bytes() == before
    assert (rows["mutants: seed"], rows["mutants: drawn"]) == (7, 4)
    assert rows["mutants: files of tests that fail without any"] == 0
    assert rows["mutants: change nothing"] + rows["mutants: change behaviour"] == 4
    assert rows["mutants: caught of those that change behaviour"] > 0
