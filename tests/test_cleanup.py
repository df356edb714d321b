import numpy as np
import pytest

from spineseg.inference.cleanup import clean_levels
from spineseg.labels import CLASSES, challenge_to_class
from spineseg.phantom import simulate

SPACING = (4.0, 1.0, 1.0)
S, L5, L4, L3, L2, L1, T12, T11 = range(1, 9)
HEIGHT, PITCH, LOWEST = 26, 34, 270  # rows of a body, from body to body, and the last row of L5


def body(number: int) -> tuple[slice, ...]:
    """The voxels of the body of this number from below; 0 is L5."""
    bottom = LOWEST - PITCH * number
    return slice(2, 10), slice(bottom - HEIGHT, bottom), slice(40 + number, 70 + number)


def spine(labels: list[int], sacrum: bool = False) -> np.ndarray:
    """Bodies with these labels from below upwards; 0 leaves a gap."""
    mask = np.zeros((12, 330, 110), np.uint8)
    for number, label in enumerate(labels):
        mask[body(number)] = label
    if sacrum:
        mask[2:10, LOWEST + 8 : LOWEST + 50, 45:80] = S
    return mask


def levels(mask: np.ndarray, count: int) -> list[int]:
    """The label of each body, which must have no other."""
    found = [np.unique(mask[body(number)]).tolist() for number in range(count)]
    assert all(len(each) == 1 for each in found)
    return [each[0] for each in found]


@pytest.mark.parametrize("sacrum", [False, True])
@pytest.mark.parametrize(
    "labels",
    [
        [L5, L4, L3, L2, L1, T12, T11],
        [L5],
        [L5, L4, 0, L2, L1],
        [L5, 0, 0, 0, L1, T12],
        [0, 0, L3, L2, L1],
        [],
    ],
)
def test_a_correct_mask_stays_as_it_is(labels, sacrum):
    mask = spine(labels, sacrum)
    np.testing.assert_array_equal(clean_levels(mask, SPACING), mask)


@pytest.mark.parametrize("bodies_only", [False, True])
def test_a_correct_mask_of_a_phantom_stays_as_it_is(bodies_only):
    phantom = simulate((12, 96, 96), 0, bodies_only=bodies_only)
    classes = challenge_to_class(phantom.mask)
    np.testing.assert_array_equal(clean_levels(classes, phantom.spacing), classes)
    for label in range(1, len(CLASSES)):
        without = np.where(classes == label, 0, classes).astype(np.uint8)
        np.testing.assert_array_equal(clean_levels(without, phantom.spacing), without)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.7])
def test_a_vertebra_with_two_labels_gets_one(share):
    mask = spine([L5, L4, L3, L2, L1])
    slices, rows, columns = body(2)
    upper = slice(rows.start, rows.start + round(share * HEIGHT))
    mask[slices, upper, columns] = L2
    assert levels(clean_levels(mask, SPACING), 5) == [L5, L4, L3, L2, L1]


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("cuts", [(0.55, 0.85), (0.35, 0.65), (0.15, 0.5), (0.5, 0.65)])
def test_a_vertebra_with_three_labels_gets_one(cuts, axis):
    mask = spine([L5, L4, L3, L2, L1])
    along = np.moveaxis(mask[body(2)], axis, 0)
    for cut, label in zip(cuts, (T12, T11), strict=True):
        along[round(cut * len(along)) :] = label
    assert levels(clean_levels(mask, SPACING), 5) == [L5, L4, L3, L2, L1]


@pytest.mark.parametrize(
    ("labels", "repaired"),
    [
        ([L5, L4, L3, L3, L1, T12], [L5, L4, L3, L2, L1, T12]),  # a level at two places
        ([L5, L4, L2, L3, L1, T12], [L5, L4, L3, L2, L1, T12]),  # two levels exchanged
        ([L5, L4, L3, L2, L2, L1, T12], [L5, L4, L3, L2, L1, T12, T11]),
        ([L5, L4, T11, L2, L1], [L5, L4, L3, L2, L1]),  # a level that is far too high
        ([T12, L4, L3, L2, L1], [L5, L4, L3, L2, L1]),
    ],
)
def test_levels_rise_by_one(labels, repaired):
    assert levels(clean_levels(spine(labels), SPACING), len(labels)) == repaired


@pytest.mark.parametrize("shifted", [3, 4, 5])
def test_slices_that_count_differently_get_the_levels_that_the_sacrum_gives(shifted):
    """In the middle slices every vertebra has the name of the next one."""
    right = spine([L5, L4, L3, L2, L1, T12], sacrum=True)
    mask = right.copy()
    middle = slice(6 - shifted // 2, 6 - shifted // 2 + shifted)
    mask[middle] = np.where(right[middle] > S, right[middle] + 1, right[middle])
    np.testing.assert_array_equal(clean_levels(mask, SPACING), right)


def test_no_level_is_skipped_between_neighbours():
    """All but the lowest are one too high. The sacrum decides; without it, the most votes do."""
    labels = [L5, L3, L2, L1, T12, T11, T11]
    cleaned = clean_levels(spine(labels, sacrum=True), SPACING)
    assert levels(cleaned, 7) == [L5, L4, L3, L2, L1, T12, T11]
    cleaned = clean_levels(spine(labels), SPACING)
    assert levels(cleaned, 7) == [L4, L3, L2, L1, T12, T11, 0]


def test_a_missing_vertebra_leaves_a_gap():
    cleaned = clean_levels(spine([L5, L4, 0, L2, L2, T12]), SPACING)
    assert levels(cleaned, 6) == [L5, L4, 0, L2, L1, T12]


def test_the_vertebra_on_the_sacrum_is_l5():
    shifted = spine([L4, L3, L2, L1, T12], sacrum=True)
    cleaned = clean_levels(shifted, SPACING)
    assert levels(cleaned, 5) == [L5, L4, L3, L2, L1]
    np.testing.assert_array_equal(cleaned == S, shifted == S)
    alone = spine([L4, L3, L2, L1, T12])
    np.testing.assert_array_equal(clean_levels(alone, SPACING), alone)


@pytest.mark.parametrize("label", [L5, L4, T11])
def test_a_piece_below_the_middle_of_the_sacrum_does_not_cost_the_sacrum(label):
    correct = spine([L5, L4, L3, L2, L1], sacrum=True)
    mask = correct.copy()
    mask[5:7, LOWEST + 35 : LOWEST + 50, 45:80] = label
    assert (mask == label).sum() - (correct == label).sum() > 0.1 * (correct == L4).sum()
    repaired = np.where(mask == correct, correct, 0)
    np.testing.assert_array_equal(clean_levels(mask, SPACING), repaired)


def test_a_vertebra_that_is_called_sacrum_does_not_cost_those_below_it():
    mask = spine([L5, L4, L3, S, L1])
    assert levels(clean_levels(mask, SPACING), 5) == [L5, L4, L3, L2, L1]


def test_a_vertebra_that_is_called_sacrum_beside_the_sacrum_costs_no_other():
    mask = spine([L5, L4, L3, L2, L1, S], sacrum=True)
    np.testing.assert_array_equal(clean_levels(mask, SPACING), mask)


def test_specks():
    """Within a vertebra they take its level; far from any they vanish; beside their own they stay.

    The spinous process of a vertebra is such a piece.
    """
    right = spine([L5, L4, L3, L2, L1])
    mask = right.copy()
    _, rows, columns = body(1)
    mask[5, rows.start + 8 : rows.start + 12, columns.start + 8 : columns.start + 12] = L1
    mask[0, 5:8, 100:103] = L5
    beside = (slice(5, 7), slice(rows.start + 5, rows.start + 30), slice(90, 105))
    mask[beside] = right[beside] = L4
    np.testing.assert_array_equal(clean_levels(mask, SPACING), right)


def test_other_axes_of_the_patient_do_not_matter():
    """Mirrored from left to right and from front to back, the same mask comes out."""
    mask = spine([L5, L4, L2, L3, L1, T12], sacrum=True)
    turned = clean_levels(mask[::-1, :, ::-1], SPACING)
    np.testing.assert_array_equal(turned[::-1, :, ::-1], clean_levels(mask, SPACING))


def test_noise_stays_as_it_is():
    """It has no vertebrae, and thousands of pieces would take minutes."""
    mask = np.random.default_rng(0).integers(0, 9, (12, 80, 80), dtype=np.uint8)
    np.testing.assert_array_equal(clean_levels(mask, SPACING), mask)
