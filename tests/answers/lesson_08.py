"""Answers to the exercises of lesson 8."""

import numpy as np

from spineseg.course.exercises.lesson_08 import atrous_gflop, factors, savings

ATROUS, MODULES, NETWORK = atrous_gflop()
SHARE = 100 * ATROUS / NETWORK


def counted() -> float:
    """The share by the names of the convolutions."""
    import torch
    from torch import nn

    from spineseg.models import build_model
    from spineseg.models.counting import COLUMNS, ROWS

    work = {}

    def note(name):
        def hook(module, inputs, output):
            pixels = (inputs[0] if module.transposed else output).shape[2:].numel()
            work[name] = module.weight.numel() * pixels

        return hook

    with torch.device("meta"):
        network = build_model("aspp_unet").eval()
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(note(name))
    network(torch.empty(1, 1, ROWS, COLUMNS, device="meta"))
    atrous = [f"aspp.{module}.branches.{branch}.0" for module in range(4) for branch in (1, 2, 3)]
    return 100 * sum(work[name] for name in atrous) / sum(work.values())


RIGHT = {
    "8.1": [SHARE, counted(), round(SHARE), str(SHARE)],
    "8.2": [factors()["full"], round(factors()["full"], 2), str(factors()["full"])],
    "8.3": [savings(), [4, 4, 1, 4], np.array([[4, 3.99], [1, 3.8]])],
}
WRONG = {
    "8.1": [
        (SHARE / 100, "Give per cent"),
        (100 * MODULES / NETWORK, "whole modules"),
        (100 * ATROUS / MODULES, "within the modules"),
        (100 * ATROUS / (NETWORK - MODULES), "not U-Net-2D"),
        (ATROUS, "in GFLOP"),
        (SHARE / 4, "There are four"),
        (50, "branches 1, 2 and 3"),
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
