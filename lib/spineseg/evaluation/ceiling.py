"""How high a DSC a network can reach that enlarges a coarse map of logits."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from spineseg.data.cache import Cache
from spineseg.evaluation.metrics import confusion, dsc, overlaps
from spineseg.methods import MAP_STRIDES
from spineseg.utils.progress import progress_bar

STEPS = 400
STEP_SIZE = 100.0  # of Adam, in units of the logits
CROSS_ENTROPY = 0.1  # its weight beside the Dice loss


def fit_enlarged(mask: np.ndarray, stride: int) -> np.ndarray:
    """The labels that match a mask best, of those found that enlarge a coarse map of logits.

    `mask` is uint8 classes, (slices, rows, columns). The map has one pixel per `stride` rows and
    columns, rounded up. Its logits are fitted to the mask itself by Adam, and enlarged bilinearly.
    A network that labels in this way cannot be expected to match the mask better. Returns uint8
    classes of the same shape. Raises ValueError if the fit fails.
    """
    classes = np.union1d([0], mask)  # the background, and what occurs
    truth = torch.from_numpy(np.searchsorted(classes, mask))
    wanted = F.one_hot(truth, len(classes)).permute(0, 3, 1, 2).float()
    size = [-(-length // stride) for length in mask.shape[1:]]
    logits = (F.interpolate(wanted, size, mode="area") + 0.05).log().requires_grad_()
    optimiser = torch.optim.Adam([logits], STEP_SIZE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        enlarged = F.interpolate(logits, mask.shape[1:], mode="bilinear")
        loss = CROSS_ENTROPY * F.cross_entropy(enlarged, truth)
        loss = loss + _dice_loss(enlarged.softmax(1), wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    if not logits.isfinite().all():
        raise ValueError("the fit of a coarse map of logits failed: they are not finite")
    enlarged = F.interpolate(logits.detach(), mask.shape[1:], mode="bilinear")
    return classes[enlarged.argmax(1).numpy()].astype(np.uint8)


def _dice_loss(probabilities: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """One minus the mean Dice coefficient of the classes after the first."""
    pixels = (0, 2, 3)
    both = (probabilities * wanted).sum(pixels)
    either = probabilities.sum(pixels) + wanted.sum(pixels)
    return 1 - (2 * both / either)[1:].mean()


def mean_dsc(truth: np.ndarray, labels: np.ndarray) -> float:
    """The mean DSC of a volume over the foreground classes that occur in either, a fraction."""
    counts = overlaps(confusion(truth, labels)).sum(0)
    return float(np.nanmean(dsc(counts)[1:]))


def ceiling_table(cache: Cache, fold: int, models: Sequence[str]) -> pd.DataFrame:
    """The mean DSC of the fitted labels of each test patient: `model`, `case`, `DSC` (fraction).

    It is taken on the grid of the networks, in the columns that they see. Methods that do not
    enlarge a map have no rows.
    """
    cases, window = cache.test_ids(fold), cache.grid(fold).window
    rows = []
    for model in (name for name in models if name in MAP_STRIDES):
        for case, row in zip(
            progress_bar(cases, desc=f"ceiling of {model}", unit="patient"),
            cache.rows(cases),
            strict=True,
        ):
            mask = cache.masks[row][..., window]
            fitted = fit_enlarged(mask, MAP_STRIDES[model])
            rows.append((model, case, mean_dsc(mask, fitted)))
    return pd.DataFrame(rows, columns=["model", "case", "DSC"])
