"""Look into a network: shapes on the way through, parameters, receptive field (notebook 03)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from spineseg.models import count_parameters
from spineseg.models.aspp_unet import STAGES, ASPPUNet


def trace(network: nn.Module, modules: Sequence[str], size: tuple[int, int]) -> pd.DataFrame:
    """Run one blank slice of `size` (rows, columns) through the network and note what passes.

    One row for each time one of the named modules is called, in that order: module, type,
    channels, rows, columns, parameters, and `input_channels`.
    """
    wanted = dict(network.named_modules())
    if missing := [name for name in modules if name not in wanted]:
        raise ValueError(f"{type(network).__name__} has no module {', '.join(missing)}")
    calls: list[dict[str, Any]] = []

    def note(name: str):
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            _, channels, rows, columns = output.shape
            calls.append(
                {
                    "module": name,
                    "type": type(module).__name__,
                    "input_channels": inputs[0].shape[1],
                    "channels": channels,
                    "rows": rows,
                    "columns": columns,
                    "parameters": count_parameters(module),
                }
            )

        return hook

    hooks = [wanted[name].register_forward_hook(note(name)) for name in modules]
    was_training = network.training
    device = next(network.parameters()).device
    with torch.inference_mode():
        network.eval()(torch.zeros(1, 1, *size, device=device))
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    return pd.DataFrame(calls)


def trace_stages(network: ASPPUNet, size: tuple[int, int]) -> pd.DataFrame:
    """`trace` of what Fig. 4 shows: each stage down, its ASPP, each stage up, the head."""
    stages = [f"{part}.{stage}" for part in ("down", "aspp", "up") for stage in range(STAGES)]
    return trace(network, [*stages, "head"], size)


def receptive_field(
    network: nn.Module, size: tuple[int, int], images: int = 4, seed: int = 0
) -> np.ndarray:
    """How much the middle output pixel depends on each input pixel: float (rows, columns).

    The mean absolute gradient of that pixel's logits by the input, over random inputs, with batch
    statistics frozen at the network's initial ones. It is exactly 0 where the network cannot see.
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


def field_extent(field: np.ndarray, share: float = 1.0) -> tuple[int, int]:
    """Rows and columns of the smallest centred square that holds `share` of the gradient.

    The square ends at the image's edge. With share 1 it is the theoretical receptive field
    (all that is not exactly 0, cut off at the image's edge).
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
