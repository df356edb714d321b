"""The rows of a table of scores."""

from typing import Any

import numpy as np
import pandas as pd

from spineseg.evaluation.metrics import dsc, iou
from spineseg.labels import CLASSES, FOREGROUND
from spineseg.runs import RunRecord

OVERLAPS = {"DSC": dsc, "IoU": iou}
SURFACES = ("HD95", "NSD")


def identify(table: pd.DataFrame, record: RunRecord, data: str | None = None) -> pd.DataFrame:
    """Put before a table the columns that tell which run it comes from.

    `data` is the name of the scored data set, by default the run's own.
    """
    keys = {
        "data": data or record.data_name,
        "profile": record.profile.name,
        "device": record.device,
        "model": record.model,
        "fold": record.fold,
        "seed": record.seed,
    }
    return pd.DataFrame(keys, index=table.index).join(table)


def score_rows(case: str, aggregation: str, counts: np.ndarray) -> list[dict[str, Any]]:
    """DSC and IoU of each foreground class from voxel counts (units, classes, 3).

    `value` is the mean over the `units` (volumes or slices) whose truth or prediction has the
    class. A class absent from both is left out. A class absent from one of them scores 0 (Eq. 2
    and 3; the paper leaves the aggregation open).
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

    A class absent from both masks is left out. The HD95 of a class absent from one of them is NaN.
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
