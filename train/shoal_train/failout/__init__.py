"""Training a network to bear the loss of devices that hold some of its channels (strategy
``shards``).

A reader's path: :mod:`risk` (what is dealt, and what is gone when devices
are lost), :mod:`pictures` (what is learned
from), :mod:`losses` (what is learned), :mod:`train` (the whole of it).
"""
