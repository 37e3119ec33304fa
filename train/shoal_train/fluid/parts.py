"""Sub-networks as ONNX models: in one piece, or in stages that several devices run together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shoal.errors import UnsupportedModelError
from shoal.model.bundle import SubJoin
from shoal.model.spec import TensorSpec
from shoal_train.fluid.emit import Emitter, Held, graph
from shoal_train.fluid.groups import SubNetwork
from shoal_train.fluid.layers import Mix
from shoal_train.fluid.model import FluidModel
from shoal_train.fluid.steps import Step, Value, Weighted, reads

INPUT, OUTPUT = "image", "logits"


@dataclass(frozen=True)
class DenseStage:
    """A stage: each owner runs its own model on the same input, and what they give is joined."""

    models: tuple[bytes, ...]
    """Serialized ONNX, one for each owner."""
    input: str
    output: str
    join: SubJoin


def export_alone(model: FluidModel, sub: SubNetwork) -> bytes:
    """``sub`` as one ONNX model that takes ``image`` and gives ``logits``."""
    emitter = Emitter(model, sub, sub.groups, first=True)
    _take_apart(emitter, INPUT, (model.image,))
    with model.answering():
        emitter.run(model.steps)
    return graph(
        emitter,
        (INPUT, model.image.shape),
        (OUTPUT, model.logits.shape),
        _put_together(emitter, (model.logits,)),
    )


def export_dense(
    model: FluidModel, sub: SubNetwork, owners: Sequence[tuple[int, ...]]
) -> tuple[DenseStage, ...]:
    """``sub`` in stages, whose groups are dealt out to ``owners``.

    Each owner computes the channels of its groups from all channels of the layer before, so there
    is an exchange before each convolution or dense layer but the first and the last; the last one
    is divided by its inputs, and its partial logits are added. What a later stage needs besides
    (the way around a residual block) travels along.

    Raises ``UnsupportedModelError`` where tensors of different sizes would have to travel together.
    """
    stages = stage_of(model)
    count = max(stages.values()) + 1
    built: list[DenseStage] = []
    entering: tuple[Value, ...] = (model.image,)
    name = INPUT
    for number in range(count):
        last = number == count - 1
        leaving = (model.logits,) if last else _crossing(model, stages, number)
        _check_sizes(leaving)
        given, name = name, OUTPUT if last else f"after_{number + 1}"
        models = []
        for place, own in enumerate(owners):
            emitter = Emitter(model, sub, own, first=place == 0)
            _take_apart(emitter, given, entering)
            with model.answering():
                emitter.run(step for step in model.steps if stages[step.output.name] == number)
            made = _put_together(emitter, leaving)
            models.append(
                graph(
                    emitter,
                    (given, _shape(entering, sub.groups)),
                    (name, _shape(leaving, own)),
                    made,
                )
            )
        spec = TensorSpec(name, "float32", (None, *_shape(leaving, sub.groups)))
        if last:
            join = SubJoin("sum", spec)
        else:
            channels = {
                str(place): _channels(leaving, sub.groups, own) for place, own in enumerate(owners)
            }
            join = SubJoin("channels", spec, channels)
        built.append(DenseStage(tuple(models), given, name, join))
        entering = leaving
    return tuple(built)


def stage_of(model: FluidModel) -> dict[str, int]:
    """The stage in which each tensor is computed; one begins wherever all channels are needed."""
    found = {model.image.name: 0}
    for step in model.steps:
        before = max(found[value.name] for value in reads(step))
        found[step.output.name] = before + _mixes(model, step)
    return found


def _mixes(model: FluidModel, step: Step) -> bool:
    if not isinstance(step, Weighted):
        return False
    layer = model.layer(step.layer)
    return isinstance(layer, Mix) and layer.rows is not None and layer.columns is not None


def _crossing(model: FluidModel, stages: dict[str, int], number: int) -> tuple[Value, ...]:
    """The tensors made in stage ``number`` or before that a later stage needs."""
    found: dict[str, Value] = {}
    for step in model.steps:
        if stages[step.output.name] > number:
            for value in reads(step):
                if stages[value.name] <= number:
                    found[value.name] = value
    return tuple(found.values())


def _check_sizes(values: Sequence[Value]) -> None:
    if any(value.axis is None for value in values) and len(values) > 1:
        raise UnsupportedModelError(
            "this network uses the image after its first layer: it cannot be run by several "
            "devices together layer by layer"
        )
    if len({value.shape[1:] for value in values}) > 1:
        named = ", ".join(f"{value.name} {value.shape}" for value in values)
        raise UnsupportedModelError(
            f"tensors of different sizes ({named}) are needed at one time: this network cannot be "
            "run by several devices together layer by layer"
        )


def _sizes(value: Value, groups: Sequence[int]) -> list[int]:
    return [value.axis.sizes[group] for group in groups] if value.axis is not None else []


def _shape(values: Sequence[Value], groups: Sequence[int]) -> tuple[int, ...]:
    """That of one image, where the channels of ``groups`` of all ``values`` lie side by side."""
    if values[0].axis is None:  # so it is alone
        return values[0].shape
    return (sum(sum(_sizes(value, groups)) for value in values), *values[0].shape[1:])


def _channels(
    values: Sequence[Value], groups: Sequence[int], own: Sequence[int]
) -> tuple[int, ...]:
    """Where the channels of ``own`` lie in the joined tensor of ``groups``."""
    found: list[int] = []
    before = 0
    for value in values:
        for group, size in zip(groups, _sizes(value, groups), strict=True):
            if group in own:
                found.extend(range(before, before + size))
            before += size
    return tuple(found)


def _put_together(emitter: Emitter, values: Sequence[Value]) -> str:
    mine = [emitter.take(emitter.known[value.name], value.axis, emitter.own) for value in values]
    return emitter.concat([held.name for held in mine], 1)


def _take_apart(emitter: Emitter, name: str, values: Sequence[Value]) -> None:
    before = 0
    for value in values:
        size = sum(_sizes(value, emitter.sub.groups))
        one = name if len(values) == 1 else emitter.slice(name, before, before + size)
        emitter.known[value.name] = Held(one, emitter.sub.groups if value.axis is not None else ())
        before += size
