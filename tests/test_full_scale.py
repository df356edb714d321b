"""Results at the paper's scale beside those of another experiment, from tables written by hand."""

from pathlib import Path

import pandas as pd
import pytest

from spineseg.paper.full_scale import (
    leads_by_experiment,
    mean_dsc_by_experiment,
    with_full_scale,
)

LARGE = {"data": "simulated", "profile": "paper-2epochs", "device": "GPU"}
SMALL = {"data": "phantom", "profile": "laptop", "device": "CPU"}


def scores(experiment: dict[str, str], means: dict[str, float], seeds: int = 1) -> pd.DataFrame:
    """DSC and IoU of one class in four cases, and slice scores of 0. All seeds give the same."""
    return pd.DataFrame(
        {
            **experiment,
            "model": model,
            "fold": 0,
            "seed": seed,
            "case": f"Case{case}",
            "class": "S",
            "aggregation": aggregation,
            "metric": metric,
            "value": (mean + 0.01 * (case - 1.5)) * (aggregation == "volume"),
            "units": 1,
        }
        for model, mean in means.items()
        for seed in range(seeds)
        for case in range(4)
        for aggregation in ("volume", "slice")
        for metric in ("DSC", "IoU")
    )


@pytest.fixture
def results(workspace) -> Path:
    """results/ of a workspace with one experiment at the paper's scale."""
    folder = workspace / "results" / "simulated-paper-2epochs"
    folder.mkdir(parents=True)
    scores(LARGE, {"unet": 0.8, "aspp_unet": 0.9}).to_csv(folder / "scores.csv", index=False)
    return folder.parent


def test_without_paper_scale_results_a_table_is_shown_alone(workspace):
    own = scores(SMALL, {"unet": 0.7})
    assert with_full_scale(own, "scores.csv").equals(own)


def test_an_experiment_of_another_name_is_not_at_the_papers_scale(results):
    other = results / "phantom-paper"
    other.mkdir()
    (other / "scores.csv").write_bytes(
        (results / "simulated-paper-2epochs" / "scores.csv").read_bytes()
    )
    both = with_full_scale(scores(SMALL, {"unet": 0.7}), "scores.csv")
    assert len(both) == 16 + 32


def test_paper_scale_results_are_not_repeated_beside_themselves(results):
    own = pd.read_csv(results / "simulated-paper-2epochs" / "scores.csv")
    assert with_full_scale(own, "scores.csv").equals(own)


def test_means_by_experiment(results):
    """SegNet has one seed, so one seed of the others is used beside it."""
    own = pd.concat(
        [scores(SMALL, {"segnet": 0.6}), scores(SMALL, {"unet": 0.7, "aspp_unet": 0.85}, seeds=3)]
    )
    table = mean_dsc_by_experiment(with_full_scale(own, "scores.csv"))
    assert table.columns.tolist() == [
        "phantom-laptop, CPU, seeds: 1, cases: 4",
        "simulated-paper-2epochs, GPU, seeds: 1, cases: 4",
    ]
    assert table.index.tolist() == ["U-Net-2D", "SegNet", "ASPP-UNet"]
    # Student's t gives 85 +- 3.18 * 1.29 / sqrt(4), 82.9 to 87.1.
    assert table.loc["ASPP-UNet"].tolist() == ["85.0 (83.1 to 86.9)", "90.0 (88.1 to 91.9)"]
    assert table.loc["SegNet"].tolist()[1] == "not run"


def test_means_over_seeds(workspace):
    own = scores(SMALL, {"unet": 0.7}, seeds=3)
    table = mean_dsc_by_experiment(own)
    assert table.columns.tolist() == ["phantom-laptop, CPU, seeds: 3, cases: 4"]


def test_leads_by_experiment(results):
    own = scores(SMALL, {"segnet": 0.6, "unet": 0.75, "aspp_unet": 0.8}, seeds=3)
    leads = leads_by_experiment(with_full_scale(own, "scores.csv")).query("metric == 'DSC'")
    leads = leads.set_index(["experiment", "model"])
    assert leads["difference"].round(9).to_dict() == {
        ("phantom-laptop", "segnet"): 20,
        ("phantom-laptop", "unet"): 5,
        ("simulated-paper-2epochs", "unet"): 10,
    }
    assert leads["seeds"].tolist() == [3, 3, 1]
