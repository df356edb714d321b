"""The receptive field of a network, measured by gradients."""

import numpy as np
import torch
from torch import nn


def receptive_field(
    network: nn.Module, size: tuple[int, int], images: int = 4, seed: int = 0
) -> np.ndarray:
    """How much the middle output pixel depends on each input pixel: float (rows, columns).

    It is the mean absolute gradient of that pixel's logits by the input, over random inputs. BN
    uses the network's running statistics. Pixels outside the receptive field have exactly 0.
    """
    torch.manual_seed(seed)
    network.eval()
    rows, columns = size
    total = torch.zeros(size, dtype=torch.float64)
    for _ in range(images):
        image = torch.randn(1, 1, rows, columns, requires_grad=True)
        logits = network(image)[0, :, rows // 2, columns // 2]
        weights = torch.randn(logits.shape)
        (gradient,) = torch.autograd.grad((logits * weights).sum(), image)
        total += gradient[0, 0].abs().double()
    return (total / images).numpy()


def rows_seen(stages: int) -> int:
    """The most rows of its input that an output pixel of a plain U-Net-2D depends on.

    Counted, not measured: up the decoder, two 3x3 convolutions and a transposed convolution per
    stage; then up the encoder, a pooling and two 3x3 convolutions per stage. Some pixels see fewer,
    because poolings meet them at other places. The paper's four stages see 140.
    """

    def seen(row: int) -> int:
        first = last = row
        for _ in range(stages):
            first, last = (first - 2) // 2, (last + 2) // 2
        for _ in range(stages):
            first, last = 2 * first - 2, 2 * last + 3
        return last - first + 1

    return max(seen(row) for row in range(2**stages))


def field_extent(field: np.ndarray, share: float = 1.0) -> tuple[int, int]:
    """Rows and columns of the smallest centred square that holds `share` of the gradient.

    The square ends at the image's edge. With share 1 it is the theoretical receptive field: all
    pixels that are not exactly 0, cut off at the image's edge.
    """
    if share >= 1:
        seen = [np.flatnonzero(field.any(axis=axis)) for axis in (1, 0)]
        return tuple(int(s[-1] - s[0]) + 1 for s in seen)  # type: ignore[return-value]
    centre = np.array(field.shape) // 2
    rows = np.abs(np.arange(field.shape[0]) - centre[0])
    columns = np.abs(np.arange(field.shape[1]) - centre[1])
    distance = np.maximum(rows[:, None], columns[None, :]).ravel()
    by_distance = np.bincount(distance, field.ravel())
    half = int(np.searchsorted(np.cumsum(by_distance), share * field.sum()))
    return (min(2 * half + 1, field.shape[0]), min(2 * half + 1, field.shape[1]))
