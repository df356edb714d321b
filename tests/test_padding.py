"""Scans as SPIDER releases them: oblique slabs in padded boxes, and other constant borders."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from scans import make_scan
from spineseg.data.cache import Grid
from spineseg.data.field import field_of_view
from spineseg.data.gray import gray_range, percentiles
from spineseg.data.padding import image_part
from spineseg.data.preprocess import classes_to_grid, image_to_grid, target_of
from spineseg.data.volume import to_canonical
from spineseg.inference.interpolate import interpolated_classes
from spineseg.inference.segmenter import to_scan_grid
from spineseg.labels import NUM_CLASSES, challenge_to_class
from spineseg.outputs.preview import _black_and_white
from spineseg.phantom import simulate

GRID = Grid(12, 64, (0, 64))
SIZE = (64, 64, 12)  # columns, rows, slices of the phantoms


def phantom_scan(seed: int) -> tuple[sitk.Image, sitk.Image]:
    """A canonical scan and its classes."""
    phantom = simulate(SIZE[::-1], seed)
    images = []
    for values in (phantom.image.astype(np.float32), challenge_to_class(phantom.mask)):
        image = sitk.GetImageFromArray(values)
        image.SetSpacing(phantom.spacing[::-1])
        image.SetDirection((0, 0, 1, 1, 0, 0, 0, 1, 0))
        images.append(to_canonical(image))
    return images[0], images[1]


def rotation(degrees: tuple[float, float, float]) -> np.ndarray:
    transform = sitk.Euler3DTransform()
    transform.SetRotation(*np.radians(degrees).tolist())
    return np.reshape(transform.GetMatrix(), (3, 3))


def turned(image: sitk.Image, degrees: tuple[float, float, float]) -> sitk.Image:
    """The same voxels of a patient who lies otherwise."""
    copy = sitk.Image(image)
    direction = rotation(degrees) @ np.reshape(image.GetDirection(), (3, 3))
    copy.SetDirection(direction.ravel().tolist())
    return copy


def in_box(image: sitk.Image, padding: float, interpolator: int, axes: str) -> sitk.Image:
    """Resampled along the axes of the scanner, into a box of 3.3 x 2.2 x 2.5 mm that holds it."""
    ends = np.array(list(np.ndindex(2, 2, 2))) * image.GetSize() - 0.5
    corners = [image.TransformContinuousIndexToPhysicalPoint(end.tolist()) for end in ends]
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    spacing = np.array([3.3, 2.2, 2.5])
    size = np.ceil((high - low) / spacing).astype(int).tolist()
    origin = (low + spacing / 2).tolist()
    box = sitk.Resample(
        *(image, size, sitk.Transform(), interpolator, origin),
        *(spacing.tolist(), np.eye(3).ravel().tolist(), padding),
    )
    return sitk.DICOMOrient(box, axes)


def rescaled(image: sitk.Image) -> sitk.Image:
    """Clipped to the 5th and 95th percentile and rescaled to [-1000, 3096], as most of SPIDER."""
    values = sitk.GetArrayFromImage(image)
    low, high = np.percentile(values, (5, 95))
    copy = sitk.GetImageFromArray(np.clip((values - low) / (high - low), 0, 1) * 4096 - 1000)
    copy.CopyInformation(image)
    return copy


def mean_dice(truth: np.ndarray, found: np.ndarray) -> float:
    both = [np.count_nonzero((truth == k) & (found == k)) for k in range(1, NUM_CLASSES)]
    sizes = [np.count_nonzero(truth == k) + np.count_nonzero(found == k) for k in range(1, 9)]
    return float(np.mean([2 * b / s for b, s in zip(both, sizes, strict=True) if s]))


def there_and_back(scan: sitk.Image, classes: np.ndarray) -> np.ndarray:
    """The mask that a perfect network would give."""
    on_grid = classes_to_grid(classes, scan, target_of(scan, GRID))
    return to_scan_grid(np.eye(NUM_CLASSES, dtype=np.float32)[on_grid], GRID, scan)


@pytest.mark.parametrize("axes", ["LPS", "PIR"])
@pytest.mark.parametrize(
    ("degrees", "padding", "convention"),
    [((0, 0, 0), -1000, rescaled), ((6, -9, 12), -1000, rescaled), ((-15, 5, 20), 0, sitk.Image)],
)
def test_a_padded_copy_is_seen_as_the_scan_is(axes, degrees, padding, convention):
    scan, mask = phantom_scan(1)
    slab = turned(convention(scan) + (0 if padding else 5), degrees)
    copy = to_canonical(sitk.Round(in_box(slab, padding, sitk.sitkLinear, axes)))
    truth = to_canonical(in_box(turned(mask, degrees), 0, sitk.sitkNearestNeighbor, axes))
    found = field_of_view(copy)
    assert found.voxels * found.spacing == pytest.approx(
        np.multiply(scan.GetSize(), scan.GetSpacing()), abs=4
    )
    along = np.reshape(found.first.GetDirection(), (3, 3)).T @ np.reshape(
        slab.GetDirection(), (3, 3)
    )
    assert np.degrees(np.arccos(np.clip(np.diag(along), -1, 1))).max() < 1

    theirs, ours = (image_to_grid(each, target_of(each, GRID)) for each in (scan, copy))
    assert np.corrcoef(theirs.ravel(), ours.ravel())[0, 1] > 0.9

    classes = sitk.GetArrayFromImage(truth)
    back = there_and_back(copy, classes)
    on_scan = sitk.GetArrayFromImage(mask)
    assert mean_dice(classes, back) > mean_dice(on_scan, there_and_back(scan, on_scan)) - 0.1
    inside = sitk.Cast(mask * 0 + 1, sitk.sitkUInt8)
    box = to_canonical(in_box(turned(inside, degrees), 0, sitk.sitkNearestNeighbor, axes))
    assert not back[sitk.GetArrayViewFromImage(box) == 0].any()


def test_noise_is_no_padding():
    for seed in range(3):
        scan, _ = phantom_scan(seed)
        assert image_part(scan) is None
        assert (field_of_view(scan).voxels == SIZE).all()


@pytest.mark.parametrize("padding", [-1000, 0, 4095])
def test_a_constant_border_is_cropped(padding):
    scan = sitk.Cast(make_scan((40, 50, 12)), sitk.sitkFloat32) + 1
    padded = sitk.ConstantPad(scan, (7, 8, 1), (10, 11, 2), padding)
    part = image_part(padded)
    assert part.padding == padding
    assert part.share == pytest.approx(40 * 50 * 12 / (57 * 69 * 15))
    for grid in (GRID, Grid(0, 0, (0, 0), pixel=1.0)):
        targets = [target_of(each, grid) for each in (scan, padded)]
        assert targets[0].GetSize() == targets[1].GetSize()
        assert targets[0].GetOrigin() == pytest.approx(targets[1].GetOrigin())
        grays = [image_to_grid(scan, targets[0]), image_to_grid(padded, targets[1])]
        np.testing.assert_array_equal(*grays)


def test_dark_voxels_within_the_image_are_not_padding():
    values = np.random.default_rng(0).integers(1, 100, (12, 40, 40)).astype(np.int16)
    values[4:6, 10:30, 10:30] = 0
    padded = np.pad(values, ((3, 3), (9, 9), (9, 9)))
    part = image_part(sitk.GetImageFromArray(padded))
    assert part.share == pytest.approx(values.size / padded.size)
    classes = np.ones(padded.shape, np.uint8)
    part.clear_outside(classes)
    assert classes.sum() == values.size


def test_slices_without_image_are_dropped():
    values = np.random.default_rng(0).integers(1, 100, (20, 40, 40)).astype(np.int16)
    values[[0, 1, 2, 18, 19]] = 0
    values[2, 0, :3] = 7  # a trace of image
    scan = sitk.GetImageFromArray(values)
    scan.SetSpacing((1, 1, 4))
    found = target_of(scan, Grid(0, 0, (0, 0), pixel=1.0))
    assert found.GetOrigin()[2] == 3 * 4
    assert found.GetSize() == (40, 40, 15)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_percentiles_are_those_of_numpy(data):
    kind = data.draw(st.sampled_from([np.uint8, np.int16, np.uint16, np.int32, np.float64]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    spread = data.draw(st.sampled_from([1, 100, 30_000]))
    shape = (data.draw(st.integers(1, 4)), data.draw(st.integers(1, 9)), 7)
    values = (rng.standard_normal(shape) ** 3 * spread).clip(0, 250 if kind is np.uint8 else 32e3)
    values = values.astype(kind)
    wanted = np.percentile(values, (0.5, 50, 99.5)).tolist()
    assert percentiles(values, (0.5, 50, 99.5)) == wanted


def test_percentiles_leave_padding_out():
    values = np.random.default_rng(0).integers(1, 100, (12, 40, 40)).astype(np.int16)
    padded = sitk.GetImageFromArray(np.pad(values, ((3, 3), (9, 9), (9, 9)), constant_values=-1000))
    found = gray_range(sitk.GetArrayViewFromImage(padded), image_part(padded))
    assert found == gray_range(values)


# Subnormal cosines, which no header holds, make ITK's own inverse fail.
DEGREES = st.floats(-12, 12).map(lambda degrees: round(degrees, 9))


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.tuples(*[DEGREES] * 3))
def test_classes_are_those_of_interpolating_every_voxel(seed, degrees):
    """Against SimpleITK's own interpolation of all probabilities at all voxels."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(NUM_CLASSES) * 0.2, (5, 9, 8)).astype(np.float32)
    probabilities[:, :, 4:, rng.integers(NUM_CLASSES)] += 1  # a region of one class
    target = sitk.Image(8, 9, 5, sitk.sitkUInt8)
    target.SetSpacing((2.1, 1.9, 4.3))
    target = turned(target, degrees)
    scan = sitk.Image(21, 17, 11, sitk.sitkUInt8)
    scan.SetSpacing((1.1, 1.3, 2.2))
    scan.SetOrigin((-2, 1, -1))
    vectors = sitk.GetImageFromArray(probabilities, isVector=True)
    vectors.CopyInformation(target)
    wanted = sitk.GetArrayFromImage(sitk.Resample(vectors, scan)).argmax(-1)
    np.testing.assert_array_equal(interpolated_classes(probabilities, target, scan), wanted)


def test_padding_does_not_set_the_black_of_a_preview():
    values = np.random.default_rng(0).integers(0, 200, (6, 40, 40)).astype(np.int16)
    padded = np.pad(values, ((0, 0), (20, 20), (0, 0)), constant_values=-1000)
    shown = [_black_and_white(sitk.GetImageFromArray(each), [1, 3]) for each in (values, padded)]
    assert shown[0] == shown[1]


@settings(max_examples=30, deadline=None)
@given(
    slices=st.sampled_from([8, 16, 32]),
    spacing=st.sampled_from([0.7, 1.1, 1.2, 1.4, 1.5]),
    degrees=st.tuples(*[DEGREES] * 3),
    origin=st.tuples(*[st.floats(-100, 100)] * 3),
)
def test_no_outer_slice_is_lost_where_near_slices_are_thinned(slices, spacing, degrees, origin):
    """The last slice can lie half a step outside of the grid, which rounding must not decide."""
    scan = sitk.Image(6, 6, slices, sitk.sitkInt16)
    scan.SetDirection((0, 0, 1, 1, 0, 0, 0, -1, 0))
    scan.SetSpacing((0.8, 0.8, spacing))
    scan.SetOrigin(origin)
    scan = turned(scan, degrees)
    grid = Grid(0, 0, (0, 0), 2.4)
    certain = np.zeros((*target_of(scan, grid).GetSize()[::-1], NUM_CLASSES), np.float32)
    certain[..., 4] = 1
    assert (to_scan_grid(certain, grid, scan) == 4).all()
