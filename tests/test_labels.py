from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from spineseg.data.levels import label_from_below, label_problems, order_note, other_label_set
from spineseg.labels import CLASSES, FOREGROUND, LABEL_SETS, relabel
from spineseg.utils.errors import UserError

# Label of each class from S to T11, as the authors of the set publish it.
PUBLISHED = {
    "challenge": [1, 2, 3, 4, 5, 6, 7, 8],
    "spider": [0, 1, 2, 3, 4, 5, 6, 7],
    "verse": [26, 24, 23, 22, 21, 20, 19, 18],
    "totalspineseg": [50, 45, 44, 43, 42, 41, 32, 31],
    "spineps": [26, 24, 23, 22, 21, 20, 19, 18],
}


@pytest.mark.parametrize("name", LABEL_SETS)
def test_classes_become_the_published_labels_and_back(name):
    labels = LABEL_SETS[name]
    classes = np.arange(len(CLASSES))
    stored = relabel(classes, CLASSES, labels)
    assert stored.tolist() == [0, *PUBLISHED[name]]
    back = relabel(stored, labels, CLASSES)
    assert [CLASSES[c] for c in back[1:]] == [c if c in labels else "BG" for c in FOREGROUND]


def test_vertebrae_of_verse_and_discs_by_number():
    verse, total, spineps = (LABEL_SETS[name] for name in ("verse", "totalspineseg", "spineps"))
    assert [verse[n] for n in (0, 1, 7, 8, 19, 20, 25, 27, 28)] == [
        *("BG", "C1", "C7", "T1", "T12", "L1", "L6", "coccyx", "T13"),
    ]
    assert [total[n] for n in (17, 21, 82, 91, 95)] == ["C7", "T1", "T11/T12", "T12/L1", "L4/L5"]
    assert [spineps[n] for n in (119, 120, 124)] == ["T12/L1", "L1/L2", "L5/S"]


@pytest.mark.parametrize("wanted", LABEL_SETS)
@pytest.mark.parametrize("name", LABEL_SETS)
def test_a_label_keeps_its_name_in_another_set_or_becomes_background(name, wanted):
    labels, target = LABEL_SETS[name], LABEL_SETS[wanted]
    for label, new in enumerate(relabel(np.arange(300), labels, target).tolist()):
        named = labels[label] if label < len(labels) else ""
        assert target[new] == (named if named and named in target else "BG")


def stack(labels, shape=(3, 40, 6)):
    """A canonical mask (slices, rows, columns): a column of boxes, the first label lowest."""
    mask = np.zeros(shape, np.uint8)
    height = shape[1] // len(labels)
    for number, label in enumerate(labels):
        top = shape[1] - (number + 1) * height
        mask[:, top : top + height - 1, 2:5] = label
    return mask


@pytest.mark.parametrize(
    ("found", "own", "other"),
    [
        (range(1, 20), "challenge", ""),
        ([1, 2, 3, 4, 5, 6, 7, 8, 20], "challenge", ""),
        ([2, 3, 4, 5, 6, 7, 8, 60], "challenge", ""),
        ([2, 3, 4, 5, 6, 7, 20], "challenge", ""),
        ([], "challenge", ""),
        ([60, 61], "challenge", ""),
        (range(20, 29), "challenge", "verse"),
        ([18, 19, 20, 21, 22, 23, 24, 26], "challenge", "verse"),
        (range(1, 27), "challenge", "verse"),
        ([18, 19, 20, 21, 22, 23, 24, 26, 118, 120, 124, 220, 224], "challenge", "spineps"),
        ([41, 42, 43, 44, 45, 50, 31, 32], "challenge", "totalspineseg"),
        ([1, 2, *range(21, 33), *range(41, 46), 50, 80, 91, 95, 100], "challenge", "totalspineseg"),
        ([1, 2, 3, 4, 5, 6, 7, 100, 201, 207], "challenge", "spider"),
        ([1, 2, 3, 4, 5, 6, 7, 100, 201, 207], "spider", ""),
        ([22, 23, 24], "spider", "verse"),
        ([41, 42, 43], "spider", "totalspineseg"),
        (range(1, 20), "spider", "challenge"),
        ([*range(1, 12), 100, *range(201, 212)], "spider", ""),
        (range(8, 27), "verse", ""),
        ([41, 42, 43, 44, 45], "verse", "totalspineseg"),
    ],
)
def test_labels_of_another_set_are_recognised(found, own, other):
    assert other_label_set(list(found), LABEL_SETS[own]) == other


ORDERED = list(range(1, 9))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(ORDERED), min_size=1, unique=True))
def test_a_note_unless_levels_are_in_order_from_below(classes):
    note = order_note(stack(classes), "mask")
    assert (note is None) == (classes == sorted(classes))
    if note:
        assert note.what.endswith(", ".join(CLASSES[each] for each in classes))


def test_a_note_if_one_label_marks_many_levels():
    assert order_note(np.minimum(stack([1, 1]), 1), "mask") is None
    note = order_note(stack([3, 3, 3]), "mask")
    assert note.what == "L4 is in 3 pieces one above another"


def test_a_folder_of_another_label_set_is_one_line():
    masks = {Path(f"mask_case{n}.mha"): [18, 19, 20, 21, 22, 23, 24, 26] for n in range(9)}
    challenge = LABEL_SETS["challenge"]
    (problem,) = label_problems(Path("my set"), masks | {Path("empty"): []}, challenge, False)
    assert problem.what.startswith("9 of 9 masks have labels (18, 19, 20, 21, 22, 23, …)")
    assert problem.remedy == "`spineseg data convert 'my set' OUT --labels verse`"
    (problem,) = label_problems(Path("x"), masks | {Path("own"): [1, 2, 3]}, challenge, False)
    assert problem.what.endswith("verse, such as mask_case0.mha")
    assert label_problems(Path("x"), masks, LABEL_SETS["verse"], True) == []


@pytest.mark.parametrize("labels", [[], [9, 10, 15], [60]])
@pytest.mark.parametrize("declared", [False, True])
def test_a_folder_without_any_class_is_refused(labels, declared):
    challenge = LABEL_SETS["challenge"]
    found = {Path("a"): labels, Path("b"): []}
    (problem,) = label_problems(Path("x"), found, challenge, declared)
    assert problem.what.startswith("no mask marks any of S, L5")
    assert label_problems(Path("x"), found | {Path("c"): [8]}, challenge, declared) == []
    assert label_problems(Path("x"), {}, challenge, declared) == []


def test_a_mask_without_levels_has_no_order():
    assert order_note(np.zeros((2, 3, 4), np.uint8), "mask") is None


def one_label(pieces, speck=False):
    mask = (stack(range(1, pieces + 1)) > 0).astype(np.uint8)
    if speck:
        mask[0, 0, 0] = 1
    image = sitk.GetImageFromArray(mask)
    image.SetDirection((0, 0, 1, 1, 0, 0, 0, -1, 0))
    return image


CHU = ("L5", "L4", "L3", "L2", "L1", "T12", "T11")


@pytest.mark.parametrize("speck", [False, True])
def test_pieces_of_one_label_become_levels_from_below(speck):
    notes = []
    mask = label_from_below(one_label(7, speck), CHU, "mask", notes)
    assert np.array_equal(sitk.GetArrayFromImage(mask), stack([2, 3, 4, 5, 6, 7, 8]))
    assert [note.what for note in notes] == ["1 specks"] * speck


def test_pieces_are_counted_along_the_patient_not_the_file():
    upside_down = sitk.Flip(one_label(7), (False, True, False))
    mask = label_from_below(upside_down, CHU, "mask")
    assert np.array_equal(sitk.GetArrayFromImage(mask), stack([2, 3, 4, 5, 6, 7, 8])[:, ::-1])


@pytest.mark.parametrize("pieces", [0, 1, 6, 8])
def test_another_number_of_pieces_is_refused(pieces):
    image = one_label(pieces) if pieces else one_label(7) * 0
    with pytest.raises(UserError, match=f"has {pieces} separate vertebrae instead of 7"):
        label_from_below(image, CHU, "mask")


def test_several_labels_are_not_one_for_all():
    image = sitk.GetImageFromArray(stack([1, 2, 3, 4, 5, 6, 7]))
    with pytest.raises(UserError, match="1, 2, 3, 4, 5, 6, … instead of one"):
        label_from_below(image, CHU, "mask")
