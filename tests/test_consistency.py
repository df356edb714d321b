"""The checks of the paper against values worked out by hand, and against consistent tables."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from spineseg.evaluation.metrics import iou_of
from spineseg.labels import ALL_CLASSES, FOREGROUND
from spineseg.models import build_model
from spineseg.models.counting import count_parameters, gflops
from spineseg.paper import consistency, findings, printed

TITLES = printed.table4()["model"].tolist()
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def work() -> pd.DataFrame:
    return consistency.times(printed.table4()).set_index("network")


def consistent_table3(seed: int, cases: int = 6) -> pd.DataFrame:
    """Table 3 of random mask pairs, averaged over the same cases and rounded as in the print."""
    random = np.random.default_rng(seed)
    overlap, only_one = (random.integers(1, 99, (len(TITLES), 8, cases)) for _ in "ab")
    scores = {
        "DSC": 200 * overlap / (2 * overlap + only_one),
        "IoU": 100 * overlap / (overlap + only_one),
    }
    rows = []
    for metric, values in scores.items():
        for model, means, sds in zip(TITLES, values.mean(2), values.std(2), strict=True):
            for name, mean, sd in zip(FOREGROUND, means, sds, strict=True):
                rows.append((model, metric, name, round(mean, 1), round(sd, 1)))
            rows.append((model, metric, ALL_CLASSES, round(means.mean(), 2), round(sds.mean(), 2)))
    return pd.DataFrame(rows, columns=["model", "metric", "class", "mean", "sd"])


def true_statements(table3: pd.DataFrame) -> pd.DataFrame:
    """The paper's statements, corrected to agree with `table3`."""
    means = table3[table3["class"] == ALL_CLASSES].set_index(["metric", "model"])["mean"]
    first = consistency.leaders(table3, printed.stated()).query("leads")
    rows = [("rank", row["metric"], row["class"], 1, "3") for _, row in first.iterrows()]
    for (metric, model), mean in means.items():
        proposed = means[metric, consistency.PROPOSED_TITLE]
        if model == consistency.PROPOSED_TITLE:
            rows.append(("headline", metric, model, round(mean / 100, 3), "abstract"))
        else:
            rows.append(("lead", metric, model, round(proposed - mean, 2), "3"))
    other = printed.stated()
    other = other[~other["claim"].isin(["lead", "rank", "headline"])]
    return pd.concat([other, pd.DataFrame(rows, columns=list(other))], ignore_index=True)


def test_42_test_cases_do_not_follow_from_the_split():
    rows = consistency.split(printed.table1(), printed.stated())
    assert rows["computed"].tolist() == [172, 138, 34, 34]
    assert rows["holds"].tolist() == [True, True, True, False]


def test_one_printed_mean_differs_from_its_classes():
    rows = consistency.means(printed.table3()).set_index(["model", "metric", "statistic"])
    assert len(rows) == 24
    assert rows.index[~rows["holds"]].tolist() == [("nnU-Net-2D", "IoU", "mean")]
    wrong = rows.loc[("nnU-Net-2D", "IoU", "mean")]
    assert (wrong["printed"], wrong["computed"].round(2)) == (74.83, 74.91)
    assert set(rows.index[~rows["to_the_digit"]]) == {
        ("nnU-Net-2D", "IoU", "mean"),
        ("SegNet", "DSC", "sd"),
    }


def test_leads_are_differences_of_the_printed_means():
    rows = consistency.leads(printed.table3(), printed.stated())
    assert rows["stated"].tolist() == [6.66, 6.62, 3.64, 1.79, 1.26, 8.15, 8.23, 3.65, 0.56, 0.66]
    assert np.allclose(rows["stated"], rows["from_means"])
    assert rows["holds"].tolist() == [True] * 9 + [False]
    assert round(rows["from_classes"].iloc[-1], 2) == 0.58


def test_aspp_unet_does_not_lead_on_the_sacrum_in_iou():
    rows = consistency.leaders(printed.table3(), printed.stated())
    wrong = rows[~rows["holds"]].iloc[0]
    assert (~rows["holds"]).sum() == 1
    assert (wrong["metric"], wrong["class"], wrong["best_other_model"]) == ("IoU", "S", "DeepLabV3")
    assert (wrong["aspp_unet"], wrong["best_other"]) == (79.1, 79.2)


def test_a_printed_tie_is_not_an_error():
    table = printed.table3()
    tied = (
        (table["model"] == consistency.PROPOSED_TITLE)
        & (table["metric"] == "IoU")
        & (table["class"] == "S")
    )
    table.loc[tied, "mean"] = 79.2
    assert consistency.leaders(table, printed.stated())["holds"].all()


def test_convexity_of_the_printed_table():
    rows = consistency.convexity(printed.table3())
    cells = rows[rows["class"] != ALL_CLASSES]
    headline = rows[
        (rows["class"] == ALL_CLASSES) & (rows["model"] == consistency.PROPOSED_TITLE)
    ].iloc[0]
    assert ((~cells["holds"]).sum(), len(cells)) == (21, 48)
    assert (headline["IoU"], round(headline["least"], 1), headline["holds"]) == (75.49, 76.4, False)
    assert (~rows["holds"]).sum() == 22


@pytest.mark.parametrize(("dsc", "iou"), [(0, 0), (50, 100 / 3), (80, 200 / 3), (100, 100)])
def test_iou_of_by_hand(dsc, iou):
    assert iou_of(dsc) == pytest.approx(iou)


masks = arrays.arrays(bool, st.tuples(st.integers(1, 8), st.just(2), st.just(12)))


@given(masks)
def test_bounds_hold_for_masks_averaged_over_the_same_cases(masks):
    truth, predicted = masks[:, 0], masks[:, 1]
    both, either = (truth & predicted).sum(1), (truth | predicted).sum(1)
    assume(either.all())
    dsc, iou = 200 * both / (both + either), 100 * both / either
    mean, sd = dsc.mean(), dsc.std()
    assert np.allclose(iou_of(dsc), iou)
    assert iou_of(mean) <= iou.mean() + 1e-9
    assume(mean < 100)
    assert iou.mean() <= consistency.highest_mean_iou(mean, sd) + 1e-9


def test_upper_bound_is_reached():
    """The extreme case for mean 80 and SD 20: a DSC of 60 in half of the cases, 100 in the rest."""
    assert consistency.highest_mean_iou(80, 20) == pytest.approx((iou_of(60) + 100) / 2)


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_consistent_tables_pass(seed):
    table3 = consistent_table3(seed)
    stated = true_statements(table3)
    for rows in (
        consistency.means(table3),
        consistency.headline(table3, stated),
        consistency.leads(table3, stated),
        consistency.leaders(table3, stated),
        consistency.convexity(table3),
        consistency.spread(table3),
    ):
        assert rows["holds"].all()


def test_pooling_one_metric_breaks_the_bound():
    """A large and a small case: the DSC is averaged over cases, the IoU over pooled pixels."""
    both, either = np.array([60, 9]), np.array([100, 10])
    dsc = (200 * both / (both + either)).mean()
    assert iou_of(dsc) > 100 * both.sum() / either.sum()


def test_ablation():
    rows = consistency.ablation(printed.table2()).set_index("row")
    assert rows.index[~rows["holds"]].tolist() == [6]
    assert rows.loc[6, ["DSC_step", "IoU_step"]].round(2).tolist() == [-0.96, 2.00]
    assert consistency.trends(printed.table2())["holds"].all()


def test_a_consistent_ablation_passes():
    table = printed.table2()
    table["mean"] = np.repeat(np.arange(7) + 80.0, 2)
    assert consistency.ablation(table)["holds"].all()
    assert consistency.trends(table)["holds"].all()


def test_parameters_by_hand():
    assert consistency.classic_unet_parameters() == 31_031_113
    # Counted on the network that the package dynamic_network_architectures builds.
    assert consistency.nnunet_2d_parameters() == 46_338_719
    # Torchvision's DeepLabV3 with auxiliary head has three input channels and 21 classes.
    with torch.device("meta"):
        deeplab = count_parameters(build_model("deeplabv3", num_classes=21, in_channels=3))
    assert deeplab + consistency.auxiliary_head_parameters(classes=21) == 60_996_202


def test_parameters_of_the_printed_table():
    rows = consistency.parameters(printed.table4()).set_index("network")["counted"].round(2)
    assert rows["ASPP-UNet, branches of half width"] == 21.76
    assert rows["U-Net-2D"] == 15.83
    assert rows["SegNet"] == 15.21


def test_parameters_of_the_named_networks_pass():
    table4 = printed.table4()
    networks = consistency.parameters(table4).query("not guess").drop_duplicates("row", keep="last")
    table4["parameters_millions"] = table4["model"].map(networks.set_index("row")["counted"])
    rows = consistency.parameters(table4).query("not guess")
    assert rows.groupby("row")["holds"].any().all()


def test_a_multiply_add_counts_as_two_operations(work):
    unet, half = "U-Net-2D", "ASPP-UNet, branches of half width"
    assert work.loc[[unet, half], "gflop"].round().tolist() == [551, 772]
    tenth = 2 * 64 * 880 * 464 / 1e9  # for one more class in the last 1x1 convolution
    assert gflops("unet", num_classes=10) - gflops("unet") == pytest.approx(tenth)


def test_only_times_that_no_k80_reaches_fail(work):
    assert [round(peak, 1) for peak in consistency.K80_TFLOPS.values()] == [2.8, 4.4]
    failed = [consistency.MODULES_ALONE.format(width) for width in ("half", "full")]
    assert work.index[~work["fast"]].tolist() == failed
    assert round(work.loc[failed[0], "tflops"], 1) == 24.5


def test_times_that_a_k80_reaches_pass(work):
    gflop = {"ASPP-UNet": work["gflop"]["ASPP-UNet, branches of full width"]} | {
        name: work["gflop"][f"{name}, output stride 8" if name == "DeepLabV3" else name]
        for name in ("U-Net-2D", "SegNet", "DeepLabV3", "U-Net-3D")
    }
    table4 = printed.table4()
    table4["seconds"] = (table4["model"].map(gflop) / 2500).round(3)
    assert consistency.times(table4)[["direct", "fast"]].all().all()


def test_costs():
    more = consistency.costs(printed.table4()).set_index("model").loc["ASPP-UNet"]
    assert more.round(1).tolist() == [46.3, 4.9]


def test_samples_of_the_loss_curves():
    rows = consistency.sampling(printed.stated())
    assert rows["holds"].tolist() == [False, True]
    assert rows["aspp_unet_points"].tolist() == [3, 50]
    assert rows["nnunet_points"].tolist() == [50, 50]


def test_summary():
    tables = [
        printed.table1(),
        printed.table2(),
        printed.table3(),
        printed.table4(),
        printed.stated(),
    ]
    holds = consistency.summary(*tables)["holds"]
    assert holds.value_counts().to_dict() == {"no": 10, "yes": 6, "open": 1}


def test_the_words_on_the_audit_count_what_agrees():
    summary = pd.DataFrame(
        [
            ("volumes", "172 volumes", "3 of 3", "yes"),
            ("means", "each mean", "23 of 24", "no"),
            ("curves", "epochs 15 and 35", "1 of 2", "open"),
        ],
        columns=["check", "claim", "computed", "holds"],
    )
    assert findings.on_audit(summary) == (
        "Of 3 checks of the printed numbers, 1 holds, 1 does not hold and 1 depends on how the "
        "text is read."
    )
    assert findings.on_audit(summary[:1]) == "Of 1 checks of the printed numbers, 1 holds."
