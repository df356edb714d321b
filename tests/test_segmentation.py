"""Segmentations as 3D Slicer saves them, and masks that cover a part of their scan."""

import gzip
import random

import numpy as np
import pytest
import SimpleITK as sitk

from scans import make_mask, make_scan, write
from spineseg.data.check import check_folder
from spineseg.data.layouts import ChallengeFolder, read_labelled
from spineseg.data.segmentation import plain_name
from spineseg.data.volume import on_grid_of, read_mask, read_scan, read_volume
from spineseg.labels import CHALLENGE_LABELS
from spineseg.utils.errors import UserError

HEADER = """NRRD0004
# Complete NRRD file format specification at:
# http://teem.sourceforge.net/nrrd/format.html
type: unsigned char
dimension: {dimension}
space: left-posterior-superior
sizes: {sizes}
space directions: {directions}
kinds: {kinds}
encoding: gzip
space origin: ({origin})
measurement frame: (1,0,0) (0,1,0) (0,0,1)
{segments}Segmentation_MasterRepresentation:=Binary labelmap
Segmentation_ContainedRepresentationNames:=Binary labelmap|Closed surface|
Segmentation_ConversionParameters:=Collapse labelmaps|1|Merge the labelmaps: all&

"""


def slicer_file(path, mask, segments, layers=None):
    """Save labels as Slicer does: (name, value, layer) of each segment; `layers` of (z, y, x)."""
    axes = np.reshape(mask.GetDirection(), (3, 3)) * mask.GetSpacing()
    directions = " ".join(f"({','.join(map(repr, axis.tolist()))})" for axis in axes.T)
    sizes, kinds = " ".join(map(str, mask.GetSize())), "domain domain domain"
    values = sitk.GetArrayFromImage(mask)
    if layers is not None:
        values = np.stack(layers, axis=-1)
        sizes, kinds = f"{len(layers)} {sizes}", f"list {kinds}"
        directions = f"none {directions}"
    lines = ""
    for number, (name, value, layer) in enumerate(segments):
        extent = "0 9 0 13 0 11"
        fields = {"Color": "0.5 0.6 0.1", "Extent": extent, "ID": f"Segment_{number + 1}"}
        fields |= {"LabelValue": value, "Layer": layer, "Name": name, "Tags": "a:b^c|d=e|"}
        lines += "".join(f"Segment{number}_{key}:={text}\n" for key, text in fields.items())
    header = HEADER.format(
        dimension=3 + (layers is not None),
        sizes=sizes,
        kinds=kinds,
        directions=directions,
        origin=",".join(map(repr, mask.GetOrigin())),
        segments=lines,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header.encode() + gzip.compress(values.astype(np.uint8).tobytes()))
    return path


def numbers(image):
    return np.unique(sitk.GetArrayFromImage(image)).tolist()


def read(path, labels=CHALLENGE_LABELS):
    notes = []
    return read_mask(path, labels, notes), [str(note) for note in notes]


def test_segments_are_known_by_name(tmp_path):
    """Drawn from above: L4 is 1, L5 is 2, the sacrum is 3. The challenge calls them 3, 2, 1."""
    mask = make_mask(labels=(0, 3, 2, 1))
    segments = [("L4", 1, 0), (" vertebra L5", 2, 0), ("Sacrum", 3, 0)]
    read_back, (note,) = read(slicer_file(tmp_path / "m.seg.nrrd", mask, segments))
    expected = sitk.GetArrayFromImage(make_mask(labels=(0, 1, 2, 3)))
    assert np.array_equal(sitk.GetArrayFromImage(read_back), expected)
    assert "by the names of its 3 segments" in note
    assert read_back.GetOrigin() == pytest.approx(mask.GetOrigin())


@pytest.mark.parametrize(
    "segments",
    [
        [("Segment_1", 1, 0), ("Segment_2", 2, 0), ("Segment_3", 3, 0)],  # no known name
        [("S", 1, 0), ("Nerv", 30, 0), ("L4", 3, 0)],  # known names agree with their labels
        [],
    ],
)
def test_labels_stay_if_names_say_nothing_else(tmp_path, segments):
    mask = make_mask(labels=(0, 1, 2, 3))
    read_back, notes = read(slicer_file(tmp_path / "m.seg.nrrd", mask, segments))
    assert np.array_equal(sitk.GetArrayFromImage(read_back), sitk.GetArrayFromImage(mask))
    assert notes == []


def test_a_segment_of_another_name_whose_number_is_a_label_is_noted(tmp_path):
    mask = make_mask(labels=(0, 1, 2, 3))
    segments = [("S", 1, 0), ("L5", 2, 0), ("spinal cord", 3, 0)]
    read_back, (note,) = read(slicer_file(tmp_path / "m.seg.nrrd", mask, segments))
    assert np.array_equal(sitk.GetArrayFromImage(read_back), sitk.GetArrayFromImage(mask))
    assert "spinal cord has the number of L4 and is read as it" in note


def test_segments_of_other_names_become_background_beside_known_ones(tmp_path):
    mask = make_mask(labels=(0, 1, 2, 3))
    segments = [("tumour", 1, 0), ("L5", 3, 0), ("Segment_2", 2, 0)]
    read_back, (note,) = read(slicer_file(tmp_path / "m.seg.nrrd", mask, segments))
    expected = sitk.GetArrayFromImage(make_mask(labels=(0, 0, 0, 2)))
    assert np.array_equal(sitk.GetArrayFromImage(read_back), expected)
    assert note.endswith("background: tumour, Segment_2")


def layer(*bands):
    """A layer (12, 14, 10) with a value in some rows: (first, last + 1, value)."""
    values = np.zeros((12, 14, 10), np.uint8)
    for first, end, value in bands:
        values[:, first:end] = value
    return values


@pytest.mark.parametrize(
    "segments",
    [
        [("S", 1, 0), ("L5", 2, 0), ("L4", 1, 1)],  # one label in two layers, so names decide
        [("a", 1, 0), ("b", 2, 0), ("c", 3, 1)],  # labels of their own
    ],
)
def test_layers_are_merged(tmp_path, segments):
    layers = [layer((10, 13, 1), (6, 9, 2)), layer((2, 5, segments[2][1]))]
    path = slicer_file(tmp_path / "m.seg.nrrd", make_mask(), segments, layers)
    read_back, _ = read(path)
    expected = layer((10, 13, 1), (6, 9, 2), (2, 5, 3))
    assert np.array_equal(sitk.GetArrayFromImage(read_back), expected)
    assert read_back.GetSpacing() == pytest.approx(make_mask().GetSpacing())
    assert read_back.GetDirection() == pytest.approx(make_mask().GetDirection())
    with pytest.raises(UserError, match="several numbers per voxel"):
        read_volume(path)


def test_layers_with_equal_labels_are_read_by_name_alone(tmp_path):
    layers = [layer((10, 13, 1)), layer((2, 5, 1))]
    path = slicer_file(
        tmp_path / "m.seg.nrrd", make_mask(), [("S", 1, 0), ("spinal cord", 1, 1)], layers
    )
    read_back, (note,) = read(path)
    assert np.array_equal(sitk.GetArrayFromImage(read_back), layers[0])
    assert "background: spinal cord" in note


def test_a_single_layer_in_a_list_is_a_plain_mask(tmp_path):
    layers = [layer((10, 13, 1), (6, 9, 2))]
    segments = [("S", 1, 0), ("L5", 2, 0)]
    path = slicer_file(tmp_path / "m.seg.nrrd", make_mask(), segments, layers)
    read_back, notes = read(path)
    assert np.array_equal(sitk.GetArrayFromImage(read_back), layers[0])
    assert notes == []


def test_segments_that_overlap_or_cannot_be_told_apart_are_refused(tmp_path):
    layers = [layer((10, 13, 1)), layer((12, 14, 1))]
    path = tmp_path / "m.seg.nrrd"
    slicer_file(path, make_mask(), [("S", 1, 0), ("L5", 1, 1)], layers)
    with pytest.raises(UserError, match="its segments S and L5 overlap; in 3D Slicer"):
        read_mask(path, CHALLENGE_LABELS)
    layers = [layer((10, 13, 1)), layer((2, 4, 1))]
    slicer_file(path, make_mask(), [("one", 1, 0), ("two", 1, 1)], layers)
    with pytest.raises(UserError, match="one and two have the same label"):
        read_mask(path, CHALLENGE_LABELS)


@pytest.mark.parametrize("name", ["m.seg.nrrd", "M.SEG.NRRD", "m.nrrd"])
@pytest.mark.parametrize("layers", [None, [layer((1, 3, 1)), layer((4, 6, 1))]])
def test_a_segmentation_is_no_scan(tmp_path, name, layers):
    path = slicer_file(tmp_path / name, make_mask(), [("S", 1, 0)], layers)
    with pytest.raises(UserError, match="not a scan; give the scan"):
        read_scan(path)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        *(
            ("L5", "l5"),
            ("vertebrae_L5", "l5"),
            ("Vertebra T12", "t12"),
            ("L4 vertebral body", "l4"),
        ),
        *(("Sacrum", "s"), ("S1", "s"), ("sacrum_bone", "sacrumbone"), ("S", "s")),
        *(("L5/S", "l5s"), ("Disc L5-S1", "l5s"), ("disc_L4_L5", "l4l5"), ("disc L5", "discl5")),
    ],
)
def test_names_in_one_spelling(name, plain):
    assert plain_name(name) == plain


def cut(mask, columns, rows, slices):
    """A part of a mask; the arguments are (first, end)."""
    return mask[columns[0] : columns[1], rows[0] : rows[1], slices[0] : slices[1]]


@pytest.mark.parametrize("ext", [".seg.nrrd", ".nrrd", ".nii.gz", ".mha"])
@pytest.mark.parametrize("code", ["PIL", "RAS", "LSA"])
@pytest.mark.parametrize("part", [((2, 9), (3, 12), (1, 8)), ((0, 10), (13, 14), (11, 12))])
def test_a_cropped_mask_is_padded(tmp_path, ext, code, part):
    scan_path = write(make_scan(), tmp_path / "s.nii.gz")
    whole = sitk.GetImageFromArray((sitk.GetArrayFromImage(make_scan()) % 9).astype(np.uint8))
    whole.CopyInformation(make_scan())
    path = write(sitk.DICOMOrient(cut(whole, *part), code), tmp_path / f"m{ext}")
    notes = []
    scan = read_scan(scan_path)
    mask = on_grid_of(read_mask(path), scan, path, scan_path, notes)
    (columns, rows, slices) = part
    expected = np.zeros((12, 14, 10), np.uint8)
    inside = np.s_[slices[0] : slices[1], rows[0] : rows[1], columns[0] : columns[1]]
    expected[inside] = sitk.GetArrayFromImage(whole)[inside]
    assert np.array_equal(sitk.GetArrayFromImage(mask), expected)
    assert mask.GetOrigin() == scan.GetOrigin()
    assert [note.what for note in notes] == ["covers a part of its scan"]


def shifted(mask, mm):
    mask.SetOrigin([x + mm for x in mask.GetOrigin()])
    return mask


def coarser(mask):
    mask.SetSpacing((0.5, 0.51, 4.4))
    return mask


def turned(mask):
    mask.SetDirection((0, 0, 1, 0.995, -0.0998749, 0, -0.0998749, -0.995, 0))
    return mask


@pytest.mark.parametrize(
    "part",
    [
        shifted(cut(make_mask(), (2, 9), (3, 12), (1, 8)), 0.2),  # between the scan's voxels
        shifted(cut(make_mask(), (2, 9), (3, 12), (1, 8)), 44),  # partly outside
        coarser(cut(make_mask(), (2, 9), (3, 12), (1, 8))),
        turned(cut(make_mask(), (2, 9), (3, 12), (1, 8))),
        make_mask((10, 14, 15)),
    ],
)
def test_a_part_that_is_not_on_the_scans_grid_is_refused(tmp_path, part):
    scan_path, path = write(make_scan(), tmp_path / "s.mha"), write(part, tmp_path / "m.mha")
    with pytest.raises(UserError, match=r"does not fit s\.mha"):
        on_grid_of(read_mask(path), read_scan(scan_path), path, scan_path)


def test_check_and_training_read_a_cropped_segmentation(tmp_path):
    write(make_scan(), tmp_path / "MR" / "Case1.nii.gz")
    mask = cut(make_mask(labels=(0, 2, 1)), (2, 9), (0, 14), (1, 8))
    segments = [("L5", 1, 0), ("S", 2, 0)]
    slicer_file(tmp_path / "Mask" / "mask_case1.seg.nrrd", mask, segments)
    report = check_folder(tmp_path)
    assert report.problems == []
    assert len(report.notes) == 3
    (case,) = ChallengeFolder(tmp_path).cases()
    scan, classes = read_labelled(case)
    assert classes.shape == scan.GetSize()[::-1] == (12, 14, 10)
    expected = np.zeros((12, 14, 10), np.uint8)
    expected[1:8, :, 2:9] = sitk.GetArrayFromImage(make_mask(labels=(0, 1, 2)))[1:8, :, 2:9]
    assert np.array_equal(classes, expected)


def test_damaged_segmentations_are_read_or_refused_in_one_line(tmp_path, capfd):
    layers = [layer((10, 13, 1)), layer((2, 4, 2))]
    segments = [("L5", 1, 0), ("two", 2, 1)]
    sound = [
        slicer_file(tmp_path / "a.seg.nrrd", make_mask(), segments, layers).read_bytes(),
        slicer_file(tmp_path / "b.seg.nrrd", make_mask(), segments).read_bytes(),
    ]
    path = tmp_path / "m.seg.nrrd"
    outcomes = set()
    for seed in range(300):
        rng = random.Random(seed)
        data = bytearray(rng.choice(sound))
        end = data.index(b"\n\n")
        for _ in range(rng.choice((1, 1, 3))):
            at = rng.randrange(end)
            values = (b"-", b"9" * 30, b"\0", b"none ", b"(", b" ", b"\xff", b"4", b"")
            data[at : at + rng.randrange(3)] = rng.choice(values)
        path.write_bytes(data)
        try:
            read_mask(path, CHALLENGE_LABELS, [])
            outcomes.add("read")
        except UserError as error:
            outcomes.add(str(error))
    assert "read" in outcomes
    assert len(outcomes) > 5
    assert all(line.isprintable() for line in outcomes)
    assert capfd.readouterr() == ("", "")
