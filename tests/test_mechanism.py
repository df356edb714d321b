"""The mechanism's tables, sentences and figures, on tables whose answer is known."""

import subprocess
import sys
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from spineseg.evaluation.statistics import interval_of_difference
from spineseg.figures import mechanism as figures
from spineseg.labels import CLASSES
from spineseg.models import build_model
from spineseg.models.counting import count_parameters, parameters
from spineseg.models.receptive_field import field_extent, receptive_field
from spineseg.paper import by_class, control_networks, estimates, findings, mechanism
from spineseg.profiles import load_profile
from spineseg.workflow import trained_fields

LAPTOP, LAPTOP_220 = load_profile("laptop"), load_profile("laptop-220")
PATIENTS = 12
EASE = np.linspace(-0.05, 0.05, PATIENTS)  # of each patient, the same for every network


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def scored(seeds: int = 3, classes: tuple[str, ...] = ("S", "L5"), **means: float) -> pd.DataFrame:
    """scores.csv of networks with these mean DSCs, equal for all seeds and classes."""
    return pd.DataFrame(
        {
            **{"data": "simulated", "profile": "laptop", "device": "cpu", "model": model},
            **{"fold": "0", "seed": seed, "case": f"Case{patient}", "class": name},
            **{"aggregation": "volume", "metric": "DSC", "value": mean + ease, "units": 1},
        }
        for model, mean in means.items()
        for seed in range(seeds)
        for patient, ease in enumerate(EASE)
        for name in classes
    )


AT_TWO_STAGES = {"unet_depth_2": 0.6, "aspp_unet_depth_2": 0.8}


def test_networks_of_the_mechanism_come_before_those_of_the_papers_tables():
    ran = ["unet", "aspp_unet", "unet_depth_2", "aspp_unet_depth_2", "unet_depth_5"]
    own = ("unet", "aspp_unet")
    two = ("unet_depth_2", "aspp_unet_depth_2")
    assert mechanism.pairs(ran, LAPTOP) == {2: two, 3: own}
    assert mechanism.pairs(ran, LAPTOP_220) == {2: two, 4: own}
    three = ("unet_depth_3", "aspp_unet_depth_3")
    assert mechanism.pairs([*ran, *three], LAPTOP) == {2: two, 3: three}
    assert mechanism.pairs(["unet", "aspp_unet_depth_3"], LAPTOP) == {}


def test_the_lead_by_hand():
    """All networks find the same patients easy, so that the lead is the same in each."""
    scores = scored(**AT_TWO_STAGES, unet_depth_1=0.3, aspp_unet_depth_1=0.7, unet_depth_4=0.9)
    table = mechanism.depth_table(scores, LAPTOP).set_index("stages")
    assert table.index.tolist() == [1, 2]
    assert table["rows_seen"].tolist() == [10, 28]
    assert table["ratio"].tolist() == pytest.approx([10 / 110, 28 / 110])
    assert table[["unet", "aspp_unet", "lead"]].to_numpy() == pytest.approx(
        np.array([[30, 70, 40], [60, 80, 20]])
    )
    assert table.loc[2, ["lead_low", "lead_high"]].tolist() == pytest.approx([20, 20])
    assert table.loc[2, "unet_low"] < 60 < table.loc[2, "unet_high"]
    assert table[["seeds", "cases"]].to_numpy().tolist() == [[3, PATIENTS]] * 2


def test_a_lead_uses_the_seeds_that_both_networks_have():
    scores = pd.concat([scored(unet_depth_2=0.6), scored(seeds=1, aspp_unet_depth_2=0.8)])
    table = mechanism.depth_table(scores, LAPTOP)
    assert table["seeds"].tolist() == [1]


def test_the_larger_images_have_four_stages_of_their_own():
    (row,) = mechanism.depth_table(scored(unet=0.8, aspp_unet=0.9), LAPTOP_220).to_dict("records")
    assert (row["image_rows"], row["stages"], row["rows_seen"]) == (220, 4, 140)
    assert row["lead"] == pytest.approx(10)


def test_tables_without_networks_can_be_put_below_others():
    empty = mechanism.depth_table(scored(unet=0.8), LAPTOP_220)
    full = mechanism.depth_table(scored(**AT_TWO_STAGES), LAPTOP)
    assert empty.empty
    assert pd.concat([empty, full]).dtypes.equals(full.dtypes)
    assert control_networks.control_table(scored(control_wide=0.6)).empty
    assert by_class.class_table(scored(unet=0.8), LAPTOP_220).empty
    assert mechanism.deeper_table(scored(**AT_TWO_STAGES), LAPTOP).empty


@pytest.mark.parametrize(
    ("model", "rows"),
    [
        ("unet_depth_2", 28),
        ("aspp_unet_depth_1", 10 + 2 * 18),
        ("aspp_unet_depth_2", 28 + 2 * 18 * 3),
        ("control_near", 28 + 2 * 3 * 3),
        ("control_pooling", 28),
        ("control_wide", 28),
        ("control_rows", 28),
    ],
)
def test_rows_of_convolutions_are_those_that_gradients_reach(model, rows):
    assert control_networks.rows_of_convolutions(model) == rows
    network = build_model(model, width=8, pooling=False)
    sizes = range(200, 208, 2)  # the middle row is at another place of the poolings in each
    reached = max(field_extent(receptive_field(network, (size, 4)))[0] for size in sizes)
    assert reached == rows


@pytest.mark.parametrize(
    ("lead", "words"),
    [
        (0.02, "In the larger images the lead is smaller by 3.0 ("),
        (0.05, " points, which may be chance."),
        (0.08, "In the larger images the lead is larger by 3.0 ("),
    ],
)
def test_sizes_are_compared_at_the_same_ratio(lead, words):
    small = scored(**AT_TWO_STAGES, unet_depth_3=0.8, aspp_unet_depth_3=0.85)
    large = scored(unet=0.8, aspp_unet=0.8 + lead)
    large["value"] += np.random.default_rng(0).normal(0, 0.002, len(large))
    sizes = mechanism.same_ratio([(large, LAPTOP_220), (small, LAPTOP)])
    (row,) = sizes.to_dict("records")
    assert (row["image_rows_small"], row["image_rows_large"]) == (110, 220)
    assert (row["stages_small"], row["stages_large"]) == (3, 4)
    assert row["difference"] == pytest.approx(100 * lead - 5, abs=0.2)
    assert words in findings.on_sizes(sizes)
    others = large.assign(case=large["case"] + " of another set")
    alone = mechanism.same_ratio([(small, LAPTOP), (others, LAPTOP_220)])
    assert alone["difference"].isna().all()
    assert findings.on_sizes(alone).endswith("too few patients in common to compare the leads.")
    assert findings.on_sizes(mechanism.same_ratio([(small, LAPTOP)])) == ""
    assert mechanism.same_ratio([]).empty


def test_steps_of_the_lead_are_compared_on_the_same_patients():
    scores = scored(**AT_TWO_STAGES, unet_depth_1=0.3, aspp_unet_depth_1=0.7)
    first, second = mechanism.depth_table(scores, LAPTOP).to_dict("records")
    assert np.isnan(first["step"])
    assert [second[f"step{end}"] for end in estimates.ENDS] == pytest.approx([-20] * 3)


def test_the_share_of_the_lead_by_hand():
    plain = np.full((3, PATIENTS), 0.6) + EASE
    shares = control_networks.share_of_lead(plain + 0.15, plain, plain + 0.2)
    assert shares == pytest.approx((0.75, 0.75, 0.75), abs=1e-3)
    assert np.isnan(control_networks.share_of_lead(plain, plain, plain)).all()


def test_the_interval_of_a_share_of_almost_no_lead_is_unbounded():
    patients = np.linspace(-1, 1, PATIENTS)
    plain = np.tile(0.5 + 0.1 * patients, (3, 1))
    share, low, high = control_networks.share_of_lead(
        plain + 0.3 + 0.2 * patients, plain, plain + 1e-4
    )
    assert share > 1000
    assert (low, high) == (-np.inf, np.inf)


def test_the_interval_of_a_share_agrees_with_those_of_gain_and_gap():
    """It contains 0 if the gain's contains zero, and 1 if the gap's does."""
    generator = np.random.default_rng(0)
    kinds = set()
    for share in np.linspace(-0.1, 1.1, 13):
        noise = generator.normal(0, 0.02, (3, 3, PATIENTS))
        control, plain, proposed = (0.6 + 0.1 * np.array([share, 0, 1]))[:, None, None] + noise
        found, low, high = control_networks.share_of_lead(control, plain, proposed)
        assert low < found < high
        for end, other in ((0, plain), (1, proposed)):
            below, above = interval_of_difference(control, other)
            assert (low <= end <= high) == (below <= 0 <= above)
            kinds.add((end, bool(below <= 0 <= above)))
    assert len(kinds) == 4


def controls_of(**means: float) -> pd.DataFrame:
    return control_networks.control_table(scored(**AT_TWO_STAGES, **means))


def test_controls_by_hand():
    table = controls_of(control_wide=0.6, control_no_pooling=0.8, control_rows=0.75)
    assert table["model"].tolist() == [
        *("unet_depth_2", "control_no_pooling", "control_wide", "control_rows"),
        "aspp_unet_depth_2",
    ]
    nan = np.nan
    expected = [[60, nan, 20, nan], [80, 20, 0, 100], [60, 0, 20, 0], [75, 15, 5, 75]]
    expected += [[80, 20, nan, nan]]
    np.testing.assert_allclose(table[["DSC", "gain", "gap", "share"]], expected, atol=0.1)
    assert table["rows_seen"].tolist() == [28, 136, 28, 28, 136]


@pytest.fixture
def classes() -> pd.DataFrame:
    parts = [
        scored(classes=(name,), unet_depth_2=plain, aspp_unet_depth_2=proposed)
        for name, plain, proposed in (("S", 0.9, 0.9), ("L5", 0.65, 0.9), ("L4", 0.5, 0.75))
    ]
    same = scored(classes=("S", "L5", "L4"), unet_depth_4=0.9, aspp_unet_depth_4=0.9)
    return by_class.class_table(pd.concat([*parts, same]), LAPTOP)


def test_classes_by_hand(classes):
    two = classes[classes["stages"] == 2]
    assert two["class"].tolist() == ["S", "L5", "L4"] * 2
    assert two["network"].tolist() == ["unet"] * 3 + ["aspp_unet"] * 3
    assert two["DSC"].tolist() == pytest.approx([90, 65, 50, 90, 90, 75])
    assert by_class.first_failing(classes).to_dict("index") == {
        2: {"unet": "L5", "aspp_unet": ""},
        4: {"unet": "", "aspp_unet": ""},
    }
    lower = classes.assign(DSC=classes["DSC"] - 10)
    assert by_class.first_failing(lower).loc[2].to_dict() == {
        "unet": "L5",
        "aspp_unet": "L4",
    }
    sentence = findings.on_classes(classes)
    assert "With two stages, the first class with a mean DSC below 70 % is L5 without" in sentence
    assert "none with it; the lowest means are 50.0 % (L4) and 75.0 % (L4)." in sentence
    assert sentence.endswith("With four stages, no class has a mean DSC below 70 %.")


def confused(model: str, **rows: dict[str, int]) -> pd.DataFrame:
    """confusion.csv of one run; what is not given is 0."""
    return pd.DataFrame(
        {
            **{"model": model, "seed": 0, "truth": truth, "predicted": predicted},
            "voxels": rows.get(truth, {}).get(predicted, 0),
        }
        for truth in CLASSES
        for predicted in CLASSES
    )


@pytest.fixture
def confusion() -> pd.DataFrame:
    plain = {
        "S": {"S": 9, "BG": 1},
        "L5": {"L5": 50, "S": 5, "L4": 15, "BG": 20, "L3": 10},
        "T11": {"T11": 100, "T12": 60, "BG": 40},
    }
    proposed = {"S": {"S": 10}, "L5": {"L5": 90, "BG": 10}, "T11": {"T11": 180, "BG": 20}}
    parts = confused("unet_depth_2", **plain), confused("aspp_unet_depth_2", **proposed)
    return pd.concat([*parts, confused("unet_depth_2", **plain).assign(seed=1)])


def test_missed_or_misnamed_by_hand(confusion):
    table = by_class.named_table(confusion).set_index(["model", "class"])
    assert table.loc["unet_depth_2"].index.tolist() == ["S", "L5", "T11"]
    parts = ["right", "missed", "below", "above", "other", "voxels"]
    assert table.loc[("unet_depth_2", "L5"), parts].tolist() == [50, 20, 5, 15, 10, 200]
    assert table.loc[("unet_depth_2", "T11"), parts].tolist() == [50, 20, 30, 0, 0, 400]
    assert table.loc[("unet_depth_2", "S"), parts].tolist() == [90, 10, 0, 0, 0, 20]
    sums = table[["right", "missed", "below", "above", "other"]].sum(axis=1)
    np.testing.assert_allclose(sums, 100)
    shares = by_class.shares(confusion, "unet_depth_2")
    assert shares.loc["L5", "L4"] == 15
    assert shares.loc["L1"].isna().all()


def test_vertebrae_are_pooled_without_the_sacrum(confusion):
    named = by_class.named_table(confusion)
    found = by_class.of_vertebrae(named, "unet_depth_2")
    assert found.to_dict() == pytest.approx({"right": 50, "missed": 20, "misnamed": 30})
    sentence = findings.on_names(named, "unet_depth_2", "aspp_unet_depth_2")
    assert "U-Net-2D, 2 stages: 50.0 % get their own name, 30.0 % another level's" in sentence
    assert "the share of wrong names by -30.0 points and that of missed voxels by -10.0" in sentence
    assert findings.on_names(named, "unet_depth_4", "aspp_unet_depth_4") == ""


def test_one_stage_more_against_aspp_by_hand():
    scores = scored(
        **AT_TWO_STAGES, unet_depth_1=0.3, aspp_unet_depth_1=0.7, unet_depth_4=1, unet_depth_3=1
    )
    (row,) = mechanism.deeper_table(scores, LAPTOP).to_dict("records")
    assert (row["stages"], row["aspp_unet"], row["deeper_unet"]) == pytest.approx((1, 70, 60))
    assert row["difference"] == pytest.approx(10)
    for model, column in (("aspp_unet_depth_1", "aspp_unet"), ("unet_depth_2", "deeper_unet")):
        built = build_model(model, width=LAPTOP.width)
        assert row[f"{column}_parameters"] == count_parameters(built)


def test_the_fields_of_trained_networks(monkeypatch, tmp_path):
    grid = SimpleNamespace(size=64, columns=(8, 40))
    record = SimpleNamespace(model="unet_depth_2", seed=0, grid=grid)
    network = build_model("unet_depth_2", width=8)
    monkeypatch.setattr(trained_fields, "load_network", lambda folder: (network, record))
    table = trained_fields.trained_fields([tmp_path])
    assert table["share"].tolist() == [0.5, 0.95, 1.0]
    assert table["rows"].is_monotonic_increasing
    assert table["rows"].iloc[-1] == 28
    assert table["image_rows"].eq(64).all()
    assert "the trained U-Net-2D, 2 stages, and within" in findings.on_fields(
        pd.concat([table, table.assign(model="aspp_unet_depth_2")]),
        "unet_depth_2",
        "aspp_unet_depth_2",
    )
    assert findings.on_fields(table, "unet_depth_2", "aspp_unet_depth_2") == ""


def leads(*rows: tuple[float, float, float, float]) -> pd.DataFrame:
    """Ratio, lead and its interval, of images of 110 rows."""
    columns = ["ratio", "lead", "lead_low", "lead_high"]
    table = pd.DataFrame(rows, columns=columns).astype(float).assign(image_rows=110)
    step = table.sort_values("ratio")["lead"].diff()
    return table.assign(step=step, step_low=step - 1, step_high=step + 1)


def test_the_words_on_the_lead_are_chosen_by_the_intervals():
    found = findings.on_lead(leads((2, -3, -4, -2), (0.1, 30, 28, 32), (1, 0.5, -1, 2)))
    assert found == (
        "ASPP raises the mean DSC if the plain network sees 10 % of 110 rows (+30.0 points, +28.0 "
        "to +32.0). If it sees 100 % of 110 rows (+0.5 points, -1.0 to +2.0), the difference "
        "cannot be told from chance. ASPP lowers the mean DSC if the plain network sees 200 % of "
        "110 rows (-3.0 points, -4.0 to -2.0). In images of 110 rows, the lead is smaller at "
        "each larger share."
    )
    two = findings.on_lead(leads((0.1, 3, 2, 4), (0.2, 5, 4, 6)))
    assert "(+3.0 points, +2.0 to +4.0) or 20 % of" in two
    assert "does not get smaller at every larger share" in two
    assert "chance" not in two
    assert "step" not in findings.on_lead(leads((0.1, 3, 2, 4)))
    assert findings.on_lead(leads()) == ""


def test_the_curve_at_the_papers_share():
    share, lead = mechanism.paper_lead()
    assert (round(share, 3), lead) == (round(140 / 880, 3), 6.66)
    curve = leads((share / 2, 30, 28, 32), (share * 2, 10, 8, 12))  # halfway on a logarithmic axis
    found = findings.on_paper_share(pd.concat([curve, curve.assign(image_rows=220, lead=0)]))
    assert "16 %, the curve of images of 110 rows would give a lead of about +20 points" in found
    assert "The paper's lead is +6.66." in found
    assert findings.on_paper_share(leads((0.5, 3, 2, 4), (1, 0, -1, 1))) == ""
    assert findings.on_paper_share(leads()) == ""


def test_the_words_on_the_fall_of_the_lead_are_of_each_size_of_image():
    falls = leads((2, -3, -4, -2), (0.1, 30, 28, 32), (1, 0.5, -1, 2))
    alone = leads((0.6, 3, 2, 4)).assign(image_rows=220)
    found = findings.on_fall(pd.concat([falls, alone]))
    assert found == (
        "In images of 110 rows, ASPP's lead is +30.0 (+28.0 to +32.0) points if U-Net-2D "
        "sees 10 % of them, and -3.0 (-4.0 to -2.0) points if U-Net-2D sees 200 % of them. "
        "The lead is smaller at each larger share. In images of 220 rows, ASPP's "
        "lead is +3.0 (+2.0 to +4.0) points if U-Net-2D sees 60 % of them."
    )
    small_steps = leads((0.1, 3, 2, 4), (0.2, 0, -1, 1), (0.3, -0.5, -1, 0))
    assert findings.on_fall(small_steps).endswith(
        "From each share to the next larger one, the mean lead is smaller; one of these two "
        "differences is clear."
    )
    one_step = leads((0.1, 3, 2, 4), (0.2, 2.5, 2, 3))
    assert findings.on_fall(one_step).endswith("at the larger share, which may be chance.")
    rises = leads((0.1, 3, 2, 4), (0.2, 5, 4, 6), (0.3, 1, 0, 2))
    assert "does not get smaller at every larger share" in findings.on_fall(rises)
    assert findings.on_fall(leads()) == ""


WHOLE = (
    "So ASPP without image pooling (atrous branches and a 1x1 branch) gains as much as all of ASPP."
)


@pytest.mark.parametrize(
    ("no_pooling", "wide", "words"),
    [
        (0.8, 0.6, f"{WHOLE} Five full-width 1x1 branches"),
        (0.82, 0.6, WHOLE),
        (0.65, 0.7, "So ASPP helps at least in part by its parameters."),
        (0.8, 0.7, "So these networks do not single out one cause."),
    ],
)
def test_the_words_on_the_controls_are_chosen_by_the_intervals(no_pooling, wide, words):
    noise = np.random.default_rng(0).normal(0, 0.002, 10**5)
    scores = scored(**AT_TWO_STAGES, control_no_pooling=no_pooling, control_wide=wide)
    scores["value"] += noise[: len(scores)]
    found = findings.on_controls(control_networks.control_table(scores))
    assert found.startswith("With two stages ASPP's lead is +20.0 (")
    assert words in found
    controls = control_networks.control_table(scores)
    cause, limits = findings.on_cause(controls), findings.on_limits_of_controls(controls)
    assert found.endswith(f"So {cause} {limits}")
    assert limits.endswith("more parameters than U-Net-2D, but fewer than ASPP-UNet.")
    assert ("more than the lead" in found) == (no_pooling > 0.81)
    parts = findings.on_parts_of_lead(controls)
    assert ("ASPP without image pooling (25 %)" in parts) == (no_pooling == 0.65)
    assert ("five full-width 1x1 branches (50 %)" in parts) == (wide == 0.7)


def test_a_control_that_is_behind_is_not_called_level():
    controls = control_networks.control_table(scored(**AT_TWO_STAGES, control_wide=0.5))
    assert "less than none: it is behind U-Net-2D (" in findings.on_controls(controls)


def test_the_words_on_the_stages_and_the_best_control_are_chosen_by_the_numbers():
    depths = leads((0.1, 30, 28, 32), (1, 0.5, -1, 2), (2, -3, -4, -2)).assign(stages=[1, 4, 5])
    assert findings.on_stages(depths) == (
        "In images of 110 rows, ASPP-UNet is ahead with one stage; the difference cannot be told "
        "from chance with four stages; ASPP-UNet is behind with five stages."
    )
    both = pd.concat([depths[:1], depths[:1].assign(stages=2)])
    assert findings.on_stages(both).endswith("ASPP-UNet is ahead with one or two stages.")
    assert findings.on_stages(depths[:0]) == ""
    unknown = depths.assign(lead_low=np.nan, lead_high=np.nan)  # of one patient
    assert findings.on_stages(unknown) == ""
    scores = scored(**AT_TWO_STAGES, control_wide=0.7, control_rows=0.75)
    found = findings.on_best_control(control_networks.control_table(scores))
    assert found.startswith("Of the controls, U-Net-2D with the row as input gains most: +15.0 (")
    assert findings.on_best_control(controls_of()[:0]) == ""
    assert findings.on_best_control(control_networks.control_table(scored(**AT_TWO_STAGES))) == ""


def test_without_a_lead_nothing_is_said_about_its_causes():
    equal = scored(unet_depth_2=0.8, aspp_unet_depth_2=0.8, control_wide=0.8)
    found = findings.on_controls(control_networks.control_table(equal))
    assert "an unknown part of the lead" in found
    assert "So" not in found
    assert findings.on_cause(control_networks.control_table(equal)) == ""
    assert findings.on_controls(controls_of()[:0]) == ""


def test_what_speaks_against_the_finding():
    scores = scored(**AT_TWO_STAGES, unet_depth_1=0.3, aspp_unet_depth_1=0.7, control_rows=0.75)
    deeper = mechanism.deeper_table(scores, LAPTOP)
    controls = control_networks.control_table(scores)
    patients, depth, row = findings.against(scores, deeper, controls)
    assert patients == (
        "The 12 test patients are simulated ones of one fold. The sacrum, from which one counts, "
        "is in the images of all of them."
    )
    assert "In 1 pair," in depth
    assert "which has 3.8 times as many parameters. ASPP-UNet is ahead in one" in depth
    assert "and behind in none; in none the" in depth
    assert "with one stage over U-Net-2D with two is +10.0 (+10.0 to +10.0) points" in depth
    assert row.startswith("U-Net-2D with the row as input gains part of the lead (")
    level = deeper.assign(difference_low=-1.0)
    said = findings.against(scores, level, controls)[1]
    assert "ASPP-UNet is ahead in none and behind in none; in one the difference may" in said
    ahead = deeper.assign(difference_low=-2.0, difference_high=-1.0)
    said = findings.against(scores, ahead, controls)[1]
    assert "ASPP-UNet is ahead in none and behind in one; in none the difference may" in said
    others = pd.concat([scores, scores.assign(device="gpu")])
    assert "device: cpu and gpu." in findings.against(others, deeper, controls)[1]
    useless = control_networks.control_table(scored(**AT_TWO_STAGES, control_rows=0.6))
    assert len(findings.against(scores, deeper[:0], useless)) == 1


def test_repaired_levels_are_compared_with_the_same_seeds():
    scores = scored(**AT_TWO_STAGES, unet_depth_4=0.8, aspp_unet_depth_4=0.8)
    scores.loc[(scores["seed"] > 0) & (scores["model"] == "unet_depth_2"), "value"] = 0
    repaired = scored(1, unet_depth_2=0.7, aspp_unet_depth_2=0.8, unet_depth_4=0.8)
    table = mechanism.repair_table(scores, repaired, LAPTOP)
    (row,) = table.to_dict("records")  # ASPP-UNet with four stages was not scored again
    found = {name: row[name] for name in ("stages", "seeds", "unet", "lead", "lead_repaired")}
    assert found == pytest.approx(
        {"stages": 2, "seeds": 1, "unet": 60, "lead": 20, "lead_repaired": 10}
    )
    assert findings.on_repair(table).endswith(
        "ASPP's lead is then +10.0 (+10.0 to +10.0) points instead of +20.0 (+20.0 to +20.0) if "
        "the plain network sees 25 % of the image (one seed)."
    )
    assert findings.on_repair(table.assign(lead_low=-1.0)) == ""
    worse = table.assign(lead_high_repaired=-1, lead_high=-1)
    assert "ASPP-UNet is behind with and without the rule with this seed." in findings.on_repair(
        worse
    )
    behind = findings.on_repair(table.assign(lead_high_repaired=-1.0))
    assert behind.endswith("If it sees 25 % of the image, ASPP-UNet is then behind with this seed.")


def searched(*rows: tuple[str, float, int, bool, float]) -> pd.DataFrame:
    columns = ["model", "learning_rate", "epochs", "chosen", "DSC"]
    return pd.DataFrame(rows, columns=columns)


def test_parts_of_the_lead_are_compared_with_those_of_twice_the_epochs():
    search = searched(
        ("unet_depth_2", 0.01, 60, True, 60.0),
        ("unet_depth_2", 0.01, 120, False, 70.0),
        ("control_wide", 0.01, 60, True, 65.0),
        ("control_wide", 0.003, 120, False, 1.0),
        ("control_wide", 0.01, 120, False, 70.0),
        ("control_near", 0.01, 60, True, 75.0),  # not tried with 120
        ("aspp_unet_depth_2", 0.01, 60, True, 80.0),
        ("aspp_unet_depth_2", 0.01, 120, False, 80.0),
    )
    longer = control_networks.longer_controls(search, 60)
    assert longer["model"].tolist() == ["unet_depth_2", "control_wide", "aspp_unet_depth_2"]
    assert longer[["share", "share_twice"]].to_numpy().tolist() == [[0, 0], [25, 0], [100, 100]]
    found = findings.on_longer_controls(longer, 60)
    assert found.startswith(
        "On validation patients (one seed), 120 epochs instead of 60 change the networks of two "
        "stages by these points: U-Net-2D +10.0; five full-width 1x1 branches +5.0 "
        "(0 % of ASPP's lead instead of 25 %); ASPP-UNet +0.0. Not trained out after 60 epochs: "
        "two of these three networks. "
    )
    unknown = control_networks.longer_controls(search[2:], 60)
    assert unknown.empty
    assert "were not tried" in findings.on_longer_controls(unknown, 60)


def test_twice_the_epochs_are_compared_at_the_rate_that_was_chosen():
    search = searched(
        ("unet", 0.01, 60, False, 1.0),
        ("unet", 0.003, 60, False, 80.0),
        ("unet", 0.003, 120, True, 81.0),
        ("aspp_unet", 0.01, 60, False, 82.0),
        ("aspp_unet", 0.01, 120, True, 84.5),
        ("unet_depth_2", 0.01, 30, False, 65.0),
        ("unet_depth_2", 0.01, 60, True, 70.0),
        ("unet_depth_2", 0.01, 120, False, 75.0),
        ("aspp_unet_depth_2", 0.01, 60, True, 90.0),
    )
    longer = mechanism.longer_table(search, LAPTOP)
    assert longer.to_numpy().tolist() == [[3, 80.0, 82.0, 81.0, 84.5]]
    assert findings.on_longer(longer, 60) == (
        "The networks were trained for 60 epochs, whatever their depth. On validation patients "
        "(one seed), 120 epochs change U-Net-2D by +1.0 and ASPP-UNet by +2.5 points with three "
        "stages, so the lead there is +3.5 instead of +2.0. Other numbers of stages were "
        "not tried with both networks. A network is trained out if twice the epochs change it by "
        "less than 1 point. After 60 epochs, none of these is. So these leads are not judged. "
        "They are those of networks after 60 epochs."
    )
    one = longer.assign(unet_twice=80.9)
    assert "After 60 epochs, these are not: ASPP-UNet with three stages. So" in findings.on_longer(
        one, 60
    )
    last = searched(("aspp_unet_depth_2", 0.01, 120, False, 91.0))
    both = mechanism.longer_table(pd.concat([search, last]), LAPTOP)
    assert both["stages"].tolist() == [2, 3]
    assert "with two stages, so the lead there is +16.0 instead of +20.0; U-" in findings.on_longer(
        both, 60
    )
    same = longer.assign(unet_twice=80.9, aspp_unet_twice=82.9)
    assert findings.on_longer(same, 60).endswith(
        "points with three stages, so the lead there stays +2.0. Other numbers of stages were not "
        "tried with both networks."
    )
    assert findings.on_longer(longer[:0], 60).endswith("change the lead was not tried.")


def test_the_control_without_reach_has_fewer_parameters_than_aspp():
    plain, wide, aspp = (
        parameters(name) for name in ("unet_depth_2", "control_wide", "aspp_unet_depth_2")
    )
    assert plain < wide < aspp


def test_figures_show_their_tables(classes, confusion):
    scores = scored(**AT_TWO_STAGES, unet_depth_1=0.3, aspp_unet_depth_1=0.7, control_rows=0.75)
    depths = mechanism.depth_table(scores, LAPTOP)
    both = pd.concat([depths, depths.assign(image_rows=220)])
    dsc, lead = figures.lead_over_ratio(both, (0.16, 6.66)).axes
    assert [text.get_text() for text in dsc.get_legend().get_texts()] == [
        *("U-Net-2D, 110 rows", "ASPP-UNet, 110 rows", "U-Net-2D, 220 rows"),
        "ASPP-UNet, 220 rows",
    ]
    drawn = lead.containers[0].lines[0]
    assert list(drawn.get_xdata()) == pytest.approx([10 / 110, 28 / 110])
    assert list(drawn.get_ydata()) == pytest.approx([40, 20])

    (axes,) = figures.controls(control_networks.control_table(scores)).axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["U-Net-2D with the row as input", "ASPP-UNet, 2 stages"]
    np.testing.assert_allclose([bar.get_width() for bar in axes.patches[1:]], [15, 20])

    plain, proposed, _ = figures.classes_by_depth(classes).axes
    assert [axes.get_title() for axes in (plain, proposed)] == ["U-Net-2D", "ASPP-UNet"]
    np.testing.assert_allclose(plain.images[0].get_array()[0], [90, 65, 50])

    shares = {"one": by_class.shares(confusion, "unet_depth_2")}
    drawn = figures.confusions(shares).axes[0]
    assert [label.get_text() for label in drawn.get_xticklabels()] == ["S", "L5", "T11", "none"]
    assert drawn.images[0].get_array()[1].tolist() == [5, 50, 0, 20]
    assert "0" not in [text.get_text() for text in drawn.texts]

    fields = pd.DataFrame(
        {"model": "unet_depth_2", "image_rows": 110, "share": [0.5, 0.95, 1], "rows": [9, 23, 28]}
    )
    bars = figures.trained_fields(fields).axes[0].patches
    assert sorted(bar.get_width() for bar in bars) == [9, 23, 28]


def test_figures_need_no_torch():
    code = "import sys, spineseg.figures.mechanism; raise SystemExit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
