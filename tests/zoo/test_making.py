"""Networks that another distribution makes."""

import functools
import sys
from importlib.metadata import EntryPoints
from pathlib import Path

import pytest
from tests.toys import distribution

from shoal import plugins, zoo
from shoal.errors import HashError, MissingExtraError, PluginError, UsageError
from shoal.zoo.making import GROUP, make

NAME = "efficientnet-lite0"
MAKER = """
import shutil
from shoal.zoo.entries import SHIPPED

built = []

def build(folder):
    built.append(folder)
    shutil.copytree(SHIPPED / "fashion_resnet", folder, dirs_exist_ok=True)

def does_nothing(folder):
    built.append(folder)
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield functools.partial(distribution.write, tmp_path)
    sys.modules.pop("maker", None)


def maker(at: str) -> str:
    return distribution.entries(GROUP, **{NAME: at})


def test_a_network_is_made_once_and_again_when_it_is_damaged(install, tmp_path):
    install("maker", maker("maker:build"), MAKER)
    said = []
    path = make(NAME, said.append)
    home = tmp_path / "cache" / "zoo" / NAME
    assert path == home / "model.onnx" == zoo.path(NAME)
    assert said == [f"making {NAME} in {home}"]
    make(NAME)
    assert sys.modules["maker"].built == [home]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(HashError, match="shoal zoo get"):
        zoo.path(NAME)
    make(NAME)
    assert sys.modules["maker"].built == [home, home]
    assert zoo.path(NAME) == path


def test_what_was_made_is_checked(install):
    install("maker", maker("maker:build"), MAKER)
    path = make(NAME)
    path.write_bytes(b"")
    sys.modules["maker"].build = sys.modules["maker"].does_nothing
    with pytest.raises(HashError):
        make(NAME)


def test_what_ships_is_not_made(monkeypatch):
    monkeypatch.setattr(plugins, "entry_points", lambda **only: pytest.fail("looked for"))
    assert make("fashion-resnet") == zoo.path("fashion-resnet")


def test_only_networks_of_the_zoo_are_made():
    with pytest.raises(UsageError, match="no network 'resnet-152'"):
        make("resnet-152")


def test_without_who_makes_it_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path))
    monkeypatch.setattr(plugins, "entry_points", lambda **only: EntryPoints())
    with pytest.raises(MissingExtraError, match=r"pip install './train\[efficientnet\]'"):
        make(NAME)
    assert not zoo.is_ready(NAME)


@pytest.mark.parametrize(
    ("at", "says"), [("maker:built", "no function"), ("maker:gone", "cannot be loaded")]
)
def test_who_cannot_make_it_is_named(install, at, says):
    install("maker", maker(at), MAKER)
    with pytest.raises(PluginError, match=f"of maker 1.2.* {says}"):
        make(NAME)
