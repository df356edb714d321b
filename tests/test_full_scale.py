"""Results at the paper's scale beside those of another experiment, from tables written by hand."""

from pathlib import Path

import pandas as pd
import pytest

from spineseg.labels import ALL_CLASSES
from spineseg.paper.full_scale import (
    leads_by_experiment,
    mean_dsc_by_experiment,
    with_full_scale,
)

LARGE = {"data": "simulated", "profile": "paper-2epochs", "device": "GPU"}
SMALL = {"data": "phantom", "profile": "quick", "device": "CPU"}


def summary(experiment: dict[str, str], means: dict[str, float]) -> pd.DataFrame:
    """The mean DSC over all classes, and a row of another class, metric and aggregation each."""
    row = {**experiment, "class": ALL_CLASSES, "aggregation": "volume", "metric": "DSC"}
    rows = []
    for model, mean in means.items():
        rows.append({**row, "model": model, "mean": mean, "low": mean - 0.1, "high": mean + 0.05})
        for other in ({"class": "S"}, {"metric": "IoU"}, {"aggregation": "slice"}):
            rows.append({**row, "model": model, "mean": 0.0, "low": 0.0, "high": 0.0, **other})
    return pd.DataFrame(rows)


def scores(experiment: dict[str, str], means: dict[str, float]) -> pd.DataFrame:
    """DSC and IoU of one class in four cases."""
    return pd.DataFrame(
        {
            **experiment,
            "model": model,
            "fold": 0,
            "case": f"Case{case}",
            "class": "S",
            "aggregation": "volume",
            "metric": metric,
            "value": mean + 0.01 * case,
            "units": 1,
        }
        for model, mean in means.items()
        for case in range(4)
        for metric in ("DSC", "IoU")
    )


@pytest.fixture
def results(workspace) -> Path:
    """results/ of a workspace with one experiment at the paper's scale."""
    folder = workspace / "results" / "simulated-paper-2epochs"
    folder.mkdir(parents=True)
    summary(LARGE, {"aspp_unet": 0.9, "unet": 0.8}).to_csv(folder / "summary.csv", index=False)
    scores(LARGE, {"unet": 0.8, "aspp_unet": 0.9}).to_csv(folder / "scores.csv", index=False)
    return folder.parent


def test_without_paper_scale_results_a_table_is_shown_alone(workspace):
    own = summary(SMALL, {"unet": 0.7})
    assert with_full_scale(own, "summary.csv").equals(own)


def test_an_experiment_of_another_name_is_not_at_the_papers_scale(results):
    other = results / "phantom-paper"
    other.mkdir()
    (other / "summary.csv").write_bytes(
        (results / "simulated-paper-2epochs" / "summary.csv").read_bytes()
    )
    both = with_full_scale(summary(SMALL, {"unet": 0.7}), "summary.csv")
    assert len(both) == 4 + 8


def test_paper_scale_results_are_not_repeated_beside_themselves(results):
    own = pd.read_csv(results / "simulated-paper-2epochs" / "summary.csv")
    assert with_full_scale(own, "summary.csv").equals(own)


def test_means_by_experiment(results):
    own = summary(SMALL, {"segnet": 0.6, "unet": 0.7, "aspp_unet": 0.85})
    table = mean_dsc_by_experiment(with_full_scale(own, "summary.csv"))
    assert table.columns.tolist() == ["phantom-quick, CPU", "simulated-paper-2epochs, GPU"]
    assert table.index.tolist() == ["U-Net-2D", "SegNet", "ASPP-UNet"]
    assert table.loc["ASPP-UNet"].tolist() == ["85.0 (75.0 to 90.0)", "90.0 (80.0 to 95.0)"]
    assert table.loc["SegNet"].tolist() == ["60.0 (50.0 to 65.0)", "not run"]


def test_leads_by_experiment(results):
    own = scores(SMALL, {"segnet": 0.6, "unet": 0.75, "aspp_unet": 0.8})
    leads = leads_by_experiment(with_full_scale(own, "scores.csv")).query("metric == 'DSC'")
    leads = leads.set_index(["experiment", "model"])["difference"].round(9)
    assert leads.to_dict() == {
        ("phantom-quick", "segnet"): 20,
        ("phantom-quick", "unet"): 5,
        ("simulated-paper-2epochs", "unet"): 10,
    }
