"""Training a network to bear the loss of devices that hold some of its channels (strategy
``shards``).

A reader's path: :mod:`ground` (what is dealt, and who holds what), :mod:`pictures` (what is learned
from), :mod:`losses` (what is learned), :mod:`train` (the whole of it).
"""
