"""What becomes of networks of each kind, and which are refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.train.fluid_nets import IMAGE, MAKERS, images, lively
from torch import Tensor, nn
from torch.nn import functional

from shoal.errors import InputError, UnsupportedModelError, UsageError
from shoal.model.engine import Engine
from shoal_train.fluid import make_fluid
from shoal_train.fluid.parts import export_alone


@pytest.mark.parametrize("groups", [2, 3, 4, "2:1:1", "3:1"])
@pytest.mark.parametrize("name", MAKERS)
def test_all_groups_together_are_the_network_that_was_converted(
    name: str, groups: int | str
) -> None:
    module, x = lively(MAKERS[name]()), images()
    model = make_fluid(module, x, groups).eval()
    torch.testing.assert_close(model(x), module(x), rtol=1e-5, atol=1e-5)


class Awkward(nn.Module):
    """Its layers have names that Shoal gives to other things, or that a dictionary has."""

    def __init__(self) -> None:
        super().__init__()
        channels = IMAGE[0]
        self.image, self.items = nn.Conv2d(channels, 8, 3), nn.Conv2d(channels, 8, 3)
        self.t0, self.logits = nn.Conv2d(8, 8, 1), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.t0(torch.relu(self.image(x)) + self.items(x))
        return self.logits(x.mean((2, 3)))


def test_layers_may_be_called_as_they_like() -> None:
    module, x = Awkward().eval(), images()
    model = make_fluid(module, x, 2).eval()
    torch.testing.assert_close(model(x), module(x), rtol=1e-5, atol=1e-5)
    sub = model.sub("L50")
    found = Engine().load(export_alone(model, sub), {}).run({"image": x.numpy()})
    torch.testing.assert_close(
        torch.from_numpy(found["logits"]), model(x, sub), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", MAKERS)
def test_a_sub_network_sees_nothing_of_the_others(name: str) -> None:
    x = images()
    model = make_fluid(lively(MAKERS[name]()), x, 3).eval()
    one, rest = model.of((1,)), model.of((0, 2))
    before, whole = model(x, one), model(x)
    loss = model(x, rest).square().sum()
    loss.backward()
    with torch.no_grad():
        for layer in model.layers.values():
            if hasattr(layer, "weight") and layer.weight.grad is not None:
                layer.weight[layer.weight.grad != 0] += 1.0
    torch.testing.assert_close(model(x, one), before)
    assert not torch.allclose(model(x), whole)


def test_the_weights_are_there_once_and_biases_for_each_sub_network() -> None:
    module = lively(MAKERS["plain"]())
    model = make_fluid(module, images(), 2)
    dense = model.layer("dense")
    assert dense.weight.shape == module.dense.weight.shape
    assert len(dense.bias.values) == 6
    with torch.no_grad():
        dense.bias.values["U50"] += 100.0
    x = images()
    model.eval()
    assert model(x, model.sub("U50")).min() > 50
    assert model(x, model.sub("C100")).max() < 100


def test_batch_norm_is_measured_for_each_sub_network() -> None:
    module = lively(MAKERS["plain"]())
    model = make_fluid(module, images(), 2)
    x = images(40)
    model.calibrate(x)
    model.train()
    for sub in model.sub_networks:
        with torch.no_grad():
            model.train()
            expected = model(x, sub)
            model.eval()
            torch.testing.assert_close(model(x, sub), expected, rtol=1e-3, atol=1e-3)


def test_what_is_not_known_by_name_is_refused() -> None:
    model = make_fluid(MAKERS["plain"](), images(), 2)
    with pytest.raises(UsageError, match="use L25, L50"):
        model.sub("X1")
    with pytest.raises(UsageError, match="no sub-network of the groups"):
        model.of((1, 2))


class Wrap(nn.Module):
    def __init__(self, forward: Callable[[nn.Module, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.does = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.does(self, x)


def ends(self: nn.Module, x: Tensor) -> Tensor:
    return self.dense(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


def network(change: Callable[[nn.Module, Tensor], Tensor], **layers: nn.Module) -> nn.Module:
    return Wrap(
        lambda self, x: ends(self, change(self, self.stem(x))),
        **{"stem": nn.Conv2d(1, 8, 3), "dense": nn.Linear(8, 5), **layers},
    )


REFUSED = {
    r"layer odd cannot be made fluid: GroupNorm": network(
        lambda self, x: self.odd(x), odd=nn.GroupNorm(2, 8)
    ),
    r"layer odd .*convolution in 2 groups": network(
        lambda self, x: self.odd(x), odd=nn.Conv2d(8, 8, 3, groups=2)
    ),
    r"layer odd .*padding mode 'reflect'": network(
        lambda self, x: self.odd(x), odd=nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect")
    ),
    r"layer odd .*used twice": network(
        lambda self, x: self.odd(self.odd(x)), odd=nn.Conv2d(8, 8, 3, padding=1)
    ),
    r"layer stem has 2 channels": Wrap(
        lambda self, x: self.dense(self.stem(x).flatten(1)),
        stem=nn.Conv2d(1, 2, 3, padding=1),
        dense=nn.Linear(392, 5),
    ),
    r"softmax .*end with the logits": Wrap(
        lambda self, x: torch.softmax(ends(self, self.stem(x)), 1),
        stem=nn.Conv2d(1, 8, 3),
        dense=nn.Linear(8, 5),
    ),
    r"must not branch": network(lambda self, x: x if x.sum() > 0 else -x),
    r"layer add .*constant after the first layer": network(lambda self, x: x + 1.0),
    r"layer einsum .*not known": network(lambda self, x: torch.einsum("bchw->bchw", x)),
    r"layer cat .*something else than channels": network(lambda self, x: torch.cat([x, x], 2)),
    r"layer mean .*height and width": network(lambda self, x: x + x.mean((1,), keepdim=True)),
    r"layer transpose .*not known": network(lambda self, x: x.transpose(2, 3)),
    r"not a multiple": network(lambda self, x: functional.adaptive_avg_pool2d(x, 5)),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_converted_is_refused_by_name(why: str) -> None:
    with pytest.raises(UnsupportedModelError, match=why):
        make_fluid(REFUSED[why], images(), 4)


def test_an_example_that_does_not_fit_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"does not take the example.*channels"):
        make_fluid(MAKERS["plain"](), torch.ones(1, 3, *IMAGE[1:]), 2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("groups", [2.5, None, ("a", "b"), 1, 9, "two", (1, -1)])
def test_groups_that_make_no_sense_are_refused(groups: Any) -> None:
    with pytest.raises(UsageError):
        make_fluid(MAKERS["plain"](), images(), groups)


def test_an_example_without_a_batch_is_refused() -> None:
    with pytest.raises(UsageError, match=r"example\[None\]"):
        make_fluid(MAKERS["plain"](), images()[0], 2)


def test_what_is_no_module_or_no_tensor_is_refused() -> None:
    for module, example in (("x", images()), (MAKERS["plain"](), "x")):
        with pytest.raises(UsageError, match="are wanted, not"):
            make_fluid(module, example, 2)  # type: ignore[arg-type]
