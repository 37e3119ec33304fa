"""Networks that other packages ship as ONNX files."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.model import nets

from shoal import zoo
from shoal.errors import DataError, MissingExtraError, StoreError
from shoal.model.network import load
from shoal.zoo import packaged
from shoal.zoo.making import make

NAME = "ppocr-det"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that holds a network under that name."""
    content = nets.model(
        [nets.node("Relu", "x", "y")], [nets.tensor("x", ["n", 3, "h", "w"])], ["y"]
    )
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / "somebodys_letters"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise SystemExit('nobody needs to import this')")
    (folder / "det.onnx").write_bytes(content)
    about = replace(
        packaged.PACKAGED[NAME],
        module="somebodys_letters",
        file="det.onnx",
        sha256=hashlib.sha256(content).hexdigest(),
    )
    monkeypatch.setitem(packaged.PACKAGED, NAME, about)
    return folder


def test_a_network_is_copied_with_its_card_and_its_preprocessing(installed: Path) -> None:
    assert not zoo.is_ready(NAME)
    path = make(NAME)
    assert zoo.is_ready(NAME)
    assert path == zoo.path(NAME) == make(NAME)
    assert zoo.card(NAME).input_shape == (None, 3, None, None)
    network = load(path, shapes=(1, 3, 64, 64))
    assert network.preprocessing is not None
    assert network.preprocessing.fit == "letterbox"


def test_a_damaged_copy_is_made_again(installed: Path) -> None:
    make(NAME).write_bytes(b"")
    assert make(NAME).stat().st_size > 0


def test_without_the_package_it_is_said_how_to_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path))
    about = replace(packaged.PACKAGED[NAME], module="nobody_has_this")
    monkeypatch.setitem(packaged.PACKAGED, NAME, about)
    with pytest.raises(MissingExtraError, match=r"pip install --no-deps rapidocr"):
        make(NAME)


def test_another_file_in_the_package_is_refused(installed: Path) -> None:
    (installed / "det.onnx").write_bytes(b"another")
    with pytest.raises(DataError, match="not the file of"):
        make(NAME)
    (installed / "det.onnx").unlink()
    with pytest.raises(DataError, match="cannot read"):
        make(NAME)


def test_a_folder_that_cannot_be_written_is_told(installed: Path) -> None:
    (installed.parent / "cache").write_text("a file")
    with pytest.raises((StoreError, DataError)):
        make(NAME)


@pytest.mark.parametrize("name", packaged.PACKAGED)
def test_the_real_ones_are_what_was_written_down(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path))
    try:
        path = make(name)
    except MissingExtraError as error:
        pytest.skip(str(error))
    card = zoo.card(name)
    sides = {"ppocr-det": (1, 3, 64, 96), "ppocr-rec": (1, 3, 48, 64)}[name]
    network = load(path, shapes=sides)
    ((_, dtype, shape),) = ((s.name, s.dtype, s.shape) for s in network.inputs)
    assert dtype == "float32"
    for declared, found in zip(card.input_shape, shape, strict=True):
        assert declared in (None, found)
    assert network.outputs[0].name == card.output_name


def test_the_package_is_not_imported(installed: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(installed.parent)!r})
from dataclasses import replace
from shoal.zoo import packaged
packaged.PACKAGED[{NAME!r}] = replace(packaged.PACKAGED[{NAME!r}], module="somebodys_letters",
    file="det.onnx", sha256={packaged.PACKAGED[NAME].sha256!r})
from shoal.zoo.making import make
print(make({NAME!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
