"""What a data set holds: shapes, gray values and sizes of the classes, single slices."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spineseg.data.gray import gray_range, to_gray
from spineseg.labels import CLASSES, NUM_CLASSES

if TYPE_CHECKING:
    from spineseg.data.layouts import Case

SHAPE = ["slices", "rows", "columns"]


def shape_counts(cases: Sequence[Case]) -> pd.DataFrame:
    """The number of volumes of each shape (canonical axes), most frequent first."""
    from spineseg.data.volume import canonical_shape

    shapes = pd.DataFrame([canonical_shape(case.image) for case in cases], columns=SHAPE)
    counts = shapes.value_counts().rename("volumes").reset_index()
    return counts.sort_values(["volumes", *SHAPE], ascending=[False, True, True, True])


def phantom_scale(data: Path) -> float | None:
    """In-plane size of a phantom relative to the challenge's scans; None for scans."""
    description = data / "phantom.json"
    return (
        json.loads(description.read_text(encoding="utf-8"))["scale"]
        if description.is_file()
        else None
    )


def measure_cases(cases: Sequence[Case]) -> pd.DataFrame:
    """One row per case and class: voxels, volume (mL), slices, gray mean and SD (0..255)."""
    import SimpleITK as sitk

    from spineseg.data.layouts import read_labelled

    rows: list[dict[str, Any]] = []
    for case in cases:
        image, classes = read_labelled(case)
        intensities = sitk.GetArrayViewFromImage(image)
        gray = to_gray(intensities, *gray_range(intensities)).ravel().astype(np.float64)
        flat = classes.ravel()
        voxels = np.bincount(flat, minlength=NUM_CLASSES)
        total = np.bincount(flat, gray, NUM_CLASSES)
        squares = np.bincount(flat, gray**2, NUM_CLASSES)
        voxel_ml = np.prod(image.GetSpacing()) / 1000
        for index in np.flatnonzero(voxels):
            mean = total[index] / voxels[index]
            rows.append(
                {
                    "case": case.id,
                    "class": CLASSES[index],
                    "voxels": voxels[index],
                    "volume_ml": voxels[index] * voxel_ml,
                    "slices": int((classes == index).any((1, 2)).sum()),
                    "gray_mean": mean,
                    "gray_sd": np.sqrt(max(0.0, squares[index] / voxels[index] - mean**2)),
                }
            )
    return pd.DataFrame(rows)


def slice_to_draw(
    image: np.ndarray, truth: np.ndarray, spacing: Sequence[float], **others: np.ndarray
) -> dict[str, np.ndarray]:
    """The slice with the most labelled voxels: image (gray), truth, others, spacing (row, column).

    Arrays are (slices, rows, columns), spacing is in mm in the same order.
    """
    index = int((truth > 0).sum((1, 2)).argmax())
    return {
        "image": to_gray(image[index], *gray_range(image)),
        "truth": truth[index],
        **{name: classes[index] for name, classes in others.items()},
        "spacing": np.array(spacing[1:]),
    }


def middle_slice(case: Case) -> dict[str, np.ndarray]:
    """The slice of a case to draw, see `slice_to_draw`."""
    import SimpleITK as sitk

    from spineseg.data.layouts import read_labelled

    image, truth = read_labelled(case)
    return slice_to_draw(sitk.GetArrayViewFromImage(image), truth, image.GetSpacing()[::-1])
