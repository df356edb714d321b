"""The segmenter of our own networks."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from spineseg.inference.segmenter import Segmenter
from spineseg.labels import NUM_CLASSES
from spineseg.methods import METHODS
from spineseg.models.fast import make_fast, memory_format
from spineseg.training.checkpoint import load_network
from spineseg.training.device import choose_device, precision_for
from spineseg.training.transforms import standardise


class NetworkSegmenter(Segmenter):
    """A run of one of our own networks, on this machine's device.

    Computes as Fabric does, without importing it, which takes longer than labelling a scan.
    """

    def __init__(self, run: Path, gpu: int = 0):
        network, self.record = load_network(run)
        device = choose_device()
        self.device = torch.device(device, gpu if device == "cuda" else 0)
        self.bf16 = precision_for(self.record.profile.width) == "bf16-mixed"
        self.memory_format = memory_format(network)
        self.network = make_fast(network).to(self.device)

    @torch.inference_mode()
    def probabilities(self, gray: np.ndarray) -> np.ndarray:
        slices = torch.from_numpy(gray)
        if METHODS[self.record.model].volumetric:
            return self._of_batch(slices[None])[0]
        probabilities = np.empty((*gray.shape, NUM_CLASSES), np.float32)
        size = self.record.profile.batch_size
        for first in range(0, len(gray), size):
            probabilities[first : first + size] = self._of_batch(slices[first : first + size])
        return probabilities

    def _of_batch(self, samples: Tensor) -> np.ndarray:
        inputs = standardise(samples.to(self.device))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            logits = self.network(inputs.contiguous(memory_format=self.memory_format))
        return logits.float().softmax(1).movedim(1, -1).cpu().numpy()
