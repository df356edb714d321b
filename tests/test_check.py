import os
import random
import struct
import time

import numpy as np
import pytest
import SimpleITK as sitk

from scans import link_to, make_mask, make_scan, write, write_case
from spineseg.data.check import check_folder, require_valid
from spineseg.data.layouts import ChallengeFolder
from spineseg.data.volume import EXTENSIONS
from spineseg.utils.errors import UserError


def test_a_sound_folder_has_neither_problems_nor_notes(tmp_path, capfd):
    for number, ext in enumerate(EXTENSIONS):
        write_case(tmp_path / "train", number, ext=ext)
    report = check_folder(tmp_path)
    assert report.problems == report.notes == []
    assert report.cases == ChallengeFolder(tmp_path).cases() == require_valid(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_progress_is_a_bar_on_stderr(tmp_path, capfd):
    write_case(tmp_path, 1)
    check_folder(tmp_path, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "1/1" in err


def test_a_missing_or_empty_folder_is_a_problem(tmp_path):
    (tmp_path / "MR").mkdir()
    for root in (tmp_path, tmp_path / "none"):
        (problem,) = check_folder(root).problems
        assert problem.path == root


def test_no_two_files_are_inside_itk_at_once(tmp_path, monkeypatch):
    inside = overlaps = 0

    class Reader(sitk.ImageFileReader):
        def ReadImageInformation(self):
            return self._watched(super().ReadImageInformation)

        def Execute(self):
            return self._watched(super().Execute)

        def _watched(self, read):
            nonlocal inside, overlaps
            inside += 1
            overlaps += inside > 1
            time.sleep(0.002)
            try:
                return read()
            finally:
                inside -= 1

    for number in range(6):
        write_case(tmp_path, number)
    monkeypatch.setattr(sitk, "ImageFileReader", Reader)
    assert len(require_valid(tmp_path)) == 6
    assert overlaps == 0


def no_mask(root):
    image, mask = write_case(root, 1)
    mask.unlink()
    return image, "without a mask"


def no_scan(root):
    image, mask = write_case(root, 2)
    image.unlink()
    return mask, "without a scan"


def truncated(root):
    image, _ = write_case(root, 3)
    image.write_bytes(image.read_bytes()[:-400])
    return image, "truncated"


def not_an_image(root):
    image, _ = write_case(root, 4)
    image.write_text("<html>404</html>")
    return image, "a web page"


def two_dimensional(root):
    image, _ = write_case(root, 5, image=make_scan()[:, :, 0])
    return image, "10 x 14 voxels"


def four_dimensional(root):
    _, mask = write_case(root, 6, mask=sitk.JoinSeries([make_mask(), make_mask()]))
    return mask, "10 x 14 x 12 x 2 voxels"


def other_size(root):
    _, mask = write_case(root, 7, mask=make_mask((10, 14, 15)))
    return mask, "size 10 x 14 x 15 instead of 10 x 14 x 12"


def other_place(root):
    mask = make_mask()
    mask.SetOrigin((0, 0, 0))
    return write_case(root, 8, mask=mask)[1], "mm apart"


def other_direction(root):
    mask = make_mask()
    mask.SetDirection(np.eye(3).ravel())
    return write_case(root, 9, mask=mask)[1], "size"


def nan(root):
    scan = make_scan(dtype=np.float32)
    scan[1, 2, 3] = np.nan
    return write_case(root, 10, image=scan)[0], "NaN"


def infinite_mask(root):
    mask = make_mask(dtype=np.float32)
    mask[1, 2, 3] = np.inf
    return write_case(root, 11, mask=mask)[1], "infinite"


def constant(root):
    return write_case(root, 12, image=make_scan() * 0)[0], "every voxel is 0"


def a_mask_for_a_scan(root):
    return write_case(root, 19, image=make_mask())[0], "looks like a mask"


def fractions(root):
    mask = make_mask(dtype=np.float32, labels=(0, 1.5))
    return write_case(root, 13, mask=mask)[1], "whole numbers"


def absurd_size(root):
    image, _ = write_case(root, 14, ext=".nii")
    raw = bytearray(image.read_bytes())
    struct.pack_into("<3h", raw, 42, 32767, 32767, 32767)
    image.write_bytes(raw)
    return image, "claims 32767 x 32767 x 32767"


def two_scans(root):
    image, _ = write_case(root, 15)
    return write(make_scan(), image.with_name("Case15.mha")).with_name(image.name), "same case"


def two_masks(root):
    _, mask = write_case(root, 16)
    return write(make_mask(), mask.with_name("mask_case016.nii.gz")).with_name(mask.name), "same"


def a_folder_for_a_file(root):
    image, _ = write_case(root, 17)
    image.unlink()
    image.mkdir()
    return image, "not a file"


def a_broken_link(root):
    image, _ = write_case(root, 18)
    image.unlink()
    link_to("nowhere", image)
    return image, "does not exist"


FAULTS = [
    *(no_mask, no_scan, truncated, not_an_image, two_dimensional, four_dimensional, other_size),
    *(other_place, other_direction, nan, infinite_mask, constant, fractions, absurd_size),
    a_mask_for_a_scan,
    *(two_scans, two_masks, a_folder_for_a_file, a_broken_link),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_each_fault_alone(tmp_path, fault, capfd):
    path, what = fault(tmp_path)
    write_case(tmp_path, 99)
    report = check_folder(tmp_path)
    (problem,) = report.problems
    assert problem.path == path
    assert what in problem.what
    assert problem.remedy
    assert [case.id for case in report.cases] == ["Case99"]
    assert capfd.readouterr().err == ""


def test_all_faults_at_once_are_one_line_each(tmp_path):
    expected = [fault(tmp_path) for fault in FAULTS]
    write_case(tmp_path, 99)
    with pytest.raises(UserError) as error:
        require_valid(tmp_path)
    lines = str(error.value).splitlines()
    assert len(lines) == len(FAULTS)
    for path, what in expected:
        (line,) = [line for line in lines if line.startswith(f"{path}: ")]
        assert what in line


@pytest.mark.skipif(os.name == "nt", reason="Windows allows no such names")
def test_a_path_cannot_break_the_line(tmp_path):
    root = tmp_path / "two\nlines"
    fractions(root)
    (line,) = str(UserError(*check_folder(root).problems)).splitlines()
    assert "two?lines" in line


def test_both_files_of_a_case_can_be_bad(tmp_path):
    paths = write_case(tmp_path, 1)
    for path in paths:
        path.write_bytes(b"")
    assert [problem.path for problem in check_folder(tmp_path).problems] == list(paths)


@pytest.mark.parametrize(("shift", "fits"), [(0.04, True), (0.06, False)])
def test_grids_may_differ_by_a_tenth_of_the_smallest_spacing(tmp_path, shift, fits):
    mask = make_mask()
    mask.SetOrigin([x + shift / np.sqrt(3) for x in mask.GetOrigin()])
    write_case(tmp_path, 1, mask=mask)
    assert (check_folder(tmp_path).problems == []) == fits


def test_a_mask_stored_along_other_axes_fits_when_it_covers_the_same_grid(tmp_path):
    write_case(tmp_path, 1, mask=sitk.DICOMOrient(make_mask(), "LPS"))
    assert check_folder(tmp_path).problems == []


def spaced(*spacing):
    scan = make_scan()
    scan.SetSpacing(spacing)
    return scan


@pytest.mark.parametrize(
    ("scan", "mask", "note"),
    [
        (make_scan(), make_mask(dtype=np.float32), "stored as float"),
        (make_scan(), make_mask(labels=(*range(9), 20, 255)), "unknown labels: 20, 255"),
        (make_scan((10, 14, 15)), make_mask((10, 14, 15)), "15 slices"),
        (spaced(0.5, 0.6, 4.4), None, "not square"),
        (spaced(0.05, 0.05, 4.4), None, "unusually small or large"),
        (spaced(0.5, 0.5, 0.8), None, "unusually close or far"),
        (spaced(0.5, 0.5, 14.0), None, "unusually close or far"),
        (spaced(4.4, 0.5, 0.5), None, "no sagittal scan"),
    ],
)
def test_what_is_accepted_with_a_note(tmp_path, scan, mask, note):
    if mask is None:
        mask = make_mask()
        mask.CopyInformation(scan)
    write_case(tmp_path, 1, scan, mask)
    report = check_folder(tmp_path)
    assert report.problems == []
    assert len(report.cases) == 1
    assert any(note in str(each) for each in report.notes)
    assert len({each.path for each in report.notes}) == len(report.notes) == 1


def test_numbers_of_slices_are_one_note(tmp_path):
    for number, slices in enumerate((12, 15, 18, 15)):
        size = (10, 14, slices)
        write_case(tmp_path, number, make_scan(size), make_mask(size))
    (note,) = check_folder(tmp_path).notes
    assert note.what == "3 of 4 scans have 15 to 18 slices, and the paper's have 12"


def test_a_mask_that_marks_nothing_is_a_note_beside_others_that_do(tmp_path):
    write_case(tmp_path, 1, mask=make_mask(labels=(0,)))
    write_case(tmp_path, 2)
    report = check_folder(tmp_path)
    assert report.problems == []
    assert ["marks nothing" in note.what for note in report.notes] == [True]


def test_classes_that_no_mask_marks_are_one_note(tmp_path):
    for number, labels in enumerate([(0, 2, 3, 4), (0, 3, 4, 5, 6, 8)]):
        write_case(tmp_path, number, mask=make_mask(labels=labels))
    (note,) = check_folder(tmp_path).notes
    assert note.what == "no mask marks S, T12"
    write_case(tmp_path, 2, mask=make_mask(labels=(0, 1, 7)))
    assert check_folder(tmp_path).notes == []


def test_hidden_files_are_silent_and_strays_are_noted(tmp_path):
    write_case(tmp_path, 1)
    for name in ("._Case1.nii.gz", ".DS_Store", "readme.txt"):
        (tmp_path / "MR" / name).touch()
    report = check_folder(tmp_path)
    assert report.problems == []
    assert [note.path.name for note in report.notes] == ["readme.txt"]


def test_hundreds_of_mutated_files_give_problems_and_notes_only(tmp_path):
    start = time.perf_counter()
    sources = {ext: write_case(tmp_path / "source", 1, ext=ext) for ext in EXTENSIONS}
    root = tmp_path / "mutated"
    (root / "MR").mkdir(parents=True)
    (root / "Mask").mkdir()
    for number in range(300):
        rng = random.Random(number)
        ext = rng.choice(list(EXTENSIONS))
        names = f"MR/Case{number}{ext}", f"Mask/mask_case{number}{ext}"
        for source, name in zip(sources[ext], names, strict=True):
            data = bytearray(source.read_bytes())
            for _ in range(rng.randrange(4)):
                data[rng.randrange(min(len(data), 360))] = rng.randrange(256)
            (root / name).write_bytes(data)
    report = check_folder(root)
    bad = {problem.path for problem in report.problems}
    assert len(bad) == len(report.problems)
    assert bad
    assert report.cases
    assert not bad & {case.image for case in report.cases}
    assert all(str(each).isprintable() for each in report.problems + report.notes)
    assert time.perf_counter() - start < 20
