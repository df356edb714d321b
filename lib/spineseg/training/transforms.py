"""From 8-bit slices to what a network is fed: standardise, and in training vary."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def standardise(gray: Tensor) -> Tensor:
    """Gray (N, H, W) or (N, slices, H, W) to network input, with one channel as second axis.

    Mean 0 and SD 1 within each slice.
    """
    image = gray.float().unsqueeze(1)
    mean = image.mean((-2, -1), keepdim=True)
    deviation = image.std((-2, -1), keepdim=True).clamp_min(1.0)  # a black slice stays 0
    return (image - mean) / deviation


def add_noise(gray: Tensor, k: Tensor | float, generator: torch.Generator) -> Tensor:
    """Eq. 5: gray + k Z with Z standard normal in each pixel, rounded, in 0..255; float.

    `k` is one number, or a tensor that spreads over `gray`. `generator` lives on the CPU.
    """
    z = torch.randn(gray.shape, generator=generator).to(gray.device)
    return (gray + k * z).round().clamp(0, 255)


def augment(gray: Tensor, classes: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Vary samples the way scanners and patients do; both arguments are uint8, (N, H, W) or
    (N, slices, H, W).

    One affine map for image and mask and for all slices of a sample, then gamma, a smooth gain and
    noise for the image. The image comes back as float in 0..255, the mask as uint8. `generator`
    lives on the CPU, so that a run draws the same numbers whatever the device.
    """
    shape = gray.shape
    gray, classes = (x.reshape(len(x), -1, *shape[-2:]) for x in (gray, classes))

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        draws = torch.rand(len(gray), *shape, generator=generator)
        return (low + (high - low) * draws).to(gray.device)

    field = _affine_field(gray, uniform)
    image = F.grid_sample(gray.float(), field, padding_mode="border", align_corners=False)
    mask = F.grid_sample(
        classes.float(), field, mode="nearest", padding_mode="zeros", align_corners=False
    )
    image = (image / 255) ** torch.exp(uniform(-0.3, 0.3, 1, 1, 1))
    gain = F.interpolate(uniform(-0.3, 0.3, 1, 4, 3), image.shape[2:], mode="bicubic")
    image = image * torch.exp(gain)
    noise = torch.randn(image.shape, generator=generator).to(image.device)
    image = image + noise * uniform(0.0, 0.03, 1, 1, 1)
    image, mask = image.clamp(0, 1) * 255, mask.to(torch.uint8)
    return image.reshape(shape), mask.reshape(shape)


def _affine_field(gray: Tensor, uniform) -> Tensor:
    """Where each output pixel is taken from: rotation, scale, shear and shift about the centre."""
    angle = uniform(-math.radians(10), math.radians(10))
    scale = torch.exp(uniform(-0.2, 0.2))
    shear = uniform(-0.1, 0.1)
    height, width = gray.shape[-2:]
    aspect = height / width  # grid coordinates run -1..1 along both sides
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    matrix = torch.stack(
        [
            torch.stack([cos, (shear * scale - sin) * aspect, uniform(-0.15, 0.15)], dim=1),
            torch.stack([sin / aspect, cos, uniform(-0.1, 0.1)], dim=1),
        ],
        dim=1,
    )
    return F.affine_grid(matrix, [len(gray), 1, height, width], align_corners=False)
