"""DSC and IoU: compared with SimpleITK and with values computed by hand; scores and summary."""

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spineseg.evaluation.metrics import confusion, dsc, iou, overlaps
from spineseg.evaluation.scores import score_rows
from spineseg.evaluation.summary import summarise
from spineseg.labels import CHALLENGE_LABELS, CLASSES, NUM_CLASSES, challenge_to_class

MASKS = hnp.arrays(
    np.uint8,
    st.tuples(st.just(2), st.just(3), st.integers(1, 6), st.integers(1, 6)),
    elements=st.integers(0, 8),
)


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_dsc_and_iou_match_simpleitk(pair):
    truth, predicted = pair
    counts = overlaps(confusion(truth, predicted).sum(0))
    measures = sitk.LabelOverlapMeasuresImageFilter()
    measures.Execute(sitk.GetImageFromArray(truth), sitk.GetImageFromArray(predicted))
    for label in range(1, NUM_CLASSES):
        if label in truth and label in predicted:
            assert dsc(counts)[label] == pytest.approx(measures.GetDiceCoefficient(label))
            assert iou(counts)[label] == pytest.approx(measures.GetJaccardCoefficient(label))
        elif label in truth or label in predicted:
            assert dsc(counts)[label] == iou(counts)[label] == 0
        else:
            assert np.isnan(dsc(counts)[label])
            assert np.isnan(iou(counts)[label])


@given(MASKS)
@settings(max_examples=60, deadline=None)
def test_iou_follows_from_dsc_for_one_pair(pair):
    counts = overlaps(confusion(*pair))
    np.testing.assert_allclose(iou(counts), dsc(counts) / (2 - dsc(counts)))


def test_unequal_shapes_are_refused():
    with pytest.raises(ValueError, match="truth is"):
        confusion(np.zeros((1, 2, 2), int), np.zeros((1, 2, 3), int))


def test_challenge_labels_map_to_the_nine_classes():
    mask = np.array([*range(20), 20, 255, 4000])
    expected = [CLASSES.index(n) if n in CLASSES else 0 for n in CHALLENGE_LABELS] + [0, 0, 0]
    assert challenge_to_class(mask).tolist() == expected
    assert [CLASSES[i] for i in challenge_to_class(np.arange(1, 9))] == list(CLASSES[1:])


def test_score_rows_by_hand():
    """Two slices: S is found in one and missed in the other; L5 is found where it is absent."""
    truth = np.array([[1, 1, 0, 0], [1, 1, 1, 0]])
    predicted = np.array([[1, 1, 0, 0], [0, 0, 2, 0]])
    counts = overlaps(confusion(truth, predicted))
    rows = score_rows("Case1", "slice", counts) + score_rows("Case1", "volume", counts.sum(0)[None])
    value = {(r["aggregation"], r["metric"], r["class"]): (r["value"], r["units"]) for r in rows}
    assert value == {
        ("slice", "DSC", "S"): (0.5, 2),
        ("slice", "IoU", "S"): (0.5, 2),
        ("slice", "DSC", "L5"): (0.0, 1),
        ("slice", "IoU", "L5"): (0.0, 1),
        ("volume", "DSC", "S"): (4 / 7, 1),
        ("volume", "IoU", "S"): (2 / 5, 1),
        ("volume", "DSC", "L5"): (0.0, 1),
        ("volume", "IoU", "L5"): (0.0, 1),
    }


def test_folds_run_on_different_devices_are_summarised_together():
    keys = {"data": "d", "profile": "p", "model": "m", "fold": "0", "seed": 0, "metric": "DSC"}
    keys |= {"class": "S", "aggregation": "volume", "units": 1}
    rows = [{**keys, "case": c, "device": f"gpu {c}", "value": v} for c, v in (("A", 1), ("B", 0))]
    summary = summarise(pd.DataFrame(rows)).set_index("class")
    assert summary.loc["S", ["device", "mean", "cases"]].tolist() == ["gpu A; gpu B", 0.5, 2]


def test_summary_gives_slices_equal_weight():
    keys = {
        "data": "d",
        "profile": "p",
        "device": "c",
        "model": "m",
        "fold": "0",
        "seed": 0,
        "metric": "DSC",
    }
    rows = [
        {**keys, "case": "A", "class": "S", "aggregation": "slice", "value": 1.0, "units": 1},
        {**keys, "case": "B", "class": "S", "aggregation": "slice", "value": 0.0, "units": 3},
        {**keys, "case": "A", "class": "L5", "aggregation": "slice", "value": 0.5, "units": 2},
    ]
    summary = summarise(pd.DataFrame(rows)).set_index("class")
    assert summary["mean"].to_dict() == {"S": 0.25, "L5": 0.5, "all": 0.375}
    assert summary["cases"].to_dict() == {"S": 2, "L5": 1, "all": 2}
