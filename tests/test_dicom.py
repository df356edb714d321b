import os
import random
import shutil
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from scans import make_scan, peak_memory_kib, write_dicom
from spineseg.data.check import check_folder
from spineseg.data.dicom import SliceHeader, find_series, read_series, sort_slices
from spineseg.data.layouts import open_source
from spineseg.data.volume import geometry_mismatch, to_canonical
from spineseg.utils.errors import UserError


def oblique(angle: float = 0.3) -> sitk.Image:
    scan = make_scan((20, 16, 6))
    turn = sitk.VersorTransform((0.3, 1, 0.2), angle)
    axes = np.reshape(turn.GetMatrix(), (3, 3)) @ np.reshape(scan.GetDirection(), (3, 3))
    scan.SetDirection(axes.ravel().tolist())
    return scan


@pytest.mark.parametrize("scan", [make_scan((20, 16, 6)), oblique()], ids=["straight", "oblique"])
@pytest.mark.parametrize("shuffled", [False, True])
def test_a_series_is_the_volume_it_was_written_from(tmp_path, scan, shuffled):
    names = [f"IM{n}" for n in range(6)]
    if shuffled:
        random.Random(0).shuffle(names)
    files = write_dicom(tmp_path, scan, names=names)
    read, scan = to_canonical(read_series(sorted(files))), to_canonical(scan)
    assert geometry_mismatch(read, scan, tolerance=1e-4) == ""
    assert np.array_equal(sitk.GetArrayFromImage(read), sitk.GetArrayFromImage(scan))


def test_slices_are_sorted_as_gdcm_sorts_them(tmp_path):
    """GDCM's own sorting of the folder is the reference."""
    files = write_dicom(tmp_path, oblique(), names=list("dbfcea"))
    ordered = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path), "1.2.3.4")
    theirs, ours = sitk.ReadImage(ordered), read_series(files)
    assert geometry_mismatch(ours, theirs, tolerance=1e-6) == ""
    assert np.array_equal(*map(sitk.GetArrayFromImage, (ours, theirs)))


def test_two_series_in_a_folder_and_another_below(tmp_path):
    write_dicom(tmp_path, make_scan((8, 9, 3)), "1.2.1", names=["a", "b", "c"])
    write_dicom(tmp_path, make_scan((8, 9, 4)), "1.2.2", names=["d", "e", "f", "g"])
    write_dicom(tmp_path / "more" / "deep", make_scan((8, 9, 5)), "1.2.3", patient="P2")
    (tmp_path / "notes.txt").write_text("no scan")
    (tmp_path / ".DS_Store").touch()
    source = open_source(tmp_path)
    cases = {case.id: case for case in source.cases()}
    assert {uid: case.read().GetDepth() for uid, case in cases.items()} == {
        "1.2.1": 3,
        "1.2.2": 4,
        "1.2.3": 5,
    }
    assert [case.patient for case in cases.values()] == ["P1", "P1", "P2"]
    assert source.problems() == []
    assert [path.name for path in source.strays] == ["notes.txt"]
    report = check_folder(tmp_path)
    assert report.problems == []
    assert len(report.cases) == 3


def test_a_series_of_two_patients_is_refused_and_each_alone_is_read(tmp_path):
    for patient in ("P1", "P2"):
        write_dicom(tmp_path / patient, make_scan((8, 9, 4)), patient=patient)
    write_dicom(tmp_path / "good", make_scan((8, 9, 3)), "1.2.9")
    source = open_source(tmp_path)
    assert [case.id for case in source.cases()] == ["1.2.9"]
    assert [str(problem) for problem in source.problems()] == [
        f"{tmp_path / 'P1' / '0'}: its series has slices of 2 patients; "
        "give the folder of each patient alone"
    ]
    for patient in ("P1", "P2"):
        (case,) = open_source(tmp_path / patient).cases()
        assert case.read().GetDepth() == 4


def test_a_series_spread_over_folders_is_one(tmp_path):
    files = write_dicom(tmp_path / "a", make_scan((8, 9, 4)))
    (tmp_path / "b").mkdir()
    for file in files[2:]:
        shutil.move(file, tmp_path / "b")
    (case,) = open_source(tmp_path).cases()
    assert case.read().GetDepth() == 4


def missing(folder):
    write_dicom(folder, make_scan((8, 9, 6)))[2].unlink()
    return "uneven spacing: slices 4.4 to 8.8 mm apart"


def twice(folder):
    file = write_dicom(folder, make_scan((8, 9, 3)))[1]
    (folder / "again").write_bytes(file.read_bytes().replace(b"1.2.3.4.2", b"1.2.3.4.9"))
    return "has 4 slices in 3 places"


def of_two_sizes(folder):
    write_dicom(folder, make_scan((8, 9, 3)))
    write_dicom(folder, make_scan((9, 9, 5))[:, :, 3:], names=["y", "z"])
    return "holds 3 and 2 slices that differ in size"


def of_two_directions(folder):
    write_dicom(folder, make_scan((20, 16, 2)), names=["a", "b"])
    write_dicom(folder, oblique()[:, :, :1], names=["c"])
    return "differ in direction"


def of_two_spacings(folder):
    write_dicom(folder, make_scan((8, 9, 3)))
    finer = make_scan((8, 9, 5))[:, :, 3:]
    finer.SetSpacing((0.4, 0.4, 4.4))
    write_dicom(folder, finer, names=["y", "z"])
    return "differ in spacing"


def shifted(folder):
    scan = make_scan((8, 9, 3))
    write_dicom(folder, scan)
    scan.SetOrigin(scan.TransformIndexToPhysicalPoint((2, 0, 0)))
    write_dicom(folder, scan[:, :, 2:], names=["2"])
    return "shifted sideways"


def single(folder):
    write_dicom(folder, make_scan((8, 9, 2)))[1].unlink()
    return "a single slice"


def without_position(folder):
    for file in write_dicom(folder, make_scan((8, 9, 3))):
        file.write_bytes(file.read_bytes().replace(b"\x20\x00\x32\x00", b"\x20\x00\x33\x00"))
    return "does not say where its slice is"


def colour(folder):
    folder.mkdir()
    image = sitk.Compose(*[sitk.Cast(make_scan((8, 9, 2))[:, :, 0], sitk.sitkUInt8)] * 3)
    sitk.WriteImage(image, str(folder / "0.dcm"))
    return "a colour image"


def multi_frame(folder):
    folder.mkdir()
    sitk.WriteImage(sitk.Cast(make_scan((8, 9, 4)), sitk.sitkUInt16), str(folder / "0.dcm"))
    return "4 frames in one file"


def constant(folder):
    write_dicom(folder, make_scan((8, 9, 3)) * 0)
    return "every voxel is 0"


def truncated(folder):
    for file in write_dicom(folder, make_scan((8, 9, 3))):
        file.write_bytes(file.read_bytes()[:-40])
    return "damaged"


def absurd(folder):
    """GDCM itself would fill 8 GB with zeros."""
    for file in write_dicom(folder, make_scan((8, 9, 3))):
        raw = bytearray(file.read_bytes())
        for tag in (b"\x28\x00\x10\x00", b"\x28\x00\x11\x00"):
            struct.pack_into("<H", raw, raw.index(tag) + 8, 65535)
        file.write_bytes(raw)
    return "the header claims 65535 x 65535 voxels"


def named_only(folder):
    folder.mkdir()
    (folder / "scan.dcm").write_text("<html>404</html>")
    return "not a DICOM image"


def outside(folder):
    write_dicom(folder, make_scan((8, 9, 3)), uid="../../1")
    return "does not say which series"


FAULTS = [
    *(missing, twice, of_two_sizes, of_two_directions, of_two_spacings),
    *(
        shifted,
        without_position,
        multi_frame,
        constant,
        truncated,
        absurd,
        named_only,
        outside,
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_each_fault_is_one_line_and_hides_no_other_series(tmp_path, fault, capfd):
    what = fault(tmp_path / "bad")
    write_dicom(tmp_path / "good", make_scan((8, 9, 3)), uid="1.9")
    report = check_folder(tmp_path)
    assert [case.id for case in report.cases] == ["1.9"]
    assert report.problems
    for problem in report.problems:
        assert what in problem.what
        assert problem.path.is_relative_to(tmp_path / "bad")
        assert "\n" not in str(problem)
    assert capfd.readouterr().err == ""


def test_files_without_an_image_are_ignored(tmp_path):
    """A directory and a presentation state, as on a patient's CD."""
    write_dicom(tmp_path, make_scan((8, 9, 3)))
    for name, kind in (
        ("DICOMDIR", b"1.2.840.10008.1.3.10"),
        ("PS1", b"1.2.840.10008.5.1.4.1.1.11.1"),
    ):
        meta = b"\x02\x00\x02\x00UI" + struct.pack("<H", len(kind)) + kind
        (tmp_path / name).write_bytes(b"\0" * 128 + b"DICM" + meta)
    source = open_source(tmp_path)
    assert source.problems() == []
    assert sorted(path.name for path in source.strays) == ["DICOMDIR", "PS1"]
    assert len(source.cases()) == 1


LONG = (b"OW", b"OB")
NUMBERS = {b"US": 2, b"OW": 2, b"UL": 4}  # VRs of binary numbers: bytes each
VRS = {
    b"UI": ((8, 0x16), (8, 0x18), (0x20, 0xD), (0x20, 0xE)),
    b"DS": ((0x18, 0x88), (0x20, 0x32), (0x20, 0x37), (0x28, 0x30), (0x28, 0x1052), (0x28, 0x1053)),
    b"CS": ((8, 0x60), (0x10, 0x40), (0x28, 4)),
    b"US": tuple((0x28, n) for n in (2, 0x10, 0x11, 0x100, 0x101, 0x102, 0x103)),
    **{b"DA": ((8, 0x20), (0x10, 0x30)), b"TM": ((8, 0x30),), b"OW": ((0x7FE0, 0x10),)},
    **{b"IS": ((0x20, 0x11), (0x20, 0x13)), b"PN": ((8, 0x90), (0x10, 0x10))},
    **{b"SH": ((8, 0x50), (0x20, 0x10)), b"LO": ((0x10, 0x20), (0x28, 0x1054))},
}
VR_OF = {tag: vr for vr, tags in VRS.items() for tag in tags}
MAGIC_END = 132


def elements(raw):
    """The elements (group, element, VR, value) of a file of `write_dicom`.

    Its data set has implicit VRs.
    """
    place = MAGIC_END
    while place < len(raw):
        tag = struct.unpack_from("<2H", raw, place)
        vr = raw[place + 4 : place + 6]
        if tag[0] != 2:
            vr = VR_OF[tag]
        length, start = struct.unpack_from("<I", raw, place + 4)[0], place + 8
        if tag[0] == 2 and vr == b"OB":
            length, start = struct.unpack_from("<I", raw, place + 8)[0], place + 12
        elif tag[0] == 2:
            (length,) = struct.unpack_from("<H", raw, place + 6)
        yield *tag, vr, raw[start : start + length]
        place = start + length


def encoded(parts, order, explicit):
    """A data set with these elements."""
    for group, element, vr, value in parts:
        if order == ">" and vr in NUMBERS:
            value = np.frombuffer(value, f"<u{NUMBERS[vr]}").byteswap().tobytes()
        yield struct.pack(f"{order}2H", group, element)
        if not explicit:
            yield struct.pack(f"{order}I", len(value))
        elif vr in LONG:
            yield vr + b"\0\0" + struct.pack(f"{order}I", len(value))
        else:
            yield vr + struct.pack(f"{order}H", len(value))
        yield value


def write_elements(file, parts, order="<", explicit=True, preamble=False, meta=False):
    """Write a file with these elements, as old archives and other programs do."""
    syntax = {("<", True): b".1\0", ("<", False): b"\0", (">", True): b".2\0"}[order, explicit]
    uid = b"1.2.840.10008.1.2" + syntax
    header = [part for part in parts if part[0] == 2 and part[:2] != (2, 0)]
    header = [(*p[:3], uid if p[:2] == (2, 0x10) else p[3]) for p in header] if meta else []
    body = [part for part in parts if part[0] != 2]
    file.write_bytes(
        (bytes(128) + b"DICM") * preamble
        + b"".join(encoded(header, "<", True))
        + b"".join(encoded(body, order, explicit))
    )


def re_encode(file, **encoding):
    write_elements(file, list(elements(file.read_bytes())), **encoding)


ENCODINGS = {
    "explicit": {},
    "implicit": {"explicit": False},
    "big endian": {"order": ">"},
    "preamble without meta": {"preamble": True},
    "implicit, preamble without meta": {"preamble": True, "explicit": False},
    "meta without preamble": {"meta": True},
    "implicit, meta without preamble": {"meta": True, "explicit": False},
    "whole, implicit": {"preamble": True, "meta": True, "explicit": False},
    "whole, big endian": {"preamble": True, "meta": True, "order": ">"},
}


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS)
def test_files_without_preamble_are_read_alone_and_among_others(tmp_path, encoding, half):
    scan = make_scan((20, 16, 6))
    files = write_dicom(tmp_path, scan)
    for file in files[::2] if half else files:
        re_encode(file, **encoding)
    report = check_folder(tmp_path)
    assert report.problems == []
    (case,) = report.cases
    read, scan = to_canonical(case.read()), to_canonical(scan)
    assert geometry_mismatch(read, scan, tolerance=1e-4) == ""
    assert np.array_equal(sitk.GetArrayFromImage(read), sitk.GetArrayFromImage(scan))


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS)
def test_any_cut_through_a_file_is_a_problem(tmp_path, encoding, capfd):
    """Or, just behind its storage class, a file that cannot be told from another kind."""
    file = write_dicom(tmp_path, make_scan((8, 9, 1)))[0]
    re_encode(file, **encoding)
    sound = file.read_bytes()
    for length in [*range(140, len(sound) - 1, 31), len(sound) - 1]:
        file.write_bytes(sound[:length])
        found = find_series([file])
        assert len(found.problems) == 1, length
        assert not found.series
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS)
def test_damaged_files_are_problems_or_slices_and_take_no_memory(tmp_path, encoding, capfd):
    """GDCM would allocate what a damaged length claims."""
    sound = write_dicom(tmp_path, make_scan((8, 9, 2)))[0]
    re_encode(sound, **encoding)
    content, before, files = sound.read_bytes(), peak_memory_kib(), []
    for number in range(40):
        rng = random.Random(number)
        raw = bytearray(content)
        for _ in range(rng.randrange(1, 5)):
            raw[rng.randrange(len(raw) - 144)] = rng.randrange(256)
        if number % 5 == 0:
            del raw[rng.randrange(132, len(raw)) :]
        files.append(tmp_path / f"x{number}")
        files[-1].write_bytes(raw)
    found = find_series(files)
    slices = [each for series in found.series.values() for each in series]
    assert len(slices) + len(found.problems) + len(found.strays) == 40
    assert found.problems
    assert slices
    for each in slices:
        with pytest.raises(UserError):
            read_series([each.path])
    assert peak_memory_kib() - before < 50 * 1024
    assert capfd.readouterr().err == ""


def with_values(folder, values, size=(8, 9, 6), **options):
    """Write a series and set values (bytes) of the files' elements; returns files and scan."""
    scan = make_scan(size)
    files = write_dicom(folder, scan, **options)
    for number, file in enumerate(files):
        parts = {part[:2]: part for part in elements(file.read_bytes())}
        for tag, (vr, value) in values(number).items():
            parts[tag] = (*tag, vr, value + b" " * (len(value) % 2))
        write_elements(file, [parts[tag] for tag in sorted(parts)], preamble=True, meta=True)
    return files, scan


@pytest.mark.parametrize("slope", [lambda n: n + 1, lambda n: 1 + n / 4, lambda n: 0.5])
def test_each_slice_has_its_own_scale(tmp_path, slope):
    def values(number):
        return {
            (0x28, 0x1052): (b"DS", b"-7"),
            (0x28, 0x1053): (b"DS", str(slope(number)).encode()),
            (0x08, 0x0016): (b"UI", b"1.2.840.10008.5.1.4.1.1.4\0"),
            (0x02, 0x0002): (b"UI", b"1.2.840.10008.5.1.4.1.1.4\0"),
        }

    files, scan = with_values(tmp_path, values)
    slopes = np.array([slope(number) for number in range(6)])[:, None, None]
    expected = sitk.GetArrayFromImage(scan) * slopes - 7
    read = sitk.GetArrayFromImage(read_series(files))  # sorted from the last to the first
    assert np.array_equal(read[::-1], expected)


def across() -> sitk.Image:
    """One slice at right angles to those of `make_scan`."""
    scan = make_scan((8, 9, 1))
    scan.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, 1))
    return scan


def larger() -> sitk.Image:
    return make_scan((12, 12, 1))


@pytest.mark.parametrize("odd", [across, larger])
@pytest.mark.parametrize("name", ["0", "zzz"], ids=["first", "last"])
def test_an_odd_slice_in_a_series_is_left_out_with_a_note(tmp_path, odd, name):
    scan = make_scan((8, 9, 6))
    write_dicom(tmp_path, scan, names=list("abcdef"))
    write_dicom(tmp_path, odd(), names=[name])
    report = check_folder(tmp_path)
    assert report.problems == []
    (case,) = report.cases
    notes = []
    read = to_canonical(case.read(notes))
    assert geometry_mismatch(read, to_canonical(scan), tolerance=1e-4) == ""
    assert [(note.path.name, note.remedy) for note in notes] == [(name, "left out")]


def test_two_volumes_in_a_series_are_refused(tmp_path):
    """Nobody can tell which is meant."""
    write_dicom(tmp_path, make_scan((20, 16, 6)))
    write_dicom(tmp_path, oblique(), names=list("abcdef"))
    with pytest.raises(UserError, match=r"6 and 6 slices that differ in direction.*dcm2niix"):
        open_source(tmp_path).cases()[0].read()


def test_a_copy_of_a_slice_is_used_once_with_a_note(tmp_path):
    files = write_dicom(tmp_path, make_scan((8, 9, 4)))
    shutil.copy(files[1], tmp_path / "again")
    notes = []
    assert read_series([*files, tmp_path / "again"], notes).GetDepth() == 4
    assert [note.path.name for note in notes] == ["again"]


def test_echoes_with_one_uid_are_no_copies(tmp_path):
    def values(echo):
        return lambda _: {
            (0x18, 0x81): (b"DS", echo),
            (0x08, 0x18): (b"UI", b"1.2.3"),
            (0x02, 0x03): (b"UI", b"1.2.3"),
        }

    files, _ = with_values(tmp_path / "1", values(b"8"))
    more, _ = with_values(tmp_path / "2", values(b"90"))
    assert read_series(files).GetDepth() == 6
    with pytest.raises(UserError, match="12 slices in 6 places"):
        read_series([*files, *more])


def planes(folder):
    """A localizer in three planes, two slices each."""
    write_dicom(folder, make_scan((8, 9, 2)), names=["a", "b"])
    write_dicom(folder, oblique()[:, :, :2], names=["c", "d"])
    write_dicom(folder, oblique(0.9)[:, :, :2], names=["e", "f"])
    return "slices in 3 directions"


@pytest.mark.parametrize("aside", [single, planes, colour])
def test_what_is_no_volume_is_a_note_beside_a_scan_and_a_problem_alone(tmp_path, aside):
    aside(tmp_path / "x")
    assert check_folder(tmp_path).problems
    write_dicom(tmp_path / "good", make_scan((8, 9, 3)), uid="1.9")
    report = check_folder(tmp_path)
    assert [case.id for case in report.cases] == ["1.9"]
    assert report.problems == []
    assert [n.path.parent.name for n in report.notes if n.remedy == "left out"] == ["x"]


def test_other_kinds_of_files_are_strays(tmp_path):
    """Also those that begin as DICOM without a preamble may begin."""
    write_dicom(tmp_path, make_scan((8, 9, 3)))
    for name, content in {"a": b"", "b": b"\x08\0", "c": b"text", "d": b"\0" * 500}.items():
        (tmp_path / name).write_bytes(content)
    source = open_source(tmp_path)
    assert [path.name for path in source.strays] == ["a", "b", "c", "d"]
    assert source.problems() == []


def slices_at(heights):
    axes = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
    place = [(-height, 5.0, 7.0) for height in heights]
    rest = ("1", "P", (8, 9, 1), (1.0, 1.0))
    return [
        SliceHeader(f"{h}", *rest, where, axes, 1, 2)
        for h, where in zip(heights, place, strict=True)
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(3, 30), st.floats(0.5, 10), st.floats(-500, 500), st.randoms(use_true_random=False)
)
def test_any_order_is_sorted_and_any_gap_is_seen(count, step, start, rng):
    heights = [start + step * index for index in range(count)]
    shuffled = slices_at(heights)
    rng.shuffle(shuffled)
    assert [each.path for each in sort_slices(shuffled)] == [
        each.path for each in slices_at(heights)
    ]
    if count > 3:
        del shuffled[next(i for i, each in enumerate(shuffled) if each.path == str(heights[1]))]
        with pytest.raises(UserError, match="uneven spacing"):
            sort_slices(shuffled)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, names are always valid")
def test_a_folder_whose_name_is_not_utf8_is_a_problem_and_not_the_end(tmp_path):
    write_dicom(tmp_path / "good", make_scan((8, 9, 3)), uid="1.1")
    bad = Path(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller"))
    write_dicom(tmp_path / "other", make_scan((8, 9, 3)), uid="1.2")
    (tmp_path / "other").rename(bad)
    source = open_source(tmp_path)
    assert [case.id for case in source.cases()] == ["1.1"]
    assert {problem.what for problem in source.problems()} == {"its name is not valid UTF-8"}
