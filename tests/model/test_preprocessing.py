"""What is said of photos beside a model, and whether it fits the network."""

import os
from pathlib import Path

import pytest
from tests.model import nets
from tests.model.nets import node, tensor

import shoal.model as model
from shoal.errors import DataError, PlanError
from shoal.model.preprocessing import Canvas, Preprocessing, beside, canvas, read, tell
from shoal.model.spec import TensorSpec

FLOATS = TensorSpec("x", "float32", (None, 3, 4, 6))


def written(folder: Path, text: str) -> Path:
    path = folder / "net.shoal.yaml"
    path.write_text(text)
    return path


def test_all_of_it(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    text = """
    fit: letterbox
    place: corner
    fill: 0
    resample: bilinear
    colour: bgr
    layout: chw
    scale: 1
    mean: [1, 2, 3]
    std: 58.4
    labels: names.txt
    """
    assert read(written(tmp_path, text)) == Preprocessing(
        fit="letterbox",
        place="corner",
        fill=0,
        resample="bilinear",
        colour="bgr",
        layout="chw",
        scale=1.0,
        mean=(1.0, 2.0, 3.0),
        std=(58.4,),
        labels=("cat", "dog"),
    )


@pytest.mark.parametrize("text", ["[cat, dog]", "{0: cat, 1: dog}", "\n- cat\n- dog"])
def test_labels_are_written_in_place_too(tmp_path: Path, text: str) -> None:
    assert read(written(tmp_path, f"labels: {text}")).labels == ("cat", "dog")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("fit: zoom", "Invalid enum value 'zoom'"),
        ("sizes: 3", "unknown field.*known are fit, crop"),
        ("crop: 0", "crop: 0 is no share"),
        ("crop: 1.5", "crop: 1.5 is no share"),
        ("fill: 300", "fill: 300 is no value"),
        ("std: 0", "no 0 to divide by"),
        ("scale: .nan", "write numbers"),
        ("mean: [1, 2]", "one for each of three channels"),
        ("mean: much", "a list"),
        ("labels: {0: cat, 2: dog}", "without a gap"),
        ("labels: gone.txt", r"gone.txt: cannot be read"),
        ("labels: 3", "write a list"),
        ("labels: [no, yes]", "'False' is no text; write it in quotes"),
        ("labels: [cat, 1.0]", "'1.0' is no text"),
        ("labels: {false: cat, true: dog}", "without a gap"),
        ("labels: ../names.txt", "no file in the folder"),
        ("labels: /etc/passwd", "no file in the folder"),
        ("labels: link.txt", "no file in the folder"),
        ("labels: ''", "no file in the folder"),
        ('labels: "a\\0b"', "no file in the folder"),
        ("labels: " + "n" * 300, "cannot be read"),
        ("labels: pipe", "cannot be read"),
        ("labels: ['" + "n" * 300 + "']", "200 characters"),
        ("[1, 2]", "must be a mapping"),
        ("", "must be a mapping"),
        ("fit: {", "not valid YAML"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "link.txt").symlink_to("/etc/hostname")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=reason) as caught:
        read(written(tmp_path, text))
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((None, 3, 4, 6), Canvas(3, 4, 6, "chw")),
        ((1, 1, 4, 6), Canvas(1, 4, 6, "chw")),
        ((None, 4, 6, 3), Canvas(3, 4, 6, "hwc")),
        ((None, 3, 4, 3), Canvas(3, 4, 3, "chw")),
    ],
)
def test_where_a_photo_goes(shape: tuple[int | None, ...], wanted: Canvas) -> None:
    assert canvas(TensorSpec("x", "uint8", shape), Preprocessing()) == wanted


def test_the_layout_can_be_said() -> None:
    spec = TensorSpec("x", "uint8", (None, 3, 4, 3))
    assert canvas(spec, Preprocessing(layout="hwc")) == Canvas(3, 3, 4, "hwc")


@pytest.mark.parametrize(
    ("spec", "how", "reason"),
    [
        (TensorSpec("x", "float32", (None, 5, 4, 6)), Preprocessing(), "none for photos"),
        (TensorSpec("x", "float32", (None, 3)), Preprocessing(), "none for photos"),
        (TensorSpec("x", "int64", (None, 3, 4, 6)), Preprocessing(), "none for photos"),
        (TensorSpec("x", "float32", (4, 3, 4, 6)), Preprocessing(), "several images at a time"),
        (FLOATS, Preprocessing(layout="hwc"), "not laid out as hwc"),
        (FLOATS, Preprocessing(colour="grey"), "3 channels, and colour: grey"),
        (TensorSpec("x", "float32", (1, 1, 4, 6)), Preprocessing(colour="bgr"), "1 channels"),
        (TensorSpec("x", "float32", (1, 1, 4, 6)), Preprocessing(mean=(1, 2, 3)), "one channel"),
        (TensorSpec("x", "uint8", (1, 3, 4, 6)), Preprocessing(scale=1), "not scaled"),
        (FLOATS, Preprocessing(std=(1e-46,)), "larger than float32 holds"),
        (FLOATS, Preprocessing(mean=(1e39,)), "larger than float32 holds"),
        (TensorSpec("x", "float16", (1, 3, 4, 6)), Preprocessing(scale=1e-3), "float16 holds"),
    ],
)
def test_an_input_that_it_does_not_fit(spec: TensorSpec, how: Preprocessing, reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        canvas(spec, how)


NET = nets.model(
    [node("GlobalAveragePool", "x", "p"), node("Flatten", "p", "y")],
    [tensor("x", ["n", 3, 4, 6])],
    ["y"],
)


def test_it_lies_beside_the_model(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(NET)
    assert beside(tmp_path / "net.onnx") is None
    assert model.load(tmp_path / "net.onnx").preprocessing is None
    written(tmp_path, "{fit: stretch, labels: [a, b, c]}")
    wanted = Preprocessing(fit="stretch", labels=("a", "b", "c"))
    assert model.load(tmp_path / "net.onnx").preprocessing == wanted
    other = Preprocessing(fit="letterbox")
    assert model.load(tmp_path / "net.onnx", preprocessing=other).preprocessing == other


def test_one_that_does_not_fit_the_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(NET)
    written(tmp_path, "labels: [a, b]")
    with pytest.raises(PlanError, match="'net': labels: 2 names, and the network tells 3 classes"):
        model.load(tmp_path / "net.onnx")
    two = nets.model([node("Add", "a b", "y")], [tensor(n, ["n", 3]) for n in "ab"], ["y"])
    with pytest.raises(PlanError, match="takes 2 inputs"):
        model.load(two, preprocessing=Preprocessing())


def test_names_of_classes_from_any_editor_in_a_folder_below(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below/names.txt").write_bytes("\ufeffcat\r\ndog\r\n\r\n".encode())
    assert read(written(tmp_path, "labels: below/names.txt")).labels == ("cat", "dog")


def test_a_cache_may_keep_all_files_as_links_into_one_folder(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    (blobs / "1").write_text("labels: names.txt")
    (blobs / "2").write_text("cat\ndog\n")
    (snapshot / "net.shoal.yaml").symlink_to("../blobs/1")
    (snapshot / "names.txt").symlink_to("../blobs/2")
    found = beside(snapshot / "net.onnx")
    assert found is not None
    assert found.labels == ("cat", "dog")


@pytest.mark.parametrize("name", ["net.onnx.shoal.yaml", "net.shoal.yml"])
def test_a_file_that_is_called_nearly_so_is_not_passed_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("fit: stretch")
    with pytest.raises(DataError, match=r"is not read: call it net\.shoal\.yaml"):
        beside(tmp_path / "net.onnx")


def test_a_file_beside_the_model_that_cannot_be_read_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "net.shoal.yaml").symlink_to("gone.yaml")
    with pytest.raises(DataError, match="cannot be read"):
        beside(tmp_path / "net.onnx")


def test_what_is_told_is_read_again(tmp_path: Path) -> None:
    how = Preprocessing(fit="letterbox", mean=(0.5, 0.25, 0.1), labels=("no", "1.0", "ü: x"))
    tell(tmp_path / "out.onnx", how)
    assert beside(tmp_path / "out.onnx") == how
    tell(tmp_path / "other.onnx", None)
    assert beside(tmp_path / "other.onnx") is None
