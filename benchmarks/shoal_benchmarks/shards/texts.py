"""Lines of text that somebody might photograph, half of them on their head: made up, so that it is
known which. Needs Pillow."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shoal_benchmarks.subjects import TEXT_SHAPE

LETTERS = string.ascii_letters + string.digits
WORDS, LENGTHS = (1, 3), (3, 9)
"""The fewest and the most words of a line, and letters of a word."""
SIZES, MARGINS = (16, 40), (2, 9)
"""Of a font and of the paper around the line, in pixels."""
DARK, BRIGHT = (0, 120), (136, 256)
"""Of each colour: ink is the one and paper the other."""
NOISE = 0.1
"""Standard deviation, of 1 from black to white."""

Floats = npt.NDArray[np.float32]


def lines(seeds: Sequence[int]) -> tuple[Floats, tuple[int, ...]]:
    """Images as the network takes them, from -1 to 1, and whether each is on its head (1) or
    upright (0)."""
    made = [line(seed) for seed in seeds]
    return np.stack([image for image, _ in made]), tuple(label for _, label in made)


def line(seed: int) -> tuple[Floats, int]:
    """One of them: as high as the network takes it, cut off or followed by nothing on the right."""
    from PIL import Image, ImageDraw, ImageFont

    channels, height, most = TEXT_SHAPE
    dice = np.random.default_rng(seed)
    words = [
        dice.choice(list(LETTERS), dice.integers(*LENGTHS)) for _ in range(_drawn(dice, WORDS))
    ]
    text = " ".join("".join(word) for word in words)
    font = ImageFont.load_default(_drawn(dice, SIZES))
    margin = _drawn(dice, MARGINS)
    ink, paper = (tuple(dice.integers(*shade, channels).tolist()) for shade in _shades(dice))
    _, _, right, bottom = (math.ceil(end) for end in font.getbbox(text))
    picture = Image.new("RGB", (right + 2 * margin, bottom + 2 * margin), paper)
    ImageDraw.Draw(picture).text((margin, margin), text, fill=ink, font=font)
    label = _drawn(dice, (0, 2))
    if label:
        picture = picture.transpose(Image.Transpose.ROTATE_180)
    width = min(most, math.ceil(height * picture.width / picture.height))
    pixels = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR), np.float32)
    noisy = pixels / 255 + dice.normal(0, NOISE, pixels.shape)
    image = np.zeros(TEXT_SHAPE, np.float32)
    image[:, :, :width] = 2 * noisy.transpose(2, 0, 1) - 1
    return image, label


def _drawn(dice: np.random.Generator, between: tuple[int, int]) -> int:
    return int(dice.integers(*between))


def _shades(dice: np.random.Generator) -> tuple[tuple[int, int], tuple[int, int]]:
    return (DARK, BRIGHT) if dice.random() < 0.5 else (BRIGHT, DARK)
