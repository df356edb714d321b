"""Tables of the lessons show titles and short p values."""

import pandas as pd
import pytest

from spineseg.course.tables import as_p, titled


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "<0.001"), (5e-10, "<0.001"), (0.001, "0.001"), (0.0476, "0.048"), (1, "1.000")],
)
def test_p(value, text):
    assert as_p(value) == text


def test_a_missing_p_is_empty():
    assert as_p(float("nan")) == ""


def test_titles_in_a_column():
    frame = pd.DataFrame({"model": ["unet", "aspp_unet", "another"], "DSC": [1, 2, 3]})
    shown = titled(frame)
    assert list(shown.columns) == ["method", "DSC"]
    assert list(shown["method"]) == ["U-Net-2D", "ASPP-UNet", "another"]
    assert list(frame["model"]) == ["unet", "aspp_unet", "another"]


def test_titles_in_an_index_and_in_columns():
    frame = pd.DataFrame(
        {"model": ["unet", "unet", "segnet"], "class": ["S", "L5", "S"], "DSC": [1.0, 2, 3]}
    )
    plain = titled(frame.set_index("model"))
    assert plain.index.name == "method"
    assert list(plain.index) == ["U-Net-2D", "U-Net-2D", "SegNet"]
    nested = titled(frame.set_index(["model", "class"]))
    assert nested.loc[("SegNet", "S"), "DSC"] == 3
    wide = titled(frame.pivot_table("DSC", "class", "model", sort=False))
    assert list(wide.columns) == ["U-Net-2D", "SegNet"]
    assert wide.columns.name == "method"
