"""Rules of operators that compute each element from those at the same place."""

from __future__ import annotations

from collections.abc import Mapping

from shoal.model.independence.layout import Layout
from shoal.model.independence.view import Mixes, Rule, View, named


def broadcast(view: View) -> Layout:
    """All inputs are broadcast against each other."""
    return view.together(*range(len(view.layouts)))


def first(view: View) -> Layout:
    """Only the first input is computed with; the others are settings that hold for all of it."""
    view.common_from(1)
    return view.images(0)


def dropout(view: View) -> Layout:
    """Nothing, unless it is in training mode."""
    view.common(1)
    if view.given(2) and view.numbers(2) != (0,):
        raise Mixes("is in training mode")
    return view.images(0)


RULES: Mapping[str, Rule] = {
    **named(
        broadcast,
        """
        Abs Acos Acosh Add And Asin Asinh Atan Atanh BitCast BitShift BitwiseAnd BitwiseNot
        BitwiseOr BitwiseXor Cast Ceil Celu Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater
        GreaterOrEqual HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log
        Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu Round
        Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum SwiGLU Swish
        Tan Tanh ThresholdedRelu Where Xor
        """,
    ),
    "Clip": first,
    "CastLike": lambda view: view.images(0),
    "Dropout": dropout,
}
