"""The table of operators: which rule holds for which, and why some take images together.

An operator that is not in it ends the independence of what goes through it: nobody has looked.
"""

from __future__ import annotations

from collections.abc import Mapping

from shoal.model.graph import operators
from shoal.model.independence import contrib, elementwise, layers, picking, products, reducing, rows
from shoal.model.independence.view import Rule

RULES: Mapping[str, Mapping[str, Rule]] = {
    "": {
        **elementwise.RULES,
        **layers.RULES,
        **picking.RULES,
        **products.RULES,
        **reducing.RULES,
        **rows.RULES,
    },
    "ai.onnx.ml": layers.ML_RULES,
    "com.microsoft": contrib.RULES,
}
"""By domain and operator, for nodes with images among their inputs."""

MIXERS: Mapping[str, str] = {
    "Compress": "leaves some of the images out",
    "DynamicQuantizeLinear": "takes its scale from the largest value of all images",
    "DynamicQuantizeLSTM": "takes its scale from the largest value of all images",
    "DynamicQuantizeMatMul": "takes its scale from the largest value of all images",
    "EyeLike": "counts the images",
    "MaxRoiPool": "picks images by number",
    "MaxUnpool": "counts places through all images",
    "NegativeLogLikelihoodLoss": "takes the mean of all images",
    "NonMaxSuppression": "lists what it finds in all images",
    "NonZero": "lists what it finds in all images",
    "RoiAlign": "picks images by number",
    "SoftmaxCrossEntropyLoss": "takes the mean of all images",
    "Unique": "sorts what it finds in all images",
}
"""Operators that were looked at and take images together, and how."""

GROWING: Mapping[str, Rule] = {
    "BatchNormalization": lambda view: [view.images(0)],
    "DynamicQuantizeLSTM": layers.recurrent,
    "DynamicQuantizeLinear": lambda view: [view.images(0), None, None],
    "DynamicQuantizeMatMul": lambda view: products.product(view, 0, 1),
    "Hardmax": lambda view: view.images(0),
    "LayerNormalization": lambda view: [view.images(0)],
    "LogSoftmax": lambda view: view.images(0),
    "LpNormalization": lambda view: view.images(0),
    "MeanVarianceNormalization": lambda view: view.images(0),
    "Softmax": lambda view: view.images(0),
}
"""How what some operators make grows with the images, whatever they do to what is in it."""

STEADY = operators(
    "BlackmanWindow ConstantOfShape HammingWindow HannWindow MelWeightMatrix Range Shape Size"
)
"""Further operators that make the same of the same every time."""


def rule_of(domain: str, operator: str) -> Rule | None:
    """The rule for an operator; None where nobody has looked at it, or it always mixes."""
    return RULES.get(domain, {}).get(operator)


def is_known(domain: str, operator: str) -> bool:
    """Whether anybody has looked at an operator."""
    return (
        rule_of(domain, operator) is not None
        or operator in MIXERS
        or (domain == "" and operator in STEADY)
    )
