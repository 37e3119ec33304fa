"""Settings of codecs: read, or refused with a reason."""

import pytest

from shoal.codec.codecs import find_codec
from shoal.errors import UsageError

GOOD = [
    "raw", "lossless", "lossless:bytes", "lossless:shuffle,lz4", "lossless:zstd:19",
    "lossless:predict",
    "half", "half:none", "quant:2", "quant:8,planes", "quant:4,channel,bits,zstd",
    "quant:6,zero,clip:-1.5:3e1,lz4", "quant:6,lz4,clip:0:4.5,zero", "jpeg", "jpeg:1",
    "jpeg:97,full", "png",
]  # fmt: skip
BAD = {
    "raw:1": "takes no settings",
    "lossless:planes": "'planes' is unknown",
    "lossless:predict,bytes": "repeated or contradicts",
    "quant": "BITS must come first",
    "quant:channel,4": "BITS must come first",
    "quant:7": "BITS must be one of 2, 3, 4, 5, 6, 8",
    "quant:-4": "BITS must come first",
    "quant:²": "BITS must come first",
    "quant:4,": "''",
    "quant:4,bits,planes": "'planes' is unknown, repeated or contradicts",
    "quant:4,zero,zero": "'zero' is unknown, repeated",
    "quant:4,zstd,lz4": "'lz4' is unknown, repeated or contradicts",
    "quant:4,zstd,zstd:3": "repeated",
    "quant:4,zstd:0": "zstd:1 to 19",
    "quant:4,zstd:20": "zstd:1 to 19",
    "quant:4,lz4:1": "zstd:1 to 19",
    "quant:4,zero:1": "zero takes 0 numbers",
    "quant:4,clip": "clip takes 2 numbers",
    "quant:4,clip:1": "clip takes 2 numbers",
    "quant:4,clip:2:1": "LOW below HIGH",
    "quant:4,clip:a:b": "LOW below HIGH",
    "quant:4,clip:nan:1": "LOW below HIGH",
    "quant:4,clip:0:inf": "LOW below HIGH",
    "jpeg:0": "QUALITY must be one of 1 to 100",
    "jpeg:101": "QUALITY must be one of 1 to 100",
    "jpeg:90,fast": "'fast' is unknown",
    "png:9": "'9' is unknown",
    "quant:4," + "zero," * 80: "256 is the limit",
}


@pytest.mark.parametrize("name", GOOD)
def test_settings_come_in_any_order(name):
    assert find_codec(name) is find_codec(name)


@pytest.mark.parametrize(("name", "reason"), BAD.items())
def test_settings_that_make_no_sense_are_refused_with_the_reason(name, reason):
    with pytest.raises(UsageError, match=reason):
        find_codec(name)


def test_a_range_has_two_ends_and_both_may_be_far_away():
    for name in ("quant:4,clip:-1e30:1e30", "quant:4,clip:0:1e-30", "lossless:zstd:1", "jpeg:100"):
        assert find_codec(name)
    for span in ("1:1", "0:1.1e30", "-1.1e30:0", "0:0"):
        with pytest.raises(UsageError, match="LOW below HIGH"):
            find_codec(f"quant:4,clip:{span}")
    with pytest.raises(UsageError, match="clip takes 2 numbers"):
        find_codec("quant:4,clip:1:2:3")
    with pytest.raises(UsageError, match="zstd:1 to 19"):
        find_codec("lossless:zstd:0003")
