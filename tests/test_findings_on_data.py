"""What the first two lessons say of the scans: sentences that follow from the tables."""

import numpy as np
import pandas as pd
import pytest

from spineseg.labels import CLASSES
from spineseg.paper import findings


def measured(volumes: dict[str, float], case: str = "Case1") -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "case": case,
                "class": name,
                "voxels": 10 * volume,
                "volume_ml": volume,
                "gray_mean": 90.0,
                "gray_sd": 20.0,
            }
            for name, volume in volumes.items()
        ]
    )


def test_sizes_and_lacking_classes():
    whole = dict.fromkeys(CLASSES, 30.0) | {"BG": 960.0, "L4": 40.0, "T11": 20.0}
    short = {name: volume for name, volume in whole.items() if name != "T11"}
    table = pd.concat([measured(whole), measured(short, "Case2")])
    text = findings.on_scans(table)
    assert "Background takes 80.7 % of all voxels." in text
    assert "L4 is the largest (median volume 40.0 mL)" in text
    assert "T11 the smallest (20.0 mL): a factor of 2.0." in text
    assert text.endswith("Of 2 cases, 1 lacks T11.")
    assert findings.on_scans(measured(whole)).endswith("No case lacks a class.")


def test_data_without_some_classes():
    assert "T12 the smallest" not in findings.on_scans(measured({"BG": 90.0, "L4": 10.0}))
    assert "vertebrae" not in findings.on_scans(measured({"BG": 90.0}))
    assert findings.on_brightness(np.zeros((len(CLASSES), 256), int)) == ""


def test_overlap_of_brightness():
    histograms = np.zeros((len(CLASSES), 256), int)
    histograms[1, 50:60] = 5
    histograms[2, 50:60] = 1  # the same form, fewer voxels
    histograms[3, 55:65] = 1
    text = findings.on_brightness(histograms)
    assert "share 50 to 100 % of their area" in text
    assert "right in at most 50 % of the voxels" in text


def test_patches():
    text = findings.on_patches(pd.Series({25: 0.6, 250: 0.85}), "L3", "L2")
    assert "60 % of the patches of 25 mm, and in 85 % of those of 250 mm" in text


def loss(**columns) -> pd.DataFrame:
    whole = {"slices": 12, "rows": 110, "columns": 110, "outside": 0.0, "DSC": 1.0}
    return pd.DataFrame({name: columns.get(name, [value] * 3) for name, value in whole.items()})


@pytest.mark.parametrize(("through", "words"), [(0.95, "costs more"), (0.99, "costs less")])
def test_resampling_by_what_changes(through, words):
    table = loss(slices=[12, 15, 12], rows=[110, 110, 120], DSC=[1.0, through, 0.97])
    text = findings.on_resampling(table, 12, 110)
    assert "The window holds every labelled voxel of the 3 held-out cases." in text
    assert "100.0 % for cases of the unified shape (1)" in text
    assert f"{100 * through:.1f} % if only the number of slices differs (1)" in text
    assert f"resampling the slices {words} than resampling in plane" in text


def test_resampling_where_nothing_compares():
    text = findings.on_resampling(loss(outside=[0.0, 0.01, 0.02]), 12, 110)
    assert "cuts off labelled voxels in 2 of 3 held-out cases, and at most 2.0 %" in text
    assert "costs" not in text
