"""`spineseg predict`: what is written where, what is refused, and what the outputs say."""

import csv
import io
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from scans import link_to, make_scan, write, write_dicom
from spineseg import cli
from spineseg.data.volume import read_mask, to_canonical
from spineseg.experiment import PHANTOM_RECORD
from spineseg.labels import CLASSES, FOREGROUND, LABEL_SETS
from spineseg.outputs.levels import COLUMNS, body_height, body_slices, measure_levels
from spineseg.outputs.own import MARK, is_own
from spineseg.outputs.preview import shown_slices, write_preview
from spineseg.phantom.dataset import COMPLETE_RECORD
from spineseg.utils import paths
from spineseg.utils.errors import UserError
from spineseg.utils.files import atomic_write, read_json, write_json
from spineseg.workflow import predict as workflow
from spineseg.workflow.predict import predict_scan, run_line

RUN = "phantom-mini-smoke/aspp_unet-fold-0-seed-0"
LINE = "labelled by the network of the test"


def column_of_boxes(scan: sitk.Image) -> np.ndarray:
    """What the test's network finds in any canonical scan: the classes from below upwards."""
    classes = np.zeros(sitk.GetArrayViewFromImage(scan).shape, np.uint8)
    height = classes.shape[1] // len(CLASSES)
    for index in range(1, len(CLASSES)):
        top = classes.shape[1] - index * height
        classes[2:-2, top : top + max(height - 1, 1), 2:-2] = index
    return classes


@pytest.fixture(autouse=True)
def box(monkeypatch) -> types.SimpleNamespace:
    """In place of the network in weights/, one that needs no torch. It can be replaced."""
    double = types.SimpleNamespace(segment=column_of_boxes)
    double.open_box = lambda: lambda scan: double.segment(scan)
    opened, line = workflow.open_segmenter, workflow.run_line

    def open_segmenter(run: Path):
        return double.open_box() if run == paths.BUNDLED else opened(run)

    monkeypatch.setattr(workflow, "open_segmenter", open_segmenter)
    monkeypatch.setattr(
        workflow, "run_line", lambda run, clean: LINE if run == paths.BUNDLED else line(run, clean)
    )
    return double


@pytest.fixture
def scan(tmp_path) -> Path:
    return write(make_scan((20, 36, 12)), tmp_path / "scan.nii.gz")


def predict(*arguments: object) -> int:
    return cli.main(["predict", *map(str, arguments)])


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


# --- where masks go


def test_one_file_into_an_existing_folder_gets_the_scans_name(scan, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    assert predict(scan, tmp_path / "out") == 0
    assert list(content(tmp_path / "out")) == ["scan.nii.gz"]
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'out' / 'scan.nii.gz'}: {', '.join(FOREGROUND)}\n"
    assert err.splitlines()[0] == LINE


@pytest.mark.parametrize("name", ["m.nii", "m.nii.gz", "m.NII.GZ", "m.mha", "m.nrrd", "m.seg.nrrd"])
def test_masks_of_every_type_hold_the_same_and_are_overwritten(name, scan, tmp_path):
    stored = sitk.ReadImage(str(scan))
    (expected,) = [column_of_boxes(to_canonical(stored))]
    for _ in range(2):
        assert predict(scan, tmp_path / name) == 0
    copy = tmp_path / "copy" / name.lower()
    copy.parent.mkdir()
    copy.write_bytes((tmp_path / name).read_bytes())
    mask = sitk.ReadImage(str(copy))
    assert np.array_equal(sitk.GetArrayFromImage(to_canonical(mask)), expected)
    assert mask.GetPixelID() == sitk.sitkUInt8
    assert np.allclose(mask.GetOrigin(), stored.GetOrigin(), atol=1e-4)
    assert np.allclose(mask.GetDirection(), stored.GetDirection(), atol=1e-6)


def test_a_series_goes_into_a_file_or_a_folder(tmp_path):
    write_dicom(tmp_path / "series", make_scan((20, 36, 12)), uid="1.2.9")
    assert predict(tmp_path / "series", tmp_path / "mask.nii.gz") == 0
    assert predict(tmp_path / "series", tmp_path / "new") == 0
    assert list(content(tmp_path / "new")) == ["1.2.9.nii.gz"]


def test_a_folder_keeps_its_shape_and_every_output_has_its_place(tmp_path, capsys, monkeypatch):
    def draw(path: Path, *_: object) -> None:  # a real picture takes a second
        with atomic_write(path) as temporary:
            temporary.write_text(MARK)

    monkeypatch.setattr("spineseg.outputs.preview.write_preview", draw)
    scans, out = tmp_path / "scans", tmp_path / "out"
    write(make_scan((20, 36, 12)), scans / "a.nii.gz")
    write(make_scan((20, 36, 12)), scans / "sub" / "b.mha")
    write_dicom(scans / "series", make_scan((20, 36, 12)), uid="1.2.9")
    (scans / "bad.nii.gz").write_bytes(b"nothing")
    table, previews = tmp_path / "levels.csv", tmp_path / "previews"
    options = ["--csv", table, "--preview", previews, "--label-tables", "--labels", "spineps"]
    for _ in range(2):  # the outputs of the first call are overwritten
        assert predict(scans, out, *options) == 1
        assert set(content(out)) == {
            *("a.nii.gz", "sub/b.mha", "series/1.2.9.nii.gz"),
            *("spineps.label.txt", "spineps.ctbl"),
        }
        assert set(content(previews)) == {"a.png", "sub/b.png", "series/1.2.9.png"}
        rows = list(csv.DictReader(table.open()))
        assert {row["scan"] for row in rows} == {"a.nii.gz", "sub/b.mha", "series/1.2.9"}
        assert [row["level"] for row in rows] == 3 * list(FOREGROUND)
        err = capsys.readouterr().err.splitlines()
        assert err[-2] == f"3 scans labelled, in {out}, {previews}, {table}; 1 problem"
        assert "bad.nii.gz" in err[-1]


# --- what is refused before any work


@pytest.fixture
def no_network(box):
    """The network must not be asked: everything is refused before any work."""
    box.open_box = lambda: pytest.fail("the network was opened")


def refused(capsys, tmp_path, *arguments: object) -> str:
    before = content(tmp_path)
    assert predict(*arguments) == 1
    assert content(tmp_path) == before
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("way", ["itself", "dots", "link", "hard link", "folder", "linked folder"])
def test_the_output_is_never_the_input(way, scan, tmp_path, capsys, no_network):
    place = {
        "itself": scan,
        "dots": tmp_path / "sub" / ".." / scan.name,
        "link": tmp_path / "link.nii.gz",
        "hard link": tmp_path / "hard.nii.gz",
        "folder": tmp_path,
        "linked folder": tmp_path / "farm",
    }[way]
    (tmp_path / "sub").mkdir()
    if way == "link":
        link_to(scan, place)
    elif way == "linked folder":
        link_to(tmp_path, place)
    elif way == "hard link":
        os.link(scan, place)
    assert "is a scan to be labelled, or its mask; write elsewhere" in refused(
        capsys, tmp_path, scan, place
    )
    assert predict(place if way == "link" else scan, scan) == 1


def test_the_scan_is_not_overwritten_by_another_output(scan, tmp_path, capsys, no_network):
    mask = tmp_path / "mask.nii.gz"
    assert "is a scan" in refused(capsys, tmp_path, scan, mask, "--csv", scan)
    assert "written twice" in refused(capsys, tmp_path, scan, mask, "--csv", mask)
    assert "neither a folder nor" in refused(capsys, tmp_path, scan, mask, "--preview", scan)


def test_masks_do_not_go_among_the_scans(tmp_path, capsys, no_network):
    write_dicom(tmp_path / "series", make_scan())
    write(make_scan(), tmp_path / "outer" / "outer" / "a.nii.gz")
    link_to(tmp_path / "series", tmp_path / "farm")
    for scans, masks in (
        ("series", "series"),
        ("series", "farm"),
        ("series", "series/new"),
        ("series", "farm/mask.nii.gz"),
        ("farm", "series/mask.nii.gz"),
        ("outer", "."),
    ):
        line = refused(capsys, tmp_path, tmp_path / scans, tmp_path / masks)
        assert "is within the folder of scans; write elsewhere" in line or scans == "outer"


def test_the_masks_of_a_data_set_are_safe(tmp_path, capsys, no_network):
    """The masks of SPIDER have the names of their scans."""
    write(make_scan(), tmp_path / "images" / "1_t2.mha")
    write(make_scan(), tmp_path / "masks" / "1_t2.mha")
    line = refused(capsys, tmp_path, tmp_path / "images", tmp_path / "masks")
    assert "`spineseg predict` did not write it; remove it or write elsewhere" in line


@pytest.mark.parametrize("name", ["m.nii", "m.nii.gz", "m.mha", "m.nrrd", "m.seg.nrrd"])
def test_a_mask_that_was_corrected_is_safe(name, scan, tmp_path, capsys):
    """Editors keep the mark in the header."""
    assert predict(scan, tmp_path / name) == 0
    capsys.readouterr()
    mask = sitk.ReadImage(str(tmp_path / name))
    mask[3, 3, 3] = 7
    sitk.WriteImage(mask, str(tmp_path / name))
    assert is_own(tmp_path / name)
    line = refused(capsys, tmp_path, scan, tmp_path / name)
    assert line.endswith(
        "was changed since `spineseg predict` wrote it; move it or write elsewhere"
    )


@pytest.mark.parametrize(
    ("option", "name"), [("--csv", "t.csv"), ("--preview", "p.png"), (None, "m.nrrd")]
)
def test_files_of_somebody_else_are_safe(option, name, scan, tmp_path, capsys, no_network):
    other = tmp_path / name
    other.write_bytes(b"precious")
    arguments = [tmp_path / "mask.nii.gz", option, other] if option else [other]
    assert "did not write it" in refused(capsys, tmp_path, scan, *arguments)


def test_a_name_that_the_output_cannot_encode_does_not_end_the_call(scan, tmp_path, monkeypatch):
    output = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output, "cp1252", write_through=True))
    assert predict(scan, tmp_path / "\u03b2.nii.gz") == 0
    assert b"\\u03b2.nii.gz: S, L5" in output.getvalue()


def test_label_tables_of_somebody_else_are_safe(scan, tmp_path, capsys, no_network):
    (tmp_path / "challenge.ctbl").write_text("precious")
    line = refused(capsys, tmp_path, scan, tmp_path / "mask.mha", "--label-tables")
    assert "challenge.ctbl: exists" in line


def test_two_scans_never_share_a_mask(tmp_path, capsys, no_network):
    scans = tmp_path / "scans"
    series = write_dicom(scans, make_scan(), uid="1.2.9")
    write(make_scan(), scans / "1.2.9.nii.gz")
    assert series
    assert "would be written twice" in refused(capsys, tmp_path, scans, tmp_path / "out")


def test_no_output_is_the_folder_of_another(scan, tmp_path, capsys, no_network):
    scans, masks, mask = tmp_path / "scans", tmp_path / "out", tmp_path / "mask.mha"
    write(make_scan(), scans / "a.mha")
    for line in (
        refused(capsys, tmp_path, scans, masks, "--csv", masks),
        refused(capsys, tmp_path, scan, mask, "--csv", mask / "levels.csv"),
    ):
        assert "would be both a file and the folder of another output; write elsewhere" in line


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ("out", "neither a folder nor a known type of file; make the folder first"),
        ("mask.txt", "neither a folder nor a known type of file"),
        ("no/mask.mha", "its folder does not exist"),
    ],
)
def test_a_place_that_cannot_be_is_told_at_once(mask, words, scan, tmp_path, capsys, no_network):
    assert words in refused(capsys, tmp_path, scan, tmp_path / mask)


def test_a_folder_below_a_file_is_told_at_once(tmp_path, capsys, no_network):
    write(make_scan(), tmp_path / "scans" / "a.mha")
    (tmp_path / "file").write_text("")
    line = refused(capsys, tmp_path, tmp_path / "scans", tmp_path / "file" / "out")
    assert "is no folder" in line


def test_masks_of_an_earlier_call_are_not_labelled(tmp_path, capsys):
    scan = write(make_scan((20, 36, 12)), tmp_path / "scans" / "a.mha")
    mask = tmp_path / "scans" / "a-mask.nii.gz"
    assert predict(scan, mask) == 0
    capsys.readouterr()
    assert "holds no scan, only what" in refused(capsys, tmp_path, mask, tmp_path / "b.mha")
    assert predict(tmp_path / "scans", tmp_path / "out") == 0
    assert list(content(tmp_path / "out")) == ["a.mha"]
    assert f"note: {mask}: a mask that an earlier `spineseg predict` wrote" in (
        capsys.readouterr().err
    )


def test_scans_beside_a_data_set_are_labelled_too(tmp_path):
    """The folder of a data set hides nothing: not its test part, not other files, no series."""
    folder = tmp_path / "scans"
    for name in ("MR/Case1.nii.gz", "test/MR/Case3.nii.gz", "other.mha"):
        write(make_scan((20, 36, 12)), folder / name)
    write(make_scan((20, 36, 12)), folder / "Mask" / "mask_case1.nii.gz")
    write_dicom(folder / "P2", make_scan((20, 36, 5)))
    assert predict(folder, tmp_path / "out") == 0
    assert sorted(content(tmp_path / "out")) == [
        "MR/Case1.nii.gz",
        "P2/1.2.3.4.nii.gz",
        "other.mha",
        "test/MR/Case3.nii.gz",
    ]


def test_what_cannot_be_read_beside_a_data_set_is_named(tmp_path, capsys):
    write(make_scan((20, 36, 12)), tmp_path / "scans" / "MR" / "Case1.nii.gz")
    (tmp_path / "scans" / "bad.dcm").write_bytes(b"no DICOM")
    assert predict(tmp_path / "scans", tmp_path / "out") == 1
    assert list(content(tmp_path / "out")) == ["MR/Case1.nii.gz"]
    assert f"{tmp_path / 'scans' / 'bad.dcm'}: not a DICOM image" in capsys.readouterr().err


def test_what_is_left_out_beside_a_data_set_is_said(tmp_path, capsys):
    write(make_scan((20, 36, 12)), tmp_path / "scans" / "MR" / "Case1.nii.gz")
    segmentation = tmp_path / "scans" / "own.seg.nrrd"
    write(make_scan((20, 36, 12)), segmentation)
    assert predict(tmp_path / "scans", tmp_path / "out") == 0
    assert f"note: {segmentation}: a segmentation of 3D Slicer" in capsys.readouterr().err


def test_a_folder_without_scans_is_told_at_once(tmp_path, capsys, no_network):
    write(make_scan((20, 36, 12)), tmp_path / "scans" / "Mask" / "mask_case1.nii.gz")
    line = refused(capsys, tmp_path, tmp_path / "scans", tmp_path / "out")
    assert line == f"{tmp_path / 'scans'}: holds no scan, only masks; give the scan"


def test_a_table_is_not_named_like_a_workbook(scan, tmp_path, capsys, no_network):
    mask, table = tmp_path / "mask.nii.gz", tmp_path / "levels.xlsx"
    line = refused(capsys, tmp_path, scan, mask, "--csv", table)
    assert line == f"{table}: the table is a CSV file; name it levels.csv"


def test_a_wrong_name_is_told_at_once(tmp_path, capsys, no_network):
    for name in ("none.nii.gz", "none", "none.dcm"):
        line = refused(capsys, tmp_path, tmp_path / name, tmp_path / "mask.nii.gz")
        assert line == f"{tmp_path / name}: does not exist; check the name"


# --- a batch goes on


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "a.mha: not enough memory to label it"),
        (RuntimeError("Exception thrown ... Failed to allocate memory for image."), "not enough"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "not enough"),
        (RuntimeError("std::bad_alloc"), "not enough memory"),
        (KeyError("odd"), "a.mha: an error of this program: KeyError: 'odd' (test_predict.py,"),
        (UserError.at("a.mha", "is bad", "mend it"), "a.mha: is bad; mend it"),
    ],
)
def test_one_scans_failure_does_not_stop_the_others(error, words, box, tmp_path, capsys):
    def segment(scan: sitk.Image) -> np.ndarray:
        if scan.GetSize()[0] == 21:
            raise error
        return column_of_boxes(scan)

    box.segment = segment
    write(make_scan((21, 36, 12)), tmp_path / "scans" / "a.mha")
    write(make_scan((20, 36, 12)), tmp_path / "scans" / "b.mha")
    assert predict(tmp_path / "scans", tmp_path / "out") == 1
    assert list(content(tmp_path / "out")) == ["b.mha"]
    err = capsys.readouterr().err
    assert words in err.splitlines()[-1]
    assert "Traceback" not in err


def test_no_scan_at_all_for_lack_of_memory_is_one_line(box, scan, tmp_path, capsys):
    for error in (MemoryError(), ImportError("libtorch.so: failed to map segment from shared ob")):

        def open_box(error: Exception = error) -> None:
            raise error

        box.open_box = open_box
        line = refused(capsys, tmp_path, scan, tmp_path / "mask.mha")
        assert line == "not enough memory; free some, then retry"


def test_a_failure_of_the_last_table_keeps_the_other_problems(tmp_path, capsys, monkeypatch):
    write(make_scan((20, 36, 12)), tmp_path / "scans" / "a.mha")
    (tmp_path / "scans" / "b.mha").write_bytes(b"nothing")

    def full(path: Path, rows: list) -> None:
        raise UserError.at(path, "not written (the disk is full)", "make room")

    monkeypatch.setattr("spineseg.workflow.predict.write_levels", full)
    assert predict(tmp_path / "scans", tmp_path / "out", "--csv", tmp_path / "t.csv") == 1
    lines = capsys.readouterr().err.splitlines()
    assert "b.mha" in lines[-2]
    assert "the disk is full" in lines[-1]


# --- which network labelled, and notes


def test_notes_are_those_of_the_check(scan, tmp_path, capsys):
    image = make_scan((20, 36, 12))
    image.SetSpacing((0.5, 0.7, 4.4))
    write(image, tmp_path / "odd" / "odd.mha")
    (tmp_path / "odd" / "README").write_text("not a scan")
    assert predict(tmp_path / "odd", tmp_path / "out") == 0
    predicted = [x for x in capsys.readouterr().err.splitlines() if x.startswith("note: ")]
    assert cli.main(["data", "check", str(tmp_path / "odd")]) == 0
    checked = [x for x in capsys.readouterr().err.splitlines() if x.startswith("note: ")]
    assert any("pixels are not square" in note for note in predicted)
    assert any("README: not a scan" in note for note in predicted)
    assert set(predicted) <= set(checked)


def test_a_run_is_named_with_its_data_profile_and_fold(trained, scan, tmp_path, capsys):
    run = trained / "runs" / RUN
    assert predict(scan, tmp_path / "mask.mha", "--run", run) == 0
    line = capsys.readouterr().err.splitlines()[0]
    assert line.startswith(
        f"labelled by {run}: ASPP-UNet trained on phantom-mini, profile smoke, fold 0; "
    )
    assert "no useful mask" in line


def test_a_run_on_simulated_scans_says_so(trained, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    content = read_json(trained / "runs" / RUN / "run.json")
    content["profile"]["name"] = "mine"
    mini = content["data"]
    for data in (mini, "simulated-20", "phantom", str(tmp_path)):
        write_json(run / "run.json", content | {"data": data})
        assert ("simulated scans only" in run_line(run, clean_up=True)) == (data != str(tmp_path))
    assert COMPLETE_RECORD == PHANTOM_RECORD


@pytest.mark.parametrize("clean", [True, False])
def test_the_score_that_is_announced_is_that_of_masks_with_or_without_repair(clean):
    ending = "-cleaned-up" if clean else ""
    name = f"randomised-1000-bundled-on-real-t2-lumbar{ending}"
    with (paths.REPOSITORY / "results" / name / "summary.csv").open(encoding="utf-8") as table:
        rows = [row for row in csv.DictReader(table) if row["class"] == "all"]
    dsc = {(row["aggregation"], row["metric"]): float(row["mean"]) for row in rows}
    words = f"mean DSC {100 * dsc['volume', 'DSC']:.0f} % on 11 scans"
    assert run_line(paths.BUNDLED, clean).count(" mean DSC ") == 1
    assert words in run_line(paths.BUNDLED, clean)


@pytest.mark.parametrize(("model", "named"), [("aspp_unet", True), ("unet", False)])
def test_a_score_of_another_method_is_not_announced(workspace, model, named):
    name = "randomised-1000-bundled-on-mine"
    with (
        paths.REPOSITORY / "results" / f"{name[:-4]}real-t2-lumbar" / "summary.csv"
    ).open() as table:
        rows = [row | {"model": model, "data": "mine"} for row in csv.DictReader(table)]
    (workspace / "results" / name).mkdir(parents=True)
    with (workspace / "results" / name / "summary.csv").open("w", newline="") as table:
        writer = csv.DictWriter(table, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert ("scans of mine" in run_line(paths.BUNDLED, False)) == named


def test_networks_of_the_lessons_say_that_they_saw_simulated_scans_only():
    runs = sorted((paths.BUNDLED / "laptop").iterdir())
    assert runs
    for run in runs:
        assert "simulated scans only" in run_line(run, clean_up=True), run


def test_a_mask_is_not_labelled(scan, tmp_path, capsys):
    mask = tmp_path / "mask.nii.gz"
    predict_scan(scan, mask)
    moved = tmp_path / "as_a_scan.nii.gz"
    sitk.WriteImage(sitk.ReadImage(str(mask)) + 0, str(moved))  # without the mark of `predict`
    assert predict(moved, tmp_path / "again.nii.gz") == 1
    assert "looks like a mask, not a scan; give the scan" in capsys.readouterr().err
    assert not (tmp_path / "again.nii.gz").exists()


def test_a_run_must_be_finished(scan, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    line = refused(capsys, tmp_path, scan, tmp_path / "mask.mha", "--run", tmp_path / "run")
    assert "not a finished run" in line
    line = refused(capsys, tmp_path, scan, tmp_path / "mask.mha", "--run", tmp_path / "runs")
    assert "no such folder" in line


def test_levels_are_repaired_unless_told_otherwise(box, scan, tmp_path):
    asked = []

    def network_that_tells(image: sitk.Image) -> np.ndarray:
        asked.append(network_that_tells.clean)
        return column_of_boxes(image)

    box.open_box = lambda: network_that_tells
    assert predict(scan, tmp_path / "a.mha") == 0
    assert predict(scan, tmp_path / "b.mha", "--no-clean-up") == 0
    assert asked == [True, False]


# --- labels


@pytest.mark.parametrize("name", LABEL_SETS)
def test_masks_have_the_numbers_of_the_wanted_label_set(name, scan, tmp_path, capsys):
    assert predict(scan, tmp_path / "m.seg.nrrd", "--labels", name) == 0
    mask = sitk.ReadImage(str(tmp_path / "m.seg.nrrd"))
    labels = LABEL_SETS[name]
    values = sitk.GetArrayFromImage(to_canonical(mask))
    expected = column_of_boxes(to_canonical(sitk.ReadImage(str(scan))))
    for index, level in enumerate(FOREGROUND, start=1):
        wanted = {labels.index(level) if level in labels else 0}
        assert set(values[expected == index].tolist()) == wanted
    assert ("has no label for S" in capsys.readouterr().err) == (name == "spider")
    fields = {key: mask.GetMetaData(key) for key in mask.GetMetaDataKeys()}
    named = [
        (fields[f"Segment{n}_Name"], int(fields[f"Segment{n}_LabelValue"]))
        for n in range(len([key for key in fields if key.endswith("_LabelValue")]))
    ]
    assert named == [(level, labels.index(level)) for level in FOREGROUND if level in labels]


def test_a_segmentation_is_read_back_by_the_names_of_its_segments(scan, tmp_path):
    assert predict(scan, tmp_path / "m.seg.nrrd", "--labels", "totalspineseg") == 0
    mask = read_mask(tmp_path / "m.seg.nrrd", LABEL_SETS["challenge"])
    expected = column_of_boxes(to_canonical(sitk.ReadImage(str(scan))))
    assert np.array_equal(sitk.GetArrayFromImage(to_canonical(mask)), expected)


def test_the_command_line_knows_every_label_set():
    assert set(LABEL_SETS) == set(cli.LABEL_SETS)


def test_known_numbers_of_other_programs():
    """From the pages of these programs."""
    numbers = {
        "totalspineseg": [50, 45, 44, 43, 42, 41, 32, 31],
        "spineps": [26, 24, 23, 22, 21, 20, 19, 18],
        "challenge": [1, 2, 3, 4, 5, 6, 7, 8],
    }
    for name, expected in numbers.items():
        assert [LABEL_SETS[name].index(level) for level in FOREGROUND] == expected


def test_label_tables_name_each_number(scan, tmp_path):
    arguments = ["--label-tables", "--labels", "totalspineseg"]
    assert predict(scan, tmp_path / "mask.mha", *arguments) == 0
    snap, slicer = (
        (tmp_path / f"totalspineseg{suffix}").read_text().splitlines()
        for suffix in (".label.txt", ".ctbl")
    )
    lines = [line.split() for line in snap if not line.startswith("#")]
    assert lines[0] == ["0", "0", "0", "0", "0", "0", "0", '"Clear', 'Label"']
    assert ["45", "230", "159", "0", "1", "1", "1", '"L5"'] in lines
    rows = [line.split() for line in slicer if not line.startswith("#")]
    assert ["45", "L5", "230", "159", "0", "255"] in rows
    assert len(lines) == len(rows) == 1 + len(FOREGROUND)


# --- measures of levels


def on_grid(spacing: tuple[float, ...], extent: tuple[float, ...], turn: float = 0.0) -> sitk.Image:
    """An empty canonical image (slices, rows, columns) centred at (10, 20, 30) mm in LPS.

    `turn` rotates it about the patient's left-right axis, in degrees.
    """
    size = [round(mm / step) for mm, step in zip(extent, spacing, strict=True)][::-1]
    image = sitk.Image(size, sitk.sitkInt16)
    image.SetSpacing(spacing[::-1])
    cosine, sine = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    rotation = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    axes = rotation @ np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]])
    image.SetDirection(axes.ravel().tolist())
    middle = image.TransformContinuousIndexToPhysicalPoint([(each - 1) / 2 for each in size])
    image.SetOrigin((np.array([10.0, 20.0, 30.0]) - middle).tolist())
    return image


def points_of(image: sitk.Image) -> np.ndarray:
    """The position of each voxel relative to (10, 20, 30), (slices, rows, columns, 3) in mm."""
    size = image.GetSize()
    index = np.moveaxis(np.indices(size[::-1]), 0, -1)[..., ::-1] * image.GetSpacing()
    axes = np.reshape(image.GetDirection(), (3, 3))
    return index @ axes.T + np.array(image.GetOrigin()) - [10.0, 20.0, 30.0]


def noise(image: sitk.Image) -> sitk.Image:
    values = np.random.default_rng(0).integers(1, 900, image.GetSize()[::-1]).astype(np.int16)
    filled = sitk.GetImageFromArray(values)
    filled.CopyInformation(image)
    return filled


GRIDS = [(4.4, 0.5, 0.5), (2.0, 1.25, 1.25), (1.0, 1.0, 0.6), (4.4, 2.4, 2.4)]


@pytest.mark.parametrize("spacing", GRIDS)
@pytest.mark.parametrize("tilt", [0, 7, -20, 35])
def test_a_box_has_its_volume_height_and_place(spacing, tilt):
    """A box of 44 x 34 x 27 mm (left-right, depth, height), tilted, on an oblique grid."""
    image = on_grid(spacing, (80, 100, 110), turn=12)
    points = points_of(image) - [3.0, -5.0, 8.0]
    cosine, sine = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    depth = points[..., 1] * cosine + points[..., 2] * sine
    height = points[..., 2] * cosine - points[..., 1] * sine
    box = (np.abs(points[..., 0]) <= 22) & (np.abs(depth) <= 17) & (np.abs(height) <= 13.5)
    (level,) = measure_levels(np.uint8(3) * box, image, image)
    assert level.name == "L4"
    assert level.volume == pytest.approx(np.count_nonzero(box) * np.prod(spacing))
    assert level.volume == pytest.approx(44 * 34 * 27, rel=0.12 if spacing[0] > 4 else 0.08)
    assert level.height == pytest.approx(27, abs=0.6 * max(spacing[1:]))
    assert level.centre[0] == pytest.approx(13, abs=0.5 * spacing[0])
    assert level.centre[1:] == pytest.approx((15, 38), abs=0.55 * max(spacing[1:]) + 0.1)
    assert level.cut == ()


@pytest.mark.parametrize("spacing", GRIDS[:3])
def test_an_ellipsoid_has_its_volume_and_height(spacing):
    """Its height over the middle third of its depth is 0.981 of the axis, in the middle slice."""
    image = on_grid(spacing, (80, 100, 110))
    inside = ((points_of(image) / [22, 17, 13.5]) ** 2).sum(-1) <= 1
    (level,) = measure_levels(inside.astype(np.uint8), image, image)
    assert level.name == "S"
    assert level.height is None
    assert level.volume == pytest.approx(4 / 3 * np.pi * 22 * 17 * 13.5, rel=0.02)
    height = body_height(body_slices(inside, spacing[0]), spacing[1:])
    assert height == pytest.approx(0.981 * 27, abs=0.6)


def test_processes_behind_the_canal_do_not_count_as_height():
    image = on_grid((4.0, 1.0, 1.0), (60, 90, 120))
    x, y, z = np.moveaxis(points_of(image), -1, 0)
    body = (abs(x) <= 20) & (abs(y) <= 17) & (abs(z) <= 13)
    process = (abs(x) <= 3) & (abs(y - 45) <= 13) & (abs(z + 12) <= 20)
    pedicles = (abs(abs(x) - 13) <= 3) & (abs(y - 30) <= 28) & (abs(z) <= 5)
    (level,) = measure_levels(np.uint8(2) * (body | process | pedicles), image, image)
    assert level.height == pytest.approx(26, abs=1)
    assert level.centre == pytest.approx((10, 20, 30), abs=0.6)


def test_the_index_is_that_of_the_file(tmp_path):
    """The scan is stored along other axes; the index leads to the position in every reader."""
    canonical = noise(on_grid((4.4, 1.0, 1.0), (60, 90, 100), turn=5))
    stored = sitk.DICOMOrient(canonical, "LAS")
    canonical = to_canonical(stored)
    classes = np.zeros(canonical.GetSize()[::-1], np.uint8)
    classes[4:9, 20:41, 30:61] = 5
    (level,) = measure_levels(classes, canonical, stored)
    assert stored.TransformContinuousIndexToPhysicalPoint(level.voxel) == pytest.approx(
        level.centre
    )
    assert canonical.TransformPhysicalPointToIndex(level.centre) == (45, 30, 6)


@pytest.mark.parametrize(
    ("part", "sides"),
    [
        (np.s_[3:6, 5:9, 5:9], ()),
        (np.s_[:6, 5:9, 5:9], ("right",)),
        (np.s_[3:, 5:9, 5:9], ("left",)),
        (np.s_[3:6, :9, 5:9], ("superior",)),
        (np.s_[3:6, 5:, 5:9], ("inferior",)),
        (np.s_[3:6, 5:9, :9], ("anterior",)),
        (np.s_[3:6, :9, 5:], ("superior", "posterior")),
    ],
)
@pytest.mark.parametrize("margin", [0, 6])
def test_levels_cut_by_the_end_of_the_image_are_marked(part, sides, margin):
    """The image may end within the file: there is constant padding around it."""
    image = on_grid((2.0, 1.0, 1.0), (16 + 4 * margin, 20 + 2 * margin, 20 + 2 * margin))
    inner = (slice(margin, margin + 8), *(slice(margin, margin + 20),) * 2)
    values = np.full(image.GetSize()[::-1], -1000, np.int16)
    values[inner] = np.random.default_rng(0).integers(0, 900, (8, 20, 20))
    scan = sitk.GetImageFromArray(values)
    scan.CopyInformation(image)
    classes = np.zeros(values.shape, np.uint8)
    classes[inner][part] = 7
    (level,) = measure_levels(classes, scan, scan)
    assert level.cut == sides


def test_a_speck_at_the_end_of_the_image_does_not_cut_a_level():
    values = np.random.default_rng(0).integers(0, 900, (8, 20, 20)).astype(np.int16)
    scan = sitk.GetImageFromArray(values)
    classes = np.zeros(values.shape, np.uint8)
    classes[2:6, 5:9, 5:9] = classes[0, 0, 0] = 7
    (level,) = measure_levels(classes, scan, scan)
    assert level.cut == ()
    assert level.volume == 65


def test_the_table_has_one_row_per_level(scan, tmp_path):
    assert predict(scan, tmp_path / "mask.mha", "--csv", tmp_path / "levels.csv") == 0
    rows = list(csv.DictReader((tmp_path / "levels.csv").open()))
    assert list(rows[0]) == list(COLUMNS)
    assert [row["level"] for row in rows] == list(FOREGROUND)
    assert rows[0]["height_mm"] == ""
    mask = sitk.ReadImage(str(tmp_path / "mask.mha"))
    volume = np.count_nonzero(sitk.GetArrayFromImage(mask) == 2) * np.prod(mask.GetSpacing())
    assert float(rows[1]["volume_mm3"]) == pytest.approx(volume, abs=0.5)


# --- the picture


def test_slices_with_labels_are_shown():
    classes = np.zeros((30, 4, 4), np.uint8)
    assert len(shown_slices(classes)) == 8
    classes[7:10, 1, 1] = 1
    assert shown_slices(classes) == [7, 8, 9]
    classes[3:28, 1, 1] = 1
    assert shown_slices(classes)[0] == 3
    assert shown_slices(classes)[-1] == 27


def test_a_preview_is_true_in_mm_with_the_head_up(tmp_path):
    """One labelled square of 40 x 40 mm, up in front, on pixels of 1 x 2 mm, over black."""
    image = on_grid((4.0, 1.0, 2.0), (12, 120, 120))
    values = np.zeros(image.GetSize()[::-1], np.int16)
    values[1, 0, 0] = 1
    scan = sitk.GetImageFromArray(values)
    scan.CopyInformation(image)
    classes = np.zeros(values.shape, np.uint8)
    classes[1, 10:50, 5:25] = CLASSES.index("L3")
    write_preview(tmp_path / "p.png", scan, classes, "a $name$ 脊椎", "labelled by x")
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "p.png")))[..., :3].astype(int)
    yellow = (picture[..., 0] > 90) & (picture[..., 1] > 80) & (picture[..., 2] < 60)
    rows, columns = np.nonzero(yellow[: int(len(yellow) * 0.8)])  # without the legend
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=3)
    assert rows.mean() < len(picture) / 2
    assert columns.mean() < picture.shape[1] / 2
    assert is_own(tmp_path / "p.png")


def test_a_preview_of_nothing_is_drawn_too(tmp_path):
    image = noise(on_grid((4.0, 1.0, 1.0), (12, 60, 60)))
    classes = np.zeros(image.GetSize()[::-1], np.uint8)
    write_preview(tmp_path / "p.png", image, classes, "scan", "labelled by x")
    assert (tmp_path / "p.png").stat().st_size > 1000


# --- what a call takes


def test_nothing_is_imported_that_labelling_does_not_need(trained, scan, tmp_path):
    code = f"""
import sys
from spineseg import cli
assert cli.main(["predict", {str(scan)!r}, {str(tmp_path / "m.mha")!r}, "--run",
                 {str(trained / "runs" / RUN)!r}]) == 0
heavy = ("lightning_fabric", "monai", "pandas", "sklearn", "sympy", "matplotlib", "joblib",
         "scipy.stats", "scipy.optimize", "torch._dynamo", "torch.distributed.fsdp")
print("loaded:", [name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_predict_scan_returns_the_voxels_of_each_class(scan, tmp_path):
    found = predict_scan(scan, tmp_path / "mask.mha")
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "mask.mha")))
    assert list(found.values()) == np.bincount(mask.ravel(), minlength=9).tolist()
    write(make_scan((20, 36, 12)), tmp_path / "two" / "other.nii.gz")
    write(make_scan((20, 36, 12)), tmp_path / "two" / "scan.nii.gz")
    with pytest.raises(UserError, match=r"two: holds more than one scan"):
        predict_scan(tmp_path / "two", tmp_path / "masks")
    assert not (tmp_path / "masks").exists()
    scan.write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"scan\.nii\.gz"):
        predict_scan(scan, tmp_path / "mask.mha")
