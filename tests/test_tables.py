from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spineseg import figures
from spineseg.benchmark import cost
from spineseg.experiment import Experiment
from spineseg.methods import METHODS, TABLE3
from spineseg.paper.tables import beside_table4
from spineseg.profiles import load_profile
from spineseg.workflow.cost import read_cost, write_cost


@pytest.fixture
def measured() -> pd.DataFrame:
    """Round numbers, none of nnU-Net."""
    return pd.DataFrame(
        {
            "model": TABLE3,
            "parameters": pd.array([15e6, 16e6, 50e6, 25e6, None, 22_123_456], "Int64"),
            "seconds": [2.0, 1.0, 5.0, 6.0, np.nan, 3.0],
            "gflops": [500.0, 400.0, 1000.0, 1200.0, np.nan, 750.0],
        }
    )


def test_beside_table4_by_hand(measured):
    table = beside_table4(measured)
    assert list(table["model"]) == [METHODS[name].title for name in TABLE3]
    aspp = table.set_index("model").loc["ASPP-UNet"]
    assert aspp["parameters_paper"] == 22.06
    assert aspp["parameters_ours"] == pytest.approx(22.123456)
    assert aspp["parameters_difference"] == pytest.approx(0.063456)
    assert (aspp["seconds_paper"], aspp["seconds_ours"]) == (0.171, 3.0)
    assert aspp["ratio_paper"] == pytest.approx(0.171 / 0.163)
    assert aspp["ratio_ours"] == 1.5
    assert aspp["ratio_difference"] == pytest.approx(1.5 - 0.171 / 0.163)
    assert (aspp["gflops"], aspp["gflops_ratio"]) == (750.0, 1.5)
    missing = table.set_index("model").loc["nnU-Net-2D"]
    assert missing["seconds_paper"] == 0.292
    assert missing.drop(["parameters_paper", "seconds_paper", "ratio_paper"]).isna().all()


def test_written_cost_is_read_with_every_parameter(workspace, measured, monkeypatch):
    experiment = Experiment(Path("scans"), load_profile("smoke"))
    monkeypatch.setattr(cost, "measure_cost", lambda rows: measured.assign(note=""))
    assert write_cost(experiment) == experiment.results / "cost.csv"
    written = read_cost(experiment)
    assert list(written.columns[:3]) == ["data", "profile", "device"]
    assert written["parameters"].iloc[-1] == 22_123_456
    pd.testing.assert_frame_equal(
        beside_table4(written), beside_table4(measured), check_dtype=False
    )


def test_figure_shows_each_network_counted(measured):
    table = beside_table4(measured)
    counted = table[table["model"] != "nnU-Net-2D"]
    names = set(counted["model"])
    paper_panel, our_panel = figures.cost(table).axes
    for axes, column in ((paper_panel, "ratio_paper"), (our_panel, "ratio_ours")):
        points = [line.get_xydata()[0] for line in axes.lines if line.get_label() in names]
        np.testing.assert_allclose(points, counted[["gflops_ratio", column]])
