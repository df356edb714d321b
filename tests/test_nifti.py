"""NIfTI headers as other programs write them: which position counts, and what masks get of it."""

import gzip
import struct

import numpy as np
import pytest
import SimpleITK as sitk

from scans import SFORM, make_scan, nifti_bytes, write
from spineseg.data.check import check_folder
from spineseg.data.volume import (
    EXTENSIONS,
    NIFTI,
    geometry_mismatch,
    on_grid_of,
    read_mask,
    read_scan,
    write_mask,
)
from spineseg.utils.errors import UserError

VALUES = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)  # slices, rows, columns
FLIPPED = ((0, 0, 4.4, -8), (0.5, 0, 0, 7), (0, 0.5, 0, -9))
HEADER_FIELDS = {  # (offset, layout) of what a mask shares with its scan
    "pixdim": (76, "4f"),
    "units": (123, "B"),
    "codes": (252, "2h"),
    "qform": (256, "6f"),
    "sform": (280, "12f"),
}


def saved(path, values=VALUES, **fields):
    raw = nifti_bytes(values, **fields)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(raw) if path.name.endswith(".gz") else raw)
    return path


def read(path):
    notes = []
    return read_scan(path, notes), [note.what for note in notes]


def points(image):
    """Where some voxels are, in NIfTI's axes: mm to the right, front and top."""
    indices = [(0, 0, 0), (4, 0, 0), (0, 3, 0), (0, 0, 2), (4, 3, 2)]
    return [np.array(image.TransformIndexToPhysicalPoint(i)) * (-1, -1, 1) for i in indices]


def by_hand(matrix):
    indices = np.array([(0, 0, 0), (4, 0, 0), (0, 3, 0), (0, 0, 2), (4, 3, 2)])
    return [np.array(matrix)[:, :3] @ index + np.array(matrix)[:, 3] for index in indices]


def header_of(path, order="<"):
    raw = path.read_bytes()
    raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    return {name: struct.unpack_from(order + f, raw, at) for name, (at, f) in HEADER_FIELDS.items()}


@pytest.mark.parametrize("ext", NIFTI)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("codes", [(1, 1), (1, 0), (0, 1), (2, 0), (0, 4), (3, 2), (1, 3)])
def test_every_form_of_one_position_is_that_position(tmp_path, ext, order, version, codes):
    image, notes = read(saved(tmp_path / f"x{ext}", codes=codes, order=order, version=version))
    assert notes == []
    assert np.allclose(points(image), by_hand(SFORM), atol=1e-5)
    assert np.array_equal(sitk.GetArrayFromImage(image), VALUES)
    assert image.GetPixelID() == sitk.sitkInt16


@pytest.mark.parametrize("codes", [(1, 1), (1, 2), (2, 4), (4, 1)])
def test_the_sform_counts_and_the_note_says_how_far_the_qform_is_off(tmp_path, codes):
    image, notes = read(saved(tmp_path / "x.nii", codes=codes, offset=(33, -24, 55)))
    assert np.allclose(points(image), by_hand(SFORM), atol=1e-5)
    assert notes == ["its sform and qform put the same voxels up to 5 mm apart"]


def test_the_note_names_the_angle_or_that_one_form_is_mirrored(tmp_path):
    half = np.radians(5) / 2  # the qform is the identity, turned by 5 degrees about z
    turned = {
        "quaternion": (0, 0, np.sin(half)),
        "offset": (0, 0, 0),
        "spacing": (1, 1, 4),
        "handed": 1,
    }
    plain = np.diag([1, 1, 4, 0])[:3]
    _, (note,) = read(saved(tmp_path / "x.nii", sform=plain, **turned))
    assert note.endswith("mm apart and its axes 5 degrees apart")
    turned["handed"] = -1
    _, (note,) = read(saved(tmp_path / "y.nii", sform=plain, **turned))
    assert note.endswith("one of them mirrored")


def test_a_difference_below_a_tenth_of_the_smallest_spacing_is_no_note(tmp_path):
    assert read(saved(tmp_path / "x.nii", offset=(30, -20, 55.04)))[1] == []
    assert len(read(saved(tmp_path / "x.nii", offset=(30, -20, 55.06)))[1]) == 1


@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (1, 1)])
def test_a_mirrored_volume_is_read_as_the_header_says(tmp_path, codes):
    """pixdim[0] is 1, so the third axis of the qform points the other way."""
    mirrored = np.array(SFORM) * (1, 1, -1, 1)
    image, notes = read(saved(tmp_path / "x.nii", codes=codes, sform=mirrored, handed=1))
    assert notes == []
    assert np.allclose(points(image), by_hand(mirrored), atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"codes": (0, 0)}, "no position"),
        ({"codes": (0, 1), "spacing": (1, 1, 1)}, "two spacings, 0.5 x 0.5 x 4.4 mm (sform)"),
        ({"codes": (0, 1), "spacing": (-0.5, 0.5, 0)}, "two spacings"),
        ({"codes": (1, 0), "spacing": (-0.5, 0.5, 4.4)}, "negative spacing"),
        ({"sform": np.zeros((3, 4))}, "its sform makes no sense"),
        ({"sform": [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0]]}, "its sform makes no sense"),
        ({"quaternion": (0.9, 0.9, 0.9)}, "its qform makes no sense"),
        ({"spacing": (0.5, 0, 4.4)}, "its qform makes no sense"),
    ],
)
def test_what_is_doubtful_is_read_with_one_note(tmp_path, fields, what):
    image, (note,) = read(saved(tmp_path / "x.nii", **fields))
    assert what in note
    if fields.get("codes") == (0, 0):
        assert image.GetSpacing() == pytest.approx((0.5, 0.5, 4.4))
    else:
        assert np.allclose(points(image), by_hand(SFORM), atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"codes": (0, 1), "sform": np.zeros((3, 4))}, "its sform makes no sense"),
        ({"codes": (1, 0), "quaternion": (0.9, 0.9, 0.9)}, "its qform makes no sense"),
        ({"codes": (0, 0), "spacing": (0, 1, 1)}, "above 0"),
        ({"spacing": (np.nan, 1, 1)}, "not a number"),
        ({"units": 3}, "spacing of 0.0005 x 0.0005 x 0.0044 mm is impossible"),
        ({"dims": (5, 4, 3, 2)}, "5 x 4 x 3 x 2 voxels are not a 3-D volume"),
        ({"dims": (5, 4, 3, 1, 3)}, "several numbers per voxel"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, fields, what):
    with pytest.raises(UserError) as error:
        read_scan(saved(tmp_path / "x.nii", **fields))
    assert what in str(error.value)


@pytest.mark.parametrize("dims", [(5, 4, 3, 1), (5, 4, 3, 1, 1), (5, 4, 3, 1, 1, 1, 1)])
def test_further_axes_of_one_voxel_do_not_count(tmp_path, dims):
    image, notes = read(saved(tmp_path / "x.nii.gz", dims=dims))
    assert notes == []
    assert np.array_equal(sitk.GetArrayFromImage(image), VALUES)


@pytest.mark.parametrize(("units", "unit"), [(1, 1e-3), (2, 1), (3, 1e3), (0, 1), (2 + 8, 1)])
def test_lengths_in_other_units_become_mm(tmp_path, units, unit):
    path = saved(
        tmp_path / "x.nii",
        sform=np.array(SFORM) * unit,
        offset=np.array((30, -20, 55)) * unit,
        spacing=(0.5 * unit, 0.5 * unit, 4.4 * unit),
        units=units,
    )
    image, notes = read(path)
    assert notes == []
    assert np.allclose(points(image), by_hand(SFORM), atol=1e-4)


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        ((0, 7), VALUES),  # by the standard, a slope of 0 means: not scaled
        ((np.nan, np.nan), VALUES),
        ((1, 0), VALUES),
        ((2, 0), VALUES * 2.0),
        ((0.5, -3), VALUES * 0.5 - 3),
    ],
)
def test_scaled_voxels(tmp_path, scale, expected):
    image, _ = read(saved(tmp_path / "x.nii.gz", scale=scale))
    assert np.array_equal(sitk.GetArrayFromImage(image), expected)
    plain = expected.dtype == np.int16
    assert image.GetPixelID() == (sitk.sitkInt16 if plain else sitk.sitkFloat32)


def test_labels_that_scaling_makes_almost_whole_are_rounded(tmp_path):
    scale = (np.float32(1) / 3, 0)
    path = saved(tmp_path / "x.nii", (VALUES * 3).astype(np.int16), scale=scale)
    assert np.array_equal(sitk.GetArrayFromImage(read_mask(path)), VALUES)


@pytest.mark.parametrize("shear", [3e-4, 9e-4])
@pytest.mark.parametrize("ext", EXTENSIONS)
def test_axes_a_hair_off_right_angles_are_read_and_given_back(tmp_path, ext, shear):
    if ext in NIFTI:
        rows = np.array(SFORM, float)
        rows[2, 0] = shear * 0.5  # the first axis leans towards the second
        path = saved(tmp_path / f"x{ext}", codes=(0, 1), sform=rows)
    else:
        scan = make_scan((5, 4, 3))
        axes = np.reshape(scan.GetDirection(), (3, 3))
        scan.SetDirection((axes + shear * np.outer(axes[:, 1], (1, 0, 0))).ravel().tolist())
        path = write(scan, tmp_path / f"x{ext}")
    image, (note,) = read(path)
    assert note.endswith("degrees off right angles")
    axes = np.reshape(image.GetDirection(), (3, 3))
    assert np.allclose(axes.T @ axes, np.eye(3), atol=1e-9)
    mask = image > 30
    for kind in EXTENSIONS:
        write_mask(mask, tmp_path / f"m{kind}", path)
        fitted = on_grid_of(read_mask(tmp_path / f"m{kind}"), image, tmp_path / f"m{kind}", path)
        assert np.array_equal(sitk.GetArrayFromImage(fitted), sitk.GetArrayFromImage(mask))
    if ext in NIFTI:
        assert header_of(tmp_path / "m.nii") == header_of(path)
    else:
        written = sitk.ReadImage(str(tmp_path / f"m{ext}"))
        assert np.allclose(written.GetDirection(), scan.GetDirection(), atol=1e-9)


@pytest.mark.parametrize("ext", EXTENSIONS)
def test_axes_farther_off_right_angles_are_refused_with_a_remedy(tmp_path, ext):
    if ext in NIFTI:
        rows = np.array(SFORM, float)
        rows[2, 0] = 0.01
        path = saved(tmp_path / f"x{ext}", codes=(0, 1), sform=rows)
    else:
        scan = make_scan((5, 4, 3))
        scan.SetDirection((1, 0.02, 0, 0, 1, 0, 0, 0, 1))
        path = write(scan, tmp_path / f"x{ext}")
    with pytest.raises(UserError, match="degrees off right angles; resample it with"):
        read_scan(path)


def test_a_sheared_sform_gives_way_to_the_qform(tmp_path):
    rows = np.array(SFORM, float)
    rows[2, 0] = 0.02
    image, (note,) = read(saved(tmp_path / "x.nii", sform=rows))
    assert np.allclose(points(image), by_hand(SFORM), atol=1e-5)
    assert "mm apart" in note


MASK_HEADERS = [
    {},
    {"offset": (15, -45, 60)},
    {"sform": FLIPPED},
    {"codes": (0, 2)},
    {"codes": (3, 0)},
    {"codes": (0, 0)},
    {"codes": (0, 1), "spacing": (1, 1, 1)},
    {"sform": np.array(SFORM) * 1e-3, "offset": (0.03, -0.02, 0.055), "units": 1 + 8}
    | {"spacing": (0.0005, 0.0005, 0.0044)},
    {"order": ">"},
]


@pytest.mark.parametrize("ext", NIFTI)
@pytest.mark.parametrize("fields", MASK_HEADERS)
def test_a_mask_states_its_position_as_the_scan_does(tmp_path, ext, fields):
    path = saved(tmp_path / f"x{ext}", **fields)
    image = read_scan(path)
    for kind in (".nii", ".nii.gz", ".NII.GZ"):
        write_mask(image > 30, tmp_path / f"m{kind}", path)
        ours, theirs = header_of(tmp_path / f"m{kind}"), header_of(path, fields.get("order", "<"))
        assert ours == theirs
        notes = []
        mask = on_grid_of(
            read_mask(tmp_path / f"m{kind}", (), notes), image, tmp_path / f"m{kind}", path, notes
        )
        assert np.array_equal(sitk.GetArrayFromImage(mask), VALUES > 30)
        assert not any("lies beside" in note.what for note in notes)


@pytest.mark.parametrize("kind", EXTENSIONS)
@pytest.mark.parametrize(
    "direction", [(0, 0, 1, 1, 0, 0, 0, -1, 0), (0.6, 0.8, 0, -0.8, 0.6, 0, 0, 0, -1)]
)
def test_a_mask_of_another_format_has_the_scans_position_in_both_forms(tmp_path, kind, direction):
    scan = make_scan((5, 4, 3))
    scan.SetDirection(direction)
    path = write(scan, tmp_path / "x.mha")
    for like in (path, None):
        write_mask(scan > 30, tmp_path / f"m{kind}", like)
        assert geometry_mismatch(sitk.ReadImage(str(tmp_path / f"m{kind}")), scan, 1e-4) == ""
        if kind in NIFTI:
            stored = header_of(tmp_path / f"m{kind}")
            assert stored["codes"] == (1, 1)
            for form, codes in (("qform", (1, 0)), ("sform", (0, 1))):
                alone = {
                    "handed": stored["pixdim"][0],
                    "spacing": stored["pixdim"][1:],
                    "codes": codes,
                    "sform": stored["sform"],
                }
                alone |= {"quaternion": stored["qform"][:3], "offset": stored["qform"][3:]}
                image = read_scan(saved(tmp_path / f"{form}.nii", **alone))
                assert geometry_mismatch(image, scan, 1e-4) == ""


def test_a_mask_hands_its_metadata_on(tmp_path):
    mask = make_scan((5, 4, 3)) > 30
    mask.SetMetaData("ITK_FileNotes", "who wrote this")
    mask.SetMetaData("Segment0_Name", "L5")
    path = write(make_scan((5, 4, 3)), tmp_path / "x.nii")
    write_mask(mask, tmp_path / "m.nii", path)
    assert sitk.ReadImage(str(tmp_path / "m.nii")).GetMetaData("ITK_FileNotes") == "who wrote this"
    write_mask(mask, tmp_path / "m.seg.nrrd", path)
    assert sitk.ReadImage(str(tmp_path / "m.seg.nrrd")).GetMetaData("Segment0_Name") == "L5"


MASK = (VALUES % 3).astype(np.uint8)


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"codes": (1, 0), "offset": (15, -45, 60)}, "its qform is the qform of the scan"),
        ({"codes": (0, 1), "sform": FLIPPED}, ""),
        ({"codes": (0, 0)}, "it has no position of its own"),
        ({}, ""),
    ],
)
def test_a_mask_may_share_either_position_of_its_scan(tmp_path, fields, what):
    """The scan's sform is FLIPPED, its qform another. The mask states one of them or none."""
    scan_path = saved(tmp_path / "s.nii", sform=FLIPPED, offset=(15, -45, 60))
    if not fields:
        fields = {"sform": FLIPPED, "offset": (15, -45, 60)}
    path = saved(tmp_path / "m.nii", MASK, **fields)
    notes = []
    mask = on_grid_of(read_mask(path), read_scan(scan_path), path, scan_path, notes)
    assert np.array_equal(sitk.GetArrayFromImage(mask), MASK)
    assert geometry_mismatch(mask, read_scan(scan_path), 1e-9) == ""
    assert [note.what.partition("but ")[2] for note in notes] == ([what] if what else [])


@pytest.mark.parametrize(
    "fields",
    [
        {"codes": (0, 1), "sform": np.array(SFORM) + [[0, 0, 0, 3]] * 3},
        {"codes": (0, 0), "spacing": (0.5, 0.6, 4.4)},
    ],
)
def test_a_mask_elsewhere_is_refused(tmp_path, fields):
    scan_path = saved(tmp_path / "s.nii", offset=(15, -45, 60))
    path = saved(tmp_path / "m.nii", MASK, **fields)
    with pytest.raises(UserError, match=r"does not fit s\.nii"):
        on_grid_of(read_mask(path), read_scan(scan_path), path, scan_path)


def test_check_prints_the_notes_of_scan_and_mask(tmp_path):
    saved(tmp_path / "MR" / "Case1.nii", offset=(15, -45, 60))
    saved(tmp_path / "Mask" / "mask_case1.nii", MASK.astype(np.float32) * np.float32(0.9999999))
    report = check_folder(tmp_path)
    assert report.problems == []
    notes = [str(note) for note in report.notes]
    assert sum("sform and qform" in note for note in notes) == 1
    assert sum("whole numbers stored as float" in note for note in notes) == 1
