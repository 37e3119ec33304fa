"""Playbooks as documents: ids, files, and what is refused."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.errors import PlanError, StoreError
from shoal.model.spec import TensorSpec
from shoal.plan import playbook as documents
from shoal.plan.plan import (
    Exit,
    Forecast,
    Join,
    PartInfo,
    Plan,
    Playbook,
    PolicySpec,
    Slice,
    Spread,
    Stage,
)
from shoal.plan.playbook import load, make_playbook, plan_without, playbook_id, save

MIDDLE = TensorSpec("middle", "float32", (None, 4))
JOIN = Join("channels", MIDDLE, {"a": Slice((0, 1)), "b": Slice((2, 3))})
HEAD = Stage({"a": "p1"}, ("image",), ("middle",))
TAIL = Stage({"b": "p2", "c": "p2"}, ("middle",), ("logits",))
SHARDED = Stage({"a": "s1", "b": "s2"}, ("image",), ("middle",), Spread.ALL, JOIN)
PLAN = Plan("a > b", (HEAD, TAIL), Forecast(10, 100))


def made_of(stacks, codec="raw", **changes):
    """A playbook whose parts say this of requests that are stacked."""
    plan = msgspec.structs.replace(PLAN, stages=(msgspec.structs.replace(HEAD, codec=codec), TAIL))
    parts = {"p1": PartInfo(1, {}, 10, stacks=stacks), "p2": PartInfo(1, {}, 10, stacks=True)}
    return make(plan, parts=parts, stacks=True, **changes)


def test_what_older_playbooks_say_of_images_in_one_request_is_not_believed():
    """They tried it on two images; their parts say nothing of themselves."""
    assert made_of(True).together
    assert made_of(False).together, "the whole may be what a part, given rows, is not"
    assert not made_of(None).together


@pytest.mark.parametrize(
    ("codec", "apart"),
    [
        ("raw", True),
        ("lossless", True),
        ("half;middle=lossless:predict", False),
        ("quant:8", False),
        ("raw;middle=quant:4", False),
        ("jpeg:90", False),
    ],
)
def test_a_codec_that_rounds_by_image_must_find_images_along_the_first_axis(codec, apart):
    assert made_of(True, codec).together
    assert made_of(False, codec).together == apart


def make(*plans, **changes):
    fields = {
        "network": "toy",
        "strategy": "pipeline",
        "policy": PolicySpec("preferred", {"x": 1}),
        "plans": plans or (PLAN,),
        "parts": {name: PartInfo(1, {}, 10) for name in ("p1", "p2", "s1", "s2")},
        "inputs": (TensorSpec("image", "float32", (None, 3)),),
        "outputs": (TensorSpec("logits", "float32", (None, 4)),),
        **changes,
    }
    return make_playbook(**fields)


def test_a_playbook_is_named_by_its_content():
    assert make().id == make().id
    assert make().id != make(msgspec.structs.replace(PLAN, spare=True)).id
    assert playbook_id(msgspec.structs.replace(make(), id="other")) == make().id


def test_parts_that_no_plan_uses_are_left_out():
    assert set(make().parts) == {"p1", "p2"}


def test_what_is_saved_is_loaded_the_same(tmp_path):
    sharded = Plan("sharded", (SHARDED, TAIL), Forecast(1, 2, holder_ms=({"a": 1.0}, {})))
    early = msgspec.structs.replace(HEAD, exit=Exit("small", "logits", 0.5))
    playbook = make(PLAN, sharded, Plan("early", (early, TAIL), Forecast(3, 4)))
    save(playbook, tmp_path / "book.json")
    assert load(tmp_path / "book.json") == playbook


def test_a_file_that_cannot_be_written_is_a_plan_error(tmp_path):
    with pytest.raises(StoreError, match="cannot write"):
        save(make(), tmp_path / "absent" / "book.json")


def test_a_file_that_was_changed_is_refused(tmp_path):
    path = tmp_path / "book.json"
    save(make(), path)
    path.write_text(path.read_text().replace('"network": "toy"', '"network": "toy2"'))
    with pytest.raises(PlanError, match=r"does not match the id.*changed by hand or damaged"):
        load(path)


def test_one_of_before_photos_were_told_of_is_no_damaged_one(tmp_path):
    path = tmp_path / "book.json"
    save(make(), path)
    older = msgspec.json.decode(path.read_bytes())
    del older["preprocessing"]
    older["id"] = 32 * "0"  # which they found otherwise
    path.write_bytes(msgspec.json.encode(older))
    with pytest.raises(PlanError, match=r"made by an older version of Shoal: make it again"):
        load(path)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"id": 3}', b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_playbook_is_refused(tmp_path, data):
    path = tmp_path / "book.json"
    path.write_bytes(data)
    with pytest.raises(PlanError, match=r"book\.json: is not a playbook"):
        load(path)


def test_a_file_that_is_absent_or_too_large_is_refused(tmp_path, monkeypatch):
    with pytest.raises(PlanError, match="cannot be read"):
        load(tmp_path / "absent.json")
    monkeypatch.setattr(documents, "MAX_BYTES", 10)
    save(make(), tmp_path / "book.json")
    with pytest.raises(PlanError, match="larger than 10 bytes"):
        load(tmp_path / "book.json")


def plan_of(*stages, name="a plan"):
    return Plan(name, stages, Forecast(1, 1))


def changed(stage, **fields):
    return msgspec.structs.replace(stage, **fields)


def with_join(**fields):
    return plan_of(changed(SHARDED, join=msgspec.structs.replace(JOIN, **fields)), TAIL)


MISTAKES = {
    "two plans are called 'a > b'": [PLAN, PLAN],
    "name has 0 characters": [plan_of(HEAD, TAIL, name="")],
    "has 0 stages": [plan_of()],
    "takes middle, which nothing before it gives": [plan_of(TAIL)],
    "does not give the network's output logits": [plan_of(HEAD)],
    "names no inputs or no outputs": [plan_of(changed(HEAD, outputs=()), TAIL)],
    "no device runs it": [plan_of(changed(HEAD, parts={}), TAIL)],
    "runs the part p9, which the playbook does not list": [
        plan_of(changed(HEAD, parts={"a": "p9"}), TAIL)
    ],
    "they hold different parts": [plan_of(changed(HEAD, parts={"a": "p1", "b": "p2"}), TAIL)],
    "there is nothing to join": [plan_of(changed(HEAD, join=JOIN), TAIL)],
    "a batch of 0": [plan_of(changed(HEAD, batch=0), TAIL)],
    "nothing says how to join": [plan_of(changed(SHARDED, join=None), TAIL)],
    "no join 'product'": [with_join(op="product")],
    "slices are not those of the stage's holders": [with_join(slices={"a": Slice((0,))})],
    "joined tensor 'other' is not among its outputs": [
        with_join(tensor=TensorSpec("other", "float32", (None, 4)))
    ],
    "at least 3 of 2 slices": [with_join(least=3)],
    "has no axis": [with_join(axis=1 << 80)],
    "axis 7 of 'middle' has no fixed size": [with_join(axis=7)],
    "axis 0 of 'middle' has no fixed size": [with_join(axis=0)],
    "the slice of 'a' names a channel twice": [
        with_join(slices={"a": Slice((1, 1)), "b": Slice((2,))})
    ],
    "the slice of 'b' names a channel beyond 3": [
        with_join(slices={"a": Slice((1,)), "b": Slice((4,))})
    ],
    "2 fill values; write one, or one per channel": [with_join(fill=(0.0, 1.0))],
    "3 of the slice of 'a' cannot stay with it": [
        with_join(slices={"a": Slice((0, 1), 3), "b": Slice((2, 3), 3)})
    ],
    "must be the same for all": [
        with_join(slices={"a": Slice((0, 1), 1), "b": Slice((2, 3), 1)}),
        with_join(slices={"a": Slice((0, 1), 0), "b": Slice((2, 1), 1)}),
    ],
    "names channels of a sum": [with_join(op="sum")],
    "stay a second time, or none": [
        with_join(op="sum", slices={"a": Slice(stays=2), "b": Slice(stays=2)})
    ],
    "not one number per channel of a sum": [
        with_join(op="sum", slices={"a": Slice(stand_in=(1.0,)), "b": Slice()}),
        with_join(slices={"a": Slice((0, 1), stand_in=(1.0,) * 4), "b": Slice((2, 3))}),
    ],
    "so only these holders can run the next stage": [
        with_join(op="sum", slices={"a": Slice(stays=4), "b": Slice(stays=4)}),
    ],
    "1 to 4096 are possible": [plan_of(HEAD, TAIL, name=str(k)) for k in range(4097)],
}


DEEP: list = []
for _ in range(500):
    DEEP = [DEEP]
NAN, INF = float("nan"), float("inf")


def with_exit(**fields):
    leave = msgspec.structs.replace(Exit("small", "logits", 0.5), **fields)
    return plan_of(changed(HEAD, exit=leave), TAIL)


def with_forecast(**fields):
    return Plan("a plan", (HEAD, TAIL), msgspec.structs.replace(Forecast(1, 1), **fields))


def with_plan(**fields):
    return msgspec.structs.replace(PLAN, **fields)


ODD_NUMBERS = {
    "a temperature": [with_exit(temperature=value) for value in (0.0, -1.0, NAN, INF)],
    "a threshold": [with_exit(threshold=value) for value in (-0.1, 2.1, NAN, INF, -INF)],
    "a deadline of the join": [with_join(deadline_ms=v) for v in (0.0, -1.0, NAN, INF, 1e12)],
    "what stands in for 'a' is no number": [
        with_join(op="sum", slices={"a": Slice(stand_in=(value,) * 4), "b": Slice()})
        for value in (NAN, INF)
    ],
    "fills with what is no number": [with_join(fill=(value,)) for value in (NAN, INF)],
    "fills with values that int8 does not have": [
        with_join(fill=(300.0,), tensor=TensorSpec("middle", "int8", (None, 4)))
    ],
    "a batch of": [plan_of(changed(HEAD, batch=value), TAIL) for value in (-1, 0, 1 << 40)],
    "a wait for a batch": [
        plan_of(changed(HEAD, batch_wait_ms=value), TAIL) for value in (-1.0, NAN, INF)
    ],
    "a tolerance": [with_plan(tolerance=value) for value in (-1e-9, NAN, INF, 2.0)],
    "an accuracy": [with_forecast(accuracy=value) for value in (-0.1, 1.5, NAN)],
    "negative or none": [
        with_forecast(**{field: value})
        for field, odd in {
            "latency_ms": (-1.0, NAN, INF),
            "images_per_s": (-1.0, NAN, INF),
            "bytes_per_image": (-1.0, NAN),
            "energy_j": (-1.0, NAN),
            "server_ms": (-1.0, NAN, INF),
            "stage_ms": ((NAN,), (-1.0,)),
            "holder_ms": (({"a": INF},),),
            "memory": ({"a": -1}, {"a": 1 << 2000}),
        }.items()
        for value in odd
    ],
    "more stages than the 2": [with_forecast(stage_ms=(1.0, 1.0, 1.0))],
    "no output of the network": [with_exit(output="middle")],
    "no criterion 'guess'": [with_exit(criterion="guess")],
    "cannot be shown": [
        with_plan(name="calm\x1b[2Jdown"),
        with_forecast(slowest="\r"),
        plan_of(changed(HEAD, parts={"a\n": "p1"}), TAIL),
        plan_of(changed(HEAD, outputs=("middle", "\0")), TAIL),
    ],
    "is none": [with_join(tensor=TensorSpec("middle", "object", (None, 4)))],
    "impossible shape": [with_join(tensor=TensorSpec("middle", "float32", (None, -4)))],
    "more than 536870912 bytes": [
        with_join(tensor=TensorSpec("middle", "float32", (None, 1 << 40)))
    ],
    "no codec is called": [
        with_plan(codec="telepathy"),
        plan_of(changed(HEAD, codec="telepathy:8"), TAIL),
    ],
    "or one twice": [
        plan_of(changed(HEAD, outputs=("middle", "middle")), TAIL),
        plan_of(changed(HEAD, outputs=("middle", *map(str, range(256)))), TAIL),
    ],
}


@pytest.mark.parametrize(
    ("complaint", "plan"), [(what, plan) for what, plans in ODD_NUMBERS.items() for plan in plans]
)
def test_what_a_hostile_playbook_says_is_not_believed(complaint, plan):
    with pytest.raises(PlanError, match=complaint):
        make(plan)


@pytest.mark.parametrize(
    ("complaint", "info"),
    [
        ("negative size", PartInfo(-1)),
        ("negative size", PartInfo(1, {}, -1)),
        ("negative size", PartInfo(1, {"b": -5}, 1)),
        ("its weights alone have 100", PartInfo(1, {"b": 60, "c": 40}, 99)),
        ("larger than any part", PartInfo(1 << 40, {}, 1 << 41)),
        ("larger than any part", PartInfo(1, {"b": 1 << 40}, 1 << 41)),
        ("larger than any part", PartInfo(1, {}, 1 << 60)),
        ("one that is no hash", PartInfo(1, {"b" * 1000: 1}, 10)),
    ],
)
def test_a_part_that_lies_about_its_size_is_refused(complaint, info):
    with pytest.raises(PlanError, match=complaint):
        make(parts={"p1": info, "p2": info})


@pytest.mark.parametrize(
    ("complaint", "changes"),
    [
        ("0 inputs", {"inputs": ()}),
        ("0 outputs", {"outputs": ()}),
        ("one name", {"inputs": (TensorSpec("image", "float32", (3,)),) * 2}),
        ("dtype 'text'", {"inputs": (TensorSpec("image", "text", (None, 3)),)}),
        ("impossible shape", {"inputs": (TensorSpec("image", "float32", (1,) * 17),)}),
        ("the name of the network", {"network": ""}),
        ("the name of the strategy", {"strategy": "s" * 1000}),
        ("the name of the policy", {"policy": PolicySpec("\x07")}),
        ("settings of the policy", {"policy": PolicySpec("p", {"x": NAN})}),
        ("settings of the policy", {"policy": PolicySpec("p", {"x": [{1: 2}]})}),
        ("settings of the policy", {"policy": PolicySpec("p", {"x": b"bytes"})}),
        ("settings of the policy", {"policy": PolicySpec("p", {"x": msgspec.msgpack.Ext(1, b"")})}),
        ("settings of the policy", {"policy": PolicySpec("p", {"x": DEEP})}),
        ("settings of the policy", {"policy": PolicySpec("p", {"x": 1 << 64})}),
    ],
)
def test_what_it_says_of_the_network_is_not_believed(complaint, changes):
    with pytest.raises(PlanError, match=complaint):
        make(**changes)


def test_what_is_possible_is_accepted():
    for plan in (
        with_exit(threshold=0.0, temperature=1e-3, criterion="margin"),
        with_exit(threshold=2.0, criterion="entropy"),
        with_join(fill=(1.0, -2.0, 3.0, 4.0), deadline_ms=0.1),
        with_plan(tolerance=None),
        with_forecast(energy_j=0.5, stage_ms=(1.0, 2.0), slowest="link a to b"),
    ):
        make(plan)


@pytest.mark.parametrize("complaint", MISTAKES)
def test_a_playbook_that_cannot_be_followed_is_refused(complaint):
    with pytest.raises(PlanError, match=complaint.replace("(", r"\(").replace(")", r"\)")):
        make(*MISTAKES[complaint])


def test_a_playbook_without_plans_is_refused():
    with pytest.raises(PlanError, match="holds 0 plans"):
        make(plans=())


def test_shards_and_carried_tensors_are_fine():
    both = ("middle", "image")
    carry = changed(HEAD, outputs=both)
    use = changed(TAIL, inputs=both)
    make(
        plan_of(SHARDED, TAIL, name="1"),
        plan_of(carry, use, name="2"),
        with_join(op="sum", slices={"a": Slice(), "b": Slice()}),
    )


def test_the_plan_for_the_loss_of_a_device_is_found():
    alone = plan_of(Stage({"c": "p1"}, ("image",), ("logits",)), name="alone")
    playbook = make(PLAN, alone)
    assert plan_without(playbook, "a").name == "alone"
    assert plan_without(playbook, "b").name == "a > b"  # c holds the same part
    assert plan_without(playbook, "c").name == "a > b"
    assert plan_without(make(), "a") is None


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_are_a_playbook_or_a_plan_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(data)
    with pytest.raises(PlanError):
        load(path)


def test_the_struct_itself_is_strict():
    data = msgspec.json.encode(make())
    assert msgspec.json.decode(data, type=Playbook) == make()
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.json.decode(data[:-1] + b',"more":1}', type=Playbook)


def test_a_join_tells_who_may_be_missing():
    tail = Stage({"a": "p2", "b": "p2"}, ("middle",), ("logits",))
    assert plan_without(make(Plan("all", (SHARDED, tail), Forecast(1, 2))), "a").name == "all"
    both = msgspec.structs.replace(JOIN, least=2)
    needed = Plan("both", (msgspec.structs.replace(SHARDED, join=both), tail), Forecast(1, 2))
    assert plan_without(make(needed), "a") is None
    assert plan_without(make(needed, PLAN), "c").name == "both"
