"""Domain randomisation of training samples: any field of view, contrast, resolution and quality.

See `phantom/randomised.py` for the part that is simulated once.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW_STEP = 16  # pixels; the networks halve a slice four times
WINDOW_ROWS = (6, 10)  # smallest and largest height of a window, in steps
WINDOW_COLUMNS = (5, 8)
GRAYS = 256
CURVE_POINTS = 6


def randomise(gray: Tensor, classes: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A window of random size and place in each slice, and a random look.

    Both arguments are uint8 (N, H, W); so are the results, which are (N, h, w) with one size for
    the whole batch. The image is float in 0..255. `generator` lives on the CPU.
    """
    draw = Draw(len(gray), gray.device, generator)
    field = window_field(gray, draw)
    image = F.grid_sample(gray[:, None].float(), field, align_corners=False)
    mask = F.grid_sample(classes[:, None].float(), field, mode="nearest", align_corners=False)
    image = random_contrast(image, draw)
    image = image * torch.exp(smooth_field(image, draw, 0.4))
    image = random_blur(image, draw)
    image = image + draw.normal(image.shape) * draw.uniform(0.0, 0.2, 1, 1, 1) ** 2
    return stretch(image)[:, 0] * 255, mask[:, 0].to(torch.uint8)


class Draw:
    """Random numbers for the samples of a batch, from a generator on the CPU."""

    def __init__(self, samples: int, device: torch.device, generator: torch.Generator):
        self.samples, self.device, self.generator = samples, device, generator

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Uniform numbers (samples, *shape)."""
        draws = torch.rand(self.samples, *shape, generator=self.generator)
        return (low + (high - low) * draws).to(self.device)

    def normal(self, shape: torch.Size) -> Tensor:
        """Standard normal numbers of that shape."""
        return torch.randn(shape, generator=self.generator).to(self.device)

    def happens(self, probability: float, *shape: int) -> Tensor:
        """True with that probability, bool (samples, *shape)."""
        return self.uniform(0, 1, *shape) < probability

    def integer(self, low: int, high: int) -> int:
        """One number of low..high for the whole batch."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))


def window_field(gray: Tensor, draw: Draw) -> Tensor:
    """Where each pixel of the windows is taken from: rotation, scale, shear, place.

    The windows of a batch have one size. A window may extend beyond the image.
    """
    height, width = gray.shape[-2:]
    rows = WINDOW_STEP * draw.integer(*WINDOW_ROWS)
    columns = WINDOW_STEP * draw.integer(*WINDOW_COLUMNS)
    angle = draw.uniform(-1, 1) * math.radians(15)
    scale = torch.exp(draw.uniform(-0.22, 0.22))
    shear = draw.uniform(-0.12, 0.12)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    across = draw.uniform(-0.25, 0.25) * columns * 2 / width
    along = draw.uniform(-1, 1) * (abs(height - rows) / 2 + 8) * 2 / height
    matrix = torch.stack(
        [
            torch.stack([cos * columns / width, (shear * scale - sin) * rows / width, across], 1),
            torch.stack([sin * columns / height, cos * rows / height, along], 1),
        ],
        dim=1,
    )
    return F.affine_grid(matrix, [len(gray), 1, rows, columns], align_corners=False)


def random_contrast(image: Tensor, draw: Draw) -> Tensor:
    """Map gray values (0..255) through a random curve to about 0..1.

    Most curves rise; one in eight goes up and down, so that tissues change places.
    """
    steps = draw.uniform(0.15, 1.0, CURVE_POINTS - 1)
    rising = F.pad(steps.cumsum(1) / steps.sum(1, keepdim=True), (1, 0))
    free = draw.uniform(0, 1, CURVE_POINTS)
    points = torch.where(draw.happens(1 / 8, 1), free, rising)
    gamma = torch.exp(draw.uniform(-0.4, 0.4, 1))
    curve = F.interpolate(points[:, None], GRAYS, mode="linear", align_corners=True)[:, 0] ** gamma
    levels = image.round().long().clamp(0, GRAYS - 1)
    return curve.gather(1, levels.flatten(1)).view_as(image)


def smooth_field(image: Tensor, draw: Draw, amplitude: float) -> Tensor:
    """Slow variation over an image, as of a coil's sensitivity."""
    coarse = draw.uniform(-amplitude, amplitude, 1, 4, 4)
    return F.interpolate(coarse, image.shape[2:], mode="bicubic")


def random_blur(image: Tensor, draw: Draw) -> Tensor:
    """Blur half of the images, each by its own width in each direction (pixels)."""
    reach = torch.arange(-3.0, 4.0, device=image.device)
    for axis in (2, 3):
        sigma = torch.where(draw.happens(0.5, 1), draw.uniform(0.3, 1.1, 1), 0.05)
        weights = torch.exp(-0.5 * (reach / sigma) ** 2)
        weights = weights / weights.sum(1, keepdim=True)
        kernel = weights[:, None, :, None] if axis == 2 else weights[:, None, None, :]
        padding = (3, 0) if axis == 2 else (0, 3)
        swapped = image.transpose(0, 1)
        image = F.conv2d(swapped, kernel, padding=padding, groups=len(image)).transpose(0, 1)
    return image


def stretch(image: Tensor) -> Tensor:
    """Scale the 0.5th to 99.5th percentile of each image to 0..1, and clip."""
    values = image.flatten(1).sort(dim=1).values
    low, high = (values[:, round(share * (values.shape[1] - 1))] for share in (0.005, 0.995))
    low, high = low[:, None, None, None], high[:, None, None, None]
    return ((image - low) / (high - low).clamp_min(1e-3)).clamp(0, 1)
