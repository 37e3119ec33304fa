"""The small trained networks and sample images that ship, and the larger ones that are made.

>>> from shoal import zoo
>>> zoo.names()[:2]
('efficientnet-lite0', 'fashion-exits')
>>> samples = zoo.samples("fashion-resnet")
>>> samples.feed(0)["image"].shape
(1, 1, 28, 28)

Needs NumPy alone. To add a network that ships, put a folder
with ``card.json``, ``model.onnx`` and, if there are, ``samples.npz`` here: what ``shoal train``
leaves behind is one.
"""

from shoal.zoo.card import Card, File
from shoal.zoo.entries import DEALT_BY, SPREAD_BY, card, is_ready, names, path
from shoal.zoo.samples import Samples, samples

__all__ = [
    "DEALT_BY",
    "SPREAD_BY",
    "Card",
    "File",
    "Samples",
    "card",
    "is_ready",
    "names",
    "path",
    "samples",
]
