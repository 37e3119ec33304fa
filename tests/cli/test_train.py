"""Trainings from the command line: what is not training."""

import pytest

from shoal.cli.output import stderr
from shoal.cli.train import _goes_on

FILE = pytest.importorskip("shoal.train.checkpoint").FILE


def test_a_training_that_is_interrupted_says_how_it_goes_on(tmp_path, capsys):
    (tmp_path / FILE).touch()
    with pytest.raises(KeyboardInterrupt), _goes_on(stderr(), tmp_path):
        raise KeyboardInterrupt
    assert f"the same command goes on from {tmp_path / FILE}" in capsys.readouterr().err


def test_without_a_checkpoint_nothing_is_promised(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt), _goes_on(stderr(), tmp_path):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == ""
