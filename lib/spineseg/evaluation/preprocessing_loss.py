"""What preprocessing costs before any network (notebook 02)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from spineseg.data.cache import Cache
from spineseg.data.layouts import Case, read_labelled
from spineseg.evaluation.metrics import confusion, overlaps
from spineseg.evaluation.scores import score_rows
from spineseg.inference.segmenter import to_scan_grid
from spineseg.labels import NUM_CLASSES


def preprocessing_loss(cases: Sequence[Case], cache: Cache, fold: int | str) -> pd.DataFrame:
    """The loss of each test case of a fold: case, slices, outside, DSC.

    `slices` is the scan's own number of slices. `outside` is the share of labelled voxels outside
    the kept columns. `DSC` is the score of the true mask after it was brought to the cropped target
    grid and back. No network can be expected to exceed it by much.
    """
    grid = cache.grid(fold)
    by_id = {case.id: case for case in cases}
    rows = []
    for case_id in cache.test_ids(fold):
        image, truth = read_labelled(by_id[case_id])
        on_grid = cache.masks[cache.rows([case_id])[0]]
        labelled = np.count_nonzero(on_grid)
        cropped = on_grid[..., grid.window]
        exact = np.eye(NUM_CLASSES, dtype=np.float32)[cropped]
        back = to_scan_grid(exact, grid, image)
        scores = score_rows(
            case_id, "volume", overlaps(confusion(truth, back)).sum(0, keepdims=True)
        )
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
