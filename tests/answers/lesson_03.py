"""Right and wrong answers to the exercises of lesson 3."""

import torch

from spineseg.models.blocks import ASPP
from spineseg.models.counting import count_parameters


def by_formula(channels, width):
    return 29 * channels * width + 5 * width * channels + 10 * width + 2 * channels


def by_building(channels, width):
    with torch.device("meta"):
        return count_parameters(ASPP(channels, width))


RIGHT = {
    "3.1": [by_formula, by_building, lambda channels, width: float(by_formula(channels, width))],
    "3.2": [230, 230.0, (230, 230)],
    "3.3": [284, 284.0, "284"],
}
WRONG = {
    "3.1": [
        (by_formula(64, 32), "without brackets"),
        (lambda c, w: by_formula(c, w) - 10 * w - 2 * c, "BN is missing"),
        (lambda c, w: by_formula(c, w) - 5 * w - c, "a scale and a shift"),
        (lambda c, w: by_formula(c, w) + 5 * w + c, "no bias"),
        (lambda c, w: by_formula(c, w) - w * (c + 2), "Image pooling"),
        (lambda c, w: by_formula(c, w) - 5 * w * c - 2 * c, "joins the branches"),
        (lambda c, w: by_formula(c, w) - 4 * w * c, "all five branches"),
        (lambda c, w: by_formula(c, w) - 2 * w * (9 * c + 2), "three atrous branches"),
        (lambda c, w: by_formula(c, w) - 24 * w * c, "3 x 3 = 9 weights"),
        (lambda c, w: None, "returns nothing"),
        (lambda c, w: c * w, "has 70,080 parameters"),
    ],
    "3.2": [
        (272, "pooling=False"),
        (140, "without ASPP"),
        (100, "field_extent"),
    ],
    "3.3": [
        (156, "encoder alone"),
        (140, "four stages"),
        (252, "try all r"),
        (68, "three stages"),
        (1, "Walk back"),
    ],
}
