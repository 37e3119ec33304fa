"""Where Shoal keeps what can be made again, whatever the environment says of homes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shoal.cache import cache_folder, expanded
from shoal.errors import StoreError


def test_it_is_the_folder_that_the_user_names(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"


@pytest.mark.parametrize("named", ["", None])
def test_otherwise_it_is_in_the_home_folder(tmp_path, monkeypatch, named):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SHOAL_CACHE", raising=False)
    if named is not None:
        monkeypatch.setenv("SHOAL_CACHE", named)
    assert cache_folder() == tmp_path / ".cache" / "shoal"


def test_a_tilde_is_the_home_folder_for_everything_that_is_kept(tmp_path, monkeypatch):
    from shoal.model.store import PartStore

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHOAL_CACHE", "~/x")
    assert cache_folder() == tmp_path / "x"
    assert PartStore().root == tmp_path / "x" / "parts"


def test_a_home_that_is_unknown_is_named():
    with pytest.raises(StoreError, match="no home folder"):
        expanded("~nobody-of-this-name/x")


NO_HOME = """
import os, pwd
def unknown(uid): raise KeyError(uid)
pwd.getpwuid = unknown
from shoal.cli.entry import run
raise SystemExit(run(["profile", "fashion-resnet"]))
"""


def test_a_user_without_a_home_is_told_what_to_set(tmp_path):
    """As in a container whose user has no entry among the users."""
    environment = {k: v for k, v in os.environ.items() if k not in ("HOME", "SHOAL_CACHE")}
    command = [sys.executable, "-c", NO_HOME]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (found.returncode, "Set SHOAL_CACHE" in found.stderr) == (70, True), found.stderr
    environment["SHOAL_CACHE"] = str(tmp_path)
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr
    assert list(Path(tmp_path).iterdir())
