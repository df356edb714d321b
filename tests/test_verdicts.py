"""Verdicts on made-up results for which the right verdict is known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from spineseg.evaluation.noise import LEVELS
from spineseg.labels import FOREGROUND
from spineseg.methods import ABLATION_METHODS, METHODS, NOISE_METHODS, TABLE3_METHODS
from spineseg.paper import findings
from spineseg.paper.verdicts import (
    ALL_VERDICTS,
    CANNOT_ACT,
    CHANCE,
    FALLS_FASTER,
    FOUR_MODULES,
    MORE_TIME,
    NEEDS_PATIENTS,
    NOT_REPRODUCED,
    REPRODUCED,
    UNTRAINED,
    Measured,
    judge,
    lead_key,
    verdict,
)

CASES = [f"Case{n}" for n in range(12)]
SEEDS = range(3)
RIGHT = {name: 0.70 for name in (*TABLE3_METHODS, *ABLATION_METHODS)} | {
    "aspp_unet_1": 0.60,
    "aspp_unet_4": 0.72,
    "aspp_unet_234": 0.75,
    "aspp_unet": 0.85,
    "aspp_unet_noise": 0.84,
}
RANDOM = 0.005  # SD of what neither seed nor case explains


def of_runs(means, seed_sd: float, random: np.random.Generator) -> pd.DataFrame:
    """scores.csv of one fold with these means. `seed_sd` is the spread over the seeds."""
    easy = random.normal(0, 0.02, len(CASES))
    keys = {"data": "d", "profile": "p", "device": "c", "fold": "0"}
    return pd.DataFrame(
        {
            **keys,
            "model": model,
            "seed": seed,
            "case": case,
            "class": name,
            "aggregation": "volume",
            "metric": metric,
            "value": mean + (seed - 1) * seed_sd + easy[i] + random.normal(0, RANDOM),
            "units": 1,
        }
        for model, mean in means.items()
        for seed in SEEDS
        for i, case in enumerate(CASES)
        for name in FOREGROUND
        for metric in ("DSC", "IoU")
    )


def noise_of(models, drop: float, random: np.random.Generator) -> pd.DataFrame:
    """noise.csv: DSC falls little; beyond k = 30, ASPP-UNet loses `drop` more per unit of k."""
    return pd.DataFrame(
        {
            "model": model,
            "device": "c",
            "fold": "0",
            "seed": seed,
            "case": case,
            "k": k,
            "DSC": 0.9
            - 0.001 * k
            - (model == "aspp_unet") * drop * max(0, k - 30)
            + random.normal(0, RANDOM),
        }
        for model in models
        for seed in SEEDS
        for case in CASES
        for k in LEVELS
    )


def curves_of(losses: dict[str, float], epochs: dict[str, int], spread: float) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "model": name,
            "device": "c",
            "fold": "0",
            "seed": seed,
            "epoch": epoch,
            "train_loss": loss / epoch + spread * (seed - 1),
            "learning_rate": 0.01 * 0.99 ** (epoch - 1),
        }
        for name, loss in losses.items()
        for seed in SEEDS
        for epoch in range(1, epochs.get(name, 4) + 1)
    )


def made_up(
    means: dict[str, float] = RIGHT,
    seed_sd: float = 0.005,
    drop: float = 0.01,
    losses=None,
    epochs=None,
    spread: float = 0.01,
    times=(1.0, 1.05),
) -> Measured:
    """Results with these mean scores, of trained-out networks and images that are long enough."""
    random = np.random.default_rng(0)
    losses = losses or {name: 1.0 for name in TABLE3_METHODS} | {"aspp_unet": 0.5}
    curves = curves_of(
        {name: losses[name] for name in losses if name in means}, epochs or {}, spread
    )
    cost = pd.DataFrame(
        {"model": ["unet", "aspp_unet"], "parameters": [15.8, 21.8], "seconds": times}
    ).assign(device="c")
    convergence = pd.DataFrame({"model": list(means), "trained_out": True})
    noise = noise_of([name for name in NOISE_METHODS if name in means], drop, random)
    scores = of_runs(means, seed_sd, random)
    ceiling = pd.DataFrame(columns=["model", "case", "DSC"])
    return Measured(
        scores, curves, noise, cost, convergence, ceiling, rows_seen=140, image_rows=220
    )


def not_trained_out(measured: Measured, *models: str) -> Measured:
    convergence = measured.convergence
    return replace(
        measured,
        convergence=convergence.assign(trained_out=~convergence["model"].isin(models)),
    )


@pytest.fixture(scope="module")
def results() -> Measured:
    return made_up()


@pytest.fixture(scope="module")
def right(results) -> pd.DataFrame:
    return judge(results).set_index("claim")


def starting(table: pd.DataFrame, words: str) -> pd.DataFrame:
    """The claims that start with these words."""
    found = table[table.index.str.startswith(words)]
    assert len(found), words
    return found


def verdicts_of(measured: Measured, *beginnings: str) -> set[str]:
    judged = judge(measured).set_index("claim")
    return set().union(*(starting(judged, words)["verdict"] for words in beginnings))


LEADS = "ASPP-UNet above"
OVER_UNET = "ASPP-UNet above U-Net-2D"
ABLATION_CLAIMS = ("one ASPP module", "four ASPP")
FIRST = "ASPP-UNet first"
LOSS = "ASPP-UNet's training loss"
NOISE_HELPS = "training with noise"
OF_ASPP = (OVER_UNET, *ABLATION_CLAIMS, FIRST)


def test_true_claims_are_reproduced(right):
    for words in (LEADS, *ABLATION_CLAIMS, FIRST, "DSC falls", NOISE_HELPS, LOSS):
        assert starting(right, words)["verdict"].eq(REPRODUCED).all(), words
    assert len(starting(right, LEADS)) == 10
    assert set(right["verdict"]) <= set(ALL_VERDICTS)
    assert len(right) == 22


def test_false_claims_are_not_reproduced():
    means = RIGHT | {"aspp_unet": 0.60, "aspp_unet_1": 0.80}
    losses = {name: 1.0 for name in TABLE3_METHODS} | {"unet": 0.5}
    table = judge(made_up(means, drop=0.0, losses=losses, times=(1, 1.4))).set_index("claim")
    for words in (LEADS, *ABLATION_CLAIMS, FIRST, LOSS):
        assert starting(table, words)["verdict"].eq(NOT_REPRODUCED).all(), words
    assert starting(table, "four ASPP").index[0].endswith("(best: in the paper 3+4, here 1)")
    slow = starting(table, "ASPP-UNet needs only slightly more time")
    assert slow["verdict"].eq(NOT_REPRODUCED).all()


def test_a_lead_that_seeds_may_explain_cannot_be_told_from_chance():
    """Every case agrees on a lead of 15 points, and the seeds of a method are 10 apart."""
    assert verdicts_of(made_up(), LEADS) == {REPRODUCED}
    unsure = made_up(seed_sd=0.1)
    assert verdicts_of(unsure, LEADS, *ABLATION_CLAIMS, FIRST) == {CHANCE}


def test_equal_methods_cannot_be_told_from_chance():
    measured = made_up(dict.fromkeys(RIGHT, 0.7), drop=0.0)
    for words in (LEADS, "one ASPP module", FIRST, "DSC falls faster"):
        assert CHANCE in verdicts_of(measured, words), words


def test_one_significant_deficit_refutes_a_rank(results):
    """ASPP-UNet is last on L3 alone, which is among the stated classes of both metrics."""
    scores = results.scores.copy()
    worse = (scores["model"] == "aspp_unet") & (scores["class"] == "L3")
    scores.loc[worse, "value"] -= 0.5
    table = judge(replace(results, scores=scores)).set_index("claim")
    rank = starting(table, FIRST)
    assert rank["verdict"].eq(NOT_REPRODUCED).all()
    assert rank["ours"].eq("S L5 L4 L2 L1 T12 T11").all()
    assert starting(table, LEADS)["verdict"].eq(REPRODUCED).all()


def test_a_lead_over_a_rival_that_is_not_trained_out_is_not_judged(results):
    for rival in ("segnet", "nnunet"):
        table = judge(not_trained_out(results, rival)).set_index("claim")
        leads = starting(table, LEADS)
        about = leads.index.str.contains(METHODS[rival].title)
        assert leads[about]["verdict"].tolist() == [UNTRAINED] * 2
        assert leads[~about]["verdict"].eq(REPRODUCED).all()
        assert starting(table, FIRST)["verdict"].eq(UNTRAINED).all()
        for words in (*ABLATION_CLAIMS, NOISE_HELPS, LOSS):
            assert starting(table, words)["verdict"].eq(REPRODUCED).all(), words


def test_who_leads_need_not_be_trained_out_but_who_is_behind_must(results):
    table = judge(not_trained_out(results, "aspp_unet")).set_index("claim")
    for words in (LEADS, FIRST, "four ASPP", "one ASPP module"):
        assert starting(table, words)["verdict"].eq(REPRODUCED).all(), words
    assert starting(table, NOISE_HELPS)["verdict"].eq(UNTRAINED).all()
    behind = made_up(RIGHT | {"aspp_unet": 0.60})
    assert verdicts_of(behind, LEADS) == {NOT_REPRODUCED}
    assert verdicts_of(not_trained_out(behind, "aspp_unet"), LEADS) == {UNTRAINED}
    assert verdicts_of(not_trained_out(behind, "nnunet"), LEADS) == {NOT_REPRODUCED}
    measured = not_trained_out(results, "unet")
    assert measured.lead(-1, 1, "unet", ["segnet"], aspp=False) == UNTRAINED
    assert measured.lead(-1, 1, "segnet", ["unet"], aspp=False) == UNTRAINED


def test_who_is_behind_a_trained_out_rival_is_not_first_whatever_the_others_would_reach():
    behind = not_trained_out(made_up(RIGHT | {"aspp_unet": 0.60}), "nnunet")
    assert verdicts_of(behind, FIRST) == {NOT_REPRODUCED}


def test_an_ablation_needs_its_methods_trained_out(results):
    assert verdicts_of(not_trained_out(results, "aspp_unet_1"), "one ASPP") == {UNTRAINED}
    assert verdicts_of(not_trained_out(results, "aspp_unet_2"), "one ASPP") == {REPRODUCED}
    assert verdicts_of(not_trained_out(results, "aspp_unet_2"), "four ASPP") == {UNTRAINED}


@pytest.mark.parametrize("columns", [[], ["model", "epochs", "trained_out"]])
def test_without_a_table_of_convergence_no_lead_is_judged(results, columns):
    unknown = replace(results, convergence=pd.DataFrame(columns=columns))
    assert verdicts_of(unknown, LEADS, FIRST, *ABLATION_CLAIMS) == {UNTRAINED}
    partly = replace(results, convergence=results.convergence.query("model != 'segnet'"))
    assert UNTRAINED in verdicts_of(partly, "ASPP-UNet above SegNet")


@pytest.mark.parametrize(
    ("seen", "rows", "can_act"),
    [(140, 880, True), (140, 210, True), (140, 209, False), (60, 110, True), (140, 110, False)],
)
def test_aspp_cannot_act_if_the_plain_net_sees_most_of_the_image(results, seen, rows, can_act):
    measured = replace(results, rows_seen=seen, image_rows=rows)
    assert verdicts_of(measured, *OF_ASPP) == {REPRODUCED if can_act else CANNOT_ACT}
    assert verdicts_of(measured, "ASPP-UNet above SegNet") == {REPRODUCED}
    untrained = not_trained_out(measured, "unet", "aspp_unet_1", "aspp_unet_2")
    assert verdicts_of(untrained, *OF_ASPP) == {UNTRAINED if can_act else CANNOT_ACT}


def with_ceiling(measured: Measured, mean: float, spread: float = 0.005) -> Measured:
    """The same, if the labels of DeepLabV3 can reach this mean DSC at best."""
    cases = {"case": CASES, "DSC": np.linspace(mean - spread, mean + spread, len(CASES))}
    return replace(measured, ceiling=pd.DataFrame({"model": "deeplabv3", **cases}))


@pytest.mark.parametrize(
    ("mean", "spread", "found"),
    [(0.84, 0.005, CANNOT_ACT), (0.86, 0.005, REPRODUCED), (0.84, 0.1, REPRODUCED)],
)
def test_a_lead_does_not_count_over_a_method_whose_labels_are_too_coarse(
    results, mean, spread, found
):
    measured = with_ceiling(results, mean, spread)
    assert verdicts_of(measured, "ASPP-UNet above DeepLabV3") == {found}
    assert verdicts_of(measured, "ASPP-UNet above SegNet") == {REPRODUCED}
    assert verdicts_of(measured, FIRST) == {found}
    untrained = not_trained_out(measured, "deeplabv3")
    expected = CANNOT_ACT if found == CANNOT_ACT else UNTRAINED
    assert verdicts_of(untrained, "ASPP-UNet above DeepLabV3") == {expected}


def test_coarse_labels_do_not_excuse_a_network_that_is_behind():
    behind = with_ceiling(made_up(RIGHT | {"aspp_unet": 0.78, "deeplabv3": 0.85}), 0.75)
    assert verdicts_of(behind, "ASPP-UNet above DeepLabV3") == {NOT_REPRODUCED}
    assert verdicts_of(behind, FIRST) == {NOT_REPRODUCED}


@pytest.mark.parametrize(
    ("rival", "mean", "untrained", "found"),
    [
        ("segnet", 0.85, [], CHANCE),
        ("nnunet", 0.95, [], NOT_REPRODUCED),
        ("nnunet", 0.95, ["nnunet"], NOT_REPRODUCED),
        ("segnet", 0.85, ["nnunet"], CHANCE),
    ],
)
def test_another_rival_can_decide_who_is_first_whatever_coarse_labels_could_reach(
    rival, mean, untrained, found
):
    measured = with_ceiling(made_up(RIGHT | {rival: mean}), 0.75)
    assert verdicts_of(not_trained_out(measured, *untrained), FIRST) == {found}


def test_a_rival_that_is_ahead_decides_who_is_first_also_if_it_is_not_trained_out():
    measured = made_up(RIGHT | {"segnet": 0.85, "unet3d": 0.95})
    assert verdicts_of(not_trained_out(measured, "unet3d"), FIRST) == {NOT_REPRODUCED}


def test_the_abstracts_scores_need_the_papers_patients(right):
    rows = starting(right, "ASPP-UNet reaches")
    assert rows["verdict"].eq(NEEDS_PATIENTS).all()
    assert rows["paper"].tolist() == ["0.866", "0.755"]
    assert rows["ours"].str.startswith("0.8").all()


def test_a_rank_on_classes_that_the_data_lack_needs_the_papers_patients(results):
    scores = results.scores[results.scores["class"] != "S"]
    assert verdicts_of(replace(results, scores=scores), FIRST) == {NEEDS_PATIENTS}


def test_a_third_more_parameters_is_not_slightly_more(right):
    row = starting(right, "ASPP-UNet needs only slightly more parameters").iloc[0]
    assert (row["paper"], row["ours"], row["verdict"]) == ("+46 %", "+38 %", NOT_REPRODUCED)
    row = starting(right, "ASPP-UNet needs only slightly more time").iloc[0]
    assert (row["ours"], row["verdict"]) == ("+5 %", REPRODUCED)


def test_losses_are_not_judged_if_learning_rates_or_epochs_differ(results):
    assert verdicts_of(results, LOSS) == {REPRODUCED}
    faster = results.curves.copy()
    faster.loc[faster["model"] == "unet", "learning_rate"] *= 2
    for other in (made_up(epochs={"aspp_unet": 16}), replace(results, curves=faster)):
        assert not judge(other)["claim"].str.startswith(LOSS).any()


def test_one_seed_cannot_tell_which_loss_falls_fastest(results):
    curves = results.curves[results.curves["seed"] == 0]
    assert verdicts_of(replace(results, curves=curves), LOSS) == {CHANCE}


def test_claims_about_methods_that_were_not_run_are_left_out(results):
    two = made_up({"unet": 0.7, "aspp_unet": 0.8})
    nothing = pd.DataFrame()
    table = judge(replace(two, cost=nothing, noise=nothing)).set_index("claim")
    assert starting(table, LEADS)["verdict"].tolist() == [REPRODUCED] * 2
    assert len(table) == 4  # two leads, two scores of the abstract
    assert len(judge(two)) == 4 + 2 + 2  # noise without the noise-trained net, cost
    ablation = made_up({name: RIGHT[name] for name in ABLATION_METHODS})
    claims = judge(replace(ablation, noise=nothing, curves=nothing, cost=nothing)).set_index(
        "claim"
    )
    for words in ABLATION_CLAIMS:
        assert starting(claims, words)["verdict"].eq(REPRODUCED).all()
    assert len(claims) == 2 + 2 + 2
    without = {name: mean for name, mean in RIGHT.items() if name != "aspp_unet_34"}
    assert not judge(made_up(without))["claim"].str.startswith("four ASPP").any()


def test_without_aspp_unet_only_the_ablation_of_single_modules_and_cost_are_judged():
    table = judge(made_up({name: 0.7 for name in RIGHT if name != "aspp_unet"}))
    assert table["claim"].str.contains("needs only|one ASPP module").all()
    assert len(table) == 3


def test_without_any_claim_the_table_is_empty():
    nothing = pd.DataFrame()
    measured = replace(made_up({"unet": 0.7}), curves=nothing, noise=nothing, cost=nothing)
    empty = judge(measured)
    assert empty.empty
    assert list(empty) == ["device", "seeds", "key", "section", "claim", "paper", "ours", "verdict"]


def test_each_claim_has_a_key_of_its_own(results):
    table = judge(results)
    assert table["key"].is_unique
    claims = table.set_index("key")["claim"]
    assert claims[FOUR_MODULES].startswith("four ASPP modules are better than the best")
    assert claims[FALLS_FASTER].startswith("DSC falls faster from k = 30 to 50")
    assert claims[MORE_TIME].startswith("ASPP-UNet needs only slightly more time")
    assert claims[lead_key("unet3d", "IoU")] == "ASPP-UNet above U-Net-3D in IoU, points"


def test_a_verdict_has_the_devices_and_seeds_of_the_runs_that_it_is_judged_by(results):
    """A fifth fold of U-Net-2D and the runs of SegNet are of other devices."""
    scores = results.scores
    scores = scores.assign(device=np.where(scores["model"] == "segnet", "d", "c"))
    more = scores[scores["model"] == "unet"].assign(fold="4", device="e")
    table = judge(replace(results, scores=pd.concat([scores, more]))).set_index("claim")
    assert table["device"]["ASPP-UNet above U-Net-2D in DSC, points"] == "c"
    assert table["device"]["ASPP-UNet above SegNet in DSC, points"] == "c; d"
    assert table["device"]["ASPP-UNet first in DSC on these classes"] == "c; d"
    costs = table.index.str.contains("needs only slightly")
    assert set(table["seeds"][~costs]) == {"3"}
    assert set(table["seeds"][costs]) == {""}


def test_claims_use_the_runs_that_all_methods_have(results):
    """A seed that only ASPP-UNet has, with a score of 0, changes nothing."""
    own = results.scores.query("model == 'aspp_unet' and seed == 0").assign(seed=9, value=0.0)
    more = replace(results, scores=pd.concat([results.scores, own]))
    pd.testing.assert_frame_equal(judge(more), judge(results))


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.1, 2, REPRODUCED),
        (-2, -0.1, NOT_REPRODUCED),
        (-0.1, 2, CHANCE),
        (0, 2, CHANCE),
        (np.nan, np.nan, CHANCE),
    ],
)
def test_verdicts_follow_the_interval(low, high, words):
    assert verdict(low, high) == words


def test_the_words_on_the_outcome_count_the_verdicts_and_name_the_rivals():
    judged = pd.DataFrame(
        {
            "key": [lead_key("unet"), lead_key("segnet"), lead_key("segnet", "IoU")],
            "verdict": [REPRODUCED, UNTRAINED, CHANCE],
        }
    )
    assert findings.on_outcome(judged, "the phantom") == (
        "On the phantom, 3 claims were looked at. Their verdicts: reproduced 1, cannot be told "
        "from chance 1, rival not trained out 1. The lead of ASPP-UNet in DSC is: reproduced for "
        "U-Net-2D; rival not trained out for SegNet."
    )
    assert findings.on_outcome(judged[:0], "x") == "On x, no claim can be looked at yet."
    assert "lead" not in findings.on_outcome(judged[2:], "x")
    untrained, chance = findings.on_needs(judged)
    assert untrained.startswith("1 claim (rival not trained out): train")
    assert chance == (
        "1 claim (cannot be told from chance): test more patients and train more seeds."
    )
