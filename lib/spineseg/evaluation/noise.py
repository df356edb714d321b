"""Section 2.10: how runs hold up when noise is added to the scans they are tested on (Eq. 5)."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import SimpleITK as sitk

from spineseg.data.layouts import read_labelled
from spineseg.data.preprocess import classes_to_grid, target_grid
from spineseg.evaluation.evaluate import held_out
from spineseg.evaluation.metrics import overlaps
from spineseg.evaluation.scores import identify, score_rows
from spineseg.utils.files import atomic_write, write_csv
from spineseg.utils.progress import progress_bar

if TYPE_CHECKING:
    from spineseg.workflow.predict import Segmenter

LEVELS = (0, 10, 30, 50, 70, 90)  # k of Eq. 5; the paper's, and none
NOISE = "noise.csv"
EXAMPLE = "noise.npz"


def evaluate_noise(run: Path) -> Path:
    """Score a finished run on its held-out cases with noise of each level added; returns `run`.

    Noise goes onto the 8-bit slices that the network sees and is the same for every run. Writes
    noise.csv (a row a case and k: DSC and IoU, means over classes) and noise.npz (one slice of the
    first case: truth, and image and prediction at each k) into the run's folder.
    Raises RunError for an unfinished run or one that holds nothing out.
    """
    from spineseg.workflow.predict import open_run, to_scan_grid

    segmenter = open_run(run)
    cases, labelled = held_out(segmenter.facts, run)
    rows = []
    words = f"noise {segmenter.facts['model']} fold {segmenter.facts['fold']}"
    for case in progress_bar(cases, desc=words, unit="case"):
        image, truth = read_labelled(case)
        clean = segmenter.gray(image)
        grays = {k: noisy(clean, k, f"{case.id} {k}") for k in LEVELS}
        probabilities = {k: segmenter.probabilities(gray) for k, gray in grays.items()}
        for k, cropped in probabilities.items():
            predicted = to_scan_grid(cropped, segmenter.grid, image)
            rows.append({"case": case.id, "k": k, **_mean_scores(truth, predicted, labelled)})
        if case is cases[0]:
            _write_example(run / EXAMPLE, segmenter, image, truth, grays, probabilities)
    write_csv(run / NOISE, identify(pd.DataFrame(rows), run))
    return run


def noisy(gray: np.ndarray, k: float, name: str) -> np.ndarray:
    """Eq. 5 on uint8 gray values of any shape; equal names draw equal noise."""
    import torch

    from spineseg.training.transforms import add_noise

    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return add_noise(torch.from_numpy(gray), k, generator).to(torch.uint8).numpy()


def _mean_scores(truth: np.ndarray, predicted: np.ndarray, labelled: list[str]) -> dict[str, float]:
    counts = overlaps(truth, predicted).sum(0, keepdims=True)
    scores = pd.DataFrame(score_rows("", "volume", counts)).query("`class` in @labelled")
    means = scores.groupby("metric")["value"].mean()
    return {str(metric): mean for metric, mean in means.items()}


def _write_example(
    path: Path,
    segmenter: Segmenter,
    image: sitk.Image,
    truth: np.ndarray,
    grays: dict[int, np.ndarray],
    probabilities: dict[int, np.ndarray],
) -> None:
    """The slice with most labelled voxels, on the grid that the network sees."""
    slices, size, (first, last) = segmenter.grid.slices, segmenter.grid.size, segmenter.grid.columns
    classes = classes_to_grid(truth, image, slices, size)[:, :, first:last]
    index = int((classes > 0).sum((1, 2)).argmax())
    arrays = {
        "truth": classes[index],
        "spacing": np.array(target_grid(image, slices, size).GetSpacing()[1::-1]),  # row, column
        **{f"image_{k}": gray[index] for k, gray in grays.items()},
        **{
            f"predicted_{k}": cropped[index].argmax(-1).astype(np.uint8)
            for k, cropped in probabilities.items()
        },
    }
    with atomic_write(path) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]
