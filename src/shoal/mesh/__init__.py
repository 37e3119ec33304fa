"""Link, and its two kinds: Zenoh and in-process.

To read first: ``link`` (what a node gets), ``credit`` and ``exchange`` (how messages arrive once
and in order, without I/O), ``shell`` (threads around them); then ``inproc`` and ``zenoh``.
"""
