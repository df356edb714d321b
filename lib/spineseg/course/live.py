"""A training that can be watched: its loss, and one test slice after each epoch."""

import copy
import math
import time

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch.nn.functional as F
from IPython.display import display
from matplotlib.ticker import MaxNLocator
from torch import Tensor, nn

from spineseg.figures.slices import overlay
from spineseg.figures.style import PAGE_WIDTH, log_scale

PANELS = 12  # at most: the truth, and one per epoch
COLUMNS = 6
LOSSES, TITLE = 2.6, 0.3  # heights in inches


def seconds_for(network: nn.Module, images: Tensor, classes: Tensor, batches: int) -> float:
    """About how long `batches` training steps take here; measured on a copy of the network.

    `images` (N, 1, H, W) and `classes` (N, H, W) are one batch.
    """
    trial = copy.deepcopy(network).train()
    seconds = math.inf
    for _ in range(3):  # the first step is slower
        started = time.perf_counter()
        F.cross_entropy(trial(images), classes).backward()  # type: ignore[no-untyped-call]
        seconds = min(seconds, time.perf_counter() - started)
    return 1.2 * batches * seconds  # the optimizer's step, the test slices and the drawing


class LiveTraining:
    """A figure that is drawn again after each epoch.

    It shows the losses, the true classes of a slice, and the prediction after each epoch; of many
    epochs, at regular distances. `image` (gray, 0..255) and `truth` (class indices) are (rows,
    columns), `spacing` is in mm.
    """

    def __init__(self, image: np.ndarray, truth: np.ndarray, spacing: np.ndarray, epochs: int):
        self.image, self.spacing, self.epochs = image, spacing, epochs
        self.train_losses: list[float] = []
        self.test_losses: list[float] = []
        self.every = math.ceil(epochs / (PANELS - 1))
        rows = math.ceil((epochs // self.every + 1) / COLUMNS)
        height, width = image.shape * spacing
        inches = rows * (PAGE_WIDTH / COLUMNS * height / width + TITLE)
        self.figure = plt.figure(figsize=(PAGE_WIDTH, LOSSES + inches), layout="constrained")
        parts = self.figure.subfigures(2, 1, height_ratios=[LOSSES, inches], squeeze=False)
        above, below = parts[:, 0]
        self.losses = above.subplots()
        self.panels = below.subplots(rows, COLUMNS, squeeze=False).ravel()
        for panel in self.panels:
            panel.axis("off")
        overlay(self.panels[0], image, truth, spacing, names=True)
        self.panels[0].set_title("truth")
        self.handle = display(self.figure, metadata=self._alt(), display_id=True)  # type: ignore[no-untyped-call]

    def update(self, train_loss: float, test_loss: float, predicted: np.ndarray) -> None:
        """Add an epoch: both losses, and the predicted classes of the slice, (rows, columns)."""
        self.train_losses.append(train_loss)
        self.test_losses.append(test_loss)
        epoch = len(self.train_losses)
        self._draw_losses()
        if epoch % self.every == 0:
            panel = self.panels[epoch // self.every]
            overlay(panel, self.image, predicted, self.spacing, scale_bar=False)
            panel.set_title(f"epoch {epoch}")
        self.handle.update(self.figure, metadata=self._alt())
        if epoch == self.epochs:
            plt.close(self.figure)  # so that the cell does not show it once more

    def _draw_losses(self) -> None:
        axes, epochs = self.losses, range(1, len(self.train_losses) + 1)
        axes.clear()
        axes.plot(epochs, self.train_losses, "o-", color="#0072B2", label="training")
        axes.plot(epochs, self.test_losses, "s--", color="#D55E00", label="testing")
        axes.set(xlabel="epoch", ylabel="cross-entropy", xlim=(0.5, self.epochs + 0.5))
        log_scale(axes, "y")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
        sns.despine(ax=axes)

    def _alt(self) -> dict[str, dict[str, str]]:
        words = (
            "Above, the training and the testing loss per epoch, on a logarithmic axis. Below, a "
            "test slice with its true classes, and with the classes predicted after each epoch."
        )
        return {"image/png": {"alt": words}}
