"""Networks whose groups of channels work alone and together (Fluid DyDNN, Xun et al., 2024).

>>> from shoal_train.fluid import make_fluid
>>> model = make_fluid(module, example, groups=4)
>>> model(images, model.of((0, 2)))

A reader's path: ``groups.py`` (what a sub-network is), ``layers.py`` (how weights are shared),
``model.py``. ``trace.py`` converts a module; ``turns.py`` and ``fit.py`` train; ``emit.py``,
``parts.py`` and ``pack.py`` write the file that devices run.
"""

from shoal_train.fluid.groups import Division, SubNetwork, divide
from shoal_train.fluid.model import FluidModel, make_fluid

__all__ = ["Division", "FluidModel", "SubNetwork", "divide", "make_fluid"]
