import json

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from scans import make_scan, write_case
from spineseg.data.cache import Grid, crop_window, label_band
from spineseg.data.preprocess import classes_to_grid, image_to_grid, target_of
from spineseg.experiment import Experiment
from spineseg.inference.segmenter import network_input, to_scan_grid
from spineseg.labels import NUM_CLASSES
from spineseg.utils.errors import UserError
from spineseg.workflow.prepare import prepare


def whole(slices: int, size: int) -> Grid:
    """A grid with nothing cropped."""
    return Grid(slices, size, (0, size))


def test_window_of_the_paper():
    """Labels in 30 to 72 % of 880 columns leave 464 of them."""
    first, last = crop_window([(264, 634), (300, 500)], 880, margin=0.05)
    assert last - first == 464
    assert first <= 264
    assert last >= 634


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 900), st.data())
def test_window_holds_every_band(size, data):
    bands = []
    for _ in range(data.draw(st.integers(0, 4))):
        first = data.draw(st.integers(0, size - 1))
        bands.append((first, data.draw(st.integers(first + 1, size))))
    start, stop = crop_window([*bands, None], size, data.draw(st.floats(0, 0.3)))
    assert 0 <= start < stop <= size
    assert all(start <= first and last <= stop for first, last in bands)
    assert (stop - start) % 16 == 0 or stop - start == size


def test_band_of_a_mask():
    mask = np.zeros((3, 4, 10), np.uint8)
    assert label_band(mask) is None
    mask[1, 2, 3] = mask[2, 0, 6] = 5
    assert label_band(mask) == (3, 7)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*[st.integers(4, 20)] * 3),
    st.tuples(*[st.floats(0.3, 5)] * 3),
    st.integers(2, 16),
    st.integers(4, 40),
)
def test_frame_covers_the_field_of_view_evenly(size, spacing, slices, pixels):
    image = sitk.Image(list(size), sitk.sitkUInt8)
    image.SetSpacing(spacing)
    image.SetOrigin((3, -2, 7))
    image.SetDirection((0, 0, 1, 1, 0, 0, 0, -1, 0))
    frame = target_of(image, whole(slices, pixels))
    assert frame.GetSize() == (pixels, pixels, slices)
    assert frame.GetSpacing()[0] == pytest.approx(frame.GetSpacing()[1])
    edge = max(n * s for n, s in zip(size[:2], spacing[:2], strict=True))
    assert frame.GetSpacing()[0] * pixels == pytest.approx(edge)
    assert frame.GetSpacing()[2] * slices == pytest.approx(size[2] * spacing[2])

    def middle(grid):
        return grid.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in grid.GetSize()])

    np.testing.assert_allclose(middle(frame), middle(image), atol=1e-9)


def test_same_grid_keeps_every_gray_value():
    image = make_scan((20, 20, 12), dtype=np.uint8)
    values = sitk.GetArrayFromImage(image).astype(float)
    low, high = np.percentile(values, (0.5, 99.5))
    expected = np.clip(np.rint((values - low) * 255 / (high - low)), 0, 255)
    target = target_of(image, whole(12, 20))
    assert np.abs(image_to_grid(image, target) - expected).max() <= 1
    classes = np.resize(np.arange(9, dtype=np.uint8), (12, 20, 20))
    assert np.array_equal(classes_to_grid(classes, image, target), classes)


def test_halving_takes_the_mean_of_a_smooth_image():
    ramp = np.add.outer(np.arange(32.0), 2 * np.arange(32.0))
    image = sitk.GetImageFromArray(np.repeat(ramp[None], 3, 0))
    gray = image_to_grid(image, target_of(image, whole(3, 16))).astype(float)
    low, high = np.percentile(np.repeat(ramp[None], 3, 0), (0.5, 99.5))
    expected = ramp.reshape(16, 2, 16, 2).mean((1, 3))
    expected = np.clip((expected - low) * 255 / (high - low), 0, 255)
    inner = (slice(None), slice(3, -3), slice(3, -3))
    assert np.abs(gray - expected)[inner].max() < 1.5


@pytest.mark.parametrize(("slices", "size"), [(12, 40), (15, 40), (12, 52), (19, 33)])
def test_large_labels_survive_the_way_there_and_back(slices, size):
    """Balls of 24 mm on a 40 x 40 grid of 2.5 mm come back with DSC above 0.9."""
    z, y, x = np.mgrid[:slices, :size, :size]
    spacing = (100 / size, 100 / size, 60 / slices)
    far = lambda c: sum(  # noqa: E731
        ((a + 0.5) * s - m) ** 2 for a, s, m in zip((x, y, z), spacing, c, strict=True)
    )
    classes = np.where(far((35, 35, 30)) < 24**2, 1, np.where(far((70, 70, 30)) < 24**2, 2, 0))
    image = sitk.Image(size, size, slices, sitk.sitkUInt8)
    image.SetSpacing(spacing)
    grid = whole(12, 40)
    unified = classes_to_grid(classes.astype(np.uint8), image, target_of(image, grid))
    exact = np.eye(NUM_CLASSES, dtype=np.float32)[unified]
    back = to_scan_grid(exact, grid, image)
    for label in (1, 2):
        both = np.logical_and(back == label, classes == label).sum()
        dice = 2 * both / ((back == label).sum() + (classes == label).sum())
        assert dice > (0.999 if (slices, size) == (12, 40) else 0.9)


def test_equal_sizes_are_not_equal_grids():
    """A scan as wide as the window, and one whose pixels are not square, are still resampled."""
    narrow = sitk.Image(8, 20, 12, sitk.sitkUInt8)
    certain = np.zeros((12, 20, 8, NUM_CLASSES), np.float32)
    certain[..., 3] = 1
    classes = to_scan_grid(certain, Grid(12, 20, (0, 8)), narrow)  # its columns are 6 to 14
    assert (classes[..., :2] == 3).all()
    assert not classes[..., 3:].any()
    tall = sitk.GetImageFromArray(np.repeat(np.arange(20.0)[None, :, None], 12, 0).repeat(20, 2))
    tall.SetSpacing((0.5, 1.0, 4.0))
    gray = image_to_grid(tall, target_of(tall, whole(12, 20)))
    assert not gray[:, :, :5].any()
    assert not gray[:, :, 15:].any()
    assert gray[:, -1, 10].max() == 255


def test_outside_the_window_is_background():
    image = make_scan((20, 20, 12))
    certain = np.zeros((12, 20, 8, NUM_CLASSES), np.float32)
    certain[..., 3] = 1
    classes = to_scan_grid(certain, Grid(12, 20, (6, 14)), image)
    assert (classes[..., 6:14] == 3).all()
    assert not classes[..., :6].any()
    assert not classes[..., 14:].any()


def test_a_scan_on_the_grid_itself_is_labelled_as_if_resampled():
    image = make_scan((20, 20, 12))
    probabilities = np.random.default_rng(0).dirichlet(np.ones(NUM_CLASSES), (12, 20, 8))
    cropped = probabilities.astype(np.float32)
    vectors = sitk.GetImageFromArray(cropped, isVector=True)
    vectors.CopyInformation(image[6:14, :, :])
    resampled = sitk.GetArrayFromImage(sitk.Resample(vectors, image)).argmax(-1)
    np.testing.assert_array_equal(to_scan_grid(cropped, Grid(12, 20, (6, 14)), image), resampled)


def test_cache_is_made_once_and_again_when_anything_changes(phantom, workspace):
    experiment = Experiment.of(phantom, "smoke")
    cache = prepare(experiment)
    written = (cache.folder / "images.npy").stat().st_mtime_ns
    assert cache.images.shape == cache.masks.shape == (10, 12, 55, 55)
    assert isinstance(cache.images, np.memmap)
    assert not cache.images.flags.writeable
    assert (prepare(experiment).folder / "images.npy").stat().st_mtime_ns == written
    assert [p.name for p in (workspace / "cache").iterdir()] == [cache.folder.name]
    assert prepare(Experiment.of(phantom, "laptop")).folder != cache.folder


def test_windows_come_from_the_training_part_alone(phantom, workspace):
    cache = prepare(Experiment.of(phantom, "smoke"))
    index = json.loads((cache.folder / "index.json").read_text())
    bands = index["bands"]
    for fold in range(5):
        training = [bands[case] for case in cache.train_ids(fold)]
        assert cache.grid(fold).columns == tuple(crop_window(training, 55, 0.05))
        assert set(cache.train_ids(fold)).isdisjoint(cache.test_ids(fold))
    assert cache.grid("all").columns == tuple(crop_window(list(bands.values()), 55, 0.05))
    assert cache.train_ids("all") == index["cases"]


def test_bad_scans_stop_before_anything_is_written(tmp_path, workspace):
    for number in range(5):
        write_case(tmp_path / "bad", number)
    (tmp_path / "bad" / "Mask" / "mask_case1.nii.gz").unlink()
    (tmp_path / "bad" / "MR" / "Case2.nii.gz").write_bytes(b"")
    with pytest.raises(UserError) as error:
        prepare(Experiment.of(tmp_path / "bad", "smoke"))
    assert len(str(error.value).splitlines()) == 2
    assert not (workspace / "cache").exists()


def test_a_pixel_size_keeps_the_scans_own_slices():
    scan = make_scan((20, 31, 12))  # 0.5 mm in plane, 4.4 mm between slices
    grid = Grid(0, 0, (0, 0), pixel=1.0)
    target = target_of(scan, grid)
    assert target.GetSize() == (10, 16, 12)
    assert target.GetSpacing() == pytest.approx((1, 1, 4.4))
    assert target.TransformIndexToPhysicalPoint((0, 0, 5))[0] == pytest.approx(-30 + 5 * 4.4)
    gray = network_input(scan, grid)
    assert gray.shape == (12, 16, 10)
    certain = np.zeros((*gray.shape, NUM_CLASSES), np.float32)
    certain[..., 4] = 1
    assert (to_scan_grid(certain, grid, scan) == 4).all()


def test_near_slices_are_thinned():
    scan = make_scan((20, 31, 13))
    scan.SetSpacing((0.5, 0.5, 0.9))
    target = target_of(scan, Grid(0, 0, (0, 0), pixel=1.0))
    assert target.GetSize()[2] == 5
    assert target.GetSpacing()[2] == pytest.approx(2.7)
    indices = [
        scan.TransformPhysicalPointToContinuousIndex(
            target.TransformIndexToPhysicalPoint((0, 0, k))
        )
        for k in range(5)
    ]
    np.testing.assert_allclose([index[2] for index in indices], [0, 3, 6, 9, 12], atol=1e-9)
