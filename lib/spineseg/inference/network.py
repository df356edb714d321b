"""The segmenter of our own networks."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from spineseg.inference.segmenter import Segmenter
from spineseg.methods import METHODS
from spineseg.models.fast import make_fast, memory_format
from spineseg.training.checkpoint import load_network
from spineseg.training.device import make_fabric
from spineseg.training.transforms import standardise


class NetworkSegmenter(Segmenter):
    """A run of one of our own networks, on this machine's device."""

    def __init__(self, run: Path, gpu: int = 0):
        network, self.record = load_network(run)
        self.fabric = make_fabric(self.record.profile.width, gpu=gpu)
        self.memory_format = memory_format(network)
        self.network = self.fabric.setup_module(make_fast(network))

    @torch.inference_mode()
    def probabilities(self, gray: np.ndarray) -> np.ndarray:
        slices = torch.from_numpy(gray)
        if METHODS[self.record.model].volumetric:
            return self._of_batch(slices[None])[0]
        batches = slices.split(self.record.profile.batch_size)
        return np.concatenate([self._of_batch(batch) for batch in batches])

    def _of_batch(self, samples: Tensor) -> np.ndarray:
        inputs = standardise(self.fabric.to_device(samples))
        logits = self.network(inputs.contiguous(memory_format=self.memory_format))
        return logits.float().softmax(1).movedim(1, -1).cpu().numpy()
