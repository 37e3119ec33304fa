"""What a playbook may hold: the last that is possible, and the first that is not. The numbers are
written out: to change one is to refuse what others have made."""

import math

import msgspec
import pytest

from shoal.errors import PlanError
from shoal.model.spec import TensorSpec
from shoal.plan.plan import (
    Exit,
    Forecast,
    Join,
    Missing,
    PartInfo,
    Plan,
    PolicySpec,
    Slice,
    Spread,
    Stage,
)
from shoal.plan.playbook import load, make_playbook, playbook_id, save
from shoal.plan.playbook_check import validate

GIB = 1 << 30
MIDDLE = TensorSpec("middle", "float32", (None, 4))
JOIN = Join("channels", MIDDLE, {"a": Slice((0, 1)), "b": Slice((2, 3))})
HEAD = Stage({"a": "p1"}, ("image",), ("middle",))
TAIL = Stage({"b": "p2", "c": "p2"}, ("middle",), ("logits",))
SHARDED = Stage({"a": "s1", "b": "s2"}, ("image",), ("middle",), Spread.ALL, JOIN)
PLAN = Plan("a > b", (HEAD, TAIL), Forecast(10, 100))
IMAGE = TensorSpec("image", "float32", (None, 3))
LOGITS = TensorSpec("logits", "float32", (None, 4))


def make(*plans, **changes):
    fields = {
        "network": "toy",
        "strategy": "pipeline",
        "policy": PolicySpec("preferred"),
        "plans": plans or (PLAN,),
        "parts": {name: PartInfo(1, {}, 10) for name in ("p1", "p2", "s1", "s2")},
        "inputs": (IMAGE,),
        "outputs": (LOGITS,),
        **changes,
    }
    return make_playbook(**fields)


def changed(struct, **fields):
    return msgspec.structs.replace(struct, **fields)


def with_head(**fields):
    return {"plans": (Plan("p", (changed(HEAD, **fields), TAIL), Forecast(1, 1)),)}


def with_join(**fields):
    stage = changed(SHARDED, join=changed(JOIN, **fields))
    return {"plans": (Plan("p", (stage, TAIL), Forecast(1, 1)),)}


def coded(*code):
    return Slice(code=code)


def with_code(**fields):
    slices = {"a": coded(1.0, 0.0), "b": coded(1.0, 1.0)}
    return with_join(**{"op": "coded", "least": 2, "block": 2, "slices": slices, **fields})


def many_slices(count):
    rows = {f"d{k}": coded(1.0) for k in range(count)}
    join = Join("coded", MIDDLE, rows, block=4)
    stage = changed(SHARDED, parts=dict.fromkeys(rows, "s1"), join=join)
    return {"plans": (Plan("p", (stage, TAIL), Forecast(1, 1)),)}


def with_plan(**fields):
    return {"plans": (changed(PLAN, **fields),)}


def with_forecast(**fields):
    return with_plan(forecast=changed(Forecast(1, 1), **fields))


def with_exit(**fields):
    return with_head(exit=changed(Exit("small", "logits", 0.5), **fields))


def with_part(*values, **fields):
    return {"parts": dict.fromkeys(("p1", "p2"), PartInfo(*values, **fields))}


def with_settings(value):
    return {"policy": PolicySpec("preferred", {"x": value})}


def nested(depth, last=1):
    """A value so deep in lists."""
    value = last
    for _ in range(depth):
        value = [value]
    return value


def stages(count):
    """So many stages in a row."""
    middle = [Stage({"a": "p1"}, (f"t{k}",), (f"t{k + 1}",)) for k in range(count - 2)]
    first = Stage({"a": "p1"}, ("image",), ("t0",))
    last = Stage({"a": "p1"}, (f"t{count - 2}",), ("logits",))
    return with_plan(stages=(first, *middle, last))


def devices(count):
    parts = dict.fromkeys((f"d{k}" for k in range(count)), "p2")
    return with_plan(stages=(HEAD, changed(TAIL, parts=parts)))


def tensors(count):
    """The middle is of so many tensors."""
    names = ("middle", *map(str, range(count - 1)))
    return with_head(outputs=names)


def ends(count):
    return {"inputs": (IMAGE, *(TensorSpec(str(k), "float32", (1,)) for k in range(count - 1)))}


def sets(count):
    return with_join(suffice=(("a",),) * count)


def missing(count, accuracy=0.5):
    return with_forecast(missing=(Missing(("a",), accuracy),) * count)


LONG, VERY_LONG = "x" * 200, "x" * 4096
FLOAT32 = 3.4028234663852886e38

POSSIBLE = {
    "a name": [
        {"network": LONG},
        {"network": "x"},
        with_plan(name=LONG),
        with_head(parts={LONG: "p1"}),
    ],
    "a name of a tensor": [{"inputs": (IMAGE, TensorSpec(VERY_LONG, "float32", (1,)))}],
    "settings": [
        with_settings(value)
        for value in (nested(15), -(1 << 63), (1 << 63) - 1, None, True, "text", (1, 2), 1e308)
    ],
    "plans": [{"plans": tuple(changed(PLAN, name=str(k)) for k in range(4096))}],
    "stages": [stages(256)],
    "tensors": [tensors(256), ends(256)],
    "a shape": [
        {"inputs": (changed(IMAGE, shape=shape),)}
        for shape in ((), (0,), (None,), (1,) * 16, (None, 512 << 18), (2, 512 << 17))
    ],
    "a part": [
        with_part(0, {}, 0),
        with_part(64 << 20, {}, 0),
        with_part(1, {"b": 2 * GIB}, 2 * GIB),
        with_part(1, {f"b{k}": 2 * GIB for k in range(4)}, 8 * GIB),
        with_part(1, {}, 1 << 50),
        with_part(1, {}, 1, activations=1 << 50),
        with_part(1, {"b" * 200: 1}, 1),
    ],
    "a tolerance": [with_plan(tolerance=value) for value in (None, 0.0, 1.0)],
    "a batch": [with_head(batch=value) for value in (1, 1024)],
    "a wait": [with_head(batch_wait_ms=value) for value in (0.0, 3_600_000.0)],
    "a codec": [with_plan(codec="raw"), with_head(codec="raw")],
    "an exit": [
        with_exit(**fields)
        for fields in (
            {"threshold": 0.0},
            {"threshold": 2.0},
            {"temperature": 1e-9},
            {"temperature": 1e6},
            *({"criterion": each} for each in ("softmax", "margin", "entropy")),
            {"tensor": VERY_LONG},
        )
    ],
    "a forecast": [
        with_forecast(**fields)
        for fields in (
            {name: 0.0}
            for name in ("latency_ms", "images_per_s", "bytes_per_image", "server_ms", "energy_j")
        )
    ]
    + [
        with_forecast(accuracy=0.0),
        with_forecast(accuracy=1.0),
        with_forecast(stage_ms=(0.0, 1.0), holder_ms=({"a": 0.0}, {})),
        with_forecast(memory={"a": 0, "b": (1 << 63) - 1}),
        with_forecast(slowest=LONG),
        missing(4096),
        missing(1, 0.0),
        missing(1, 1.0),
    ],
    "a join": [
        with_join(least=1),
        with_join(least=2),
        with_join(deadline_ms=3_600_000.0),
        with_join(deadline_ms=1e-9),
        with_join(suffice=(("a",), ("b", "a"))),
        sets(4096),
        with_join(slices={"a": Slice((0,)), "b": Slice((3,))}),
        with_join(slices={"a": Slice((0, 1)), "b": Slice((1, 2))}),
        with_join(fill=(0.0,)),
        with_join(fill=(1.0, 2.0, 3.0, 4.0)),
        with_join(fill=(-FLOAT32,)),
        with_join(fill=(FLOAT32,)),
        with_join(axis=0, tensor=changed(MIDDLE, shape=(4, None))),
        with_join(op="sum", slices={"a": Slice(), "b": Slice()}),
        with_join(op="sum", slices={"a": Slice(), "b": Slice()}, away="who"),
        with_join(op="sum", slices={"a": Slice(), "b": Slice()}, axis=15),
        with_code(),
        many_slices(8),
        with_code(
            block=3,
            slices={"a": Slice(code=(1e3,)), "b": Slice(code=(-1e-3,))},
            least=1,
            tensor=changed(MIDDLE, shape=(None, 3)),
        ),
        with_code(block=2, least=2, slices={"a": coded(1.0, 0.999), "b": coded(1.0, 1.005)}),
        *(
            with_join(fill=fill, tensor=changed(MIDDLE, dtype=dtype))
            for dtype, fill in (
                ("int8", (-128.0,)),
                ("int8", (127.0,)),
                ("uint8", (0.0,)),
                ("uint8", (255.0,)),
                ("bool", (0.0,)),
                ("bool", (1.0,)),
                ("float16", (65504.0,)),
                ("float16", (-65504.0,)),
            )
        ),
    ],
}

IMPOSSIBLE = {
    "has 201 characters": [
        {"network": LONG + "x"},
        {"strategy": LONG + "x"},
        {"policy": PolicySpec(LONG + "x")},
        with_plan(name=LONG + "x"),
        with_head(parts={LONG + "x": "p1"}),
        with_forecast(slowest=LONG + "x"),
    ],
    "has 4097 characters": [
        {"inputs": (TensorSpec(VERY_LONG + "x", "float32", (1,)),)},
        with_head(outputs=("middle", VERY_LONG + "x")),
        with_exit(tensor=VERY_LONG + "x"),
    ],
    "settings of the policy": [
        with_settings(value)
        for value in (
            nested(16),
            nested(3, math.nan),
            {"deep": {"deeper": math.inf}},
            -(1 << 63) - 1,
            1 << 63,
            {"a": {3: 1}},
        )
    ],
    "4097 plans": [{"plans": tuple(changed(PLAN, name=str(k)) for k in range(4097))}],
    "257 stages": [stages(257)],
    "257 inputs": [ends(257)],
    "names more than 256 tensors": [tensors(257), with_head(inputs=("image", "image"))],
    "names no inputs or no outputs": [with_head(inputs=()), with_head(outputs=())],
    "impossible shape": [
        {"inputs": (changed(IMAGE, shape=shape),)} for shape in ((1,) * 17, (-1,), (3, -1))
    ],
    "takes more than 536870912 bytes": [
        {"outputs": (changed(LOGITS, shape=(None, (512 << 18) + 1)),)},
        {"outputs": (changed(LOGITS, dtype="uint8", shape=(1 << 29, 2)),)},
    ],
    "negative size": [
        with_part(-1),
        with_part(1, {}, -1),
        with_part(1, {}, 1, activations=-1),
        with_part(1, {"b": 4, "c": -1}, 9),
    ],
    "larger than any part may be": [
        with_part((64 << 20) + 1, {}, 0),
        with_part(1, {"b": 2 * GIB + 1}, 3 * GIB),
        with_part(1, {**{f"b{k}": 2 * GIB for k in range(4)}, "more": 1}, 9 * GIB),
        with_part(1, {}, (1 << 50) + 1),
        with_part(1, {}, 1, activations=(1 << 50) + 1),
    ],
    "its weights alone have": [with_part(1, {"b": 5, "c": 5}, 9)],
    "one that is no hash": [with_part(1, {"b" * 201: 1}, 1)],
    "a tolerance of": [with_plan(tolerance=value) for value in (-1e-9, 1.0000001)],
    "a batch of": [with_head(batch=value) for value in (0, 1025)],
    "a wait for a batch": [with_head(batch_wait_ms=value) for value in (-0.1, 3_600_000.1)],
    "the name of its codec": [with_plan(codec=""), with_head(codec="")],
    "a threshold": [with_exit(threshold=value) for value in (-1e-9, 2.0000001)],
    "a temperature": [with_exit(temperature=value) for value in (0.0, 1e6 + 1)],
    "negative or none": [
        with_forecast(**fields)
        for fields in (
            {"latency_ms": -1e-9},
            {"images_per_s": -1e-9},
            {"bytes_per_image": -1e-9},
            {"server_ms": -1e-9},
            {"energy_j": -1e-9},
            {"energy_j": math.inf},
            {"stage_ms": (1.0, -1e-9)},
            {"holder_ms": ({"a": 1.0}, {"b": 1.0, "c": -1e-9})},
            {"memory": {"a": 1, "b": -1}},
            {"memory": {"a": 1 << 63}},
        )
    ],
    "an accuracy": [
        with_forecast(accuracy=-1e-9),
        with_forecast(accuracy=1.0000001),
        missing(1, -1e-9),
        missing(2, 1.0000001),
    ],
    "4097 sets of missing devices": [missing(4097)],
    "more stages than the 2": [
        with_forecast(stage_ms=(1.0,) * 3),
        with_forecast(holder_ms=({},) * 3),
    ],
    "at least": [with_join(least=0), with_join(least=3)],
    "a deadline of the join": [with_join(deadline_ms=v) for v in (0.0, 3_600_000.1)],
    "4097 sets suffice": [sets(4097)],
    "a set of holders that suffices": [
        with_join(suffice=(("a",), ())),
        with_join(suffice=(("a", "z"),)),
    ],
    "names channels of a sum": [
        with_join(op="sum", slices={"a": Slice((0, 1)), "b": Slice((1,))}),
    ],
    "has no axis": [with_join(axis=16), with_join(axis=-1), with_join(op="sum", axis=16)],
    "has no fixed size": [with_join(axis=2), with_join(axis=0)],
    "names a channel twice": [with_join(slices={"a": Slice((0,)), "b": Slice((2, 2))})],
    "names a channel beyond 3": [
        with_join(slices={"a": Slice((0,)), "b": Slice((2, 4))}),
        with_join(slices={"a": Slice((-1,)), "b": Slice((2,))}),
    ],
    "at most 8 slices, each with one coefficient": [
        with_code(least=1),
        with_code(slices={"a": coded(1.0, 0.0), "b": coded(1.0)}),
        with_code(slices={"a": coded(1.0, 0.0), "b": Slice()}),
        many_slices(9),
    ],
    "a coefficient of a code": [
        with_code(slices={"a": coded(1.0, 0.0), "b": coded(rate, 1.0)})
        for rate in (1000.1, -1000.1, math.inf, -math.inf, math.nan)
    ],
    "some 2 slices do not give all": [
        with_code(slices={"a": coded(1.0, 0.0), "b": coded(1.0, 0.0)}),
        with_code(slices={"a": coded(1.0, 0.0), "b": coded(0.0, 0.0)}),
        with_code(slices={"a": coded(1.0, 0.999), "b": coded(1.0, 1.002)}),
    ],
    "are not what is sent": [
        with_code(block=0),
        with_code(block=-2),
        with_code(block=1),
        with_code(block=5),
        with_code(block=1 << 40),
        with_code(axis=15),
        with_code(axis=0),
    ],
    "not exact; use floats": [with_code(tensor=changed(MIDDLE, dtype="int32"))],
    "any 2 slices suffice": [
        with_code(fill=(1.0,)),
        with_code(suffice=(("a", "b"),)),
        with_code(slices={"a": Slice((0,), code=(1.0, 0.0)), "b": coded(0.0, 1.0)}),
    ],
    "has coefficients of a code": [
        with_join(block=2),
        with_join(slices={"a": Slice((0, 1), code=(1.0,)), "b": Slice((2, 3))}),
        with_join(op="sum", slices={"a": coded(1.0), "b": Slice()}),
    ],
    "fill values": [with_join(fill=()), with_join(fill=(0.0,) * 3), with_join(fill=(0.0,) * 5)],
    "fills with what is no number": [with_join(fill=(0.0, 0.0, 0.0, math.nan))],
    "fills with values that": [
        with_join(fill=fill, tensor=changed(MIDDLE, dtype=dtype))
        for dtype, fill in (
            ("int8", (-129.0,)),
            ("int8", (128.0,)),
            ("uint8", (-1.0,)),
            ("uint8", (256.0,)),
            ("bool", (-1.0,)),
            ("bool", (2.0,)),
            ("float16", (65520.0,)),
            ("float16", (-65520.0,)),
            ("float32", (3.5e38,)),
        )
    ],
}


@pytest.mark.parametrize("changes", [each for some in POSSIBLE.values() for each in some])
def test_the_last_that_is_possible_is_accepted(changes):
    validate(make(**changes))


@pytest.mark.parametrize(
    ("complaint", "changes"),
    [(what, each) for what, some in IMPOSSIBLE.items() for each in some],
)
def test_the_first_that_is_not_is_refused(complaint, changes):
    with pytest.raises(PlanError, match=complaint):
        make(**changes)


def test_all_devices_of_a_playbook_together_are_bounded():
    validate(make(**devices(4095)))
    with pytest.raises(PlanError, match="names 4097 devices; 4096"):
        make(**devices(4096))


def test_a_file_that_holds_what_cannot_be_followed_is_refused_under_its_own_id(tmp_path):
    good = make()
    wrong = changed(good, plans=(changed(PLAN, tolerance=2.0),))
    forged = changed(wrong, id=playbook_id(wrong))
    save(forged, tmp_path / "book.json")
    with pytest.raises(PlanError, match=r"book\.json: .*a tolerance of 2"):
        load(tmp_path / "book.json")
    save(good, tmp_path / "book.json")
    assert load(tmp_path / "book.json") == good


def test_a_part_of_as_many_blobs_as_can_be_is_accepted_and_one_of_more_is_not():
    blobs = {str(k): 0 for k in range(65536)}
    validate(make(**with_part(1, blobs, 0)))
    with pytest.raises(PlanError, match="names more than 65536 blobs"):
        make(**with_part(1, {**blobs, "more": 0}, 0))
