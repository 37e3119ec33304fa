"""The examples run as they stand."""

import subprocess
import sys
from pathlib import Path

import pytest

from shoal.errors import MissingExtraError
from shoal.plan.cluster import Cluster
from shoal.zoo.making import make

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SAYS = {
    "cut.py": "parts and whole agree",
    "answer.py": "of 100 right",
    "survive.py": "0 lost",
    "many.py": "50 answers",
    "page.py": "5 lines, 0 lost",
}
NEEDS = {"page.py": ("ppocr-det", "ppocr-rec")}
"""Networks of the zoo that do not ship."""


def test_none_is_forgotten() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SAYS)
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert all(f"`{path.name}`" in listed for path in EXAMPLES.glob("*[!d]"))


@pytest.mark.system
@pytest.mark.parametrize("name", SAYS)
def test_it_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name in NEEDS:
        monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "cache"))
    for network in NEEDS.get(name, ()):
        try:
            make(network)
        except MissingExtraError as error:
            pytest.skip(str(error))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert SAYS[name] in done.stdout
    # A busy machine may be told to be slow to answer; nothing else goes wrong.
    assert "Traceback" not in done.stderr


@pytest.mark.system
def test_the_readme_runs(tmp_path: Path) -> None:
    text = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    code = text.split("```python\n")[1].split("```")[0]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_cluster_file_can_be_read() -> None:
    assert len(Cluster.load(EXAMPLES / "cluster.yaml").names) == 4
