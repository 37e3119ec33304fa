"""The arrows of docs/architecture.md, held by reading the imports."""

import ast
import functools
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import shoal
from shoal.errors import ShoalError

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "shoal"
LAB = ROOT / "lab" / "shoal_lab"
TRAIN = ROOT / "train" / "shoal_train"
BENCHMARKS = ROOT / "benchmarks" / "shoal_benchmarks"

# What must not even be named in a distribution: a board has the product alone.
UNKNOWN_TO = {
    SOURCE: ("shoal_lab", "shoal_train", "shoal_benchmarks"),
    LAB: ("shoal_train", "shoal_benchmarks"),
    TRAIN: ("shoal_lab", "shoal_benchmarks"),
}

# What each package may import of the others. Nothing that is left of an arrow is on its right.
MAY_IMPORT = {
    "codec": {"model"},
    "model": set(),
    "task": {"model"},
    "plan": {"model", "codec", "task"},
    "strategies": {"core", "plan", "model", "codec", "task"},
    "core": {"plan", "model"},
    "mesh": set(),
    "sim": {"core", "strategies", "plan", "model", "codec"},
    "runtime": {"core", "mesh", "strategies", "plan", "model", "codec", "sim"},
    "zoo": set(),
    "observe": {"runtime", "core"},
}
EVERYBODY = {
    "allowance", "errors", "cache", "figure", "log", "npy", "picture", "plugins", "process",
    "safe_yaml", "scratch", "version",
}  # fmt: skip
TRAINING_MAY_IMPORT = EVERYBODY | {"plan", "model", "task", "zoo"}

# What decides holds no I/O, no clock and no threads, and needs no framework to be tested.
PURE_IMPORTS = {
    "__future__", "abc", "bisect", "collections", "contextlib", "copy", "dataclasses", "enum",
    "functools", "hashlib", "heapq", "importlib", "itertools", "math", "msgspec", "operator",
    "random", "re", "shoal", "types", "typing",
}  # fmt: skip

# Who may know an engine: everybody else goes through these modules.
ONLY_IN = {
    "zenoh": ("mesh/",),
    "onnxruntime": ("model/",),
    "torch": ("model/",),
    "matplotlib": ("figure.py",),
    "typer": ("cli/",),
}


def modules(under: str = "", source: Path = SOURCE) -> list[Path]:
    return sorted(p for p in (source / under).rglob("*.py"))


@functools.cache
def imports(path: Path, *, at_import: bool = False) -> tuple[tuple[str, int], ...]:
    """Modules that a file imports, with their lines; ``at_import``: only those that are loaded
    together with it (not inside functions, not for type checkers)."""
    return tuple(_imports(path, at_import))


def _imports(path: Path, at_import: bool) -> Iterator[tuple[str, int]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        )
        if at_import and lazy:
            skipped.update(ast.walk(node))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            yield node.module or "", node.lineno
            if node.module == "shoal":
                yield from ((f"shoal.{alias.name}", node.lineno) for alias in node.names)


def where(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


@pytest.mark.parametrize("source", UNKNOWN_TO, ids=lambda source: source.name)
def test_a_distribution_does_not_know_those_that_stand_on_it(source: Path) -> None:
    """Not in strings either: programs are started by the names of their modules."""
    wrong = [
        f"{path.relative_to(ROOT)} names {name}"
        for path in modules(source=source)
        for name in UNKNOWN_TO[source]
        if name in path.read_text(encoding="utf-8")
    ]
    assert wrong == []


def project(folder: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / folder / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("folder", "package"),
    [
        (".", "src/shoal"),
        ("lab", "shoal_lab"),
        ("train", "shoal_train"),
        ("benchmarks", "shoal_benchmarks"),
    ],
)
def test_a_wheel_holds_its_own_package_and_nothing_else(folder: str, package: str) -> None:
    targets = project(folder)["tool"]["hatch"]["build"]["targets"]
    assert targets["wheel"] == {"packages": [package]}
    assert (ROOT / folder / package / "__init__.py").is_file()


@pytest.mark.parametrize("folder", ["lab", "train", "benchmarks"])
def test_what_stands_on_the_product_is_of_its_version(folder: str) -> None:
    """It uses what the product promises to nobody else."""
    about = project(folder)["project"]
    assert about["version"] == shoal.__version__
    ours = [name for name in about["dependencies"] if name.startswith("shoal")]
    assert ours
    assert all(name.endswith(f"=={shoal.__version__}") for name in ours)


def test_the_benchmarks_are_never_published() -> None:
    """Package indexes refuse whatever has a classifier that begins so."""
    classifiers = project("benchmarks")["project"]["classifiers"]
    assert any(name.startswith("Private ::") for name in classifiers)


def test_the_packages_are_those_of_the_architecture() -> None:
    packages = {p.name for p in SOURCE.iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    assert packages == set(MAY_IMPORT) | {"cli"}


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_arrows_between_packages_go_one_way(package: str) -> None:
    allowed = MAY_IMPORT[package] | EVERYBODY | {package}
    wrong = [
        f"{where(path, line)} imports {name}"
        for path in modules(package)
        for name, line in imports(path)
        if name.startswith("shoal.") and name.split(".")[1] not in allowed
    ]
    assert wrong == []


def pure_modules() -> list[Path]:
    policies = [
        path
        for path in modules("strategies")
        if path.name in ("policy.py", "preferred.py") or path.parent.name == "policy"
    ]
    return modules("core") + policies


@pytest.mark.parametrize("path", pure_modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_what_decides_has_no_io_no_clock_and_no_threads(path: Path) -> None:
    wrong = [
        f"{where(path, line)} imports {name}"
        for name, line in imports(path)
        if name.split(".")[0] not in PURE_IMPORTS
    ]
    assert wrong == []


def test_what_decides_loads_nothing_heavy() -> None:
    names = [
        ".".join(("shoal", *path.relative_to(SOURCE).with_suffix("").parts))
        for path in pure_modules()
        if path.name != "__init__.py"
    ]
    heavy = ("zenoh", "onnx", "onnxruntime", "torch", "numpy", "psutil")
    assert loaded_by("; ".join(f"import {name}" for name in names), heavy) == "[]"


@pytest.mark.parametrize("engine", ["matplotlib", "onnxruntime", "torch", "typer", "zenoh"])
def test_the_lab_and_training_know_an_engine_no_better(engine: str) -> None:
    wrong = [
        f"{where(path, line)} imports {name}"
        for source in (LAB, TRAIN)
        for path in modules(source=source)
        for name, line in imports(path)
        if name.split(".")[0] == engine
        and not (engine == "typer" and "cli" in (path.parent.name, path.stem))
        and not (engine == "torch" and source == TRAIN)
    ]
    assert wrong == []


def test_training_stands_on_little_of_the_product() -> None:
    """It needs no device and no service; and no strategy, but for how images are read and where it
    trains for one."""
    wrong = [
        f"{where(path, line)} imports {name}"
        for path in modules(source=TRAIN)
        for name, line in imports(path)
        if name.startswith("shoal.")
        and name.split(".")[1] not in TRAINING_MAY_IMPORT
        and name not in ("shoal.strategies.images", "shoal.strategies.labels")
        and not (name.startswith("shoal.strategies.") and path.parent == TRAIN / "failout")
        and not (name.startswith("shoal.cli.") and path == TRAIN / "cli.py")
    ]
    assert wrong == []


@pytest.mark.parametrize("engine", sorted(ONLY_IN))
def test_an_engine_is_known_in_one_place(engine: str) -> None:
    wrong = [
        f"{where(path, line)} imports {name}"
        for path in modules()
        for name, line in imports(path)
        if name.split(".")[0] == engine
        and not path.relative_to(SOURCE).as_posix().startswith(ONLY_IN[engine])
    ]
    assert wrong == []


def test_one_module_runs_graphs() -> None:
    engines = [
        path.name
        for path in modules("model")
        if any(name.split(".")[0] == "onnxruntime" for name, _ in imports(path))
    ]
    assert engines == ["engine.py"]


def test_pytorch_is_imported_only_when_needed() -> None:
    wrong = [
        f"{where(path, line)} imports {name}"
        for path in (*modules(), TRAIN / "cli.py")
        for name, line in imports(path, at_import=True)
        if name.split(".")[0] == "torch"
    ]
    assert wrong == []


NAMELESS = ("cli", "codec", "core", "mesh", "model", "observe", "plan", "runtime", "sim")
ORDINARY = {("core", "remote"), ("runtime", "remote"), ("model", "split")}
"""Words that mean something else there: an error at another node, an attribute of ONNX."""


def shipped_strategies() -> list[str]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return list(tomllib.load(file)["project"]["entry-points"]["shoal.strategies"])


def named_strategies(path: Path) -> Iterator[str]:
    """Where a file names a strategy that is not its own: as a string, behind the word strategy in
    a longer one, or in an import."""
    package, *rest = path.relative_to(SOURCE).parts
    own = rest[0] if package == "strategies" else ""
    names = [name for name in shipped_strategies() if name != own]
    behind = re.compile(rf"strateg(?:y|ies)\W+({'|'.join(names)})\b", re.IGNORECASE)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            alone = node.value in names and (package, node.value) not in ORDINARY
            if alone or behind.search(node.value):
                yield f"{where(path, node.lineno)} says {node.value[:80]!r}"
    for name, line in imports(path):
        if name.startswith("shoal.strategies.") and name.split(".")[2] in names:
            yield f"{where(path, line)} imports {name}"


@pytest.mark.parametrize("package", [*NAMELESS, "strategies"])
def test_a_strategy_is_named_by_nobody_but_itself(package: str) -> None:
    assert [found for path in modules(package) for found in named_strategies(path)] == []


def loaded_by(code: str, names: tuple[str, ...]) -> str:
    """Which of ``names`` are loaded after ``code`` ran in a new interpreter."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{code}\nimport sys; print([n for n in {names!r} if n in sys.modules])",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_a_worker_needs_neither_pytorch_nor_onnx() -> None:
    assert loaded_by("import shoal.runtime.worker", ("torch", "onnx", "onnxscript")) == "[]"


def test_importing_shoal_is_cheap() -> None:
    assert loaded_by("import shoal", ("torch", "onnx", "onnxruntime", "zenoh", "rich")) == "[]"


def test_what_the_lab_has_to_say_to_a_service_is_cheap() -> None:
    """It is loaded wherever a service is deployed and the lab is installed."""
    code = "import shoal.runtime.deploy, shoal_lab.reporting"
    assert loaded_by(code, ("shoal_lab.lab", "shoal_lab.state")) == "[]"


def test_the_engine_sends_nothing_to_its_maker(tmp_path: Path) -> None:
    """ONNX Runtime does so by default; it begins by making a data base in the home folder."""
    env = {k: v for k, v in os.environ.items() if k not in ("ORT_DISABLE_TELEMETRY", "CI")}
    subprocess.run(
        [sys.executable, "-c", "from shoal.model.engine import Engine; Engine()"],
        env={**env, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")},
        timeout=60,
        check=True,
    )
    assert list(tmp_path.iterdir()) == []


SURFACE = [
    "Answer", "Cluster", "Cut", "Network", "Objective", "Part", "PartStore", "Plan", "Playbook",
    "Service", "ShoalError", "TensorSpec", "deploy", "load", "local_cluster", "plan",
]  # fmt: skip


def test_the_public_surface() -> None:
    assert sorted(shoal.__all__) == SURFACE
    for name in shoal.__all__:
        assert getattr(shoal, name) is not None


@pytest.mark.parametrize("before", ["pass", "import shoal.plan.cluster", "shoal.Cluster"])
def test_plan_is_what_a_user_calls_although_a_package_has_its_name(before: str) -> None:
    code = f"import shoal; {before}; print(callable(shoal.plan))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def error_classes() -> list[type[ShoalError]]:
    found: list[type[ShoalError]] = [ShoalError]
    for known in found:
        found.extend(known.__subclasses__())
    return [known for known in found if known.__module__ == "shoal.errors"]


def test_exit_codes_are_unique_and_fit_a_shell() -> None:
    codes = [error.exit_code for error in error_classes()]
    assert len(set(codes)) == len(codes)
    assert all(0 < code < 99 for code in codes)


@pytest.mark.parametrize("error", error_classes(), ids=lambda error: error.__name__)
def test_each_error_is_documented_with_its_exit_code(error: type[ShoalError]) -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert f"| {error.exit_code} | `{error.__name__}` |" in page
    assert error.__doc__


VERDICTS = {"Mixes", "Undealable"}
"""Raised and caught within a package: they tell nobody that something went wrong."""


def test_errors_live_in_one_tree() -> None:
    wrong = [
        f"{where(path, node.lineno)} defines {node.name}"
        for source in (SOURCE, LAB, TRAIN, BENCHMARKS)
        for path in modules(source=source)
        if path.name != "errors.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and node.name not in VERDICTS
        for base in node.bases
        if ast.unparse(base).split(".")[-1].endswith(("Error", "Exception"))
    ]
    assert wrong == []


def test_a_public_class_name_means_one_thing():
    """In core, runtime, mesh and plan, which are read together."""
    homes = {}
    for package in ("core", "runtime", "mesh", "plan"):
        for path in sorted((SOURCE / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    homes.setdefault(node.name, []).append(path.relative_to(SOURCE))
    shared = {name: places for name, places in homes.items() if len(places) > 1}
    assert not shared
