"""Section 2.10: noise on the images that a network sees (Eq. 5)."""

import zlib

import numpy as np

LEVELS = (0, 10, 30, 50, 70, 90)  # k of Eq. 5: no noise, and the paper's levels


def noisy(gray: np.ndarray, k: float, name: str) -> np.ndarray:
    """Eq. 5 on uint8 gray values of any shape. Equal names give equal noise."""
    import torch

    from spineseg.training.transforms import add_noise

    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return add_noise(torch.from_numpy(gray), k, generator).to(torch.uint8).numpy()
