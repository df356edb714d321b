"""What a data set holds (notebook 01) and what preprocessing takes from it (notebook 02)."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import SimpleITK as sitk

from spineseg.data.cache import Cache, gray_range, to_gray
from spineseg.data.layouts import Case, read_labelled
from spineseg.data.preprocess import prepare
from spineseg.data.volume import canonical_shape
from spineseg.evaluation.evaluate import slice_to_draw
from spineseg.evaluation.metrics import overlaps
from spineseg.evaluation.scores import score_rows
from spineseg.experiment import Experiment
from spineseg.labels import CLASSES, NUM_CLASSES
from spineseg.paper.printed import printed as paper
from spineseg.utils.files import atomic_write, read_arrays

SHAPE = ["slices", "rows", "columns"]


def shape_counts(cases: Sequence[Case]) -> pd.DataFrame:
    """How many volumes have which shape (canonical axes), most frequent first."""
    shapes = pd.DataFrame([canonical_shape(case.image) for case in cases], columns=SHAPE)
    counts = shapes.value_counts().rename("volumes").reset_index()
    return counts.sort_values(["volumes", *SHAPE], ascending=[False, True, True, True])


def phantom_scale(data: Path) -> float | None:
    """In-plane scale of a phantom set against the challenge's scans; None for scans."""
    description = data / "phantom.json"
    return json.loads(description.read_text())["scale"] if description.is_file() else None


def beside_table1(counts: pd.DataFrame, scale: float) -> pd.DataFrame:
    """Table 1 beside the shapes found: slices, rows, columns, paper, ours, difference.

    In-plane sizes found are divided by `scale` (1 for scans at the challenge's own size).
    """
    full = counts.assign(
        rows=(counts["rows"] / scale).round().astype(int),
        columns=(counts["columns"] / scale).round().astype(int),
    )
    printed = paper.table1().rename(columns={"volumes": "paper"})
    both = printed.merge(full.rename(columns={"volumes": "ours"}), on=SHAPE, how="outer").fillna(0)
    both[["paper", "ours"]] = both[["paper", "ours"]].astype(int)
    both["difference"] = both["ours"] - both["paper"]
    return both.sort_values(["paper", "ours"], ascending=False, ignore_index=True)


def measure_cases(cases: Sequence[Case]) -> pd.DataFrame:
    """One row a case and class: voxels, volume (mL), slices, gray mean and SD (0..255)."""
    rows: list[dict[str, Any]] = []
    for case in cases:
        image, classes = read_labelled(case)
        intensities = sitk.GetArrayViewFromImage(image)
        gray = to_gray(intensities, *gray_range(intensities)).ravel().astype(np.float64)
        flat = classes.ravel()
        voxels = np.bincount(flat, minlength=NUM_CLASSES)
        total = np.bincount(flat, gray, NUM_CLASSES)
        squares = np.bincount(flat, gray**2, NUM_CLASSES)
        litres = np.prod(image.GetSpacing()) / 1000
        for index in np.flatnonzero(voxels):
            mean = total[index] / voxels[index]
            rows.append(
                {
                    "case": case.id,
                    "class": CLASSES[index],
                    "voxels": voxels[index],
                    "volume_ml": voxels[index] * litres,
                    "slices": int((classes == index).any((1, 2)).sum()),
                    "gray_mean": mean,
                    "gray_sd": np.sqrt(max(0.0, squares[index] / voxels[index] - mean**2)),
                }
            )
    return pd.DataFrame(rows)


def middle_slice(case: Case) -> dict[str, np.ndarray]:
    """The slice with the most labelled voxels, as `slice_to_draw` gives it."""
    return slice_to_draw(*read_labelled(case))


def cropped_slice(experiment: Experiment) -> dict[str, np.ndarray]:
    """The data of Fig. 1, from results/<experiment>/fig1.npz; made first if it is missing.

    What `slice_to_draw` gives of the first case, and `columns`: the part of the unified width that
    fold 0 keeps, 0..1.
    """
    path = experiment.results / "fig1.npz"
    if not path.is_file():
        grid = prepare(experiment).grid(fold=0)
        drawn = middle_slice(experiment.cases()[0])
        with atomic_write(path) as temporary:
            columns = np.array(grid.columns) / grid.size
            np.savez_compressed(temporary, **drawn, columns=columns)  # type: ignore[arg-type]
    return read_arrays(path)


def preprocessing_loss(cases: Sequence[Case], cache: Cache, fold: int | str) -> pd.DataFrame:
    """What preprocessing costs before any network: one row for each held-out case.

    `slices` is the scan's own number, `outside` the share of labelled voxels that the crop leaves
    out, `DSC` the score of the true mask after it went to the unified, cropped grid and back: no
    network can be expected to exceed that by much.
    """
    from spineseg.workflow.predict import to_scan_grid

    grid = cache.grid(fold)
    first, last = grid.columns
    by_id = {case.id: case for case in cases}
    rows = []
    for case_id in cache.test_ids(fold):
        image, truth = read_labelled(by_id[case_id])
        unified = cache.masks[cache.rows([case_id])[0]]
        labelled = np.count_nonzero(unified)
        cropped = unified[..., first:last]
        exact = np.eye(NUM_CLASSES, dtype=np.float32)[cropped]
        back = to_scan_grid(exact, grid, image)
        scores = score_rows(case_id, "volume", overlaps(truth, back).sum(0, keepdims=True))
        dice = [row["value"] for row in scores if row["metric"] == "DSC"]
        rows.append(
            {
                "case": case_id,
                "slices": len(truth),
                "outside": 1 - np.count_nonzero(cropped) / max(1, int(labelled)),
                "DSC": float(np.mean(dice)),
            }
        )
    return pd.DataFrame(rows)
