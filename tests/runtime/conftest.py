from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.runtime import tiny

from shoal.model.network import Network


@pytest.fixture
def net() -> Network:
    return tiny.network()


@pytest.fixture
def crowd(tmp_path: Path, net: Network) -> Iterator[tiny.Crowd]:
    crowd = tiny.Crowd(tmp_path)
    tiny.fill(crowd.store, net)
    yield crowd
    crowd.close()
