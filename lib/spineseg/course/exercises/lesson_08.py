"""Exercises of lesson 8: where the arithmetic is, and what saves it."""

from functools import cache
from typing import Any

import numpy as np

from spineseg.course.checks import Exercise, as_number, number

MODULES = 4
ATROUS = 27 / 33  # of the arithmetic of a module whose branches have half its channels
NEAR_PERCENT = 0.6  # a whole number is right
WITHIN = 0.005  # of a factor of arithmetic
ABOUT = 0.08  # relative: a factor of 4 is as good as the counted one


@cache
def atrous_gflop() -> tuple[float, float, float]:
    """GFLOP of the atrous convolutions, of the ASPP modules, and of all convolutions.

    In ASPP-UNet at the paper's width, for an image of the paper.
    """
    from spineseg.models.counting import gflops

    network = gflops("aspp_unet")
    modules = network - gflops("unet")
    return ATROUS * modules, modules, network


def judge_atrous(answer: Any) -> str:
    """The share of the atrous convolutions in the arithmetic, per cent."""
    atrous, modules, network = atrous_gflop()
    if np.isclose(as_number(answer), atrous / network, atol=NEAR_PERCENT / 100):
        return "That is the share as a fraction. Give per cent."
    mistakes = [
        (100 * modules / network, "That is the share of the whole modules, with 1x1 convolutions."),
        (100 * atrous / modules, "That is the share within the modules. Divide by the network's."),
        (
            100 * atrous / (network - modules),
            "Divide by the arithmetic of ASPP-UNet, not U-Net-2D.",
        ),
        (atrous, "That is the arithmetic in GFLOP. Divide it by that of the network."),
        (100 * atrous / network / MODULES, "That is one module's. There are four."),
    ]
    otherwise = "Another number. The atrous convolutions are branches 1, 2 and 3 of each module."
    return number(100 * atrous / network, NEAR_PERCENT, mistakes, otherwise)(answer)


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
        judge_atrous,
        "What remains is 7 % more arithmetic than U-Net-2D's, in convolutions of 1x1. So faster "
        "atrous convolutions alone do not make ASPP-UNet as fast, if time follows arithmetic.",
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
