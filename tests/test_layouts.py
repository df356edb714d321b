from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from scans import (
    link_to,
    make_mask,
    make_scan,
    write,
    write_case,
    write_chu,
    write_dicom,
    write_spider,
)
from spineseg.data.check import check_folder, require_valid
from spineseg.data.layouts import (
    Case,
    ChallengeFolder,
    ChuFolder,
    ScanFolder,
    SpiderFolder,
    open_labelled,
    open_source,
    read_labelled,
)
from spineseg.data.prepare import open_scans, prepare_scans
from spineseg.data.volume import EXTENSIONS, from_canonical, to_canonical
from spineseg.experiment import Experiment
from spineseg.labels import CLASSES, SPIDER_LABELS, relabel
from spineseg.utils.errors import UserError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize("inner", ["", "train"])
def test_the_folder_or_its_parent_in_the_order_of_case_numbers(tmp_path, inner):
    root = tmp_path / inner
    for number, ext in zip((10, 9, 2, 100), EXTENSIONS, strict=True):
        touch(root, f"MR/Case{number}{ext}", f"Mask/mask_case{number}{ext}")
    cases = ChallengeFolder(tmp_path).cases()
    assert [case.id for case in cases] == ["Case2", "Case9", "Case10", "Case100"]
    assert cases[1] == Case(
        "Case9", root / "MR/Case9.nii", root / "Mask/mask_case9.nii", patient="Case9"
    )


def test_file_names_in_either_case(tmp_path):
    touch(tmp_path, "MR/case7.nii.gz", "Mask/Mask_Case7.mha")
    (case,) = ChallengeFolder(tmp_path).cases()
    assert (case.id, case.image.name, case.mask.name) == ("Case7", "case7.nii.gz", "Mask_Case7.mha")


def test_scans_without_masks_have_none_and_masks_without_scans_are_no_case(tmp_path):
    touch(tmp_path, "MR/Case1.mha", "Mask/mask_case2.mha")
    folder = ChallengeFolder(tmp_path)
    assert [(case.id, case.mask) for case in folder.cases()] == [("Case1", None)]
    assert list(folder.masks) == [(2, "")]


def test_two_files_of_one_case_are_a_clash(tmp_path):
    touch(tmp_path, "MR/Case1.nii", "MR/Case01.mha", "MR/Case1.nii.gz", "Mask/mask_case1.nii")
    folder = ChallengeFolder(tmp_path)
    assert len(folder.problems()) == 2
    with pytest.raises(UserError, match="same case as"):
        folder.cases()


def test_hidden_files_are_ignored_and_others_are_strays(tmp_path):
    strays = ["MR/Case1.txt", "MR/Case.nii", "MR/Case2-old.nii", "MR/mask_case1.nii"]
    touch(tmp_path, "MR/Case1.nii", "MR/._Case1.nii", "MR/.DS_Store", "Mask/._mask_case1.nii.gz")
    touch(tmp_path, *strays)
    folder = ChallengeFolder(tmp_path)
    assert [case.id for case in folder.cases()] == ["Case1"]
    assert folder.strays == sorted(tmp_path / name for name in strays)


@pytest.mark.parametrize("names", [[], ["notes.txt"], ["MR/notes.txt"], ["Case1.nii.gz"]])
def test_a_folder_without_scans_is_refused(tmp_path, names):
    touch(tmp_path, *names)
    with pytest.raises(UserError, match="holds no scans"):
        ChallengeFolder(tmp_path)


def test_a_missing_folder_and_a_file_are_refused(tmp_path):
    image, _ = write_case(tmp_path, 1)
    for path in (tmp_path / "none", image):
        with pytest.raises(UserError, match="no such folder"):
            ChallengeFolder(path)


def test_spiders_t2_series_by_patient_and_its_t1_series_in_one_note(tmp_path):
    for name in ("10_t2", "2_t2_SPACE", "2_t2", "1_t1", "2_t1", "3_t2_space"):
        write_spider(tmp_path, name)
    folder = open_labelled(tmp_path)
    assert isinstance(folder, SpiderFolder)
    cases = folder.cases()
    assert [case.id for case in cases] == ["2_t2", "2_t2_SPACE", "3_t2_SPACE", "10_t2"]
    assert [case.patient for case in cases] == ["2", "2", "3", "10"]
    assert folder.patients() == 3
    assert cases[0].mask == tmp_path / "masks" / "2_t2.mha"
    report = check_folder(tmp_path)
    assert report.problems == []
    assert report.cases == cases == require_valid(tmp_path)
    assert [note.what for note in report.notes] == [
        "holds 4 files of T1 series",
        "no mask marks S, L3, L2, L1, T12",
    ]


def test_spiders_labels_become_classes(tmp_path):
    """SPIDER's scheme, written out: lumbar and thoracic bodies upwards from L5 = 1."""
    expected = {1: "L5", 2: "L4", 3: "L3", 4: "L2", 5: "L1", 6: "T12", 7: "T11"}
    stored = np.arange(300).astype(np.int16)
    classes = relabel(stored, SPIDER_LABELS, CLASSES)
    found = {n: CLASSES[index] for n, index in enumerate(classes.tolist()) if index}
    assert found == expected
    assert [SPIDER_LABELS[n] for n in (100, 101, 125, 201, 206)] == [
        "spinal canal",
        "partly visible vertebra",
        "partly visible vertebra",
        "L5/S",
        "T12/L1",
    ]
    write_spider(tmp_path, "1_t2", mask=make_mask(dtype=np.int16, labels=(0, 1, 7, 8, 101, 201)))
    (case,) = open_labelled(tmp_path).cases()
    _, classes = read_labelled(case)
    assert {CLASSES[index] for index in np.unique(classes)} == {"BG", "L5", "T11"}


def test_spider_folders_have_the_problems_of_any_labelled_folder(tmp_path):
    image, _ = write_spider(tmp_path, "1_t2")
    _, mask = write_spider(tmp_path, "2_t2")
    image.unlink()
    mask.unlink()
    _, odd = write_spider(tmp_path, "3_t2", mask=make_mask((11, 14, 12), np.int16))
    again = write(make_scan(), tmp_path / "images" / "04_t2.mha")
    write_spider(tmp_path, "4_t2")
    _, strange = write_spider(tmp_path, "5_t2", mask=make_mask(labels=(0, 60, 130)))
    report = check_folder(tmp_path)
    assert [case.id for case in report.cases] == ["5_t2"]
    words = {(problem.path.name, problem.what.split(":")[0]) for problem in report.problems}
    assert words == {
        ("1_t2.mha", "mask without a scan"),
        ("2_t2.mha", "scan without a mask"),
        (odd.name, "does not fit 3_t2.mha"),
        ("4_t2.mha", f"same case as {again.name}"),
    }
    assert any("unknown labels: 60, 130" in note.what for note in report.notes)
    assert strange.name in {note.path.name for note in report.notes}


@pytest.mark.parametrize(
    ("names", "layout"),
    [
        (["MR/Case1.mha", "images/1_t2.mha"], ChallengeFolder),
        (["train/Mask/mask_case1.mha"], ChallengeFolder),
        (["images/1_t2.mha", "overview.csv"], SpiderFolder),
        (["masks/7_t2_SPACE.mha"], SpiderFolder),
        (["images/1_t1.mha"], ScanFolder),
        (["Img_01.nii", "Img_01_Labels.nii"], ChuFolder),
        (["img_2.nii.gz", "img_3_labels.nii.gz", "readme.txt"], ChuFolder),
        (["img_2.nii.gz", "readme.txt"], ScanFolder),
        (["MR/scan.nii.gz"], ScanFolder),
        (["a/b/scan.nrrd"], ScanFolder),
    ],
)
def test_the_layout_is_recognised_from_the_file_names(tmp_path, names, layout):
    touch(tmp_path, *names)
    assert type(open_source(tmp_path)) is layout


def test_scans_with_the_names_of_chu_and_usual_axes_are_not_turned_around(tmp_path):
    """Their second axis runs downwards, and not from back to front."""
    write(make_scan(), tmp_path / "img_001.nii.gz")
    write(make_mask(), tmp_path / "img_001_labels.nii.gz")
    assert type(open_source(tmp_path)) is ScanFolder
    with pytest.raises(UserError, match=r"Img_01_Labels\.nii of Chu et al\."):
        open_labelled(tmp_path)
    for seed in (1, 2):
        scan, _ = write_chu(tmp_path / "chu", seed)
        write_chu(tmp_path / "back", seed)
        write_chu(tmp_path / "alone", seed)[1].unlink()
    image = sitk.ReadImage(str(scan))
    image.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, 1))  # the second axis leads to the back
    sitk.WriteImage(image, str(tmp_path / "back" / "Img_01.nii"))
    assert type(open_source(tmp_path / "back")) is ScanFolder
    assert type(open_source(tmp_path / "alone")) is ScanFolder
    folder = open_source(tmp_path / "chu")
    assert type(folder) is ChuFolder
    assert any("exchange front and back" in note.what for note in folder.notes())


def test_image_files_and_dicom_side_by_side_and_a_file_alone(tmp_path):
    single = write(make_scan(), tmp_path / "b" / "scan.mha")
    write_dicom(tmp_path / "a", make_scan((8, 9, 3)), uid="1.7")
    cases = open_source(tmp_path).cases()
    assert [(case.image, case.mask) for case in cases] == [
        (single, None),
        (tmp_path / "a" / "0", None),
    ]
    assert [case.read().GetDepth() for case in cases] == [12, 3]
    (case,) = open_source(single).cases()
    assert case.image == single
    assert [len(check_folder(path).cases) for path in (tmp_path, single)] == [2, 1]


@pytest.mark.parametrize(
    ("name", "words"),
    [("none", "no such folder"), ("notes.txt", "not a known image type"), ("empty", "no scans")],
)
def test_a_place_without_scans_is_one_line(tmp_path, name, words):
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=words):
        open_source(tmp_path / name)


def test_a_single_slice_asks_for_its_series(tmp_path):
    file = write_dicom(tmp_path, make_scan((8, 9, 3)))[1]
    (problem,) = check_folder(file).problems
    assert "whole series" in problem.remedy


def test_training_on_scans_without_masks_is_refused_in_one_line(tmp_path):
    image = write(make_scan(), tmp_path / "set" / "scan.mha")
    write_dicom(tmp_path / "set", make_scan((8, 9, 3)))
    for use in (
        lambda: open_scans(Experiment.of(image.parent, "smoke")),
        lambda: open_labelled(image),
    ):
        with pytest.raises(UserError, match="with masks") as error:
            use()
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="with masks"):
        require_valid(image.parent)


def test_a_folder_that_cannot_be_opened_is_a_problem(tmp_path, monkeypatch):
    write(make_scan(), tmp_path / "scan.mha")
    (tmp_path / "closed").mkdir()

    iterdir = Path.iterdir

    def refuse(folder):
        if folder.name == "closed":
            raise PermissionError(13, "Permission denied", str(folder))
        return iterdir(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    report = check_folder(tmp_path)
    assert len(report.cases) == 1
    assert [problem.path.name for problem in report.problems] == ["closed"]


def found_in(root):
    """The scans found, by their paths in `root`, and the places that are noted."""
    source = open_source(root)
    scans = [case.image.relative_to(root).as_posix() for case in source.cases()]
    problems = [problem.path.name for problem in source.problems()]
    return scans, sorted(note.path.name for note in source.notes()), problems


def test_linked_folders_and_files_are_followed(tmp_path):
    for patient in ("P1", "P2"):
        write(make_scan(), tmp_path / "real" / patient / "a" / "scan.mha")
    write_dicom(tmp_path / "real" / "P3", make_scan((8, 9, 3)))
    root = tmp_path / "farm"
    root.mkdir()
    for name in ("P1", "P2", "P3"):
        link_to(tmp_path / "real" / name, root / name)
    link_to(tmp_path / "real" / "P1" / "a" / "scan.mha", root / "one.mha")
    scans, notes, problems = found_in(root)
    assert scans == ["P1/a/scan.mha", "P2/a/scan.mha", "one.mha", "P3/0"]
    assert (notes, problems) == ([], [])
    assert [case.read().GetDepth() for case in open_source(root).cases()] == [12, 12, 12, 3]


def test_a_folder_is_read_once_however_many_links_lead_to_it(tmp_path):
    write(make_scan(), tmp_path / "set" / "m" / "scan.mha")
    write(make_scan(), tmp_path / "elsewhere" / "x" / "scan.mha")
    for name, target in {
        "a": tmp_path / "set" / "m",  # sorted before the folder itself
        "z": tmp_path / "set" / "m",
        "p": tmp_path / "elsewhere",
        "q": tmp_path / "elsewhere" / "x",
        "loop": tmp_path / "set" / "m" / "loop",
    }.items():
        link_to(target, tmp_path / "set" / name)
    link_to(tmp_path / "set" / "p", tmp_path / "elsewhere" / "round")
    scans, notes, problems = found_in(tmp_path / "set")
    assert scans == ["m/scan.mha", "p/x/scan.mha"]
    assert notes == ["a", "q", "round", "z"]
    assert problems == ["loop"]


@pytest.mark.parametrize("up", [".", "..", "../.."])
def test_links_to_the_folder_itself_and_above_it_are_not_followed(tmp_path, up):
    root = tmp_path / "x" / "set"
    write(make_scan(), root / "scan.mha")
    write(make_scan(), tmp_path / "x" / "other.mha")
    link_to(up, root / "again")
    link_to(up, root / ".hidden")
    assert found_in(root) == (["scan.mha"], ["again"], [])


def test_a_link_to_nothing_is_a_problem(tmp_path):
    write(make_scan(), tmp_path / "scan.mha")
    link_to(tmp_path / "gone", tmp_path / "P1")
    link_to(tmp_path / "gone.mha", tmp_path / "b.mha")
    assert found_in(tmp_path) == (["scan.mha"], [], ["P1", "b.mha"])


def test_a_labelled_folder_of_links(tmp_path):
    image, mask = write_case(tmp_path / "real", 1)
    root = tmp_path / "farm"
    (root / "train").mkdir(parents=True)
    link_to(image.parent, root / "train" / "MR")
    (root / "train" / "Mask").mkdir()
    link_to(mask, root / "train" / "Mask" / mask.name)
    report = check_folder(root)
    assert (len(report.cases), report.problems) == (1, [])


@pytest.mark.parametrize("up", ["", "train"])
@pytest.mark.parametrize(
    ("images", "masks"),
    [("image", "groundtruth"), ("original_mr", "mask"), ("mr", "MASK"), ("Image", "GroundTruth")],
)
def test_folder_names_of_copies_of_the_challenge(tmp_path, up, images, masks):
    root = tmp_path / up
    touch(root, f"{images}/Case1.nii.gz", f"{masks}/mask_case1.nii.gz")
    touch(tmp_path, "test/image/Case2.nii.gz")
    folder = open_labelled(tmp_path)
    (case,) = folder.cases()
    assert (case.id, case.image.parent, case.mask.parent) == ("Case1", root / images, root / masks)
    assert [note.path for note in folder.notes()] == [tmp_path / "test" / "image"]
    assert folder.problems() == []


def test_chus_axes_and_levels_are_put_right(tmp_path):
    """By hand: the back is bright, and vertebra n from below is n steps further back."""
    write_chu(tmp_path, 1, speck=True)
    (case,) = open_labelled(tmp_path).cases()
    notes = []
    scan, classes = read_labelled(case, notes)
    values = sitk.GetArrayFromImage(scan)
    assert np.array_equal(values[0, 0], np.arange(14) * 10)  # columns run from front to back
    assert np.unique(classes).tolist() == [0, 2, 3, 4, 5, 6, 7, 8]
    for n, level in enumerate(("L5", "L4", "L3", "L2", "L1", "T12", "T11")):
        slices, rows, columns = np.nonzero(classes == CLASSES.index(level))
        assert (slices.min(), slices.max()) == (1, 3)
        assert (rows.min(), rows.max()) == (31 - 4 * n - 2, 31 - 4 * n)
        assert (columns.min(), columns.max()) == (2 + n, 5 + n)
    assert [note.what for note in notes] == ["1 specks"]
    assert check_folder(tmp_path).cases == [case]


def test_a_mask_made_for_chus_scan_fits_its_own_header(tmp_path):
    image, mask = write_chu(tmp_path, 1)
    (case,) = open_source(tmp_path).cases()
    scan = case.read()
    _, classes = read_labelled(case)
    labelled = sitk.GetImageFromArray(classes)
    labelled.CopyInformation(to_canonical(scan))
    back = sitk.GetArrayFromImage(from_canonical(labelled, scan))
    assert np.array_equal(back > 0, sitk.GetArrayFromImage(sitk.ReadImage(str(mask))))
    assert sitk.ReadImage(str(image)).GetSize() == back.shape[::-1]


@pytest.mark.parametrize("levels", [6, 8])
def test_chus_masks_have_seven_vertebrae(tmp_path, levels):
    write_chu(tmp_path, 1)
    _, mask = write_chu(tmp_path, 2, levels)
    folder = open_labelled(tmp_path)
    assert isinstance(folder, ChuFolder)
    with pytest.raises(UserError, match=f"{mask.name}: has {levels} separate vertebrae"):
        read_labelled(folder.cases()[1])
    assert [case.id for case in check_folder(tmp_path).cases] == ["Img_01"]


def verse(root, number):
    """A case in the challenge's layout whose mask has VerSe's labels of S, L5, … T11."""
    return write_case(root, number, mask=make_mask(labels=(0, 26, 24, 23, 22, 21, 20, 19, 18)))


def test_other_labels_are_refused_unless_they_are_named(tmp_path):
    verse(tmp_path, 1)
    (case,) = open_labelled(tmp_path).cases()
    with pytest.raises(UserError, match=r"look like those of verse; .*--labels verse"):
        read_labelled(case)
    (case,) = open_labelled(tmp_path, "verse").cases()
    _, classes = read_labelled(case)
    stored = to_canonical(sitk.ReadImage(str(case.mask)))
    expected = {0: 0, 26: 1, 24: 2, 23: 3, 22: 4, 21: 5, 20: 6, 19: 7, 18: 8}
    assert np.array_equal(
        classes, np.vectorize(expected.get)(sitk.GetArrayFromImage(stored)).astype(np.uint8)
    )


@pytest.mark.parametrize(
    ("labels", "words"),
    [((0, 26, 24, 23, 18), "--labels verse"), ((0, 9, 10), "no mask marks any"), ((0, 60), "NAME")],
)
def test_masks_that_mark_no_class_are_refused_before_training(workspace, labels, words):
    for number in range(5):
        write_case(workspace / "mine", number, mask=make_mask(labels=labels))
    with pytest.raises(UserError, match=words) as error:
        prepare_scans(Experiment.of(workspace / "mine", "smoke"))
    assert len(error.value.problems) == 1
    assert not (workspace / "cache").exists() or not list((workspace / "cache").iterdir())


def test_chus_folder_is_prepared_for_training(workspace):
    for number in range(5):
        write_chu(workspace / "chu", number)
    cache = prepare_scans(Experiment.of(workspace / "chu", "smoke"))
    assert cache.index["classes"] == [name for name in CLASSES if name != "S"]
    rows = [np.nonzero(cache.masks[0] == CLASSES.index(level))[1].mean() for level in CLASSES[2:]]
    assert rows == sorted(rows, reverse=True)


def test_segmentations_and_headers_without_voxels_are_told(tmp_path):
    write(make_scan(), tmp_path / "scan.nrrd")
    write(make_mask(), tmp_path / "scan.seg.nrrd")
    touch(tmp_path, "old.hdr", "old.img")
    assert found_in(tmp_path) == (["scan.nrrd"], ["scan.seg.nrrd"], ["old.hdr", "old.img"])
    assert found_in(tmp_path / "old.hdr")[2] == ["old.hdr"]


def test_voxels_are_those_of_the_file(tmp_path):
    image, _ = write_spider(tmp_path, "1_t2")
    stored = sitk.GetArrayFromImage(sitk.ReadImage(str(image)))
    (case,) = open_source(tmp_path).cases()
    assert np.array_equal(sitk.GetArrayFromImage(case.read()), stored)
