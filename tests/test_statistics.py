"""Intervals, paired tests, Holm's correction and failures: by hand, and against scipy."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t

from spineseg.evaluation.statistics import failures, holm, interval, paired

CHANCES = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@pytest.fixture(autouse=True)
def without_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def of_models(**values):
    """A table with one row per model and case (Case0, Case1, ...)."""
    return pd.DataFrame(
        [
            {"model": model, "case": f"Case{number}", "value": value}
            for model, column in values.items()
            for number, value in enumerate(column)
        ]
    )


def test_interval_of_few_or_equal_values():
    for values in ([], [0.5], [0.5, np.nan], [[0.5, np.nan], [np.nan, np.nan]]):
        assert np.isnan(interval(values)).all()
    assert interval([0.9] * 11) == pytest.approx((0.9, 0.9))
    assert interval([0.2, 0.4]) == pytest.approx((0.2, 0.4))


def test_interval_matches_students_t_for_normal_values():
    for patients in (11, 34):
        values = np.random.default_rng(0).normal(0.8, 0.05, patients)
        low, high = t.interval(
            0.95, patients - 1, values.mean(), values.std(ddof=1) / np.sqrt(patients)
        )
        assert interval(values) == pytest.approx((low, high), abs=0.1 * (high - low))


@pytest.mark.parametrize("patients", [11, 34])
def test_interval_covers_the_mean_in_95_percent_of_samples(patients):
    values = np.random.default_rng(1).normal(0.8, 0.05, (400, patients))
    low, high = np.transpose([interval(row) for row in values])
    assert 0.92 < ((low <= 0.8) & (high >= 0.8)).mean() < 0.98


def test_interval_is_that_of_the_mean_of_class_means():
    """A class such as T11, seen in half of the scans, has the same weight as the others."""
    generator = np.random.default_rng(0)
    table = np.stack([generator.normal(0.9, 0.01, 30), generator.normal(0.3, 0.01, 30)], axis=1)
    table[::2, 1] = np.nan
    low, high = interval(table)
    assert low < np.nanmean(table, axis=0).mean() < high < np.nanmean(table)
    assert interval(table[:, 0]) == interval(table[:, :1])
    assert interval(table[:, 1]) == interval(table[1::2, 1])


def test_interval_is_reproducible():
    values = np.linspace(0.5, 0.9, 11) ** 2
    assert interval(values) == interval(values)
    assert interval(values, seed=1) != interval(values)


def test_paired_by_hand():
    """If all six cases differ in one direction, 2 of the 64 sign patterns are as extreme."""
    reference = np.array([0.9, 0.8, 0.85, 0.7, 0.95, 0.6])
    worse = reference - [0.01, 0.02, 0.03, 0.04, 0.05, 0.06]
    mixed = reference - [0.01, -0.02, 0.03, -0.04, 0.05, -0.06]
    found = paired(of_models(ours=reference, worse=worse, same=reference, mixed=mixed), "ours")
    assert found["model"].tolist() == ["worse", "same", "mixed"]
    assert found["cases"].tolist() == [6, 6, 6]
    assert found["difference"].tolist() == pytest.approx([0.035, 0, -0.005])
    assert found["p"].tolist() == pytest.approx([2 / 64, 1, 0.84375])
    assert found["p_holm"].tolist() == pytest.approx([6 / 64, 1, 1])
    worse, same, mixed = found[["low", "high"]].to_numpy()
    assert 0.01 < worse[0] < 0.035 < worse[1] < 0.06
    assert same.tolist() == [0, 0]
    assert mixed[0] < 0 < mixed[1]


def test_paired_refuses_models_scored_on_different_cases():
    scores = of_models(ours=[0.9, 0.8, 0.7], unet=[0.8, 0.7], segnet=[0.8, np.nan, 0.7])
    expected = r"not scored on the same cases: segnet lacks Case1; unet lacks Case2$"
    with pytest.raises(ValueError, match=expected):
        paired(scores, "ours")
    with pytest.raises(ValueError, match="ours lacks Case1, Case2"):
        paired(of_models(ours=[0.9], unet=[0.8, 0.7, 0.6]), "ours")
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


def volume_scores(model, case, **classes):
    keys = {"data": "d", "profile": "p", "device": "c", "model": model, "fold": 0, "case": case}
    rest = {"aggregation": "volume", "metric": "DSC", "units": 1}
    return [{**keys, "class": name, **rest, "value": value} for name, value in classes.items()]


def test_failures_by_hand():
    scores = pd.DataFrame(
        [
            *volume_scores("unet", "A", T11=0.0, S=0.9, L5=0.4),
            *volume_scores("unet", "B", S=0.7, L5=0.7),
            *volume_scores("unet", "C", S=0.0, L5=0.0),
            *volume_scores("aspp_unet", "B", S=0.6, L5=0.7),
        ]
    )
    other = scores.assign(value=0.0)
    others = [other.assign(metric="IoU"), other.assign(aggregation="slice")]
    found = failures(pd.concat([scores, *others]))
    assert found.columns.tolist() == [
        *("data", "profile", "device", "model", "fold", "case", "DSC", "missed", "poor")
    ]
    assert found[["model", "case", "missed", "poor"]].to_numpy().tolist() == [
        ["aspp_unet", "B", "", ""],
        ["unet", "C", "S L5", "S L5"],
        ["unet", "A", "T11", "L5 T11"],
    ]
    assert found["DSC"].tolist() == pytest.approx([0.65, 0, 1.3 / 3])


def test_failures_without_failed_cases_are_an_empty_table():
    found = failures(pd.DataFrame(volume_scores("unet", "A", S=0.9)))
    assert found.empty
    assert "missed" in found
