"""The rows of a table of scores: what each is of, and which run it comes from."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spineseg.evaluation.metrics import dsc, iou
from spineseg.labels import CLASSES, FOREGROUND
from spineseg.runs import finished_facts
from spineseg.utils import paths

OVERLAPS = {"DSC": dsc, "IoU": iou}
SURFACES = ("HD95", "NSD")
SCORES = "scores.csv"
CURVES = "curves.csv"


def identify(table: pd.DataFrame, run: Path, data: str | None = None) -> pd.DataFrame:
    """The table behind the columns that say where a run's scores come from.

    `data` is the name of the data set scored, by default the run's own.
    """
    facts = finished_facts(run)
    keys = {
        "data": data or paths.dataset_name(Path(facts["data"])),
        "profile": facts["profile"]["name"],
        "device": facts["device"],
        "model": facts["model"],
        "fold": facts["fold"],
    }
    return pd.DataFrame(keys, index=table.index).join(table)


def score_rows(case: str, aggregation: str, counts: np.ndarray) -> list[dict[str, Any]]:
    """DSC and IoU of each foreground class from voxel counts (units, classes, 3).

    `value` is the mean over the `units` (volumes or slices) in which the class stands in the truth
    or in the prediction; a class absent from both is left out, one absent from a single side
    scores 0 (Eq. 2 and 3; aggregation is left open by the paper).
    """
    rows = []
    for metric, function in OVERLAPS.items():
        values = function(counts)
        for index, name in enumerate(CLASSES):
            present = values[:, index][~np.isnan(values[:, index])]
            if name in FOREGROUND and present.size:
                value, units = present.mean(), present.size
                rows.append(_row(case, name, aggregation, metric, value, units))
    return rows


def surface_rows(case: str, scores: np.ndarray) -> list[dict[str, Any]]:
    """HD95 (mm) and NSD of each class of a volume, from `surface_scores` (classes, 2).

    A class absent from both masks is left out; the HD95 of one absent from a single side is NaN.
    """
    return [
        _row(case, name, "volume", metric, value, 1)
        for metric, values in zip(SURFACES, scores.T, strict=True)
        for name, value, nsd in zip(CLASSES, values, scores[:, 1], strict=True)
        if not np.isnan(nsd)
    ]


def _row(
    case: str, name: str, aggregation: str, metric: str, value: float, units: int
) -> dict[str, Any]:
    return {
        "case": case,
        "class": name,
        "aggregation": aggregation,
        "metric": metric,
        "value": value,
        "units": units,
    }
