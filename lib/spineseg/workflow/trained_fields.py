"""How far trained networks look."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from spineseg.models.receptive_field import field_extent, receptive_field
from spineseg.paper.mechanism import FIELD_SHARES
from spineseg.training.checkpoint import load_network


def trained_fields(runs: Iterable[Path]) -> pd.DataFrame:
    """Which rows the middle pixel's output depends on in trained networks.

    `runs` are folders of finished runs. Returns one row per run and share of the gradient: `model`,
    `seed`, `image_rows`, `share` (FIELD_SHARES, and 1 for everything that is not exactly zero), and
    the number of `rows` around the middle that hold this share. The gradient is that of
    `models.receptive_field.receptive_field`, summed over columns.
    """
    rows = []
    for run in runs:
        network, record = load_network(run)
        first, last = record.grid.columns
        field = receptive_field(network, (record.grid.size, last - first))
        by_row = field.sum(axis=1, keepdims=True)
        for share in (*FIELD_SHARES, 1.0):
            extent, _ = field_extent(by_row, share)
            rows.append((record.model, record.seed, record.grid.size, share, extent))
    return pd.DataFrame(rows, columns=["model", "seed", "image_rows", "share", "rows"])
