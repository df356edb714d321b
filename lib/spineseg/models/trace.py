"""The shapes of the maps inside a network (Fig. 4)."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from spineseg.models.aspp_unet import ASPPUNet
from spineseg.models.counting import count_parameters


def trace(network: nn.Module, modules: Sequence[str], size: tuple[int, int]) -> pd.DataFrame:
    """Run one blank slice of `size` (rows, columns) through a network and record the shapes.

    Returns one row per call of one of the named modules, in the order of the calls: module, type,
    input_channels, channels, rows, columns, parameters.
    """
    wanted = dict(network.named_modules())
    if missing := [name for name in modules if name not in wanted]:
        raise ValueError(f"{type(network).__name__} has no module {', '.join(missing)}")
    calls: list[dict[str, Any]] = []

    def record(name: str):
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

    hooks = [wanted[name].register_forward_hook(record(name)) for name in modules]
    was_training = network.training
    device = next(network.parameters()).device
    with torch.inference_mode():
        network.eval()(torch.zeros(1, 1, *size, device=device))
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    return pd.DataFrame(calls)


def trace_stages(network: ASPPUNet, size: tuple[int, int]) -> pd.DataFrame:
    """`trace` of the parts of Fig. 4: the encoder's stages, their ASPP, the decoder, the head."""
    depth = len(network.down)
    stages = [f"{part}.{stage}" for part in ("down", "aspp", "up") for stage in range(depth)]
    return trace(network, [*stages, "head"], size)
