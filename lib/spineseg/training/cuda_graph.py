"""A training step as a CUDA graph: one launch instead of hundreds.

The kernels of a narrow network take less time than their launches.
"""

from collections.abc import Callable

import torch
from torch import Tensor

EAGER_STEPS = 3  # before recording: cuDNN chooses its algorithms, the optimizer makes its state

Step = Callable[[Tensor, Tensor], Tensor]


class GraphedStep:
    """Records `step` on a GPU and replays it.

    `step` takes images and masks, updates the weights and returns the loss, all without waiting for
    the GPU. All batches must have the shapes of the first one.
    """

    def __init__(self, step: Step):
        self.step = step
        self.eager_steps = 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, images: Tensor, masks: Tensor) -> Tensor:
        if self.eager_steps < EAGER_STEPS:
            self.eager_steps += 1
            return self._eager(images, masks)
        if self.graph is None:
            self.graph = self._recorded(images, masks)
        self.images.copy_(images)
        self.masks.copy_(masks)
        self.graph.replay()
        return self.loss

    def _eager(self, images: Tensor, masks: Tensor) -> Tensor:
        """A step on another stream, as recording asks of the steps before it."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            loss = self.step(images, masks)
        torch.cuda.current_stream().wait_stream(stream)
        return loss

    def _recorded(self, images: Tensor, masks: Tensor) -> torch.cuda.CUDAGraph:
        """Recording computes nothing."""
        self.images, self.masks = images.clone(), masks.clone()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.loss = self.step(self.images, self.masks)
        return graph
