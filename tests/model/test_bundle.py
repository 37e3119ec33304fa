"""A bundle comes back as it was written, and nothing that is wrong with a file does harm."""

import json
import struct
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.model import nets
from tests.toys import fluid

import shoal
from shoal.errors import ModelError, ModelFileError
from shoal.model.bundle import Bundle, Manifest, Variant, load_bundle, write_bundle

DATE = (1980, 1, 1, 0, 0, 0)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fluid.write(tmp_path_factory.mktemp("bundle") / "tiny.fluid")


@pytest.fixture(scope="module")
def bundle(path: Path) -> Bundle:
    return load_bundle(path)


def test_a_bundle_is_the_network_of_all_its_groups(path: Path, bundle: Bundle) -> None:
    network = shoal.load(path)
    plain = shoal.load(fluid.Fluid().alone(range(4)))
    assert isinstance(network, Bundle)
    feeds = network.probe(batch=3)
    np.testing.assert_allclose(network.run(feeds)["y"], plain.run(feeds)["y"], atol=1e-5)
    assert network.name == "tiny"
    assert network.groups == (1.0,) * 4
    assert network.reference.groups == (0, 1, 2, 3)
    assert len(network.split([network.cuts[0]])) == 2
    assert shoal.load(path, name="other").name == "other"


def test_the_parts_of_a_sub_network_give_what_it_gives_in_one_piece(bundle: Bundle) -> None:
    (dense,) = [subnet for subnet in bundle.subnets if subnet.variant is Variant.DENSE]
    first, second = dense.stages
    feeds = bundle.probe()
    halves = [bundle.part(first.parts[owner]).run(feeds)["h"] for owner in ("0", "1")]
    joined = np.concatenate(halves, axis=1)
    logits = [bundle.part(second.parts[owner]).run({"h": joined})["y"] for owner in ("0", "1")]
    expected = bundle.part(bundle.alone((0, 1, 2, 3)).stages[0].parts["0"]).run(feeds)["y"]
    np.testing.assert_allclose(logits[0] + logits[1], expected, atol=1e-5)


def test_parts_are_described_as_those_of_any_network(bundle: Bundle) -> None:
    part = bundle.part(bundle.alone((2, 3)).stages[0].parts["0"])
    assert (part.inputs, part.outputs) == (("x",), ("y",))
    assert part.stacks
    assert part.info.memory > part.weight_bytes > 0
    with pytest.raises(ModelFileError, match="no part"):
        bundle.part("0" * 64)


def test_weights_that_sub_networks_share_are_there_once(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    graphs = fluid.subnets(fluid.Fluid(), [fluid.PAIR])[1]
    blobs = [name for name in names if name.startswith("blobs/")]
    assert len([name for name in names if name.startswith("parts/")]) == len(graphs)
    assert len(blobs) < 2 * len(graphs)


def test_equal_networks_give_equal_files(path: Path, tmp_path: Path) -> None:
    assert fluid.write(tmp_path / "again.fluid").read_bytes() == path.read_bytes()


def test_a_bundle_of_some_of_the_sub_networks(bundle: Bundle, tmp_path: Path) -> None:
    kept = [subnet for subnet in bundle.subnets if subnet.variant is Variant.ALONE]
    bundle.write(tmp_path / "few.fluid", kept)
    few = load_bundle(tmp_path / "few.fluid")
    assert few.subnets == tuple(kept)
    assert (tmp_path / "few.fluid").stat().st_size > 0
    with pytest.raises(ModelFileError, match="in one piece is missing"):
        bundle.write(tmp_path / "never.fluid", [kept[-1]])


# -- files that are wrong


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(path: Path, content: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in content.items():
            archive.writestr(zipfile.ZipInfo(name, DATE), data, kind)
    return path


def refused(path: Path, words: str) -> None:
    with pytest.raises(ModelFileError, match=words):
        load_bundle(path)


def test_a_file_cut_short_anywhere_is_refused(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    for length in (0, 1, 21, 22, 100, len(data) // 2, len(data) - 1):
        cut = tmp_path / "cut.fluid"
        cut.write_bytes(data[:length])
        refused(cut, "damaged|empty")


@given(st.data())
def test_a_changed_byte_is_refused_or_without_effect(path: Path, data: Any) -> None:
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    changed = path.with_name("changed.fluid")
    changed.write_bytes(content)
    try:
        found = load_bundle(changed)
    except ModelError:
        return
    assert {part for s in found.subnets for stage in s.stages for part in stage.parts.values()}


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.fluid").write_text("hello " * 100)
    refused(tmp_path / "text.fluid", "no archive of Shoal")
    refused(tmp_path / "absent.fluid", "cannot be read: No such file")
    refused(tmp_path, "cannot be read: Is a directory")


def test_compressed_members_are_refused(path: Path, tmp_path: Path) -> None:
    bomb = {**members(path), "blobs/" + "0" * 64: bytes(1 << 20)}
    refused(zipped(tmp_path / "bomb.fluid", bomb, zipfile.ZIP_DEFLATED), "compressed")


def test_members_that_overlap_are_refused(path: Path, tmp_path: Path) -> None:
    """Many names for the same bytes would take more memory than the file has."""
    data = path.read_bytes()
    start = struct.unpack_from("<L", data, len(data) - 6)[0]
    listed = data[start : len(data) - 22]
    first = listed[: 46 + sum(struct.unpack_from("<3H", listed, 28))]
    copies = 50
    end = bytearray(data[-22:])
    more = listed + first * copies
    count = struct.unpack_from("<H", end, 10)[0] + copies
    struct.pack_into("<HHL", end, 8, count, count, len(more))
    (tmp_path / "overlap.fluid").write_bytes(data[:start] + more + end)
    refused(tmp_path / "overlap.fluid", "one name|overlap")


def test_a_list_of_members_that_lies_about_its_length_is_refused(
    path: Path, tmp_path: Path
) -> None:
    data = bytearray(path.read_bytes())
    struct.pack_into("<L", data, len(data) - 10, 0xFFFFFFF0)
    (tmp_path / "long.fluid").write_bytes(data)
    refused(tmp_path / "long.fluid", "too many")


def test_archives_of_the_large_kind_are_refused(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1)
    (tmp_path / "zip64.fluid").write_bytes(data[:-22] + locator + data[-22:])
    refused(tmp_path / "zip64.fluid", "ZIP64")


def test_members_that_nothing_needs_are_refused(path: Path, tmp_path: Path) -> None:
    content = members(path)
    refused(zipped(tmp_path / "a.fluid", {**content, "../evil": b"x"}), "no place")
    refused(zipped(tmp_path / "b.fluid", {**content, "parts/evil": b"x"}), "not what its name")
    extra = nets.residual()
    name = f"blobs/{sha256(extra).hexdigest()}"
    refused(zipped(tmp_path / "c.fluid", {**content, name: extra}), "weights are not those")


def test_a_blob_that_lacks_or_was_exchanged_is_refused(path: Path, tmp_path: Path) -> None:
    content = members(path)
    blobs = [name for name in content if name.startswith("blobs/")]
    without = {name: data for name, data in content.items() if name != blobs[0]}
    refused(zipped(tmp_path / "a.fluid", without), "weights are not those")
    refused(
        zipped(tmp_path / "b.fluid", {**content, blobs[0]: content[blobs[1]]}), "not what its name"
    )


def test_another_version_is_named(path: Path, tmp_path: Path) -> None:
    content = members(path)
    manifest = {**json.loads(content["manifest.json"]), "version": 2, "new": True}
    changed = {**content, "manifest.json": json.dumps(manifest).encode()}
    refused(zipped(tmp_path / "new.fluid", changed), "version 2; this Shoal reads version 1")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"version": 1}', b"[" * 100_000, b"\xff"])
def test_a_manifest_that_is_none_is_refused(path: Path, tmp_path: Path, text: bytes) -> None:
    content = {**members(path), "manifest.json": text}
    refused(zipped(tmp_path / "odd.fluid", content), "no bundle, or damaged")


def changed_manifest(path: Path, out: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    content = members(path)
    manifest = json.loads(content["manifest.json"])
    change(manifest)
    return zipped(out, {**content, "manifest.json": json.dumps(manifest).encode()})


CHANGES: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("widths", lambda m: m.update(groups=[1, 1, 1, -1])),
    ("0 groups", lambda m: m.update(groups=[])),
    ("groups; 1 to 64", lambda m: m.update(groups=[1] * 65)),
    ("0 sub-networks", lambda m: m.update(subnets=[])),
    ("is empty or too long", lambda m: m.update(name="")),
    ("no accuracy", lambda m: m["subnets"][0].update(accuracy=1.5)),
    ("no accuracy", lambda m: m["subnets"][0].update(images=0)),
    ("there twice", lambda m: m["subnets"].append(m["subnets"][0])),
    ("share out", lambda m: m["subnets"][0].update(owners=[[0, 1], [1, 2]])),
    ("groups that are not among", lambda m: m.update(groups=[1, 1])),
    ("inputs or outputs", lambda m: m["inputs"][0].update(shape=[None, 3, 8, 8])),
    ("missing or never used", lambda m: m["subnets"][1]["stages"][0].update(parts={"0": "f" * 64})),
]  # fmt: skip


@pytest.mark.parametrize(("words", "change"), CHANGES)
def test_a_manifest_that_makes_no_sense_is_refused(
    path: Path, tmp_path: Path, words: str, change: Callable[[dict[str, Any]], object]
) -> None:
    refused(changed_manifest(path, tmp_path / "odd.fluid", change), words)


def test_what_a_sub_network_is_proved_against_must_be_there() -> None:
    net = fluid.Fluid()
    made, graphs = fluid.subnets(net, [fluid.PAIR])
    for lacking in ((0, 1), (0, 1, 2, 3)):
        subnets = [s for s in made if not (s.variant is Variant.ALONE and s.groups == lacking)]
        with pytest.raises(ModelFileError, match="in one piece is missing"):
            write_bundle("never", name="n", groups=net.widths, subnets=subnets, graphs=graphs)


def test_a_graph_that_is_not_given_or_none_is_refused() -> None:
    net = fluid.Fluid()
    made, graphs = fluid.subnets(net, [fluid.PAIR])
    key = made[0].stages[0].parts["0"]
    for offered, words in (({**graphs, key: b"\x08"}, "no ONNX model|no"), ({}, "not given")):
        with pytest.raises(ModelError, match=words):
            write_bundle("never", name="n", groups=net.widths, subnets=made, graphs=offered)


def test_the_manifest_is_checked_before_the_parts_are_loaded(path: Path) -> None:
    manifest = msgspec.json.decode(members(path)["manifest.json"], type=Manifest)
    assert manifest.about == "made up"
    assert {subnet.name for subnet in manifest.subnets} == {"0+1+2+3", "0+1", "2+3"}
