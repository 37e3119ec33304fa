"""The inputs of a network, and what a user says of them: sizes of what is free, and values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import onnx

from shoal.errors import InputError, ModelFileError, UnsupportedModelError
from shoal.model import limits
from shoal.model.dtypes import NUMPY_TO_ONNX, ONNX_TO_NUMPY, Array
from shoal.model.example import fitted
from shoal.model.graph import elements
from shoal.model.spec import TensorSpec
from shoal.model.weights import Weight

Sizes: TypeAlias = Sequence[int | None]
"""The size of an input along each axis; None: as free as it may be."""

_Dim: TypeAlias = int | str | None
"""As declared: its size, or the name of a free one (None: it has none). 0 is free as well: some
exporters write that; but there may indeed be nothing."""


def by_input(shapes: Mapping[str, Sizes] | Sizes, names: Sequence[str]) -> dict[str, Sizes]:
    """Sizes by the name of their input; those without a name are of the only one. InputError for
    names of no input, and where there are several inputs."""
    if isinstance(shapes, Mapping):
        check_names("sizes", shapes, names)
        return {name: _checked(each) for name, each in shapes.items() if each is not None}
    shapes = _checked(shapes)
    if not shapes:
        return {}
    if len(names) != 1:
        raise InputError(
            f"Sizes without a name are for a network with one input; this has {_listed(names)}: "
            "say of which they are."
        )
    return {names[0]: shapes}


def _checked(sizes: object) -> Sizes:
    """Sizes as somebody gave them; InputError unless each is a whole number or None."""
    each = () if isinstance(sizes, str | bytes) or not np.iterable(sizes) else tuple(sizes)
    found = []
    for size in each:
        if size is not None and (isinstance(size, bool) or not isinstance(size, int | np.integer)):
            break
        found.append(None if size is None else int(size))
    if isinstance(sizes, str | bytes) or not np.iterable(sizes) or len(found) < len(each):
        raise InputError(
            f"{str(sizes)[:60]!r} are no sizes: give whole numbers, one for each axis (None: as "
            "free as it may be), like (1, 3, 640, 640)."
        )
    return tuple(found)


def check_names(what: str, named: Iterable[str], names: Sequence[str]) -> None:
    """InputError that tells all that are no inputs."""
    wrong = [name for name in named if name not in names]
    if wrong:
        raise InputError(
            f"There are {what} of {_listed(wrong)}, and the network's inputs are {_listed(names)}."
        )


def constants(
    infos: Sequence[onnx.ValueInfoProto], values: Mapping[str, Array]
) -> dict[str, Weight]:
    """The inputs that have a value for good, which makes them weights. InputError where one does
    not fit what the network declares."""
    declared = {info.name: info for info in infos}
    check_names("values", values, list(declared))
    found = {}
    for name, value in values.items():
        dtype, dims = _declared(declared[name])
        if dims is not None and _contradictions(name, dims, value.shape, sizes=True):
            raise InputError(
                f"The value of the input {name!r} has the shape {list(value.shape)}, the network "
                f"takes {_shown(dims)}."
            )
        _check_size(name, dtype, value.shape)  # before it is read
        spec = TensorSpec(name, dtype, value.shape)
        array = fitted({name: value}, [spec], "value")[name]
        # Infinite may be meant: as what is added where a mask hides something.
        if array.dtype.kind == "f" and (array != value)[~np.isfinite(array)].any():
            raise InputError(
                f"The value of the input {name!r} holds NaN, or more than {dtype} can."
            )
        found[name] = Weight.of(array)
    return found


def input_specs(
    infos: Sequence[onnx.ValueInfoProto],
    example: Mapping[str, Array],
    shapes: Mapping[str, Sizes],
) -> tuple[TensorSpec, ...]:
    """The inputs with all sizes fixed but for the first ones that are declared free, which count
    images: these stay so unless ``shapes`` has more than 1 there.

    What is free else has the size that ``shapes`` says, or the ``example`` has. InputError that
    tells all that contradicts the network; UnsupportedModelError that tells all that is open still.
    """
    wrong: list[str] = []
    still: list[str] = []
    specs = []
    for info in infos:
        dtype, dims = _declared(info)
        array, sizes = example.get(info.name), shapes.get(info.name)
        said = sizes if sizes is not None else None if array is None else array.shape
        if dims is None and said is None:
            how = _how({info.name: (1, 3, None, None)})
            raise UnsupportedModelError(f"Input {info.name!r} has no shape. Say it: {how}.")
        dims = tuple(said or ()) if dims is None else dims  # as fixed as it is said
        if said is not None:
            wrong += _contradictions(info.name, dims, said, sizes is not None)
        shape = _shape(dims, said, sizes)
        if shape is None:
            still.append(info.name)
            continue
        _check_size(info.name, dtype, shape)
        specs.append(TensorSpec(info.name, dtype, shape, _is_finite(array)))
    if wrong:
        raise InputError(" ".join(wrong))
    if still:
        dims_of = {info.name: _declared(info)[1] for info in infos}
        ways = " ".join(f"{name!r} is {_shown(dims_of[name])}." for name in still)
        sizes_of = {name: _written(dims_of[name] or shapes[name]) for name in still}
        raise UnsupportedModelError(
            f"Sizes of inputs are free, besides how many images there are: {ways} Say them, with a "
            f"number for each '?': {_how(sizes_of)}; or give an example."
        )
    return tuple(specs)


def free_axes(infos: Iterable[onnx.ValueInfoProto]) -> dict[str, tuple[int, ...]]:
    """The axes besides the first, by input, whose sizes the network leaves open."""
    found = {}
    for info in infos:
        dims = info.type.tensor_type.shape.dim
        free = tuple(axis for axis, dim in enumerate(dims) if axis and dim.dim_value < 1)
        if free:
            found[info.name] = free
    return found


def _declared(info: onnx.ValueInfoProto) -> tuple[str, tuple[_Dim, ...] | None]:
    """Type and shape (None: it has none) of an input as the file has it."""
    kind = info.type.WhichOneof("value")
    if kind != "tensor_type":
        raise UnsupportedModelError(
            f"Input {info.name!r} is no tensor ({kind or 'no type'}), and nothing else is sent: "
            "make it inside the network, of inputs that are."
        )
    tensor = info.type.tensor_type
    dtype = ONNX_TO_NUMPY.get(tensor.elem_type)
    if dtype is None:
        name = _type_name(tensor.elem_type)
        what = "text" if name == "string" else f"of the type {name}, which NumPy does not have"
        way = "" if name == "string" else f", or with a Cast of one of {', '.join(NUMPY_TO_ONNX)}"
        raise UnsupportedModelError(
            f"Input {info.name!r} is {what}, and only numbers are sent: begin the network where "
            f"there are numbers{way}."
        )
    if not tensor.HasField("shape"):
        return dtype, None
    if len(tensor.shape.dim) > limits.RANK:
        raise ModelFileError(f"Input {info.name!r} has more than {limits.RANK} dimensions.")
    dims: list[_Dim] = []
    for dim in tensor.shape.dim:
        sized = dim.HasField("dim_value") and dim.dim_value >= 0  # some write -1 for what is free
        dims.append(dim.dim_value if sized else dim.dim_param or None)
    return dtype, tuple(dims)


def _type_name(number: int) -> str:
    known = onnx.TensorProto.DataType.values()
    return str(onnx.TensorProto.DataType.Name(number)).lower() if number in known else str(number)


def _contradictions(
    name: str, dims: Sequence[_Dim], said: Sequence[int | None], sizes: bool
) -> list[str]:
    """What is wrong with what is said of an input, in sentences."""
    what = "The sizes" if sizes else "The example"
    if len(said) != len(dims):
        hint = " Add a batch axis: array[None]." if len(said) + 1 == len(dims) and not sizes else ""
        return [
            f"{what} of the input {name!r} {'are' if sizes else 'has'} {len(said)}"
            f"{'' if sizes else ' dimensions'}, the network takes {len(dims)}: "
            f"{_shown(dims)}.{hint}"
        ]
    for axis, (dim, size) in enumerate(zip(dims, said, strict=True)):
        if size is not None and size < (0 if dim == 0 else 1):
            are = "are" if sizes else "has the shape"
            return [f"{what} of the input {name!r} {are} {list(said)}: {size} is no size."]
        if sizes and _fixed(dim) and size not in (None, dim):
            return [
                f"{what} of the input {name!r} have {size} along axis {axis}, the network takes "
                f"{_shown(dims)}."
            ]
    return []


def _shape(
    dims: Sequence[_Dim], said: Sequence[int | None] | None, sizes: Sizes | None
) -> tuple[int | None, ...] | None:
    """The shape of an input; None where something is open. Where what is said contradicts what is
    declared, as declared."""
    if said is not None and len(said) != len(dims):
        said = sizes = None
    shape: list[int | None] = []
    for axis, dim in enumerate(dims):
        size = _fixed(dim) or (None if said is None else said[axis])
        if size == 0:
            shape.append(0)
        elif axis == 0 and not _fixed(dim):  # an example has some images, sizes fix them
            shape.append(size if sizes is not None and size is not None and size > 1 else None)
        elif size is None:
            return None
        else:
            shape.append(int(size))
    return tuple(shape)


def _fixed(dim: _Dim) -> int | None:
    """The size of what is not free."""
    return dim if isinstance(dim, int) and dim else None


def _is_finite(example: Array | None) -> bool:
    """Whether there is no sign that NaN and infinity are meant, as beside numbers."""
    if example is None or example.dtype.kind != "f":
        return True
    finite = np.isfinite(example)
    return bool(finite.all() or not finite.any())


def _check_size(name: str, dtype: str, shape: tuple[int | None, ...]) -> None:
    """Before the engine sees it: with sizes near 2**62 it does not refuse, it aborts the
    process."""
    if elements(shape) * np.dtype(dtype).itemsize > limits.ACTIVATION_BYTES:
        raise UnsupportedModelError(
            f"Input {name!r} of shape {list(shape)} takes more than {limits.ACTIVATION_BYTES} "
            "bytes for one image, the most that Shoal runs."
        )


def _written(dims: Sequence[_Dim]) -> Sizes:
    """The sizes to say of an input, for one image; None where it is asked for."""
    first, *others = map(_fixed, dims)
    return (first or 1, *others)


def _how(said: Mapping[str, Sizes]) -> str:
    """How the sizes of inputs are said."""
    options, pairs = [], []
    for name, sizes in said.items():
        each = ["?" if size is None else str(size) for size in sizes]
        options.append(f"--input {name}={'x'.join(each)}")
        pairs.append(f"{name!r}: ({', '.join(each)}{',' if len(each) == 1 else ''})")
    return f"{' '.join(options)} (a command), shapes={{{', '.join(pairs)}}} (shoal.load)"


def _shown(dims: Sequence[_Dim] | None) -> str:
    if dims is None:
        return "without a shape"
    return f"[{', '.join(str(dim or '?') for dim in dims)}]"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(str(name)[:60]) for name in names) or "none"
