"""The tables of the search for settings, and of what more epochs change."""

import pandas as pd
import pytest

from spineseg.course import score_tables
from spineseg.paper.search import (
    convergence_table,
    leads_over_untrained,
    repeat_table,
    search_table,
)


def tried(
    model: str, rate: float, epochs: int, *dsc: float, device: str = "CPU", seed: int = 0
) -> pd.DataFrame:
    cases = [f"Case{number}" for number in range(len(dsc))]
    keys = {"model": model, "learning_rate": rate, "epochs": epochs, "seed": seed, "device": device}
    return pd.DataFrame({"case": cases, "DSC": dsc}).assign(**keys)


@pytest.fixture
def validation() -> pd.DataFrame:
    """U-Net gains little by more epochs, ASPP-UNet much."""
    return pd.concat(
        [
            tried("unet", 0.01, 30, 60.0, 70.0),
            tried("unet", 0.003, 30, 80.0, 84.0),
            tried("unet", 0.003, 60, 81.0, 84.0),
            tried("aspp_unet", 0.003, 30, 70.0, 70.0),
            tried("aspp_unet", 0.003, 60, 80.0, 80.0),
        ]
    )


TAKEN = {"unet": (0.003, 30), "aspp_unet": (0.003, 60)}


def test_each_setting_has_a_row_and_the_one_taken_is_marked(validation):
    table = search_table(validation, TAKEN)
    assert [*table["model"].unique()] == ["unet", "aspp_unet"]
    assert table["patients"].eq(2).all()
    unet = table[table["model"] == "unet"].drop(columns="model")
    assert unet.to_numpy().tolist() == [
        [0.003, 30, 1, 82.0, 2, True],
        [0.01, 30, 1, 65.0, 2, False],
        [0.003, 60, 1, 82.5, 2, False],
    ]
    chosen = table[table["chosen"]].set_index("model")
    assert chosen["epochs"].to_dict() == {"unet": 30, "aspp_unet": 60}


def test_a_method_is_trained_out_if_twice_the_epochs_change_little(validation):
    search = search_table(validation, TAKEN)
    table = convergence_table(search, validation).set_index("model")
    low, high = table.loc["unet", ["low", "high"]]
    assert low < 0 < 0.5 < 1 < high  # of changes by 1.0 and 0.0
    assert table.loc["unet", ["epochs", "seeds", "DSC", "DSC_twice", "change"]].tolist() == [
        *(30, 1, 82.0, 82.5, 0.5)
    ]
    assert table["trained_out"].to_dict() == {"unet": True, "aspp_unet": False}
    assert pd.isna(table.loc["aspp_unet", "change"])  # 120 epochs were not tried
    early = search_table(validation, TAKEN | {"aspp_unet": (0.003, 30)})
    assert convergence_table(early, validation)["trained_out"].tolist() == [True, False]


def test_the_trials_of_a_setting_on_two_devices_count_with_their_mean(validation):
    again = tried("unet", 0.003, 30, 86.0, 88.0, device="GPU")
    validation = pd.concat([validation, again])
    search = search_table(validation, TAKEN)
    row = search.query("model == 'unet' and chosen").iloc[0]
    assert row[["trials", "DSC", "patients"]].tolist() == [2, 84.5, 2]
    row = convergence_table(search, validation).set_index("model").loc["unet"]
    assert row[["seeds", "change"]].tolist() == [1, 82.5 - 84.5]


def test_seeds_of_trials_widen_the_interval_of_the_change():
    """By hand: 10 patients gain 1 point with the seed 0, and 5 with the seed 1."""
    scores = [60.0 + number for number in range(10)]
    trials = {
        (seed, epochs): tried("unet", 0.003, epochs, *(each + gain for each in scores), seed=seed)
        for seed, epochs, gain in ((0, 30, 0), (0, 60, 1), (1, 30, 2), (1, 60, 7))
    }
    rows = {}
    for seeds in ((0,), (0, 1)):
        validation = pd.concat(each for key, each in trials.items() if key[0] in seeds)
        search = search_table(validation, {"unet": (0.003, 30)})
        rows[seeds] = convergence_table(search, validation).iloc[0]
    assert rows[0,][["seeds", "change", "low", "high"]].tolist() == pytest.approx([1, 1, 1, 1])
    both = rows[0, 1]
    assert both[["seeds", "change"]].tolist() == [2, 3.0]
    assert both["low"] < 0 < 6 < both["high"]
    assert repeat_table(pd.concat(trials.values()))["change"].dropna().tolist() == [1.0, 5.0]


def test_a_method_of_which_only_rates_were_tried_has_a_rate_and_no_convergence():
    rates = pd.concat([tried("unet", 0.001, 15, 60.0), tried("unet", 0.003, 15, 61.0)])
    table = search_table(rates, {"unet": (0.003, 30)})
    assert table["chosen"].tolist() == [False, True]
    assert convergence_table(table, rates).empty


def test_settings_that_were_tried_on_two_devices(validation):
    again = tried("unet", 0.003, 30, 78.0, 80.0, device="GPU")
    table = repeat_table(pd.concat([again, validation]))
    assert table[["model", "epochs", "device", "DSC"]].to_numpy().tolist() == [
        ["unet", 30, "GPU", 79.0],
        ["unet", 30, "CPU", 82.0],
    ]
    assert pd.isna(table["change"][0])  # twice the epochs were not tried there
    assert table["change"][1] == 82.5 - 82.0
    assert repeat_table(validation).empty
    text = score_tables.repeats_as_text(pd.concat([again, validation])).iloc[:, -1]
    assert text.iloc[0] == "not tried"
    assert text.iloc[1].startswith("+0.5 (")
    assert score_tables.repeats_as_text(validation).empty


def test_leads_over_rivals_that_are_not_trained_out():
    columns = ["model", "epochs", "DSC", "DSC_twice", "trained_out"]
    rows = [
        ("unet", 120, 88.0, 88.5, True),
        ("unet3d", 240, 55.0, None, False),
        ("nnunet", 24, 87.0, 89.5, False),
        ("aspp_unet", 120, 89.0, 90.5, False),
    ]
    convergence = pd.DataFrame(rows, columns=columns).astype({"DSC_twice": float})
    leads = leads_over_untrained(convergence).set_index("model")
    assert [*leads.index] == ["unet3d", "nnunet"]
    assert leads.loc["nnunet"].tolist() == [24, 2.0, -0.5, 1.0]
    assert leads.loc["unet3d", "lead"] == 34.0
    text = score_tables.leads_as_text(convergence)
    assert text.loc["U-Net-3D"].tolist() == [240, "+34.0", "not tried", "not tried"]
    assert text.loc["nnU-Net-2D"].tolist() == [24, "+2.0", "-0.5", "+1.0"]
    for part in (convergence[:3], convergence[3:], convergence[:0]):
        assert score_tables.leads_as_text(part).empty
