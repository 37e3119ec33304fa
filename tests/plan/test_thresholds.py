import itertools
from statistics import NormalDist

import numpy as np
import pytest

from shoal.errors import PlanError
from shoal.model.exits import ExitHead, Exits
from shoal.plan.statistics import lower_bound
from shoal.plan.thresholds import NEVER, expected, kept, thresholds_for, thresholds_keeping


def table(*columns: list[int]) -> Exits:
    heads = tuple(ExitHead(f"t{k}", f"e{k}", "y") for k in range(len(columns) - 1))
    return Exits(heads, tuple(map(tuple, columns)))


def drawn(seed: int, exits: int, images: int, sures: list[int]) -> Exits:
    """Later exits are right more often, and more so where they are sure."""
    chance = np.random.default_rng(seed)
    columns = []
    for place in range(exits + 1):
        sure = chance.choice(sures, images)
        right = chance.random(images) < 0.4 + 0.3 * sure / 1000 + 0.25 * place / exits
        columns.append(np.where(right, sure, -sure).tolist())
    return table(*columns)


FOUR = table([900, -500, 200, -100], [-300, 800, 800, -1], [1000, 1000, -700, 500])


def test_what_follows_from_thresholds_is_counted_by_hand() -> None:
    found = expected(FOUR, (0.5, 0.8))
    assert found.leaving == (0.5, 0.25, 0.25)
    # The first leaves right, the second wrong, the third leaves later and right, the last stays.
    assert found.accuracy == 0.75
    assert found.sure == lower_bound(3, 4)
    assert found.cost((1, 10, 100)) == 1 + 0.5 * 10 + 0.25 * 100


@pytest.mark.parametrize(
    ("thresholds", "leaving", "accuracy"),
    [
        ((0.0, 0.0), (1.0, 0.0, 0.0), 0.5),
        ((NEVER, NEVER), (0.0, 0.0, 1.0), 0.75),
        ((0.9, NEVER), (0.25, 0.0, 0.75), 0.75),
        ((0.9001, 0.0), (0.0, 1.0, 0.0), 0.5),
        ((1.0, 1.0), (0.0, 0.0, 1.0), 0.75),
    ],
)
def test_thresholds_at_the_edges(thresholds, leaving, accuracy) -> None:
    found = expected(FOUR, thresholds)
    assert (found.leaving, found.accuracy) == (leaving, accuracy)


def brute(exits: Exits, least: float, costs: list[float]) -> float:
    """The least mean cost, by trying all that there is."""
    levels = [[0.0, NEVER, *{abs(v) / 1000 for v in column}] for column in exits.table[:-1]]
    found = [expected(exits, tried) for tried in itertools.product(*levels)]
    return min(each.cost(costs) for each in found if each.accuracy >= least)


@pytest.mark.parametrize("exits", [1, 2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_no_thresholds_cost_less(seed: int, exits: int) -> None:
    made = drawn(seed, exits, 60, [200, 500, 700, 850, 990])
    costs = [1.0, 3.0, 2.0, 4.0][: exits + 1]
    for drop in (0.0, 0.03, 0.1):
        least = made.accuracies[-1] - drop
        found = expected(made, thresholds_for(made, least, costs))
        assert found.accuracy >= least - 1e-12
        assert found.cost(costs) == pytest.approx(brute(made, least - 1e-12, costs))


def test_two_exits_are_exact_with_many_confidences() -> None:
    made = drawn(7, 2, 80, list(range(1, 1001)))
    costs = [1.0, 1.0, 1.0]
    least = made.accuracies[-1] - 0.05
    found = expected(made, thresholds_for(made, least, costs))
    assert found.cost(costs) == pytest.approx(brute(made, least - 1e-12, costs))


def test_four_exits_with_many_confidences_come_near() -> None:
    """No single threshold can be moved so that an image costs less."""
    made = drawn(3, 4, 500, list(range(1, 1001)))
    costs = [1.0] * 5
    least = made.accuracies[-1] - 0.02
    found = thresholds_for(made, least, costs)
    best = expected(made, found).cost(costs)
    assert best < 4.5
    for place in range(4):
        for level in range(0, 1002, 7):
            tried = expected(made, [*found[:place], level / 1000, *found[place + 1 :]])
            assert tried.accuracy < least - 1e-12 or tried.cost(costs) >= best - 1e-9


def test_what_is_kept_is_counted_by_hand() -> None:
    # The second image is lost by leaving, the third is gained.
    assert kept(FOUR, (0.5, 0.8), 0.5) == 1.0
    spread = ((1 + 1 + 1) / 6 / 6) ** 0.5
    expected_share = 1 - NormalDist().inv_cdf(0.95) * spread / (3 / 4)
    assert kept(FOUR, (0.5, 0.8), 0.95) == pytest.approx(expected_share)
    assert kept(FOUR, (NEVER, NEVER), 0.95) == 1.0, "nobody leaves, so it is the network"


def test_few_images_that_all_are_answered_alike_promise_little() -> None:
    shares = [kept(table([900] * n, [900] * n), (0.5,), 0.95) for n in (50, 500)]
    assert 0.96 < shares[0] < 0.97
    assert 0.996 < shares[1] < 0.997


def test_what_is_kept_for_sure_is_kept_by_other_images() -> None:
    """With 95 % confidence: of 300 samples of the same images few may promise more than is true."""
    every = drawn(3, 2, 20_000, list(range(300, 1000)))
    thresholds = (0.7, 0.7)
    truth = expected(every, thresholds).accuracy / every.accuracies[-1]
    chance, columns = np.random.default_rng(0), np.array(every.table)
    samples = (columns[:, chance.integers(0, 20_000, 400)].tolist() for _ in range(300))
    found = [kept(table(*sample), thresholds, 0.95) for sample in samples]
    assert truth < 0.95
    assert sum(share > truth for share in found) <= 0.08 * len(found)
    assert np.mean(found) > truth - 0.1, "nor is it far less than is true"


def test_one_may_ask_to_be_sure() -> None:
    made = drawn(1, 2, 400, list(range(300, 1000)))
    costs = [1.0, 1.0, 1.0]
    sure, likely = (thresholds_keeping(made, 0.9, costs, c) for c in (0.95, 0.5))
    assert kept(made, sure, 0.95) >= 0.9 > kept(made, likely, 0.95)
    assert expected(made, likely).cost(costs) < expected(made, sure).cost(costs)
    assert thresholds_keeping(made, 1.0, costs, 0.999) == (NEVER, NEVER), "what else would do"


def test_thresholds_are_as_high_as_the_images_let_them_be() -> None:
    made = table([-1000, -900], [999, 999])
    assert thresholds_for(made, 1.0, (1.0, 1.0)) == (NEVER,)
    assert thresholds_for(made, 0.0, (1.0, 1.0)) == (0.9,)


def test_the_least_confidence_stands_for_less() -> None:
    assert thresholds_for(table([1, 5], [5, 5]), 1.0, (1.0, 1.0)) == (0.0,)


@pytest.mark.parametrize(
    ("least", "costs", "said"),
    [
        (0.8, (1, 1, 1), "above the 75.00 % that the whole network has"),
        (1.2, (1, 1, 1), "no accuracy"),
        (float("nan"), (1, 1, 1), "no accuracy"),
        (0.5, (1, 1), "2 costs for 3 stages"),
        (0.5, (1, -1, 1), "negative"),
        (0.5, (1, float("inf"), 1), "no number"),
    ],
)
def test_what_cannot_be_is_refused(least, costs, said) -> None:
    with pytest.raises(PlanError, match=said):
        thresholds_for(FOUR, least, costs)


def test_thresholds_that_are_none_are_refused() -> None:
    with pytest.raises(PlanError, match="1 thresholds for 2 exits"):
        expected(FOUR, (0.5,))
    with pytest.raises(PlanError, match="no number"):
        expected(FOUR, (0.5, float("nan")))
