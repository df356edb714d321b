"""Label a scan: onto the grid of the run, through the network, back to the scan's own grid."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from spineseg import paths
from spineseg.data.preprocess import Grid, unified_frame, unify_image
from spineseg.data.volume import (
    check_target,
    from_canonical,
    geometry_mismatch,
    read_scan,
    to_canonical,
    write_image,
)
from spineseg.device import make_fabric
from spineseg.inputs import standardise
from spineseg.labels import CLASSES, NUM_CLASSES
from spineseg.train import RunError, is_finished, load_network


class Segmenter:
    """The network of a run, ready to label scans; `facts` tells what the run was made from."""

    def __init__(self, run: Path):
        if not is_finished(run):
            raise RunError(f"{run}: not a finished run; train it to its end first")
        network, self.grid, self.facts = load_network(run)
        self.fabric = make_fabric()
        self.network = self.fabric.setup_module(network)

    def __call__(self, canonical: sitk.Image) -> np.ndarray:
        """The class of each voxel of a canonical scan: uint8 (slices, rows, columns)."""
        first, last = self.grid.columns
        gray = unify_image(canonical, self.grid.slices, self.grid.size)[:, :, first:last]
        return to_own_grid(self.probabilities(np.ascontiguousarray(gray)), self.grid, canonical)

    @torch.inference_mode()
    def probabilities(self, gray: np.ndarray) -> np.ndarray:
        """Class probabilities of uint8 slices (N, H, W): float32 (N, H, W, classes)."""
        parts = []
        for batch in torch.from_numpy(gray).split(self.facts["profile"]["batch_size"]):
            inputs = standardise(self.fabric.to_device(batch))
            logits = self.network(inputs.contiguous(memory_format=torch.channels_last))
            parts.append(logits.float().softmax(1).permute(0, 2, 3, 1).cpu())
        return torch.cat(parts).numpy()


def to_own_grid(cropped: np.ndarray, grid: Grid, canonical: sitk.Image) -> np.ndarray:
    """The most probable class of each voxel of the scan itself, uint8 in canonical array order.

    `cropped` holds probabilities (slices, rows, kept columns, classes) on `grid`. They are
    interpolated, not the labels, so that edges keep their place between pixels. Outside the kept
    columns there is background.
    """
    first, last = grid.columns
    frame = unified_frame(canonical, grid.slices, grid.size)[first:last, :, :]
    image = sitk.GetImageFromArray(cropped, isVector=True)
    image.CopyInformation(frame)
    if geometry_mismatch(image, canonical):
        image = sitk.Resample(image, canonical)
    return sitk.GetArrayViewFromImage(image).argmax(-1).astype(np.uint8)


def predict_scan(scan: Path, mask: Path, run: Path | None = None) -> dict[str, int]:
    """Write the mask of a scan, in its own grid and orientation, labelled as the challenge does.

    `run` is a finished run's folder, by default the newest. Returns the voxels of each
    class. Raises ScanError for a bad scan and RunError where there is no such run.
    """
    check_target(mask)
    image = read_scan(scan)
    canonical = to_canonical(image)
    classes = Segmenter(run or newest_run())(canonical)
    labelled = sitk.GetImageFromArray(classes)
    labelled.CopyInformation(canonical)
    write_image(from_canonical(labelled, image), mask)
    voxels = np.bincount(classes.ravel(), minlength=NUM_CLASSES)
    return dict(zip(CLASSES, voxels.tolist(), strict=True))


def newest_run() -> Path:
    """The finished run that ended last. Raises RunError where there is none."""
    finished = [path for path in (paths.root() / "runs").glob("*/*") if is_finished(path)]
    if not finished:
        raise RunError("no finished run; `spineseg train` makes one, or name one with --run")
    return max(finished, key=lambda path: (path / "run.json").stat().st_mtime)
