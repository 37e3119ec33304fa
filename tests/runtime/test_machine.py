"""What a node says that it has to offer."""

import logging

import pytest
from tests.runtime import tiny

from shoal import allowance
from shoal.model.engine import Engine
from shoal.model.store import PartStore
from shoal.runtime.node import Node

MIB = 1 << 20


@pytest.fixture
def offer(tmp_path, monkeypatch):
    """What a node offers that may have so much memory and so many cores."""

    def make(memory, cores, stated=0, threads=1):
        monkeypatch.setattr(allowance, "memory_bytes", lambda: memory)
        monkeypatch.setattr(allowance, "whole_cores", lambda: cores)
        link = tiny.InprocMesh()("a")
        node = Node(link, PartStore(tmp_path), Engine(threads), memory_limit=stated)
        info = node.core.worker.info
        link.close()
        return info.memory, info.cores

    return make


def test_without_a_word_it_is_four_fifths_of_what_the_process_may_have(offer):
    assert offer(1080 * MIB, 2) == (800 * MIB, 2)
    assert offer(20 * MIB, 2) == (1, 2), "nothing fits, and 0 would be no limit"
    assert offer(0, 1) == (0, 1), "nothing is known: no limit"


def test_what_is_stated_counts_where_it_can_be_had(offer, caplog):
    assert offer(1000 * MIB, 2, stated=900 * MIB) == (900 * MIB, 2)
    assert offer(0, 2, stated=900 * MIB) == (900 * MIB, 2)
    assert caplog.text == ""


def test_what_cannot_be_had_is_not_offered(offer, caplog):
    with caplog.at_level(logging.WARNING):
        assert offer(580 * MIB, 1, stated=900 * MIB) == (400 * MIB, 1)
    assert "stated as 900 MiB, and this process may have 580" in caplog.text


def test_more_threads_than_cores_are_warned_of(offer, caplog):
    with caplog.at_level(logging.WARNING):
        offer(500 * MIB, 1, threads=2)
    assert "2 threads on 1 core(s)" in caplog.text
