"""What becomes of a node's result when some of what it reads is dealt, from what its operator
means. What is not named here needs all of what it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TypeAlias

from shoal.model.graph import elements
from shoal.model.shards.layout import Dealt, Partial, State, Strip, Undealable, Widths, everywhere
from shoal.model.shards.operators import LAYERS, Layer, Look, after

ELEMENTWISE = frozenset(
    {
        *("Abs", "Add", "Cast", "Ceil", "Celu", "Clip", "Div", "Elu", "Erf", "Exp", "Floor"),
        *("Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "Max", "Mean"),
        *("Min", "Mish", "Mul", "Neg", "PRelu", "Pow", "Reciprocal", "Relu", "Round", "Selu"),
        *("Sigmoid", "Sign", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tanh"),
        "ThresholdedRelu",
    }
)
"""Each element of the result follows from those at its place (constants are broadcast)."""

PER_CHANNEL = frozenset({"BatchNormalization", "InstanceNormalization"})
"""What reads one number for each channel, besides the tensor."""

_POOLS = frozenset(
    {
        *("AveragePool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LpPool"),
        "MaxPool",
    }
)
_REDUCTIONS = frozenset(
    {
        *("ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"),
        "ReduceSumSquare",
    }
)
SPATIAL = _POOLS | _REDUCTIONS | {"Pad", "Resize", "Squeeze", "Upsample"}
"""What computes each channel from itself alone."""

FLATTENING = frozenset({"Flatten", "Reshape"})

_LINEAR = frozenset({"AveragePool", "GlobalAveragePool", "ReduceMean", "ReduceSum", "Squeeze"})
"""What may be done to the terms of a sum as well as to the sum."""

_TERMWISE = frozenset({"Add", "Div", "Mul", "Sub", "Sum"})

_CROPS = b"tf_crop_and_resize"
_ALL_CHANNELS = "needs all channels of what it reads"
_THE_SUM = "needs the whole sum"

States: TypeAlias = Mapping[str, State]
"""Those of the tensors that not every device has all of."""


def apply(look: Look, states: States, widths: Widths) -> State:
    """What a node's result is where ``states`` of what it reads are not all whole: those that are
    not named are whole, or constant. Raises :class:`Undealable`."""
    if not look.single or look.result is None:
        raise Undealable(_ALL_CHANNELS, states)
    if look.op in LAYERS:
        return _layer(look, states, widths)
    if any(isinstance(state, Partial) for state in states.values()):
        return _terms(look, states, widths)
    dealt = {name: state for name, state in states.items() if isinstance(state, Dealt)}
    for operators, rule in _RULES:
        if look.op in operators:
            return rule(look, dealt, widths)
    raise Undealable(_ALL_CHANNELS, states)


def begin(look: Look, layer: Layer, widths: Widths) -> State:
    """What a layer makes of what all devices have: a width of its own."""
    unit = layer.makes // layer.groups if layer.groups > 1 else 1
    strip = widths.begin(look.made, layer.makes, look.number, unit)
    return Dealt(layer.axis, (strip,))


def _layer(look: Look, states: States, widths: Widths) -> State:
    layer = look.layer
    if isinstance(layer, str):
        raise Undealable(layer, states)
    state = states.get(look.reads[0])
    if len(states) > 1 or isinstance(state, Partial):
        raise Undealable(_THE_SUM, states)
    if not isinstance(state, Dealt) or state.axis != layer.axis:
        raise Undealable(_ALL_CHANNELS, states)
    if layer.groups == 1:
        return Partial(layer.axis, widths.behind(state))
    read, made = layer.reads // layer.groups, layer.makes // layer.groups
    strips = []
    for strip in state.strips:
        if strip.entries % read:
            raise Undealable("reads channels of several widths in one group", states)
        if not strip.width:
            strips.append(everywhere(strip.entries * made // read))
            continue
        groups = strip.block / read
        widths.coarsen(strip.width, groups.denominator)
        strips.append(strip._replace(block=groups * made))
    return Dealt(layer.axis, tuple(strips))


def _elementwise(look: Look, states: Mapping[str, Dealt], widths: Widths) -> State:
    state, shape = next(iter(states.values())), _result(look)
    for name in filter(None, look.reads):
        given = look.shape(name)
        if given is None:
            raise Undealable(f"reads {name!r}, whose shape is not known before it runs", states)
        if name in states:
            fits = len(given) == len(shape) and given[state.axis] == shape[state.axis]
            if not fits or not widths.join(state, states[name]):
                raise Undealable("brings together channels that are dealt differently", states)
        elif len(given) > len(shape) or _along(given, len(shape), state.axis) not in (
            1,
            shape[state.axis],
        ):
            raise Undealable(_ALL_CHANNELS, states)
    return state


def _per_channel(look: Look, states: Mapping[str, Dealt], widths: Widths) -> State:
    state = states.get(look.reads[0])
    if len(states) > 1 or state is None or state.axis != 1 or look.attribute("training_mode", 0):
        raise Undealable(_ALL_CHANNELS, states)
    if any(look.constant(index) is None for index in range(1, len(look.reads))):
        raise Undealable("reads numbers that are computed while it runs", states)
    return state


def _spatial(look: Look, states: Mapping[str, Dealt], widths: Widths) -> State:
    state = states.get(look.reads[0])
    if len(states) > 1 or state is None or state.axis != 1 or not _is_spatial(look):
        raise Undealable(_ALL_CHANNELS, states)
    return state


def _is_spatial(look: Look) -> bool:
    """Whether a node of :data:`SPATIAL` leaves the axes of images and channels alone."""
    rank = len(look.shape(look.reads[0]) or ())
    if look.op in _POOLS:
        return True
    if look.op in _REDUCTIONS or look.op == "Squeeze":
        return after(look.numbers(1, "axes") or None, rank, 1)
    if look.op == "Pad":
        pads = look.numbers(1, "pads")
        if pads is None or len(pads) != 2 * rank or any(look.reads[3:]):
            return False  # the axes may be named in another order
        return all(pads[axis] == pads[rank + axis] == 0 for axis in (0, 1))
    if look.attribute("axes") or look.attribute("coordinate_transformation_mode") == _CROPS:
        return False
    scales = look.numbers(1 if look.op == "Upsample" or len(look.reads) == 2 else 2, "scales")
    return scales is not None and len(scales) == rank and scales[0] == scales[1] == 1


def _concat(look: Look, states: Mapping[str, Dealt], widths: Widths) -> State:
    state, shape = next(iter(states.values())), _result(look)
    axis = look.attribute("axis", 1)
    if (axis + len(shape) if axis < 0 else axis) != state.axis:
        raise Undealable(_ALL_CHANNELS, states)
    strips: list[Strip] = []
    for name in look.reads:
        if name in states:
            if states[name].axis != state.axis:
                raise Undealable(_ALL_CHANNELS, states)
            strips.extend(states[name].strips)
            continue
        size = _along(look.shape(name) or (), len(shape), state.axis)
        if size is None:
            raise Undealable(f"reads {name!r}, whose shape is not known before it runs", states)
        strips.append(everywhere(size))
    return Dealt(state.axis, tuple(strips))


def _flatten(look: Look, states: Mapping[str, Dealt], widths: Widths) -> State:
    state = states.get(look.reads[0])
    if state is None or state.axis != 1 or not _is_flattening(look):
        raise Undealable(_ALL_CHANNELS, states)
    entries = sum(strip.entries for strip in state.strips)
    each = Fraction((_result(look)[1] or 0), entries)
    return Dealt(
        1,
        tuple(
            strip._replace(block=strip.block * each)
            if strip.width
            else everywhere(int(strip.entries * each))
            for strip in state.strips
        ),
    )


def _is_flattening(look: Look) -> bool:
    """Whether all axes behind that of the images become one."""
    before, after = look.shape(look.reads[0]), _result(look)
    return (
        before is not None
        and len(before) > 1
        and len(after) == 2
        and before[0] == after[0]
        and None not in before[1:]
        and after[1] == elements(before[1:])
    )


def _terms(look: Look, states: States, widths: Widths) -> State:
    """The rule for what is done to the terms of a sum."""
    sums = {name: state for name, state in states.items() if isinstance(state, Partial)}
    state, shape = next(iter(sums.values())), _result(look)
    found = Partial(state.axis, frozenset(n for each in sums.values() for n in widths.behind(each)))
    if look.op in _TERMWISE:
        # A term that is broadcast would count several times.
        if any(
            look.shape(name) != shape or each.axis != state.axis for name, each in states.items()
        ):
            raise Undealable(_THE_SUM, states)
        alone = len(states) == 1 and look.reads.count(next(iter(sums))) == 1
        if look.op in ("Add", "Sum") or (alone and (look.op == "Mul" or look.reads[0] in sums)):
            return found
    if look.op in ("Identity", "Neg"):
        return found
    if state.axis == 1 and (
        (look.op in _LINEAR and _is_spatial(look))
        or (look.op in FLATTENING and _is_flattening(look))
    ):
        return found
    raise Undealable(_THE_SUM, states)


def _result(look: Look) -> tuple[int | None, ...]:
    assert look.result is not None, "apply has looked"
    return look.result.shape


def _along(shape: tuple[int | None, ...], rank: int, axis: int) -> int | None:
    """The size along an axis of a tensor of this rank to which ``shape`` is broadcast."""
    place = axis - (rank - len(shape))
    return shape[place] if place >= 0 else 1


_Rule: TypeAlias = Callable[[Look, Mapping[str, Dealt], Widths], State]
_RULES: tuple[tuple[frozenset[str], _Rule], ...] = (
    (ELEMENTWISE, _elementwise),
    (PER_CHANNEL, _per_channel),
    (SPATIAL, _spatial),
    (frozenset({"Concat"}), _concat),
    (FLATTENING, _flatten),
)
