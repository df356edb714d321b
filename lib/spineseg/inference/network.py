"""A trained network, ready to label slices on the grid that it was trained on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from spineseg.models import MODELS
from spineseg.models.folding import fold
from spineseg.training.device import make_fabric
from spineseg.training.loop import load_network
from spineseg.training.transforms import standardise


class TrainedNetwork:
    """The network of a run, on this machine's device; `facts` tells what it was made from."""

    def __init__(self, run: Path):
        network, self.grid, self.facts = load_network(run)
        self.model = MODELS[self.facts["model"]]
        self.fabric = make_fabric()
        fast = fold(network).to(memory_format=self.model.memory_format)  # type: ignore[call-overload]
        self.network = self.fabric.setup_module(fast)

    def probabilities(self, gray: np.ndarray) -> np.ndarray:
        """Class probabilities of a volume's slices, uint8 (N, H, W): float32 (N, H, W, classes)."""
        return self._of_volume(gray, lambda logits: logits.softmax(1).movedim(1, -1))

    def classes(self, gray: np.ndarray) -> np.ndarray:
        """The most probable class of each pixel of a volume's slices: uint8 (N, H, W)."""
        return self._of_volume(gray, lambda logits: logits.argmax(1).to(torch.uint8))

    @torch.inference_mode()
    def _of_volume(self, gray: np.ndarray, read: Callable[[Tensor], Tensor]) -> np.ndarray:
        slices = torch.from_numpy(gray)
        if self.model.volumetric:
            return self._of_batch(slices[None], read)[0]
        batches = slices.split(self.facts["profile"]["batch_size"])
        return np.concatenate([self._of_batch(batch, read) for batch in batches])

    def _of_batch(self, samples: Tensor, read: Callable[[Tensor], Tensor]) -> np.ndarray:
        inputs = standardise(self.fabric.to_device(samples))
        logits = self.network(inputs.contiguous(memory_format=self.model.memory_format))
        return read(logits.float()).cpu().numpy()
