"""The phantom: its anatomy, its files, and that it is the same on every machine."""

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from spineseg.labels import CHALLENGE_LABELS
from spineseg.phantom import TABLE1_SHAPES, Phantom, plan_shapes, simulate, write_dataset

SMALL = (12, 96, 96)
FINGERPRINT = "98c1aeafb95c8409"
FINGERPRINT_CASE = ((4, 72, 72), 20230)


def fingerprint(phantom: Phantom) -> str:
    """16 hex digits of the SHA-256 of image and mask."""
    digest = hashlib.sha256()
    for array in (phantom.image.astype("<u2"), phantom.mask):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def centres(phantom: Phantom) -> dict[int, np.ndarray]:
    """The centre of each label, (slice, row, column) in mm."""
    return {
        int(label): np.argwhere(phantom.mask == label).mean(axis=0) * phantom.spacing
        for label in np.unique(phantom.mask)[1:]
    }


@pytest.fixture(scope="module")
def phantoms() -> list[Phantom]:
    return [simulate(SMALL, seed) for seed in range(24)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom")
    return write_dataset(out, cases=6, scale=0.07, seed=3, workers=1, progress=False)


# -- anatomy ------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 15), st.integers(24, 90), st.integers(24, 90)),
    seed=st.integers(0, 2**63 - 1),
)
def test_any_shape_and_seed_gives_a_valid_scan(shape: tuple[int, int, int], seed: int) -> None:
    phantom = simulate(shape, seed)
    assert phantom.image.shape == phantom.mask.shape == shape
    assert phantom.image.dtype == np.uint16
    assert phantom.mask.dtype == np.uint8
    assert phantom.mask.max() < len(CHALLENGE_LABELS)
    assert phantom.image.std() > 0
    assert 4 <= phantom.spacing[0] <= 5
    assert phantom.spacing[1] == phantom.spacing[2] > 0


@pytest.mark.parametrize("shape", [(0, 64, 64), (12, 64)])
def test_impossible_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape must be"):
        simulate(shape, 0)  # type: ignore[arg-type]


def test_a_seed_gives_the_same_patient_at_every_size() -> None:
    small, large = simulate((12, 80, 80), 5), simulate((12, 240, 240), 5)
    coarse = large.mask[:, 1::3, 1::3]
    for label in range(1, 9):
        a, b = small.mask == label, coarse == label
        assert 2 * (a & b).sum() > 0.8 * (a.sum() + b.sum()), CHALLENGE_LABELS[label]
    assert small.spacing[1] == pytest.approx(3 * large.spacing[1])
    reduced = large.image.reshape(12, 80, 3, 80, 3).mean(axis=(2, 4))
    assert np.corrcoef(reduced.ravel(), small.image.ravel())[0, 1] > 0.95


def test_different_seeds_give_different_patients(phantoms: list[Phantom]) -> None:
    assert len({fingerprint(phantom) for phantom in phantoms}) == len(phantoms)


def test_seed_types_agree_and_are_not_changed() -> None:
    sequence = np.random.SeedSequence(7)
    first, second = simulate((2, 48, 48), sequence), simulate((2, 48, 48), sequence)
    assert fingerprint(first) == fingerprint(second) == fingerprint(simulate((2, 48, 48), 7))


def test_vertebrae_and_discs_alternate_upwards(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        rows = {label: centre[1] for label, centre in centres(phantom).items()}
        vertebrae = [rows[label] for label in range(1, 11) if label in rows]
        assert vertebrae == sorted(vertebrae, reverse=True)
        assert set(range(1, 8)) <= set(rows), "every scan shows S to T12"
        for disc in range(11, 16):
            assert rows[disc - 10] > rows[disc] > rows[disc - 9]


def test_centre_distances_match_the_challenge(phantoms: list[Phantom]) -> None:
    found = [centres(phantom) for phantom in phantoms]
    for lower, expected in zip(range(2, 8), (32, 34, 34, 33, 31, 26), strict=True):
        distances = [np.linalg.norm(c[lower + 1] - c[lower]) for c in found if lower + 1 in c]
        assert np.mean(distances) == pytest.approx(expected, abs=2)
        assert np.std(distances) < 4


def test_topmost_vertebra_and_columns_match_the_challenge(phantoms: list[Phantom]) -> None:
    tops = Counter(CHALLENGE_LABELS[max(set(np.unique(p.mask)) & set(range(11)))] for p in phantoms)
    assert {"T11", "T10"} <= set(tops) <= {"T12", "T11", "T10", "T9"}
    columns = [np.flatnonzero((p.mask > 0).any(axis=(0, 1))) for p in phantoms]
    assert min(c[0] / 96 for c in columns) == pytest.approx(0.30, abs=0.03)
    assert max((c[-1] + 1) / 96 for c in columns) == pytest.approx(0.72, abs=0.03)


def test_lateral_slices_show_less_of_the_bodies_than_the_midline() -> None:
    for seed in range(6):
        mask = simulate((15, 96, 96), seed, bodies_only=True).mask
        area = ((mask >= 2) & (mask <= 8)).sum(axis=(1, 2))
        assert area[[0, -1]].max() < 0.5 * area[6:9].mean()


def test_bodies_only_leaves_out_the_posterior_elements() -> None:
    full, bodies = simulate(SMALL, 11), simulate(SMALL, 11, bodies_only=True)
    np.testing.assert_array_equal(full.image, bodies.image)
    kept = bodies.mask > 0
    np.testing.assert_array_equal(full.mask[kept], bodies.mask[kept])
    for label in range(2, 8):
        volumes = [(phantom.mask == label).sum() for phantom in (full, bodies)]
        assert 1.15 * volumes[1] < volumes[0] < 2.2 * volumes[1], CHALLENGE_LABELS[label]


def test_spinous_process_is_separate_from_its_body(phantoms: list[Phantom]) -> None:
    """Near the midline, the canal separates the body from the process in most scans."""
    apart = 0
    for phantom in phantoms:
        columns = (phantom.mask[4:8] == CHALLENGE_LABELS.index("L3")).any(axis=1)
        apart += any((np.diff(np.flatnonzero(row)) > 3).any() for row in columns)
    assert apart > 0.8 * len(phantoms)


# -- the same on every machine ------------------------------------------------------------------


def test_simulated_scan_is_unchanged() -> None:
    """If a change breaks this on purpose, all committed results must be computed again."""
    shape, seed = FINGERPRINT_CASE
    assert fingerprint(simulate(shape, seed)) == FINGERPRINT


def test_simulating_imports_only_numpy_and_scipy() -> None:
    code = (
        "import sys; from spineseg.phantom import simulate; simulate((2, 32, 32), 0)\n"
        "assert not {'SimpleITK', 'torch', 'tqdm', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_processor_features_do_not_matter() -> None:
    features = np._core._multiarray_umath.__cpu_features__  # type: ignore[attr-defined]
    baseline = set(np._core._multiarray_umath.__cpu_baseline__)  # type: ignore[attr-defined]
    dispatched = np._core._multiarray_umath.__cpu_dispatch__  # type: ignore[attr-defined]
    optional = [name for name in dispatched if features.get(name) and name not in baseline]
    if not optional:
        pytest.skip("numpy uses no optional processor features here")
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from test_phantom import FINGERPRINT_CASE, fingerprint, simulate\n"
        "print(fingerprint(simulate(*FINGERPRINT_CASE)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(optional)},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == FINGERPRINT


# -- the data set -------------------------------------------------------------------------------


def test_default_set_has_the_shapes_of_table_1() -> None:
    eighth = Counter(plan_shapes(172, 0.125, seed=0))
    assert eighth == {(s, r // 8, c // 8): n for (s, r, c), n in TABLE1_SHAPES.items()}
    assert sum(n for (slices, *_), n in TABLE1_SHAPES.items() if slices == 15) == 35
    assert Counter(plan_shapes(172, 1.0, seed=9)) == TABLE1_SHAPES


def test_sets_of_other_sizes_follow_the_proportions_of_table_1() -> None:
    shapes = Counter(plan_shapes(2000, 1.0, seed=1))
    assert shapes[12, 880, 880] / 2000 == pytest.approx(126 / 172, abs=0.05)
    assert plan_shapes(20, 1.0, seed=1) == plan_shapes(20, 1.0, seed=1)
    assert plan_shapes(20, 1.0, seed=1) != plan_shapes(20, 1.0, seed=2)


def test_files_follow_the_challenge(folder: Path) -> None:
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    images = [f"train/MR/Case{n}.nii.gz" for n in range(1, 7)]
    masks = [f"train/Mask/mask_case{n}.nii.gz" for n in range(1, 7)]
    assert names == sorted([*images, *masks, "phantom.json"])
    for image_name, mask_name, shape in zip(images, masks, plan_shapes(6, 0.07, 3), strict=True):
        image, mask = sitk.ReadImage(folder / image_name), sitk.ReadImage(folder / mask_name)
        orientation = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines
        assert orientation(image.GetDirection()) == "PSR"
        assert image.GetSize() == mask.GetSize() == shape[::-1]
        assert image.GetSpacing() == pytest.approx(mask.GetSpacing())
        assert image.GetOrigin() == pytest.approx(mask.GetOrigin())
        assert 4 <= image.GetSpacing()[2] <= 5
        rows = [np.argwhere(sitk.GetArrayViewFromImage(mask) == k)[:, 1].mean() for k in (2, 7)]
        assert rows[0] < rows[1], "the stored rows must run upwards"


def test_some_masks_are_floating_point(folder: Path) -> None:
    types = {sitk.ReadImage(path).GetPixelIDTypeAsString() for path in folder.glob("train/Mask/*")}
    assert "32-bit float" in types
    assert len(types) > 1


def test_file_contains_the_simulated_image(folder: Path) -> None:
    seed = np.random.SeedSequence(3, spawn_key=(1,))
    phantom = simulate(plan_shapes(6, 0.07, 3)[0], seed)
    stored = sitk.DICOMOrient(sitk.ReadImage(folder / "train/MR/Case1.nii.gz"), "PIL")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(stored), phantom.image)
    assert stored.GetSpacing()[::-1] == pytest.approx(phantom.spacing)


def modified(folder: Path) -> dict[str, int]:
    """The time at which each scan was written, by file name."""
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.nii.gz")}


def contents(folder: Path) -> dict[str, bytes]:
    """A hash of each scan's file, by file name."""
    return {p.name: hashlib.sha256(p.read_bytes()).digest() for p in folder.rglob("*.nii.gz")}


def test_finished_set_is_returned_at_once(folder: Path) -> None:
    before = modified(folder)
    assert write_dataset(folder, 6, 0.07, 3, progress=False) == folder
    assert modified(folder) == before


@pytest.mark.parametrize("marker", ["phantom.partial.json", "phantom.json"])
def test_interrupted_or_damaged_set_is_resumed(tmp_path: Path, marker: str) -> None:
    write_dataset(tmp_path, 3, 0.05, workers=1, progress=False)
    whole = contents(tmp_path)
    (tmp_path / "phantom.json").rename(tmp_path / marker)
    (tmp_path / "train/Mask/mask_case2.nii.gz").unlink()
    before = modified(tmp_path)

    write_dataset(tmp_path, 3, 0.05, workers=2, progress=False)
    after = modified(tmp_path)
    assert all(after[name] == before[name] for name in before if "ase2" not in name)
    assert contents(tmp_path) == whole
    assert json.loads((tmp_path / "phantom.json").read_text(encoding="utf-8"))["cases"] == 3
    assert not (tmp_path / "phantom.partial.json").exists()


@pytest.mark.parametrize("other", [{"seed": 4}, {"cases": 7}, {"bodies_only": True}])
def test_folder_of_other_settings_is_refused(folder: Path, other: dict) -> None:
    asked = {"cases": 6, "scale": 0.07, "seed": 3} | other
    before = modified(folder)
    with pytest.raises(ValueError, match="other settings"):
        write_dataset(folder, **asked, progress=False)
    assert modified(folder) == before


def test_folder_of_scans_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train" / "MR").mkdir(parents=True)
    with pytest.raises(ValueError, match="no phantom set"):
        write_dataset(tmp_path, 1, 0.05, progress=False)


def test_set_of_other_code_is_simulated_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dataset(tmp_path, 1, 0.05, progress=False)
    first, before = contents(tmp_path), modified(tmp_path)
    monkeypatch.setattr("spineseg.fingerprint.phantom_code", lambda: "other")
    write_dataset(tmp_path, 1, 0.05, progress=False)
    assert "simulated by other code" in capsys.readouterr().err
    assert contents(tmp_path) == first
    assert all(modified(tmp_path)[name] > before[name] for name in before)


def test_old_cases_that_cannot_be_removed_are_not_kept_as_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, if another program has a scan open."""
    write_dataset(tmp_path, 1, 0.05, progress=False)
    record = (tmp_path / "phantom.json").read_bytes()

    def in_use(*_: object, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise PermissionError("in use")

    monkeypatch.setattr("spineseg.fingerprint.phantom_code", lambda: "other")
    monkeypatch.setattr("shutil.rmtree", in_use)
    with pytest.raises(PermissionError):
        write_dataset(tmp_path, 1, 0.05, progress=False)
    assert (tmp_path / "phantom.json").read_bytes() == record


@pytest.mark.parametrize("wrong", [{"cases": 0}, {"scale": 0.0}])
def test_impossible_settings_are_refused(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        write_dataset(tmp_path, **wrong)
