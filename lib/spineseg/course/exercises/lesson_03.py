"""Exercises of lesson 3: parameters and reach of the network's modules."""

from collections.abc import Callable
from numbers import Integral
from typing import Any

import torch

from spineseg.course.checks import FUNCTION, Exercise, number
from spineseg.models.blocks import ASPP
from spineseg.models.counting import count_parameters
from spineseg.models.receptive_field import rows_seen

SIZE = (272, 272)  # rows and columns; the middle pixel sees as far as any
TRIED = ((64, 32), (128, 128), (10, 7))  # channels and width of a branch
NEAR = (1, 2, 3)  # atrous rates
ENCODER_ALONE = 156  # rows, with five stages
FEWEST = 252  # rows on which some pixels depend, with five stages
ROWS_OF = {stages: rows_seen(stages) for stages in (3, 4, 5)}


def aspp_parameters(channels: int, width: int) -> int:
    with torch.device("meta"):
        return count_parameters(ASPP(channels, width))


def wrong_counts(channels: int, width: int) -> dict[str, int]:
    """Typical wrong numbers of parameters, by their hints."""
    right = aspp_parameters(channels, width)
    bn = 2 * (5 * width + channels)
    bias = 5 * width + channels
    return {
        "BN is missing. It has two parameters per channel that comes out of a convolution.": right
        - bn,
        "The convolutions have no bias here. BN shifts each channel anyway.": right + bias,
        "BN has two parameters per channel, a scale and a shift. You counted one.": right - bias,
        "One 1x1 branch is missing. Image pooling has a 1x1 convolution of its own.": right
        - width * (channels + 2),
        "The 1x1 convolution that joins the branches is missing.": right
        - (5 * width * channels + 2 * channels),
        "The joining convolution gets all five branches, 5 * width channels.": right
        - 4 * width * channels,
        "There are three atrous branches, one for each rate.": right
        - 2 * width * (9 * channels + 2),
        "The atrous kernels have 3 x 3 = 9 weights per pair of channels.": right
        - 3 * 8 * channels * width,
    }


def judge_parameters(answer: Callable[[int, int], int]) -> str:
    """Call the function with several sizes of a module."""
    if not callable(answer):
        return FUNCTION.format("3_1", "aspp_parameters")
    for channels, width in TRIED:
        value, right = answer(channels, width), aspp_parameters(channels, width)
        if value is None:
            return "The function returns nothing. Its last line must begin with return."
        if abs(value - right) < 0.5:
            continue
        for hint, wrong in wrong_counts(channels, width).items():
            if abs(value - wrong) < 0.5:
                return hint
        return (
            f"With {channels} channels and branches of {width}, an ASPP module has {right:,} "
            f"parameters. Your function gives {value:,}."
        )
    return ""


def reach(pixel: int, stages: int, largest_rate: int) -> int:
    """Rows on which a pixel of ASPP-UNet without image pooling depends, counted."""
    first = last = pixel
    for _ in range(stages):
        first, last = (first - 2) // 2, (last + 2) // 2
    for _ in range(stages):
        first, last = 2 * first - largest_rate - 2, 2 * last + 1 + largest_rate + 2
    return last - first + 1


def judge_reach(answer: Any) -> str:
    """Judge a number of rows, or the (rows, columns) of `field_extent`."""
    if not isinstance(answer, (Integral, float)) and len(answer) == 2:
        answer = answer[0]
    mistakes = [
        (SIZE[0], "This is every row. Did you leave out image pooling, with pooling=False?"),
        (ROWS_OF[4], "This is U-Net-2D without ASPP. Build aspp_unet with the rates 1, 2, 3."),
    ]
    otherwise = (
        "Take the first element of field_extent(field), for an image of 272 x 272 and the "
        "default of four stages."
    )
    return number(reach(SIZE[0] // 2, 4, max(NEAR)), 0.5, mistakes, otherwise)(answer)


JUDGE_ROWS = number(
    ROWS_OF[5],
    0.5,
    mistakes=[
        (
            ENCODER_ALONE,
            "This is the encoder alone. The decoder has two 3x3 convolutions at each size too, "
            "before you get there.",
        ),
        (ROWS_OF[4], "This is U-Net-2D with four stages."),
        (ROWS_OF[3], "This is U-Net-2D with three stages."),
        (
            FEWEST,
            "Some pixels depend on that many rows. Others depend on more: try all r from 0 to 31.",
        ),
    ],
    otherwise=(
        "Walk back: through the decoder (two rows more on both sides, then i // 2), and through "
        "the encoder (2 i for the first and 2 i + 1 for the last row, then two rows more on both "
        "sides)."
    ),
)

EXERCISES = {
    "3.1": Exercise(
        judge_parameters,
        because="The three atrous branches hold most of them, and their rates do not matter.",
    ),
    "3.2": Exercise(
        judge_reach,
        because=(
            "The rates 1, 2, 3 reach 90 rows further than U-Net-2D, 230 instead of 140. In an "
            "image of 880 rows this is far from all. With image pooling every row would count."
        ),
    ),
    "3.3": Exercise(
        JUDGE_ROWS,
        because=(
            "In the deepest stage a row stands for 16 rows of the image, so it is there that "
            "convolutions reach far."
        ),
    ),
}
