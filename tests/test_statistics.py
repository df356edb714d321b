"""Intervals, paired tests, Holm's correction and failures: by hand, and against scipy."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, t, ttest_ind

from spineseg.evaluation.statistics import (
    holm,
    interval,
    interval_of_difference,
    interval_over_seeds,
    paired,
)
from spineseg.evaluation.summary import failures

CHANCES = st.lists(st.floats(0, 1), min_size=1, max_size=8)
SCORES = st.tuples(st.integers(1, 3), st.integers(2, 8)).flatmap(
    lambda shape: st.lists(
        st.floats(0, 1), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]
    ).map(lambda values: np.reshape(values, shape))
)


@pytest.fixture(autouse=True)
def without_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def of_models(**values):
    """A table with one row per model, seed and case (Case0, Case1, ...)."""
    return pd.DataFrame(
        [
            {"model": model, "seed": seed, "case": f"Case{number}", "value": value}
            for model, table in values.items()
            for seed, column in enumerate(np.atleast_2d(table))
            for number, value in enumerate(column)
        ]
    )


def simulated(generator, seeds, patients, seed_sd):
    """Scores of a method with the true mean 0.8, (seeds, patients), and the patients' part."""
    easy = generator.normal(0, 0.05, patients)
    network = generator.normal(0, seed_sd, (seeds, 1))
    return 0.8 + network + easy + generator.normal(0, 0.02, (seeds, patients)), easy


def covered(ends, truth):
    low, high = np.transpose(ends)
    return ((low <= truth) & (truth <= high)).mean()


def test_interval_of_few_or_equal_values():
    for values in ([], [0.5], [0.5, np.nan], [[[0.5, np.nan], [np.nan, np.nan]]], [[0.5], [0.6]]):
        assert np.isnan(interval(values)).all()
    assert interval([0.9] * 11) == pytest.approx((0.9, 0.9))
    assert interval([[0.9] * 11] * 3) == pytest.approx((0.9, 0.9))


def test_interval_of_two_patients_is_as_wide_as_they_tell():
    low, high = interval([0.2, 0.4])
    assert low < 0 < 0.6 < high


@pytest.mark.parametrize("patients", [11, 34])
def test_interval_matches_students_t_for_normal_values(patients):
    values = np.random.default_rng(0).normal(0.8, 0.05, patients)
    low, high = t.interval(
        0.95, patients - 1, values.mean(), values.std(ddof=1) / np.sqrt(patients)
    )
    assert interval(values) == pytest.approx((low, high), abs=0.1 * (high - low))


@pytest.mark.parametrize(
    ("seeds", "patients", "seed_sd"),
    [(1, 11, 0), (1, 34, 0), (3, 34, 0), (3, 34, 0.01), (3, 34, 0.05), (3, 11, 0.02)],
)
def test_interval_covers_the_mean_in_at_least_95_percent_of_samples(seeds, patients, seed_sd):
    generator = np.random.default_rng(1)
    samples = [simulated(generator, seeds, patients, seed_sd)[0] for _ in range(400)]
    assert 0.925 < covered([interval(sample) for sample in samples], 0.8) < 0.995


def test_interval_is_not_wider_than_needed():
    """If seeds do not matter, three seeds are hardly wider than the t interval of their means."""
    generator = np.random.default_rng(2)
    for _ in range(20):
        sample, _ = simulated(generator, 3, 34, 0)
        low, high = interval(sample)
        narrow, wide = t.interval(
            0.95, 33, sample.mean(), sample.mean(axis=0).std(ddof=1) / np.sqrt(34)
        )
        assert 0.95 < (high - low) / (wide - narrow) < 1.6


def test_one_seed_does_not_tell_what_another_training_gives():
    """Its interval covers the mean of this network, and mostly misses that of the method."""
    generator = np.random.default_rng(3)
    samples = [simulated(generator, 1, 34, 0.05)[0] for _ in range(300)]
    assert covered([interval(sample) for sample in samples], 0.8) < 0.5


@pytest.mark.parametrize("seed_sd", [0.005, 0.02, 0.1])
def test_interval_of_a_difference_covers_it_in_at_least_95_percent_of_samples(seed_sd):
    generator = np.random.default_rng(4)
    ends = []
    for _ in range(400):
        one, easy = simulated(generator, 3, 34, seed_sd)
        other, others_easy = simulated(generator, 3, 34, seed_sd)
        ends.append(interval_of_difference(one, other - others_easy + easy - 0.1))
    assert 0.925 < covered(ends, 0.1) < 0.998


@settings(max_examples=40, deadline=None)
@given(SCORES, st.floats(-1, 1), st.floats(0.1, 100))
def test_interval_follows_shift_and_scale(values, shift, scale):
    low, high = interval(values)
    assert low <= values.mean() + 1e-12
    assert high >= values.mean() - 1e-12
    moved = interval(scale * values + shift)
    assert moved == pytest.approx((scale * low + shift, scale * high + shift), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(SCORES)
def test_interval_of_one_method_is_that_of_its_difference_from_zero(values):
    assert interval_of_difference(values, 0 * values[0]) == pytest.approx(interval(values))
    low, high = interval_of_difference(values[0], values[0] ** 2)
    assert interval_of_difference(values[0] ** 2, values[0]) == pytest.approx((-high, -low))


@settings(max_examples=40, deadline=None)
@given(SCORES)
def test_equal_networks_tell_no_more_than_one(values):
    one = interval(values[0])
    assert interval(np.stack([values[0]] * 3)) == pytest.approx(one)


def test_seeds_that_differ_widen_the_interval():
    values = np.linspace(0.7, 0.9, 12)
    low, high = interval(values)
    wide_low, wide_high = interval([values - 0.1, values, values + 0.1])
    assert wide_low < low - 0.1
    assert wide_high > high + 0.1


def test_patients_are_paired_in_a_difference_and_seeds_are_not():
    easy = np.linspace(0.3, 0.9, 12)
    assert interval_of_difference(easy + 0.05, easy) == pytest.approx((0.05, 0.05))
    seeds = [easy - 0.1, easy, easy + 0.1]
    low, high = interval_of_difference(seeds, seeds)
    assert low < -0.1
    assert high > 0.1


def test_seeds_alone_by_hand():
    """The lowest of three seeds, as far below the mean as Student's t (2 degrees) demands."""
    seeds = np.repeat([[0.6], [0.7], [0.8]], 12, axis=1)
    stretch = np.sqrt(3 / 2) * t.ppf(0.975, 2) / norm.ppf(0.975)
    assert interval(seeds) == pytest.approx((0.7 - 0.1 * stretch, 0.7 + 0.1 * stretch))


def test_the_longer_side_of_an_interval_changes_with_the_sign():
    skewed = np.repeat([[0.0], [0.0], [0.3]], 12, axis=1)
    low, high = interval(skewed)
    assert high - 0.1 > 1.5 * (0.1 - low)
    assert interval_of_difference(0 * skewed, skewed) == pytest.approx((-high, -low))


def test_a_difference_counts_only_patients_that_both_have():
    one, other = [0.9, 0.8, 0.7, np.nan], [0.8, 0.7, 0.6, 0.1]
    assert interval_of_difference(one, other) == pytest.approx((0.1, 0.1))
    seeds = [[0.9, 0.8, 0.7, 0.1], [0.9, 0.8, 0.7, 0.9]]
    lacking = [0.8, 0.7, 0.6, np.nan]
    assert interval_of_difference(seeds, lacking) == pytest.approx((0.1, 0.1))


def test_interval_over_seeds():
    assert np.isnan(interval_over_seeds([1.0], [2.0, 3.0])).all()
    assert interval_over_seeds([3.0] * 3, [1.0] * 3) == (2, 2)
    one, other = np.random.default_rng(0).normal(0, [[1], [3]], (2, 20))
    low, high = ttest_ind(one, other, equal_var=False).confidence_interval()
    found = interval_over_seeds(one, other)
    assert found == pytest.approx((low, high), abs=0.1 * (high - low))


def test_patients_that_only_some_seeds_saw_count_once_and_do_not_tell_seeds_apart():
    """Seed 0 was run on two folds, seed 1 on the first alone; the second fold is easier."""
    hard, easy = np.linspace(0.4, 0.5, 10), np.linspace(0.8, 0.9, 10)
    both = np.stack([np.r_[hard, easy], np.r_[hard, np.full(10, np.nan)]])
    assert interval(both) == pytest.approx(interval(both[0]))


def test_interval_is_that_of_the_mean_of_class_means():
    """A class such as T11, seen in half of the scans, has the same weight as the others."""
    generator = np.random.default_rng(0)
    table = np.stack([generator.normal(0.9, 0.01, 30), generator.normal(0.3, 0.01, 30)], axis=1)
    table[::2, 1] = np.nan
    low, high = interval(table[None])
    assert low < np.nanmean(table, axis=0).mean() < high < np.nanmean(table)
    assert interval(table[:, 0]) == interval(table[None, :, :1])
    assert interval(table[:, 1]) == interval(table[1::2, 1])


def test_interval_is_reproducible():
    values = np.linspace(0.5, 0.9, 11) ** 2
    assert interval(values) == interval(values)


def test_paired_by_hand():
    """If all six cases differ in one direction, 2 of the 64 sign patterns are as extreme."""
    reference = np.array([0.9, 0.8, 0.85, 0.7, 0.95, 0.6])
    worse = reference - [0.01, 0.02, 0.03, 0.04, 0.05, 0.06]
    mixed = reference - [0.01, -0.02, 0.03, -0.04, 0.05, -0.06]
    found = paired(of_models(ours=reference, worse=worse, same=reference, mixed=mixed), "ours")
    assert found["model"].tolist() == ["worse", "same", "mixed"]
    assert found["seeds"].tolist() == [1, 1, 1]
    assert found["cases"].tolist() == [6, 6, 6]
    assert found["difference"].tolist() == pytest.approx([0.035, 0, -0.005])
    assert found["p"].tolist() == pytest.approx([2 / 64, 1, 0.84375])
    assert found["p_holm"].tolist() == pytest.approx([6 / 64, 1, 1])
    worse, same, mixed = found[["low", "high"]].to_numpy()
    assert 0 < worse[0] < 0.035 < worse[1] < 0.07
    assert same.tolist() == [0, 0]
    assert mixed[0] < 0 < mixed[1]


def test_paired_over_seeds_by_hand():
    """The second method is 0.1, 0.2 and 0.3 worse with its three seeds, in every case.

    For the six cases this is certain, for three seeds it is not: t with 2 degrees of freedom is
    4.30, and 0.2 < 4.30 * 0.1 / sqrt(3).
    """
    reference = np.linspace(0.6, 0.95, 6)
    seeds = [reference - 0.1, reference - 0.2, reference - 0.3]
    (row,) = paired(of_models(ours=[reference] * 3, other=seeds), "ours").to_dict("records")
    assert (row["seeds"], row["cases"]) == (3, 6)
    assert row["difference"] == pytest.approx(0.2)
    assert row["p"] == pytest.approx(2 / 64)
    assert row["low"] < 0
    narrow = [reference - 0.19, reference - 0.2, reference - 0.21]
    (row,) = paired(of_models(ours=[reference] * 3, other=narrow), "ours").to_dict("records")
    assert 0.15 < row["low"] < 0.2 < row["high"] < 0.25


def test_paired_refuses_models_scored_on_different_cases():
    scores = of_models(ours=[0.9, 0.8, 0.7], unet=[0.8, 0.7], segnet=[0.8, np.nan, 0.7])
    expected = r"the same cases: segnet lacks Case1 \(seed 0\); unet lacks Case2 \(seed 0\)$"
    with pytest.raises(ValueError, match=expected):
        paired(scores, "ours")
    with pytest.raises(ValueError, match=r"ours lacks Case1 \(seed 0\), Case2 \(seed 0\)$"):
        paired(of_models(ours=[0.9], unet=[0.8, 0.7, 0.6]), "ours")
    with pytest.raises(ValueError, match=r"unet lacks Case0 \(seed 1\)$"):
        paired(of_models(ours=[[0.9], [0.8]], unet=[0.8]), "ours")
    with pytest.raises(ValueError, match="no scores of theirs"):
        paired(scores, "theirs")
    with pytest.raises(ValueError, match="duplicate"):
        paired(pd.concat([scores, scores]), "ours")


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6, 0.04]).tolist() == pytest.approx([1, 1, 0.12])
    assert holm([0.02]).tolist() == [0.02]
    assert holm([]).tolist() == []


@settings(max_examples=100, deadline=None)
@given(CHANCES)
def test_holm_rejects_the_same_hypotheses_as_the_step_down_procedure(chances):
    """The procedure: reject in order of rising p while p <= level / hypotheses that are left."""
    corrected = holm(chances)
    assert ((corrected >= chances) & (corrected <= 1)).all()
    for level in (0.01, 0.05, 0.2):
        rejected = set()
        for left, index in zip(range(len(chances), 0, -1), np.argsort(chances), strict=True):
            if left * chances[index] > level:
                break
            rejected.add(index)
        assert set(np.flatnonzero(corrected <= level)) == rejected


def volume_scores(model, case, seed=0, **classes):
    keys = {"data": "d", "profile": "p", "device": "c", "model": model, "fold": "0", "seed": seed}
    rest = {"case": case, "aggregation": "volume", "metric": "DSC", "units": 1}
    return [{**keys, "class": name, **rest, "value": value} for name, value in classes.items()]


def test_failures_by_hand():
    scores = pd.DataFrame(
        [
            *volume_scores("unet", "A", T11=0.0, S=0.9, L5=0.4),
            *volume_scores("unet", "A", 1, T11=0.1, S=0.9, L5=0.8),
            *volume_scores("unet", "A", 2, T11=0.8, S=0.9, L5=0.8),
            *volume_scores("unet", "B", S=0.7, L5=0.7),
            *volume_scores("unet", "C", S=0.0, L5=0.0),
            *volume_scores("aspp_unet", "B", S=0.6, L5=0.7),
        ]
    )
    other = scores.assign(value=0.0)
    others = [other.assign(metric="IoU"), other.assign(aggregation="slice")]
    found = failures(pd.concat([scores, *others]))
    assert found.columns.tolist() == [
        *("data", "profile", "device", "model", "fold", "seed", "case", "DSC", "missed", "poor")
    ]
    assert found[["model", "case", "seed", "missed", "poor"]].to_numpy().tolist() == [
        ["aspp_unet", "B", 0, "", ""],
        ["unet", "C", 0, "S L5", "S L5"],
        ["unet", "A", 0, "T11", "L5 T11"],
        ["unet", "A", 1, "", "T11"],
    ]
    assert found["DSC"].tolist() == pytest.approx([0.65, 0, 1.3 / 3, 0.6])


def test_failures_without_failed_cases_are_an_empty_table():
    found = failures(pd.DataFrame(volume_scores("unet", "A", S=0.9)))
    assert found.empty
    assert "missed" in found
