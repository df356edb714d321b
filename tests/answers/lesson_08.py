"""Answers to the exercises of lesson 8."""

import numpy as np

from spineseg.course.exercises.lesson_08 import aspp_parameters, factors, savings


def by_module(channels, branch):
    from spineseg.models.blocks import ASPP
    from spineseg.models.counting import count_parameters

    return count_parameters(ASPP(channels, branch))


def changed(change):
    return lambda channels, branch: aspp_parameters(channels, branch) + change(channels, branch)


RIGHT = {
    "8.1": [aspp_parameters, by_module],
    "8.2": [factors()["full"], round(factors()["full"], 2), str(factors()["full"])],
    "8.3": [savings(), [4, 4, 1, 4], np.array([[4, 3.99], [1, 3.8]])],
}
WRONG = {
    "8.1": [
        (changed(lambda channels, branch: -2 * (5 * branch + channels)), "two parameters per"),
        (changed(lambda channels, branch: 5 * branch + channels), "because normalisation has"),
        (changed(lambda channels, branch: -4 * branch * channels), "all five branches"),
        (
            changed(lambda channels, branch: branch * channels * (13**2 + 25**2 + 37**2 - 27)),
            "Dilation moves",
        ),
        (70080, "Give the function itself"),
    ],
    "8.2": [
        (factors()["half"], "half width"),
        (factors()["gflops"], "Divide it by that of U-Net-2D"),
        (factors()["full"] - 1, "1 plus this share"),
        (factors()["between"], "Use U-Net-2D"),
    ],
    "8.3": [
        ([2, 2, 1, 4], "both are halved"),
        ([4, 4, 4, 4], "do not depend on the size"),
        ([4, 4, 1, 2], "How many pixels"),
        ([0.25, 0.25, 1, 0.25], "the shares that remain"),
        ([4, 4], "four numbers"),
    ],
}
