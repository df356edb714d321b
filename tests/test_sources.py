import pytest

from scans import write_case
from spineseg.data.sources import Case, ChallengeFolder
from spineseg.data.volume import EXTENSIONS, ScanError


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
    assert len(folder.faults()) == 2
    with pytest.raises(ScanError, match="same case as"):
        folder.cases()


def test_hidden_files_are_passed_over_and_others_are_strays(tmp_path):
    strays = ["MR/Case1.txt", "MR/Case.nii", "MR/Case2-old.nii", "MR/mask_case1.nii"]
    touch(tmp_path, "MR/Case1.nii", "MR/._Case1.nii", "MR/.DS_Store", "Mask/._mask_case1.nii.gz")
    touch(tmp_path, *strays)
    folder = ChallengeFolder(tmp_path)
    assert [case.id for case in folder.cases()] == ["Case1"]
    assert folder.strays == sorted(tmp_path / name for name in strays)


@pytest.mark.parametrize("names", [[], ["notes.txt"], ["MR/notes.txt"], ["Case1.nii.gz"]])
def test_a_folder_without_scans_is_refused(tmp_path, names):
    touch(tmp_path, *names)
    with pytest.raises(ScanError, match="holds no scans"):
        ChallengeFolder(tmp_path)


def test_a_missing_folder_and_a_file_are_refused(tmp_path):
    image, _ = write_case(tmp_path, 1)
    for path in (tmp_path / "none", image):
        with pytest.raises(ScanError, match="no such folder"):
            ChallengeFolder(path)
