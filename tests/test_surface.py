"""Surface scores: compared with distance transforms, and with values computed by hand."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import distance_transform_edt

from spineseg.evaluation.surface import TOLERANCE, surface_scores
from spineseg.labels import NUM_CLASSES

SPACING = (4.0, 1.0, 2.0)  # mm between slices, rows, columns

SPACINGS = st.tuples(*[st.sampled_from([0.5, 1.0, 2.0, 4.4])] * 3)
BLOBS = hnp.arrays(
    np.uint8, st.tuples(st.just(2), *[st.integers(1, 5)] * 3), elements=st.integers(0, 2)
)
BOXES = st.tuples(*[st.tuples(st.integers(0, 5), st.integers(1, 5))] * 3)


def box(*bounds, size=10):
    """Class 1 in a box of (first, length) along each axis."""
    volume = np.zeros((size, size, size), np.uint8)
    volume[tuple(slice(first, first + length) for first, length in bounds)] = 1
    return volume


def around_corners(mask):
    """The eight voxels around each corner of a voxel, (..., 2, 2, 2)."""
    return np.lib.stride_tricks.sliding_window_view(np.pad(mask, 1), (2, 2, 2))


def surface(mask):
    """The corners at the boundary of a mask, bool."""
    filled = around_corners(mask).sum((3, 4, 5))
    return (filled > 0) & (filled < 8)


def box_area(voxels, spacing):
    """Area of a box's surface at one corner.

    The surface there is a plane through the midpoints of the edges that it cuts.
    """
    cut = np.array([np.ptp(voxels, axis=axis).any() for axis in range(3)])
    along, halves = np.prod(np.array(spacing)[~cut]), np.array(spacing)[cut] / 2
    if cut.sum() < 3:
        return along * (np.hypot(*halves) if cut.sum() == 2 else 1)
    a, b, c = halves
    return np.linalg.norm([a * b, b * c, c * a]) / 2


def farness(here, there, spacing):
    """Distance (mm) from each surface corner of one mask to the surface of the other."""
    return distance_transform_edt(~surface(there), sampling=spacing)[surface(here)]


@settings(max_examples=100, deadline=None)
@given(BOXES, BOXES, SPACINGS)
def test_boxes_match_distance_transforms_and_areas_by_hand(first, second, spacing):
    truth, predicted = box(*first), box(*second)
    lowest, highest, within, total = 0.0, 0.0, 0.0, 0.0
    for here, there in permutations((truth, predicted)):
        far = farness(here, there, spacing)
        corners = around_corners(here)[surface(here)]
        area = np.array([box_area(voxels, spacing) for voxels in corners])
        order = far.argsort()
        share = area[order].cumsum() / area.sum()
        low, high = far[order][np.searchsorted(share, [0.95 - 1e-6, 0.95 + 1e-6])]
        lowest, highest = max(lowest, low), max(highest, high)
        within += area[far <= TOLERANCE].sum()
        total += area.sum()
    hd95, nsd = surface_scores(truth, predicted, spacing)[1]
    assert lowest - 1e-5 <= hd95 <= highest + 1e-5
    assert nsd == pytest.approx(within / total, rel=1e-5)


@settings(max_examples=100, deadline=None)
@given(BLOBS, SPACINGS)
def test_distances_between_blobs_match_distance_transforms(pair, spacing):
    for index, (hd95, nsd) in enumerate(surface_scores(*pair, spacing)):
        truth, predicted = pair == index
        if index and truth.any() and predicted.any():
            both = (truth, predicted), (predicted, truth)
            far = np.concatenate([farness(*masks, spacing) for masks in both])
            assert np.isclose(far, hd95).any()
            assert (nsd == pytest.approx(1)) == (far <= TOLERANCE).all()
            assert (nsd == 0) == (far > TOLERANCE).all()


@settings(max_examples=50, deadline=None)
@given(BLOBS, SPACINGS)
def test_order_of_the_masks_and_edge_of_the_image_do_not_matter(pair, spacing):
    scores = surface_scores(*pair, spacing)
    np.testing.assert_allclose(surface_scores(*pair[::-1], spacing), scores, rtol=1e-6)
    wider = np.pad(pair, ((0, 0), (2, 1), (1, 3), (1, 1)))
    np.testing.assert_allclose(surface_scores(*wider, spacing), scores, rtol=1e-6)


@settings(max_examples=50, deadline=None)
@given(BLOBS, SPACINGS)
def test_a_mask_compared_with_itself_is_perfect(pair, spacing):
    scores = surface_scores(pair[0], pair[0], spacing)
    for index in range(1, NUM_CLASSES):
        assert scores[index].tolist() == [0, 1] or not (pair[0] == index).any()


@pytest.mark.parametrize(
    ("axis", "steps", "expected"),
    [
        (1, 1, (1, 1)),
        (1, 3, (3, 1)),  # exactly the tolerance of 3 mm
        (1, 4, (4, 0.5)),  # the facing sides are 3 mm apart, the outer sides 4 mm
        (1, 5, (5, 0)),
        (0, 1, (4, 0.5)),
        (0, 2, (8, 0)),
        (2, 1, (2, 1)),
        (2, 2, (4, 0.5)),
    ],
)
def test_a_plate_shifted_along_an_axis(axis, steps, expected):
    """The plate is one voxel thick and reaches from edge to edge.

    Half of its surface is `steps` voxels from the other plate, the other half is one voxel nearer.
    """
    plate = np.zeros((9, 9, 9), np.uint8)
    plate.swapaxes(0, axis)[1] = 7
    found = surface_scores(plate, np.roll(plate, steps, axis), SPACING)
    assert found[7].tolist() == pytest.approx(expected)


def test_cubes_a_slice_apart():
    """Two cubes of 2 x 2 x 2 voxels, shifted by one slice.

    Only the outer layer of corners of each cube is 4 mm from the other cube.
    """
    truth, predicted = box((3, 2), (3, 2), (3, 2)), box((4, 2), (3, 2), (3, 2))
    layer = 4 * np.sqrt(5.25) / 2 + 2 * np.hypot(2, 1) + 2 * 2 * np.hypot(2, 0.5) + 2
    middle = 4 * 4 * np.hypot(0.5, 1) + 2 * 8 + 2 * 4
    expected = [4, 1 - layer / (2 * layer + middle)]
    assert surface_scores(truth, predicted, SPACING)[1].tolist() == pytest.approx(expected)


def test_thick_slices_do_not_give_the_end_slices_more_weight():
    """The same bar in 1, 2 or 4 times as many slices has the same scores, except for its rims."""
    found = []
    for finer in (1, 2, 4):
        truth, predicted = np.zeros((2, 4 * finer, 30, 30), np.uint8)
        truth[:, 5:15, 5:25], predicted[:, 10:20, 5:25] = 1, 1
        found.append(surface_scores(truth, predicted, (8 / finer, 1, 1))[1])
    assert np.ptp([hd95 for hd95, _ in found]) == 0
    assert np.ptp([nsd for _, nsd in found]) < 0.03


def test_scores_of_classes_absent_from_one_or_both_masks():
    truth, predicted = box((1, 2), (1, 2), (1, 2)), 2 * box((1, 2), (1, 2), (1, 2))
    scores = surface_scores(truth, predicted, SPACING)
    assert scores.shape == (NUM_CLASSES, 2)
    assert np.isnan(scores[1:, 0]).all()
    assert scores[1:3, 1].tolist() == [0, 0]
    assert np.isnan(scores[[0, *range(3, NUM_CLASSES)], 1]).all()


def test_unequal_shapes_are_refused():
    with pytest.raises(ValueError, match="truth is"):
        surface_scores(np.zeros((1, 2, 2), np.uint8), np.zeros((1, 2, 3), np.uint8), SPACING)
