"""Forecasts against sums worked out by hand."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.toys.cluster import on_one_host
from tests.toys.network import ToyProfile

from shoal.errors import PlanError
from shoal.plan.cluster import Cluster
from shoal.plan.forecast import Duty, StageDuty, forecast, usage
from shoal.plan.plan import Forecast, Spread
from shoal.plan.profiles import DeviceProfile, LinkProfile, Profiles, Scaled
from shoal.plan.size import Size

# 1 Mbyte/s: a kB takes a ms. Each hop costs 2 ms and half of a round trip of 4 ms.
LINK = LinkProfile(rtt_ms=4, bytes_per_s=1e6)
TWO = Cluster.from_yaml("devices: [{name: a}, {name: b}]")


class Everywhere(dict):
    """The same value for every key."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def __missing__(self, key):
        return self.value


def facts(message_ms=0.0, copy_bytes_per_s=1e12, link=LINK):
    device = DeviceProfile(ToyProfile((1.0,)), message_ms, copy_bytes_per_s, hop_ms=1)
    return Profiles(Everywhere(device), Everywhere(link))


def stage(run_ms, out_bytes=0.0, memory=0, **kinds):
    return StageDuty({"a": Duty(run_ms, out_bytes, memory)}, **kinds)


def on(device, duty):
    return StageDuty({device: duty})


def test_latency_is_the_sum_and_throughput_the_slowest():
    stages = [on("a", Duty(10, 3000, 7)), on("b", Duty(20, 1000, 9))]
    found = forecast(stages, TWO, facts(), in_bytes=5000)
    # There 2 + 2 + 5, compute 10, across 2 + 2 + 3, compute 20, back 2 + 2 + 1.
    assert found.latency_ms == pytest.approx(9 + 10 + 7 + 20 + 5)
    assert found.images_per_s == pytest.approx(1000 / 20)
    assert found.slowest == "device b"
    assert found.bytes_per_image == 9000
    assert found.memory == {"a": 7, "b": 9}
    assert found.stage_ms == (10, 20)
    assert found.energy_j is None


def test_a_link_can_be_the_slowest():
    found = forecast([on("a", Duty(10, 1000))], TWO, facts(), in_bytes=50_000)
    assert found.images_per_s == pytest.approx(1000 / 50)
    assert found.slowest == "link gateway to a"


def test_a_device_that_runs_two_stages_adds_them_up_and_sends_nothing_between_them():
    stages = [on("a", Duty(10, 3000, 1)), on("a", Duty(20, 1000, 2))]
    found = forecast(stages, TWO, facts(), in_bytes=0)
    assert found.images_per_s == pytest.approx(1000 / 30)
    assert found.latency_ms == pytest.approx(4 + 30 + 5)
    assert found.memory == {"a": 3}


def test_sending_and_receiving_count():
    found = forecast([on("a", Duty(10, 1000))], TWO, facts(message_ms=1.0), in_bytes=0)
    assert found.images_per_s == pytest.approx(1000 / 12)


def test_workers_on_one_host_share_its_cores():
    cluster = on_one_host(4, cores=2)
    stages = [on(f"worker-{k}", Duty(10, 0)) for k in (1, 2, 3, 4)]
    found = forecast(stages, cluster, facts(), in_bytes=0)
    assert found.images_per_s == pytest.approx(1000 / 20)
    assert found.slowest == "cores of host here"
    assert found.latency_ms == pytest.approx(4 * 10 + 5 * 4)


def test_replicas_add_up_and_the_latency_is_that_of_the_quickest():
    both = StageDuty({"a": Duty(10, 0), "b": Duty(30, 0)})
    found = forecast([both], TWO, facts(), in_bytes=0)
    assert found.images_per_s == pytest.approx(1000 / 10 + 1000 / 30)
    assert found.latency_ms == pytest.approx(4 + 10 + 4)
    assert found.holder_ms == ({"a": 10, "b": 30},)


def test_all_holders_get_the_input_and_the_slowest_decides():
    shards = StageDuty({"a": Duty(10, 1000), "b": Duty(30, 2000)}, spread=Spread.ALL)
    found = forecast([shards], TWO, facts(), in_bytes=4000)
    assert found.latency_ms == pytest.approx(8 + 30 + 6)
    assert found.images_per_s == pytest.approx(1000 / 30)
    assert found.bytes_per_image == 2 * 4000 + 3000


def test_shards_exchange_all_with_all_but_keep_their_own():
    shards = StageDuty({"a": Duty(10, 1000), "b": Duty(10, 1000)}, spread=Spread.ALL)
    found = forecast([shards, shards], TWO, facts(), in_bytes=4000)
    assert found.bytes_per_image == 2 * 4000 + 2 * 1000 + 2 * 1000
    assert found.latency_ms == pytest.approx(8 + 10 + 5 + 10 + 5)


def test_what_is_given_to_all_is_packed_once_and_unpacked_by_each():
    shards = StageDuty(
        {name: Duty(10, 1000, pack_ms=3, unpack_ms=0.5) for name in "ab"}, spread=Spread.ALL
    )
    last = on("a", Duty(10, 1000))
    found = forecast([shards, last], TWO, facts(), in_bytes=4000)
    # What a gave itself is packed and unpacked as well.
    assert found.latency_ms == pytest.approx(8 + 10 + 3 + 5 + 2 * 0.5 + 10 + 5)
    assert found.stage_ms == (10, 10)
    use = usage([shards, last], TWO, facts(), 0)
    assert use.device_ms["a"] == pytest.approx(10 + 3 + 2 * 0.5 + 10)
    alone = forecast([on("a", Duty(10, 1000, pack_ms=3, unpack_ms=0.5))], TWO, facts(), in_bytes=0)
    assert alone.latency_ms == pytest.approx(4 + 10 + 3 + 5 + 0.5)


def test_shards_on_one_host_run_as_long_as_its_cores_need():
    cluster = on_one_host(4, cores=2)
    duties = {f"worker-{k}": Duty(10, 0) for k in (1, 2, 3, 4)}
    found = forecast([StageDuty(duties, spread=Spread.ALL)], cluster, facts(), in_bytes=0)
    assert found.latency_ms == pytest.approx(4 + 20 + 4)


def test_requests_that_leave_early_spare_the_later_stages():
    stages = [
        StageDuty({"a": Duty(10, 3000)}, exit_bytes=1000),
        StageDuty({"b": Duty(40, 0)}, reached=0.25),
    ]
    found = forecast(stages, TWO, facts(), in_bytes=0)
    early, late = 4 + 10 + 5, 4 + 10 + 7 + 40 + 4
    stages[0] = msgspec.structs.replace(stages[0], exit_bytes=1000)
    assert found.latency_ms == pytest.approx(0.75 * early + 0.25 * late)
    assert found.images_per_s == pytest.approx(1000 / 10)
    assert found.bytes_per_image == pytest.approx(0.25 * 3000 + 0.75 * 1000)


def test_energy_is_busy_sending_and_idle_time_of_devices_with_stated_powers():
    cluster = Cluster.from_yaml(
        "devices: [{name: a, power: {idle_w: 1, busy_w: 5, transmit_w: 2}}, {name: b}]"
    )
    found = forecast([on("a", Duty(10, 1000))], cluster, facts(), in_bytes=0)
    idle_ms = found.latency_ms - 10 - 1
    assert found.energy_j == pytest.approx((5 * 10 + 2 * 1 + 1 * idle_ms) / 1000)


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.floats(0.1, 50), st.floats(0, 1e5)),
        min_size=1,
        max_size=6,
    )
)
@settings(deadline=None)
def test_no_plan_is_quicker_than_its_computing_or_faster_than_any_resource(steps):
    stages = [on(device, Duty(ms, size)) for device, ms, size in steps]
    found = forecast(stages, TWO, facts(message_ms=0.1), in_bytes=1000)
    use = usage(stages, TWO, facts(message_ms=0.1), in_bytes=1000)
    assert found.latency_ms >= sum(ms for _, ms, _ in steps)
    for ms in (*use.device_ms.values(), *use.link_ms.values(), *use.host_ms.values()):
        assert found.images_per_s <= 1000 / ms * (1 + 1e-9) if ms else True


def test_profiles_are_scaled_from_one_measurement_and_the_file():
    cluster = Cluster.from_yaml(
        """
        devices: [{name: a, speed: 0.5}, {name: b, speed: 2}]
        links: {pairs: [{from: a, to: b, mbit_s: 8, back_mbit_s: 16, rtt_ms: 3}]}
        """
    )
    measured = DeviceProfile(ToyProfile((9.0,)))
    profiles = Profiles.scaled(cluster, ToyProfile((10.0, 10.0)), known={"b": measured})
    assert profiles.device("a").network.range_ms(0, 2) == pytest.approx(40)
    assert profiles.device("a").network.node_ms == (20, 20)
    assert profiles.device("b") is measured
    assert profiles.link("a", "b").bytes_per_s == 1e6
    assert profiles.link("b", "a").bytes_per_s == 2e6
    assert profiles.link("b", "a").rtt_ms == 3
    assert isinstance(profiles.device("a").network, Scaled)
    with pytest.raises(PlanError, match="nothing is known of the speed of 'z'"):
        profiles.device("z")


def test_what_was_never_measured_is_named():
    profiles = Profiles({}, {})
    with pytest.raises(PlanError, match="link from 'a' to 'b'"):
        profiles.link("a", "b")
    assert Size(0) == 0


def test_several_at_once_save_time_when_requests_wait_and_none_when_they_do_not():
    alone = forecast([on("a", Duty(10, 0))], TWO, facts(), in_bytes=0)
    together = forecast([on("a", Duty(10, 0, batch_ratio=0.8))], TWO, facts(), in_bytes=0)
    assert together.images_per_s == pytest.approx(alone.images_per_s / 0.8)
    assert together.latency_ms == alone.latency_ms
    assert together.stage_ms == alone.stage_ms


def test_what_a_forecast_does_not_say_is_no_cost_and_nothing_lost():
    said = Forecast(
        *(10.0, 100.0),
        accuracy=1.0,
        bytes_per_image=0.0,
        memory={},
        stage_ms=(),
        holder_ms=(),
        energy_j=None,
        slowest="",
        server_ms=0.0,
        missing=(),
    )
    assert Forecast(10.0, 100.0) == said


def test_a_plan_that_takes_no_time_has_a_rate_that_is_a_number():
    """1e12: nobody divides by nothing, and everything else is slower."""
    free = forecast([on("gateway", Duty(0, 0))], TWO, facts(), in_bytes=0)
    assert free.images_per_s == pytest.approx(1e12)
    assert free.latency_ms == 0.0


def test_what_messages_cost_where_nobody_measured_it():
    """A gateway keeps the request as well and hands over the answer: half as much again."""
    profiles = Profiles.scaled(TWO, ToyProfile((10.0,)))
    assert profiles.device("a").handling_ms(0) == 0.3
    assert profiles.device("gateway").handling_ms(0) == pytest.approx(0.45)
    assert profiles.device("a").handling_ms(1e6) == pytest.approx(0.3 + 1.0)
    link = {("a", "b"): LinkProfile(rtt_ms=2, bytes_per_s=1e6)}
    profiles = Profiles.scaled(TWO, ToyProfile((10.0,)), link)
    assert profiles.transfer_ms("a", "b", 1000) == pytest.approx(0.4 + 1 + 1)


def test_what_is_slow_for_networks_is_so_for_messages_and_what_is_quick_need_not_be():
    cluster = Cluster.from_yaml("devices: [{name: a, speed: 0.1}, {name: b, speed: 20}]")
    profiles = Profiles.scaled(cluster, ToyProfile((10.0,)), {("a", "b"): LINK})
    assert profiles.device("a").handling_ms(1e6) == pytest.approx(3 + 10)
    assert profiles.device("b").handling_ms(1e6) == pytest.approx(0.3 + 1)
    assert profiles.transfer_ms("a", "b", 1000) == pytest.approx(2 + 0.2 + 2 + 1)


def test_who_gives_to_several_or_takes_from_several_does_so_one_after_the_other():
    def shards(run_ms):
        return StageDuty({"a": Duty(run_ms, 1000), "b": Duty(run_ms, 1000)}, spread=Spread.ALL)

    found = forecast([shards(10), shards(10)], TWO, facts(message_ms=0.5), in_bytes=0)
    # To the second of two, across to the other one of two, and the second of two answers.
    assert found.latency_ms == pytest.approx((4 + 0.5) + 10 + 5 + 10 + (5 + 0.5))
