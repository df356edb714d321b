"""Exercises of lesson 8: parameters and arithmetic by hand."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from spineseg.course.checks import FUNCTION, Exercise, as_number

MODULES = ((64, 32), (128, 64), (96, 96))  # channels of a module and of its branches
WITHIN = 0.005  # of a factor of arithmetic
ABOUT = 0.08  # relative: a factor of 4 is as good as the counted one


def aspp_parameters(channels: int, branch: int) -> int:
    """Parameters of an ASPP module with three atrous rates."""
    return channels * branch * 29 + 5 * branch * channels + 2 * (5 * branch + channels)


def judge_aspp(answer: Callable[[int, int], float]) -> str:
    """Call the function with several modules; other counts name the mistake."""
    if not callable(answer):
        return FUNCTION.format("8_1", "aspp_parameters")
    for channels, branch in MODULES:
        found, right = float(answer(channels, branch)), aspp_parameters(channels, branch)
        if found == right:
            continue
        square = channels * branch
        norms, biases = 2 * (5 * branch + channels), 5 * branch + channels
        for wrong, hint in (
            (right - norms, "Batch normalisation has two parameters per channel. Add them."),
            (right - norms + biases, "No convolution has a bias; batch normalisation has two."),
            (right + biases, "No convolution has a bias here, because normalisation has one."),
            (right - norms // 2, "Batch normalisation has two parameters per channel, not one."),
            (right - 2 * channels, "The projection is followed by batch normalisation, too."),
            (
                right - 5 * square - 2 * channels,
                "The branches are projected by another 1x1 convolution.",
            ),
            (right - 4 * square, "The projection gets the channels of all five branches."),
            (right - square, "Is the 1x1 convolution in the image pooling missing, or a branch?"),
            (right - square - 2 * branch, "Image pooling has a 1x1 convolution as well."),
            (right + 8 * square, "The convolution of the image pooling is 1x1."),
            (right - 18 * square, "There are three dilated 3x3 convolutions."),
        ):
            if found == wrong:
                return hint
        rates = sum((2 * rate + 1) ** 2 - 9 for rate in (6, 12, 18)) * square
        if found in (right + rates, right + rates - norms):
            return "Dilation moves the nine weights of a kernel apart, and adds none."
        return f"A module of {channels} channels with branches of {branch} has another number."
    return ""


@cache
def factors() -> dict[str, float]:
    """FLOP over those of U-Net-2D, for the paper's image."""
    from spineseg.models.counting import gflops

    plain, half, full = gflops("unet"), gflops("aspp_unet"), gflops("aspp_unet", branch=1.0)
    return {"full": full / plain, "half": half / plain, "between": full / half, "gflops": full}


def judge_full_width(answer: Any) -> str:
    """The factor, or how many per cent more."""
    found, known = as_number(answer), factors()
    for wrong, hint in (
        (known["half"], "This is the network with branches of half width."),
        (known["between"], "This is over the network with branches of half width. Use U-Net-2D."),
        (1 / known["full"], "Turn the fraction around: the network's FLOP over U-Net-2D's."),
    ):
        if np.isclose(found, wrong, atol=WITHIN):
            return hint
    if np.isclose(found, [known["gflops"], 1e9 * known["gflops"]], rtol=0.01).any():
        return "This is the arithmetic of the network. Divide it by that of U-Net-2D."
    if np.isclose(found, known["full"], atol=WITHIN):
        return ""
    if np.isclose(found, [known["full"] - 1, 100 * (known["full"] - 1)], rtol=0.01).any():
        return "This is what it computes more. The factor is 1 plus this share."
    return "Another number. Count both networks with the same `size`."


@cache
def savings() -> tuple[float, float, float, float]:
    """How many times fewer parameters and FLOP: for half the width, then for half the size."""
    from spineseg.models.counting import COLUMNS, ROWS, count_parameters, flops, on_meta

    full, narrow = on_meta("unet"), on_meta("unet", width=32)
    size, half = (1, 1, ROWS, COLUMNS), (1, 1, ROWS // 2, COLUMNS // 2)
    return (
        count_parameters(full) / count_parameters(narrow),
        flops(full, size) / flops(narrow, size),
        1.0,
        flops(full, size) / flops(full, half),
    )


def judge_savings(answer: Any) -> str:
    """Four factors; 4 is as good as the counted numbers."""
    found = np.ravel(np.asarray(answer, float))
    if found.shape != (4,):
        return "Give four numbers: parameters and FLOP for half the width, both for half the size."
    right = np.array(savings())
    if np.allclose(found, right, rtol=ABOUT):
        return ""
    if np.allclose(found, 1 / right, rtol=ABOUT):
        return "These are the shares that remain. Give the number before over the number after."
    if np.isclose(found[:2], 2, rtol=ABOUT).any():
        return "A kernel connects input with output channels, and both are halved."
    if not np.isclose(found[2], 1, rtol=ABOUT):
        return "The weights do not depend on the size of the image. Count them for half the size."
    if np.isclose(found[3], 2, rtol=ABOUT):
        return "Rows and columns are both halved. How many pixels remain?"
    return "Count with `on_meta`, and divide the number before by the number after."


EXERCISES = {
    "8.1": Exercise(
        judge_aspp,
        "The 3x3 branches have most of the weights, at any rate of dilation.",
    ),
    "8.2": Exercise(
        judge_full_width,
        "Half width is nearer to the printed ratio of times, and still above it.",
    ),
    "8.3": Exercise(
        judge_savings,
        "Half the width saves both. Half the size saves arithmetic and memory, but no parameter, "
        "and detail is lost.",
    ),
}
