import gzip
import itertools
import math
import os
import random
import shutil
import struct
import tempfile

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from scans import link_to, make_mask, make_scan, nifti_bytes, peak_memory_kib, write
from spineseg.data.volume import (
    EXTENSIONS,
    canonical_shape,
    extension,
    from_canonical,
    geometry_mismatch,
    read_mask,
    read_scan,
    read_volume,
    stem,
    to_canonical,
    write_image,
)
from spineseg.utils.errors import UserError

PIXELS = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]
PIXELS += [np.float32, np.float64]
ORIENTATIONS = [
    np.diag(flips)[:, list(order)]
    for order in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]


def oriented(direction, size=(3, 4, 5), dtype=np.int16, spacing=(0.4, 0.5, 4.4)):
    image = sitk.GetImageFromArray(np.arange(np.prod(size)).reshape(size[::-1]).astype(dtype))
    image.SetDirection(np.asarray(direction, float).ravel())
    image.SetSpacing(spacing)
    image.SetOrigin((-31.5, 20.25, 7.0))
    return image


def assert_same(one, other):
    assert one.GetPixelID() == other.GetPixelID()
    assert one.GetSize() == other.GetSize()
    assert one.GetOrigin() == other.GetOrigin()
    assert one.GetSpacing() == other.GetSpacing()
    assert one.GetDirection() == other.GetDirection()
    assert np.array_equal(sitk.GetArrayFromImage(one), sitk.GetArrayFromImage(other))


def assert_values_stay_in_place(canonical, image):
    assert canonical.GetNumberOfPixels() == image.GetNumberOfPixels()
    for index in np.ndindex(canonical.GetSize()):
        point = canonical.TransformIndexToPhysicalPoint(index)
        assert canonical[index] == image[image.TransformPhysicalPointToIndex(point)]


@pytest.mark.parametrize("direction", ORIENTATIONS)
def test_every_axis_order_and_flip_becomes_sagittal_and_comes_back(direction):
    image = oriented(direction)
    canonical = to_canonical(image)
    # physical axes point to the left, to posterior and to superior
    slices, rows, columns = np.reshape(canonical.GetDirection(), (3, 3)).T[::-1]
    assert np.array_equal(slices, (1, 0, 0))
    assert np.array_equal(rows, (0, 0, -1))
    assert np.array_equal(columns, (0, 1, 0))
    assert_values_stay_in_place(canonical, image)
    assert_same(from_canonical(canonical, image), image)


@example(np.eye(3), (1.0, 0.0, 1.0), (2, 1, 2), (1.0, 1.0, 1.0), np.int8)
@settings(max_examples=60, deadline=None)
@given(
    direction=st.sampled_from(ORIENTATIONS),
    tilt=st.tuples(*[st.floats(-3, 3).map(lambda angle: round(angle, 9))] * 3),  # nothing denormal
    size=st.tuples(*[st.integers(1, 5)] * 3),
    spacing=st.tuples(*[st.floats(0.1, 9)] * 3),
    dtype=st.sampled_from(PIXELS),
)
def test_oblique_volumes_come_back_exactly(direction, tilt, size, spacing, dtype):
    image = oriented(Rotation.from_rotvec(tilt).as_matrix() @ direction, size, dtype, spacing)
    canonical = to_canonical(image)
    assert_values_stay_in_place(canonical, image)
    assert_same(from_canonical(canonical, image), image)


def test_from_canonical_refuses_an_image_of_another_grid():
    image = make_scan()
    bare = sitk.GetImageFromArray(sitk.GetArrayFromImage(to_canonical(image)))
    with pytest.raises(ValueError, match="mm apart"):
        from_canonical(bare, image)
    with pytest.raises(ValueError, match="size"):
        from_canonical(to_canonical(image)[1:, :, :], image)


@pytest.mark.parametrize("ext", EXTENSIONS)
@pytest.mark.parametrize("direction", ORIENTATIONS[::5])
def test_written_volumes_read_back_unchanged(tmp_path, ext, direction):
    for dtype in PIXELS:
        image = oriented(direction, dtype=dtype)
        path = tmp_path / f"a b 脊椎{ext}"
        write_image(image, path)
        again = read_scan(path)
        assert again.GetPixelID() == image.GetPixelID()
        assert geometry_mismatch(again, image, tolerance=1e-5) == ""
        assert_values_stay_in_place(again, image)
        canonical = sitk.GetArrayFromImage(to_canonical(image))
        assert canonical_shape(path) == canonical.shape
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("ext", EXTENSIONS)
def test_written_volumes_are_compressed_if_the_format_can(tmp_path, ext):
    path = tmp_path / f"x{ext}"
    write_image(oriented(np.eye(3), (40, 40, 40)) * 0, path)
    assert (path.stat().st_size < 2000) == (ext != ".nii")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = write(make_scan(), tmp_path / "x.nii.gz")
    before = path.read_bytes()

    def fail(image, name, **_):
        with open(name, "wb") as file:
            file.write(b"half")
        raise RuntimeError("disk full")

    monkeypatch.setattr(sitk, "WriteImage", fail)
    with pytest.raises(UserError, match="disk full"):
        write_image(make_scan(seed=1), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["x.nii.gz"]


def test_writing_refuses_an_unknown_extension(tmp_path):
    with pytest.raises(UserError, match="known image type"):
        write_image(make_scan(), tmp_path / "x.png")


@pytest.mark.parametrize("dtype", [np.int16, np.uint64, np.float32, np.float64])
@pytest.mark.parametrize(("top", "stored"), [(19, np.uint8), (255, np.uint8), (256, np.uint16)])
def test_masks_become_unsigned_integers(tmp_path, dtype, top, stored):
    mask = make_mask(dtype=dtype, labels=(0, 3, top))
    labels = sitk.GetArrayFromImage(read_mask(write(mask, tmp_path / "m.nii.gz")))
    assert labels.dtype == stored
    assert np.array_equal(labels, sitk.GetArrayFromImage(mask))


@pytest.mark.parametrize(
    ("labels", "what"),
    [
        ((0, 0.5), "whole numbers, for example 0.5"),
        ((0, 3, 2.99), "for example 2.99"),
        ((0, 1.002), "for example 1.002"),
        ((0, -1), "from -1 to 0"),
        ((0, 7e4), "70000"),
    ],
)
def test_masks_that_hold_no_labels_are_refused(tmp_path, labels, what):
    path = write(make_mask(dtype=np.float32, labels=labels), tmp_path / "m.nii.gz")
    with pytest.raises(UserError, match=what):
        read_mask(path)


@pytest.mark.parametrize("ext", EXTENSIONS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("index", [(0, 0, 0), (9, 13, 11)])
def test_a_single_nan_or_infinite_value_is_refused(tmp_path, ext, bad, dtype, index):
    scan = make_scan(dtype=dtype)
    scan[index] = bad
    path = write(scan, tmp_path / f"x{ext}")
    for read in (read_scan, read_mask):
        with pytest.raises(UserError, match="NaN or infinite"):
            read(path)


def test_a_constant_scan_is_refused_and_a_constant_mask_is_not(tmp_path):
    path = write(make_scan() * 0 + 7, tmp_path / "x.nii.gz")
    with pytest.raises(UserError, match="every voxel is 7"):
        read_scan(path)
    assert read_mask(path)[0, 0, 0] == 7


@pytest.mark.parametrize("ext", EXTENSIONS)
def test_anything_but_one_gray_volume_is_refused(tmp_path, ext):
    scan = make_scan()
    complex_scan = sitk.Cast(make_scan(dtype=np.float32), sitk.sitkComplexFloat32)
    wrong = {
        "3-D": [scan[:, :, 3], scan[:, :, 3:4], sitk.JoinSeries([scan, scan])],
        "per voxel": [sitk.Compose(scan, scan, scan), complex_scan],
    }
    for what, images in wrong.items():
        for image in images:
            with pytest.raises(UserError, match=what):
                read_volume(write(image, tmp_path / f"x{ext}"))


@pytest.mark.parametrize("ext", EXTENSIONS)
@pytest.mark.parametrize("compressed", [True, False])
def test_a_file_cut_anywhere_is_refused_without_noise(tmp_path, capfd, ext, compressed):
    path = tmp_path / f"x{ext}"
    sitk.WriteImage(make_scan((5, 6, 7)), str(path), compressed)
    whole = path.read_bytes()
    for length in {*range(0, len(whole), 11), 0, 1, 347, 348, 352, len(whole) - 1}:
        path.write_bytes(whole[:length])
        with pytest.raises(UserError) as error:
            read_volume(path)
        assert str(error.value).count("\n") == 0
    assert capfd.readouterr().err == ""


def test_damage_inside_gzip_is_found_by_its_checksum(tmp_path):
    path = write(make_scan((60, 60, 60)), tmp_path / "x.nii.gz")
    raw = gzip.decompress(path.read_bytes())
    stored = bytearray(gzip.compress(raw, 0))
    stored[-100] ^= 1
    path.write_bytes(stored)
    with pytest.raises(UserError, match="data check"):
        read_volume(path)


def test_gzip_in_parts_and_padded_is_accepted(tmp_path):
    path = write(make_scan(), tmp_path / "x.nii.gz")
    raw = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(raw[:900]) + gzip.compress(raw[900:]) + bytes(40))
    assert_same(read_volume(path), read_volume(write(make_scan(), tmp_path / "y.nii.gz")))


@pytest.mark.parametrize("ext", EXTENSIONS)
@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" + bytes(999), bytes(9999)])
def test_other_content_is_refused_without_noise(tmp_path, capfd, ext, content):
    path = tmp_path / f"x{ext}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=path.name):
        read_volume(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a placeholder of Git LFS"),
        (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
        (b"PK\x03\x04", "a ZIP archive"),
        (bytes(128) + b"DICM", "a DICOM file"),
    ],
)
@pytest.mark.parametrize("ext", EXTENSIONS)
def test_other_content_is_named(tmp_path, ext, content, what):
    path = tmp_path / f"x{ext}"
    path.write_bytes(content + bytes(999) if content else b"")
    with pytest.raises(UserError, match=what):
        read_volume(path)


@pytest.mark.parametrize(
    ("written", "name"), list(itertools.permutations((".nii", ".mha", ".nrrd"), 2))
)
def test_a_scan_under_the_name_of_another_format_is_named(tmp_path, written, name):
    path = write(make_scan(), tmp_path / f"x{written}").rename(tmp_path / f"x{name}")
    kind = {".nii": "a NIfTI image", ".mha": "an MHA image", ".nrrd": "a NRRD image"}[written]
    with pytest.raises(UserError, match=f"{kind}, against its name; rename it"):
        read_volume(path)


@pytest.mark.parametrize("name", ["X.NII.GZ", "x.Nii", "x.nii.GZ", "X.MHA", "X.Nrrd"])
def test_extensions_in_upper_case_are_read_and_written(tmp_path, name):
    path = tmp_path / name
    write_image(make_scan(), path)
    assert os.listdir(tmp_path) == [name]
    assert np.array_equal(
        sitk.GetArrayFromImage(read_scan(path)), sitk.GetArrayFromImage(make_scan())
    )
    assert canonical_shape(path) == (12, 14, 10)
    assert extension(path) == name[1:].lower()
    assert stem(path) == name[0]


@pytest.mark.parametrize("name", ["x.mhd", "x.nhdr", "x.hdr", "x.img", "X.HDR"])
def test_one_of_two_files_is_refused_with_a_remedy(tmp_path, name):
    (tmp_path / name).write_bytes(b"?")
    with pytest.raises(UserError, match=r"two files, header and voxels; save both as one of \.nii"):
        read_volume(tmp_path / name)


@pytest.mark.parametrize("ext", [".mha", ".nrrd"])
def test_a_fourth_axis_of_one_voxel_does_not_count(tmp_path, ext):
    path = write(sitk.JoinSeries([make_scan()]), tmp_path / f"x{ext}")
    image = read_volume(path)
    assert geometry_mismatch(image, make_scan(), 1e-9) == ""
    assert np.array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(make_scan()))


@pytest.mark.parametrize(("ext", "line"), [(".mha", b"TransformMatrix"), (".nrrd", b"space dir")])
def test_axes_that_are_not_given_are_a_note(tmp_path, ext, line):
    path = write(make_scan(), tmp_path / f"x{ext}")
    lines = path.read_bytes().split(b"\n", 14)
    path.write_bytes(b"\n".join(each for each in lines if not each.startswith(line)))
    notes = []
    image = read_volume(path, notes)
    assert image.GetDirection() == tuple(np.eye(3).ravel())
    no_spacing = ["no spacing in its header"] if ext == ".nrrd" else []
    assert [note.what for note in notes] == ["no axes in its header", *no_spacing]


@pytest.mark.parametrize(
    ("ext", "line", "words"),
    [(".mha", b"ElementSpacing", "no spacing in"), (".nrrd", b"space:", "where its axes lead")],
)
def test_what_a_header_does_not_say_is_a_note(tmp_path, ext, line, words):
    path = write(make_scan(), tmp_path / f"x{ext}")
    lines = path.read_bytes().split(b"\n", 14)
    space = [b"space dimension: 3"] if ext == ".nrrd" else []
    kept = [each for each in lines if not each.startswith(line)]
    path.write_bytes(b"\n".join([kept[0], *space, *kept[1:]]))
    notes = []
    read_volume(path, notes)
    assert [words in note.what for note in notes] == [True]


def test_lengths_in_other_units_are_refused(tmp_path):
    path = write(make_scan(), tmp_path / "x.nrrd")
    first, rest = path.read_bytes().split(b"\n", 1)
    for units, accepted in ((b'"mm" "mm" "mm"', True), (b'"m" "m" "m"', False)):
        path.write_bytes(first + b"\nspace units: " + units + b"\n" + rest)
        if accepted:
            assert read_volume(path).GetSpacing() == pytest.approx(make_scan().GetSpacing())
        else:
            with pytest.raises(UserError, match="space units are not mm"):
                read_volume(path)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("factor", [0.9999999, 1.0001, 0.9999])
def test_labels_that_are_almost_whole_are_rounded_with_a_note(tmp_path, dtype, factor):
    mask = make_mask(dtype=dtype, labels=(0, 1, 2, 8))
    path = write(sitk.Cast(mask * factor, mask.GetPixelID()), tmp_path / "m.nii.gz")
    notes = []
    labels = sitk.GetArrayFromImage(read_mask(path, (), notes))
    assert labels.dtype == np.uint8
    assert np.array_equal(labels, sitk.GetArrayFromImage(mask))
    assert ["stored as float, up to" in note.what for note in notes] == [True]


def test_compression_against_the_name_is_a_note(tmp_path):
    zipped = write(make_scan(), tmp_path / "x.nii.gz")
    plain = write(make_scan(), tmp_path / "y.nii")
    for source, target in ((zipped, "z.nii"), (plain, "z.nii.gz")):
        notes = []
        image = read_volume(source.rename(tmp_path / target), notes)
        assert np.array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(make_scan()))
        (note,) = notes
        assert "compressed by gzip, against its name" in note.what


def test_paths_without_a_scan_are_refused(tmp_path):
    (tmp_path / "folder.nii").mkdir()
    link_to("loop.nii", tmp_path / "loop.nii")
    link_to("nowhere.nii", tmp_path / "dangling.nii")
    for name in ("folder.nii", "loop.nii", "dangling.nii", "none.nii", "x.png", ""):
        with pytest.raises(UserError):
            read_volume(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.nii")
    with pytest.raises(UserError, match="not a file"):
        read_volume(tmp_path / "pipe.nii")


def test_a_name_that_is_not_utf_8_is_refused(tmp_path):
    path = tmp_path / "\udcff.nii"
    with pytest.raises(UserError, match="UTF-8") as error:
        read_volume(path)
    str(error.value).encode()


def test_a_link_to_a_scan_is_a_scan(tmp_path):
    target = write(make_scan(), tmp_path / "data" / "x.nii.gz")
    link_to(target, tmp_path / "x.nii.gz")
    assert_same(read_scan(tmp_path / "x.nii.gz"), read_scan(target))


@pytest.mark.parametrize("ext", EXTENSIONS)
@pytest.mark.parametrize(
    ("refused", "read_only", "used"),
    [
        (["symlink"], False, "link"),
        (["symlink", "link"], False, "copyfile"),
        (["symlink"], True, "copyfile"),
    ],
)
def test_scans_are_read_where_links_are_refused(
    tmp_path, monkeypatch, ext, refused, read_only, used
):
    """As on Windows: first without symbolic links, then without hard links too.

    A read-only scan gets no hard link: deleting that would make the scan writable.
    """
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    path = write(make_scan(), tmp_path / f"脊椎{ext}")
    whole, expected = path.read_bytes(), read_scan(path)
    made = []

    def refuse(*_, **__):
        raise OSError("a required privilege is not held by the client")

    def watch(module, name):
        original = getattr(module, name)

        def watched(*arguments, **options):
            made.append(name)
            return original(*arguments, **options)

        monkeypatch.setattr(module, name, watched)

    watch(os, "link")
    watch(shutil, "copyfile")
    for name in refused:
        monkeypatch.setattr(os, name, refuse)
    if read_only:
        monkeypatch.setattr(os, "access", lambda *_: False)
    assert_same(read_scan(path), expected)
    assert canonical_shape(path) == (12, 14, 10)
    assert made == [used, used]
    assert path.read_bytes() == whole
    assert os.listdir(tmp_path / "temporary") == []


def patched(tmp_path, offset, layout, *values, ext=".nii"):
    """A NIfTI file with some header fields overwritten."""
    raw = bytearray(write(make_scan(), tmp_path / "source.nii").read_bytes())
    struct.pack_into(layout, raw, offset, *values)
    path = tmp_path / f"patched{ext}"
    path.write_bytes(gzip.compress(raw) if ext == ".nii.gz" else raw)
    return path


@pytest.mark.parametrize("ext", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("offset", "layout", "values", "what"),
    [
        (40, "<h", [0], "impossible size"),
        (40, "<h", [9], "impossible size"),
        (42, "<h", [-5], "impossible size"),
        (46, "<h", [0], "impossible size"),
        (70, "<h", [128], "datatype 128"),
        (70, "<h", [4096], "datatype 4096"),
        (80, "<f", [np.nan], "spacing"),
        (88, "<f", [np.inf], "spacing"),
        (108, "<f", [1e9], "truncated"),
        (108, "<f", [np.nan], "position"),
        (268, "<f", [np.nan], "position"),
        (280, "<f", [np.inf], "position"),
        (108, "<f", [348], "begin at byte 348"),
        (108, "<f", [352.5], "begin at byte 352.5"),
        (252, "<2h24x12f", [0, 1, 0.3, 0, 0, 0, 0.4, 0.5, 0, 0, 0, 0, 4.4, 0], "right angles"),
        (344, "<4s", [b"ni1\0"], "another file"),
        (344, "<4s", [b"nii\0"], "not a NIfTI"),
    ],
)
def test_headers_that_itk_repairs_or_warns_about_are_refused(
    tmp_path, capfd, ext, offset, layout, values, what
):
    with pytest.raises(UserError, match=what):
        read_volume(patched(tmp_path, offset, layout, *values, ext=ext))
    assert capfd.readouterr().err == ""


def test_scaled_integers_hold_fewer_bytes_than_the_floats_they_become(tmp_path):
    path = patched(tmp_path, 112, "<2f", 0.5, 3.0)
    expected = sitk.GetArrayFromImage(make_scan()) * 0.5 + 3
    assert np.array_equal(sitk.GetArrayFromImage(read_scan(path)), expected)


def test_big_endian_nifti(tmp_path):
    values = np.arange(24, dtype=">i2")
    header = bytearray(352)
    struct.pack_into(">i", header, 0, 348)
    struct.pack_into(">8h", header, 40, 3, 2, 3, 4, 1, 1, 1, 1)
    struct.pack_into(">2h", header, 70, 4, 16)
    struct.pack_into(">4f", header, 76, 1, 0.5, 0.5, 4)
    struct.pack_into(">f", header, 108, 352)
    header[344:348] = b"n+1\0"
    path = tmp_path / "x.nii"
    path.write_bytes(bytes(header) + values.tobytes())
    assert np.array_equal(sitk.GetArrayFromImage(read_scan(path)).ravel(), values)


META = "ObjectType = Image\nNDims = 3\nDimSize = {}\nElementType = MET_DOUBLE\n"
NRRD = "NRRD0004\ntype: double\ndimension: 3\nsizes: {}\nendian: little\n"


def header_only(path, size):
    """A file whose header is sound, except for the size that it claims."""
    if path.name.endswith(".mha"):
        text = META.format(size) + "CompressedData = True\nElementDataFile = LOCAL\n"
        path.write_bytes(text.encode() + bytes(64))
    elif path.name.endswith(".nrrd"):
        path.write_bytes((NRRD.format(size) + "encoding: gzip\n\n").encode() + bytes(64))
    else:
        dims = [min(int(n), 32767) for n in size.split()]
        patched(path.parent, 42, "<3h", *dims, ext=path.name.removeprefix("patched"))
    return path


@pytest.mark.parametrize("ext", EXTENSIONS)
@pytest.mark.parametrize("size", ["90000 90000 90000", "512 512 512"])
def test_absurd_sizes_are_refused_before_memory_is_allocated(tmp_path, monkeypatch, ext, size):
    path = header_only(tmp_path / f"patched{ext}", size)
    monkeypatch.delattr(sitk.ImageFileReader, "Execute")
    before = peak_memory_kib()
    with pytest.raises(UserError, match="the header claims"):
        read_volume(path)
    assert peak_memory_kib() - before < 20_000


@pytest.mark.parametrize(
    ("size", "dtype", "scale", "accepted"),
    [
        ((290, 512, 512), "<i2", (0, 0), True),  # 7 bytes per voxel are 532 MB
        ((735, 512, 512), "<i2", (0, 0), False),
        ((150, 512, 512), "<f8", (0, 0), False),  # 19 bytes per voxel
        ((250, 512, 512), "<i2", (0.5, 0), False),  # becomes float32: 11 bytes per voxel
        ((190, 512, 512), "<i2", (0.5, 0), True),
    ],
)
def test_the_limit_of_memory_is_named_as_a_limit(tmp_path, size, dtype, scale, accepted):
    path = tmp_path / "x.nii"
    header = nifti_bytes(np.zeros((1, 1, 1), dtype), dims=size[::-1], scale=scale)[:352]
    path.write_bytes(header)
    try:
        os.truncate(path, 352 + math.prod(size) * np.dtype(dtype).itemsize)  # a sparse file
    except OSError:
        pytest.skip("this disk has no room for the file")
    if accepted:
        assert canonical_shape(path) == (size[0], size[1], size[2])
        return
    before = peak_memory_kib()
    with pytest.raises(UserError, match="limit of 550 MB; crop it"):
        read_volume(path)
    assert peak_memory_kib() - before < 20_000


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("x.mha", META + "ElementDataFile = /etc/passwd\n", "another file"),
        ("x.mha", META + "ElementDataFile = LIST\na.raw\nb.raw\n", "another file"),
        ("x.mha", META + " elementdatafile : secret.raw\nElementDataFile = LOCAL\n", "another"),
        ("x.mha", META + "BinaryData = False\nElementDataFile = LOCAL\n1 2 3", "as text"),
        ("x.mha", META.replace("3", "9" * 21) + "ElementDataFile = LOCAL\n", "not a 3-D"),
        ("x.mha", "NDims = 99\n" + META + "ElementDataFile = LOCAL\n", "not a .mha image"),
        ("x.nrrd", NRRD + "encoding: raw\ndata file: /etc/passwd\n\n", "another file"),
        ("x.nrrd", NRRD + "encoding: raw\nDataFile: LIST\n\na.raw\n", "another file"),
        ("x.nrrd", NRRD + "encoding: ascii\n\n1 2 3", "raw nor gzip"),
        ("x.nrrd", NRRD + "encoding: raw\n", "its voxels inside"),
    ],
)
def test_text_headers_that_are_refused(tmp_path, name, text, what):
    (tmp_path / name).write_text(text.format("2 2 2"))
    with pytest.raises(UserError, match=what):
        read_volume(tmp_path / name)


def mutate(data, rng):
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(min(len(data), 400))
        data[at : at + rng.choice((0, 1, 2))] = rng.choice(
            (rng.randbytes(1), rng.randbytes(4), b"\xff\x7f", b"\0\0", b"-1", b"nan", b"1e30", b"")
        )
    return bytes(data[: rng.choice((len(data), len(data), rng.randrange(len(data))))])


@pytest.mark.parametrize("ext", EXTENSIONS)
def test_mutated_files_are_read_or_refused_in_one_line(tmp_path, ext):
    whole = write(make_scan((4, 5, 6)), tmp_path / f"x{ext}").read_bytes()
    path = tmp_path / f"mutated{ext}"
    outcomes = set()
    for seed in range(250):
        rng = random.Random(seed)
        if ext == ".nii.gz" and seed % 2:
            path.write_bytes(gzip.compress(mutate(gzip.decompress(whole), rng), 1))
        else:
            path.write_bytes(mutate(whole, rng))
        try:
            to_canonical(read_scan(path))
            outcomes.add("read")
        except UserError as error:
            outcomes.add(str(error))
    assert len(outcomes) > 2
    assert "read" in outcomes
    assert all(line.isprintable() for line in outcomes)
