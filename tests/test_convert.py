import json

import numpy as np
import pytest
import SimpleITK as sitk

from scans import link_to, make_mask, make_scan, write, write_case, write_chu, write_spider
from spineseg.data import convert as converting
from spineseg.data.check import check_folder
from spineseg.data.convert import convert
from spineseg.data.layouts import ChallengeFolder, open_labelled, read_labelled
from spineseg.data.volume import geometry_mismatch
from spineseg.labels import CHALLENGE_LABELS
from spineseg.utils.errors import UserError


@pytest.fixture
def spider(tmp_path):
    root = tmp_path / "spider"
    for seed, name in enumerate(("1_t2", "1_t2_SPACE", "1_t1", "7_t2_SPACE", "7_t1", "20_t2")):
        write_spider(root, name, make_scan(seed=seed))
    return root


def test_one_scan_per_patient_in_the_challenges_layout(spider, tmp_path, capsys):
    out = convert(spider, tmp_path / "out")
    cases = ChallengeFolder(out).cases()
    assert [case.id for case in cases] == ["Case1", "Case7", "Case20"]
    assert check_folder(out).problems == []
    record = json.loads((out / "source.json").read_text())
    assert record["cases"] == {"Case1": "1_t2", "Case7": "7_t2_SPACE", "Case20": "20_t2"}
    assert record["licence"] == "CC BY 4.0"
    assert "10159290" in record["version"]
    said = capsys.readouterr().err
    assert "3 patients: 3 written, 0 kept, 0 bad" in said
    assert "1_t2_SPACE" in said
    assert "T1" in said


def test_same_voxels_same_grid(tmp_path):
    scan, mask = make_scan((11, 9, 6)), make_mask((11, 9, 6), np.int16, (0, 1, 9, 203))
    turn = np.reshape(sitk.VersorTransform((0.3, 1, 0.2), 0.3).GetMatrix(), (3, 3))
    for image in (scan, mask):
        image.SetDirection((turn @ np.reshape(scan.GetDirection(), (3, 3))).ravel().tolist())
        image.SetOrigin((-103.21, 77.7, 33.3))
    mask.SetDirection(scan.GetDirection())
    write_spider(tmp_path / "spider", "3_t2", scan, mask)
    (case,) = ChallengeFolder(convert(tmp_path / "spider", tmp_path / "out")).cases()
    for path, stored in ((case.image, scan), (case.mask, mask)):
        written = sitk.ReadImage(str(path))
        assert geometry_mismatch(written, stored, tolerance=1e-4) == ""
    assert np.array_equal(*(sitk.GetArrayFromImage(x) for x in (case.read(), scan)))


def test_labels_become_the_challenges(tmp_path):
    """By hand: L5 is 1 there and 2 here, L5/S 201 and 11. T8, canal, cut vertebrae go."""
    pairs = {0: 0, 1: 2, 2: 3, 5: 6, 6: 7, 7: 8, 8: 9, 9: 10, 10: 0, 25: 0, 100: 0, 101: 0}
    pairs |= {125: 0, 201: 11, 202: 12, 206: 16, 209: 19, 210: 0, 225: 0}
    mask = make_mask(dtype=np.int16, labels=list(pairs))
    write_spider(tmp_path / "spider", "3_t2", mask=mask)
    (case,) = ChallengeFolder(convert(tmp_path / "spider", tmp_path / "out")).cases()
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(case.mask)))
    before = sitk.GetArrayFromImage(mask)
    assert {old: np.unique(written[before == old]).tolist() for old in pairs} == {
        old: [new] for old, new in pairs.items()
    }
    assert CHALLENGE_LABELS[11] == "L5/S"


def test_training_sees_the_same_classes_before_and_after(spider, tmp_path):
    before = {case.id: case for case in open_labelled(spider).cases()}
    for case in open_labelled(convert(spider, tmp_path / "out")).cases():
        number = case.id.removeprefix("Case")
        source = before.get(f"{number}_t2") or before[f"{number}_t2_SPACE"]
        for ours, theirs in zip(read_labelled(case), read_labelled(source), strict=True):
            if isinstance(ours, sitk.Image):
                ours, theirs = map(sitk.GetArrayFromImage, (ours, theirs))
            assert np.array_equal(ours, theirs)


def test_an_interrupted_conversion_is_resumed(spider, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    write_image, written = converting.write_image, []

    def stop_at_the_fourth(image, path):
        if len(written) == 3:
            raise KeyboardInterrupt
        write_image(image, path)
        written.append(path)

    monkeypatch.setattr(converting, "write_image", stop_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        convert(spider, out)
    assert not (out / "source.json").exists()
    stamps = [path.stat().st_mtime_ns for path in written[:2]]
    monkeypatch.setattr(converting, "write_image", write_image)
    convert(spider, out)
    assert [path.stat().st_mtime_ns for path in written[:2]] == stamps
    assert "2 written, 1 kept" in capsys.readouterr().err
    assert not (out / "source.partial.json").exists()
    written[0].write_bytes(written[0].read_bytes()[:-200])
    convert(spider, out)
    assert "1 written, 2 kept" in capsys.readouterr().err
    assert check_folder(out).problems == []


def test_a_case_whose_source_changed_is_written_again(spider, tmp_path, capsys):
    out = convert(spider, tmp_path / "out")
    source = spider / "masks" / "1_t2.mha"
    mask = sitk.ReadImage(str(source))
    sitk.WriteImage(mask * 0 + 1, str(source))
    capsys.readouterr()
    convert(spider, out)
    assert "1 written, 2 kept" in capsys.readouterr().err
    converted = out / "train" / "Mask" / "mask_case1.nii.gz"
    labels = np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(converted))))
    assert labels.tolist() == [CHALLENGE_LABELS.index("L5")]


@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize("source_changed", [True, False])
def test_a_converted_mask_that_was_corrected_is_kept(
    spider, tmp_path, capsys, described, source_changed
):
    out = convert(spider, tmp_path / "out")
    converted = out / "train" / "Mask" / "mask_case1.nii.gz"
    mask = sitk.ReadImage(str(converted))
    mask[3, 3, 3] = 7
    if not described:
        mask.EraseMetaData("ITK_FileNotes")
    sitk.WriteImage(mask, str(converted))
    corrected = sitk.GetArrayFromImage(mask)
    if source_changed:
        write_spider(spider, "1_t2", make_scan(seed=9))
    capsys.readouterr()
    convert(spider, out)
    said = capsys.readouterr().err
    assert f"{int(source_changed)} written" in said
    assert ("was changed since it was converted; kept" in said) == (source_changed and described)
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(converted))), corrected)


def test_a_mask_that_became_empty_removes_no_case(spider, tmp_path, capsys):
    out = convert(spider, tmp_path / "out")
    source = spider / "masks" / "1_t2.mha"
    sitk.WriteImage(sitk.ReadImage(str(source)) * 0, str(source))
    convert(spider, out)
    assert "1 written, 2 kept" in capsys.readouterr().err
    assert len(ChallengeFolder(out).cases()) == 3


def test_a_mask_that_cannot_be_opened_is_one_of_the_bad_files(spider, tmp_path, capsys):
    mask = spider / "masks" / "7_t2_SPACE.mha"
    mask.unlink()
    link_to(tmp_path / "nowhere", mask)
    with pytest.raises(UserError, match=r"7_t2_SPACE\.mha: cannot be read"):
        convert(spider, tmp_path / "out")
    assert "2 written, 0 kept, 1 bad" in capsys.readouterr().err


def test_all_bad_files_are_listed_and_the_good_ones_converted(spider, tmp_path, capsys):
    (spider / "images" / "1_t2.mha").write_bytes(b"nothing")
    (spider / "masks" / "7_t2_SPACE.mha").unlink()
    _, odd = write_spider(spider, "9_t2", mask=make_mask((10, 14, 13), np.int16))
    write(make_scan(), spider / "images" / "011_t2.mha")
    write_spider(spider, "11_t2")
    out = tmp_path / "out"
    with pytest.raises(UserError) as error:
        convert(spider, out)
    named = {problem.path.name for problem in error.value.problems}
    assert named == {"1_t2.mha", "7_t2_SPACE.mha", odd.name, "011_t2.mha"}
    assert [case.id for case in ChallengeFolder(out).cases()] == ["Case20"]
    assert not (out / "source.json").exists()
    assert "1 written, 0 kept, 4 bad" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.txt", "mine"),
        ("train/MR/Case1.nii.gz", "mine"),
        ("source.json", "{}"),
        ("source.json", "[1]"),
        ("source.json", "not json"),
        ("source.partial.json", '{"set": "SPIDER"}'),
    ],
)
def test_a_folder_that_holds_something_else_is_refused(spider, tmp_path, name, content):
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(UserError, match="choose another folder"):
        convert(spider, tmp_path / "out")
    assert path.read_text() == content


def test_a_case_of_another_source_is_refused(spider, tmp_path):
    out = convert(spider, tmp_path / "out")
    write_spider(tmp_path / "other", "5_t2")
    with pytest.raises(UserError, match="was not made from this data set"):
        convert(tmp_path / "other", out)


def test_what_needs_no_conversion_and_what_has_no_masks_are_refused(phantom, tmp_path):
    write(make_scan(), tmp_path / "scans" / "a.mha")
    for source, words in ((phantom, "layout already"), (tmp_path / "scans", "known layout")):
        with pytest.raises(UserError, match=words):
            convert(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unknown_labels_are_reported(tmp_path, capsys):
    write_spider(tmp_path / "spider", "1_t2", mask=make_mask(dtype=np.int16, labels=(0, 1, 60)))
    convert(tmp_path / "spider", tmp_path / "out")
    assert "1_t2.mha: unknown labels: 60" in capsys.readouterr().err


def verse(root, labels=(0, 26, 24, 23, 22, 21, 20, 19, 18), cases=2):
    """A folder in the challenge's layout; its masks have VerSe's labels of S, L5, … T11."""
    for number in range(cases):
        write_case(root, number, mask=make_mask(labels=labels))
    return root


def test_another_label_set_in_the_challenges_layout(tmp_path):
    source = verse(tmp_path / "verse")
    out = convert(source, tmp_path / "out", "verse")
    for case in ChallengeFolder(out).cases():
        stored, written = (
            sitk.GetArrayFromImage(
                sitk.ReadImage(str(root / "Mask" / f"mask_case{case.id[4:]}.nii.gz"))
            )
            for root in (source, out / "train")
        )
        pairs = {0: 0, 26: 1, 24: 2, 23: 3, 22: 4, 21: 5, 20: 6, 19: 7, 18: 8}
        assert np.array_equal(written, np.vectorize(pairs.get)(stored))
    assert check_folder(out).problems == []
    record = json.loads((out / "source.json").read_text())
    assert (record["set"], record["labels"]["24"]) == ("verse", 2)
    convert(source, out, "verse")


def test_a_label_set_that_marks_no_class_leaves_nothing_behind(tmp_path):
    source = verse(tmp_path / "verse")
    out = tmp_path / "out"
    with pytest.raises(UserError, match="no mask marks any of S"):
        convert(source, out, "totalspineseg")
    assert [path for path in out.rglob("*") if path.is_file()] == []
    convert(source, out, "verse")
    with pytest.raises(UserError, match="other labels"):
        convert(source, out, "spineps")


def test_labels_of_another_set_are_not_converted_as_the_layouts_own(tmp_path):
    labels = np.array([0, 18, 19, 20, 21, 22, 23, 24, 26], np.int16)
    write_spider(tmp_path / "spider", "1_t2", mask=make_mask(dtype=np.int16, labels=labels))
    with pytest.raises(UserError, match=r"look like those of verse; .*--labels verse"):
        convert(tmp_path / "spider", tmp_path / "out")
    case = ChallengeFolder(convert(tmp_path / "spider", tmp_path / "new", "verse")).cases()[0]
    _, classes = read_labelled(case)
    assert np.unique(classes).tolist() == list(range(9))


def test_a_cropped_mask_is_padded(tmp_path, capsys):
    mask = make_mask(dtype=np.int16, labels=(1, 2, 7))
    write_spider(tmp_path / "spider", "1_t2", mask=mask[2:8, 3:10, 1:9])
    (case,) = ChallengeFolder(convert(tmp_path / "spider", tmp_path / "out")).cases()
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(case.mask)))
    expected = np.zeros((12, 14, 10), int)
    expected[1:9, 3:10, 2:8] = np.vectorize({1: 2, 2: 3, 7: 8}.get)(
        sitk.GetArrayFromImage(mask)[1:9, 3:10, 2:8]
    )
    assert np.array_equal(written, expected)
    assert "covers a part of its scan" in capsys.readouterr().err


def test_chus_header_and_levels_are_written_right(tmp_path, capsys):
    for number in (1, 22):
        write_chu(tmp_path / "chu", number, speck=number == 22)
    out = convert(tmp_path / "chu", tmp_path / "out")
    assert "Img_22_Labels.nii: 1 specks" in capsys.readouterr().err
    before, after = open_labelled(tmp_path / "chu").cases(), ChallengeFolder(out).cases()
    assert [case.id for case in after] == ["Case1", "Case22"]
    for ours, theirs in zip(after, before, strict=True):
        (scan, classes), (chu, levels) = read_labelled(ours), read_labelled(theirs)
        assert geometry_mismatch(scan, chu, tolerance=1e-4) == ""
        assert np.array_equal(*map(sitk.GetArrayFromImage, (scan, chu)))
        assert np.array_equal(classes, levels)
    direction = sitk.ReadImage(str(after[0].image)).GetDirection()
    assert np.allclose(direction, (-1, 0, 0, 0, 1, 0, 0, 0, 1))
    record = json.loads((out / "source.json").read_text())
    assert record["labels"] == {"1": [2, 3, 4, 5, 6, 7, 8]}
    assert record["cases"] == {"Case1": "Img_01", "Case22": "Img_22"}


def test_a_bad_mask_of_chu_is_named_and_the_others_are_converted(tmp_path):
    write_chu(tmp_path / "chu", 1)
    _, bad = write_chu(tmp_path / "chu", 2, levels=6)
    with pytest.raises(UserError, match=f"{bad.name}: has 6 separate vertebrae instead of 7"):
        convert(tmp_path / "chu", tmp_path / "out")
    assert [case.id for case in ChallengeFolder(tmp_path / "out").cases()] == ["Case1"]
