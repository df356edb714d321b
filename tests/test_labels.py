import numpy as np
import pytest

from spineseg.labels import CLASSES, FOREGROUND, LABEL_SETS, relabel

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
