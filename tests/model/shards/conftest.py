import pytest
from tests.model.shards.families import FAMILIES

from shoal.model.network import Network


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda make: make.__name__)
def network(request: pytest.FixtureRequest) -> Network:
    made: Network = request.param()
    return made
