"""What a node gives others of its output, and what it goes on with itself.

Who joins slices that were packed holds the same as the others only if its own slice went through
the codec as well: packed and unpacked as it arrives elsewhere. What stays with each holder is
packed by nobody.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from shoal.codec.frame import Frame, pack, unpack
from shoal.codec.slices import Home
from shoal.model.dtypes import Array


def given(arrays: Mapping[str, Array], home: Home | None) -> dict[str, Array]:
    """What others are given of tensors of which some stays at ``home``: views."""
    if home is None:
        return dict(arrays)
    whole = arrays[home.tensor]
    sent = (*(slice(None),) * home.axis, slice(whole.shape[home.axis] - home.stays))
    return {**arrays, home.tensor: whole[sent]}


def kept(frame: Frame, arrays: Mapping[str, Array], home: Home | None) -> dict[str, Array]:
    """What the node itself goes on with of ``arrays``, of which others are sent ``frame``: the
    same as they unpack, with what stays."""
    arrived = unpack(frame)
    if home is not None:
        whole = arrays[home.tensor]
        stays = (*(slice(None),) * home.axis, slice(whole.shape[home.axis] - home.stays, None))
        both = (arrived[home.tensor], whole[stays])
        arrived[home.tensor] = np.concatenate(both, axis=home.axis)
    return arrived


def arrived(arrays: Mapping[str, Array], codec: str, home: Home | None) -> dict[str, Array]:
    """The tensors as all hold them after they were sent with ``codec``, and what stays at
    ``home`` beside."""
    if codec == "raw":
        return dict(arrays)
    return kept(pack(given(arrays, home), codec), arrays, home)
