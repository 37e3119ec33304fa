"""Training with PyTorch, and the data sets for it: ``shoal train``.

A reader's path: ``classifier.py`` (one training from data to a folder with a card) leads to
``datasets.py``, ``models.py``, ``loop.py`` and ``export.py``. The rest are small pieces that any
training can use: ``material``, ``seeding``, ``augment``, ``metrics``, ``schedule``, ``checkpoint``,
``log``, ``progress``. Only ``datasets``, ``idx``, ``sources`` and ``imagefolder`` do without
PyTorch; ``cli`` and ``pretrained``, which the command line loads, say so where it is missing.
"""
