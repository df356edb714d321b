"""The audit against values worked by hand, and against made-up tables that are sound."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from spineseg.benchmark.cost import gflops
from spineseg.evaluation.metrics import iou_of
from spineseg.labels import FOREGROUND
from spineseg.models import build_model, count_parameters
from spineseg.paper.printed import consistency as audit
from spineseg.paper.printed import printed as paper

MODELS = paper.table4()["model"].tolist()
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def work() -> pd.DataFrame:
    return audit.times(paper.table4()).set_index("network")


def sound_table3(seed: int, cases: int = 6) -> pd.DataFrame:
    """Table 3 of random mask pairs, averaged over the same cases, printed with as many digits."""
    random = np.random.default_rng(seed)
    overlap, only_one = (random.integers(1, 99, (len(MODELS), 8, cases)) for _ in "ab")
    scores = {
        "DSC": 200 * overlap / (2 * overlap + only_one),
        "IoU": 100 * overlap / (overlap + only_one),
    }
    rows = []
    for metric, values in scores.items():
        for model, means, sds in zip(MODELS, values.mean(2), values.std(2), strict=True):
            for name, mean, sd in zip(FOREGROUND, means, sds, strict=True):
                rows.append((model, metric, name, round(mean, 1), round(sd, 1)))
            rows.append((model, metric, "mean", round(means.mean(), 2), round(sds.mean(), 2)))
    return pd.DataFrame(rows, columns=["model", "metric", "class", "mean", "sd"])


def true_claims(table3: pd.DataFrame) -> pd.DataFrame:
    """The paper's claims with what can be read off `table3` replaced by that."""
    printed = table3[table3["class"] == "mean"].set_index(["metric", "model"])["mean"]
    first = audit.leaders(table3, paper.claims()).query("leads")
    rows = [("rank", row["metric"], row["class"], 1, "3") for _, row in first.iterrows()]
    for (metric, model), mean in printed.items():
        ours = printed[metric, audit.OURS]
        if model == audit.OURS:
            rows.append(("headline", metric, model, round(mean / 100, 3), "abstract"))
        else:
            rows.append(("lead", metric, model, round(ours - mean, 2), "3"))
    other = paper.claims()
    other = other[~other["claim"].isin(["lead", "rank", "headline"])]
    return pd.concat([other, pd.DataFrame(rows, columns=list(other))], ignore_index=True)


def test_the_42_cases_are_what_the_split_does_not_give():
    rows = audit.split(paper.table1(), paper.claims())
    assert rows["computed"].tolist() == [172, 138, 34, 34]
    assert rows["holds"].tolist() == [True, True, True, False]


def test_one_mean_is_not_that_of_its_classes():
    rows = audit.means(paper.table3()).set_index(["model", "metric", "statistic"])
    assert len(rows) == 24
    assert rows.index[~rows["holds"]].tolist() == [("nnU-Net-2D", "IoU", "mean")]
    wrong = rows.loc[("nnU-Net-2D", "IoU", "mean")]
    assert (wrong["printed"], wrong["computed"].round(2)) == (74.83, 74.91)
    assert set(rows.index[~rows["to_the_digit"]]) == {
        ("nnU-Net-2D", "IoU", "mean"),
        ("SegNet", "DSC", "sd"),
    }


def test_leads_are_differences_of_the_printed_means():
    rows = audit.leads(paper.table3(), paper.claims())
    assert rows["said"].tolist() == [6.66, 6.62, 3.64, 1.79, 1.26, 8.15, 8.23, 3.65, 0.56, 0.66]
    assert np.allclose(rows["said"], rows["from_means"])
    assert rows["holds"].tolist() == [True] * 9 + [False]
    assert round(rows["from_classes"].iloc[-1], 2) == 0.58


def test_the_sacrum_is_not_led_in_iou():
    rows = audit.leaders(paper.table3(), paper.claims())
    wrong = rows[~rows["holds"]].iloc[0]
    assert (~rows["holds"]).sum() == 1
    assert (wrong["metric"], wrong["class"], wrong["whose"]) == ("IoU", "S", "DeepLabV3")
    assert (wrong["ours"], wrong["best_other"]) == (79.1, 79.2)


def test_a_tie_in_print_accuses_nobody():
    table = paper.table3()
    tied = (table["model"] == audit.OURS) & (table["metric"] == "IoU") & (table["class"] == "S")
    table.loc[tied, "mean"] = 79.2
    assert audit.leaders(table, paper.claims())["holds"].all()


def test_convexity_of_the_printed_table():
    rows = audit.convexity(paper.table3())
    cells = rows[rows["class"] != "mean"]
    headline = rows[(rows["class"] == "mean") & (rows["model"] == audit.OURS)].iloc[0]
    assert ((~cells["holds"]).sum(), len(cells)) == (21, 48)
    assert (headline["IoU"], round(headline["least"], 1), headline["holds"]) == (75.49, 76.4, False)
    assert (~rows["holds"]).sum() == 22


@pytest.mark.parametrize(("dsc", "iou"), [(0, 0), (50, 100 / 3), (80, 200 / 3), (100, 100)])
def test_iou_of_by_hand(dsc, iou):
    assert iou_of(dsc) == pytest.approx(iou)


masks = arrays.arrays(bool, st.tuples(st.integers(1, 8), st.just(2), st.just(12)))


@given(masks)
def test_bounds_hold_for_any_masks_averaged_alike(masks):
    truth, predicted = masks[:, 0], masks[:, 1]
    both, either = (truth & predicted).sum(1), (truth | predicted).sum(1)
    assume(either.all())
    dsc, iou = 200 * both / (both + either), 100 * both / either
    mean, sd = dsc.mean(), dsc.std()
    assert np.allclose(iou_of(dsc), iou)
    assert iou_of(mean) <= iou.mean() + 1e-9
    assume(mean < 100)
    assert iou.mean() <= audit.highest_mean_iou(mean, sd) + 1e-9


def test_the_upper_bound_is_reached():
    """DSC of 60 and 100, half of the cases each, is the extreme case for mean 80 and SD 20."""
    assert audit.highest_mean_iou(80, 20) == pytest.approx((iou_of(60) + 100) / 2)


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_sound_tables_are_not_accused(seed):
    table3 = sound_table3(seed)
    claims = true_claims(table3)
    for rows in (
        audit.means(table3),
        audit.headline(table3, claims),
        audit.leads(table3, claims),
        audit.leaders(table3, claims),
        audit.convexity(table3),
        audit.spread(table3),
    ):
        assert rows["holds"].all()


def test_pooling_one_metric_breaks_the_bound():
    """Two cases, a large and a small one: DSC averaged over cases, IoU over pooled pixels."""
    both, either = np.array([60, 9]), np.array([100, 10])
    dsc = (200 * both / (both + either)).mean()
    assert iou_of(dsc) > 100 * both.sum() / either.sum()


def test_ablation():
    rows = audit.ablation(paper.table2()).set_index("row")
    assert rows.index[~rows["holds"]].tolist() == [6]
    assert rows.loc[6, ["DSC_step", "IoU_step"]].round(2).tolist() == [-0.96, 2.00]
    assert audit.trends(paper.table2())["holds"].all()


def test_a_sound_ablation_passes():
    table = paper.table2()
    table["mean"] = np.repeat(np.arange(7) + 80.0, 2)
    assert audit.ablation(table)["holds"].all()
    assert audit.trends(table)["holds"].all()


def test_parameters_by_hand():
    assert audit.classic_unet_parameters() == 31_031_113
    # What the package dynamic_network_architectures builds with these settings.
    assert audit.nnunet_2d_parameters() == 46_338_719
    # Torchvision's DeepLabV3 with auxiliary head: three channels in, 21 classes out.
    with torch.device("meta"):
        deeplab = count_parameters(build_model("deeplabv3", num_classes=21, in_channels=3))
    assert deeplab + audit.auxiliary_head_parameters(classes=21) == 60_996_202


def test_parameters_of_the_printed_table():
    rows = audit.parameters(paper.table4()).set_index("network")["counted"].round(2)
    assert rows["ASPP-UNet, branches of half width"] == 21.76
    assert rows["U-Net-2D"] == 15.83
    assert rows["SegNet"] == 15.21


def test_parameters_of_the_networks_named_pass():
    table4 = paper.table4()
    networks = audit.parameters(table4).query("not guess").drop_duplicates("row", keep="last")
    table4["parameters_millions"] = table4["model"].map(networks.set_index("row")["counted"])
    rows = audit.parameters(table4).query("not guess")
    assert rows.groupby("row")["holds"].any().all()


def test_a_convolution_is_two_operations_a_multiply_add(work):
    unet, half = "U-Net-2D", "ASPP-UNet, branches of half width"
    assert work.loc[[unet, half], "gflop"].round().tolist() == [551, 772]
    tenth = 2 * 64 * 880 * 464 / 1e9  # one class more in the last 1x1 convolution
    assert gflops("unet", num_classes=10) - gflops("unet") == pytest.approx(tenth)


def test_only_what_no_k80_can_do_is_refused(work):
    assert [round(peak, 1) for peak in audit.K80_TFLOPS.values()] == [2.8, 4.4]
    refused = [audit.MODULES.format(width) for width in ("half", "full")]
    assert work.index[~work["fast"]].tolist() == refused
    assert round(work.loc[refused[0], "tflops"], 1) == 24.5


def test_times_of_a_k80_pass(work):
    gflop = {"ASPP-UNet": work["gflop"]["ASPP-UNet, branches of full width"]} | {
        name: work["gflop"][f"{name}, output stride 8" if name == "DeepLabV3" else name]
        for name in ("U-Net-2D", "SegNet", "DeepLabV3", "U-Net-3D")
    }
    table4 = paper.table4()
    table4["seconds"] = (table4["model"].map(gflop) / 2500).round(3)
    assert audit.times(table4)[["direct", "fast"]].all().all()


def test_costs():
    ours = audit.costs(paper.table4()).set_index("model").loc["ASPP-UNet"]
    assert ours.round(1).tolist() == [46.3, 4.9]


def test_samples_of_the_loss_curves():
    rows = audit.sampling(paper.claims())
    assert rows["holds"].tolist() == [False, True]
    assert rows["aspp_unet_points"].tolist() == [3, 50]
    assert rows["nnunet_points"].tolist() == [50, 50]


def test_summary():
    tables = [paper.table1(), paper.table2(), paper.table3(), paper.table4(), paper.claims()]
    verdicts = audit.summary(*tables)["holds"]
    assert verdicts.value_counts().to_dict() == {"no": 10, "yes": 6, "open": 1}
