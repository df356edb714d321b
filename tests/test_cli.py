import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from scans import write, write_dicom
from spineseg import cli

RUN = "phantom-mini-smoke/aspp_unet-fold-0-seed-0"


def test_train_prints_the_run_last_and_progress_elsewhere(trained, phantom, capsys, monkeypatch):
    monkeypatch.setenv("SPINESEG_ROOT", str(trained))
    assert cli.main(["train", "--data", str(phantom), "--profile", "smoke"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(trained / "runs" / RUN)


def test_each_seed_is_a_run_of_its_own(phantom, workspace, capsys):
    experiment = ["--data", str(phantom), "--profile", "smoke"]
    assert cli.main(["train", *experiment, "--model", "unet", "--seed", "3"]) == 0
    run = workspace / "runs" / "phantom-mini-smoke" / "unet-fold-0-seed-3"
    assert capsys.readouterr().out == f"{run}\n"
    assert json.loads((run / "run.json").read_text())["seed"] == 3


def test_scores_of_a_run_without_held_out_cases_are_refused_before_it_is_trained(capsys):
    assert cli.main(["train", "--profile", "smoke", "--fold", "all", "--score"]) == 2
    assert "--score needs held-out cases" in capsys.readouterr().err


def test_other_data_takes_one_run(trained, phantom, capsys):
    run = str(trained / "runs" / RUN)
    assert cli.main(["evaluate", run, run, "--data", str(phantom)]) == 2
    assert capsys.readouterr().err == "--data takes one run\n"


def test_evaluate_with_clean_up_prints_one_folder(trained, capsys, monkeypatch):
    monkeypatch.setenv("SPINESEG_ROOT", str(trained))
    assert cli.main(["evaluate", str(trained / "runs" / RUN), "--clean-up"]) == 0
    folder = trained / "results" / "phantom-mini-smoke-cleaned-up"
    assert capsys.readouterr().out == f"{folder}\n"


def test_compare_prints_a_line_per_method(trained, phantom, workspace, capsys):
    shutil.copytree(trained, workspace, dirs_exist_ok=True)
    experiment = ["--data", str(phantom), "--profile", "smoke"]
    assert cli.main(["compare", *experiment, "--models", "aspp_unet", "--folds", "0"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("ASPP-UNet fold 0: fewer than two stored runs")


@pytest.fixture
def scan(phantom) -> sitk.Image:
    return sitk.Cast(sitk.ReadImage(str(phantom / "train/MR/Case1.nii.gz")), sitk.sitkInt16)


def test_predict_labels_a_dicom_series_as_the_same_scan_in_a_file(trained, scan, tmp_path, capsys):
    run = ["--run", str(trained / "runs" / RUN)]
    series, file = tmp_path / "series", write(scan, tmp_path / "scan.mha")
    write_dicom(series, scan, names=[f"IM{n:04}" for n in reversed(range(scan.GetDepth()))])
    (series / "README").write_text("no DICOM")
    masks = [tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"]
    for place, mask in zip((series, file), masks, strict=True):
        assert cli.main(["predict", str(place), str(mask), *run]) == 0
    ours, theirs = (sitk.DICOMOrient(sitk.ReadImage(str(mask)), "PIL") for mask in masks)
    assert np.array_equal(sitk.GetArrayFromImage(ours), sitk.GetArrayFromImage(theirs))
    assert sitk.GetArrayFromImage(ours).any()
    assert np.allclose(ours.GetOrigin(), theirs.GetOrigin(), atol=1e-3)
    assert capsys.readouterr().out.count("nii.gz: ") == 2


def test_predict_on_a_folder_does_the_good_ones_and_lists_the_others(
    trained, scan, tmp_path, capsys
):
    experiment, masks = tmp_path / "experiment", tmp_path / "masks"
    write(scan, experiment / "one.nrrd")
    write(scan, experiment / "two" / "one.nrrd")
    write_dicom(experiment / "three", scan, uid="1.2.1")
    write_dicom(
        experiment / "three", scan, uid="1.2.2", names=[f"x{n}" for n in range(scan.GetDepth())]
    )
    (experiment / "three" / "x3").unlink()
    (experiment / "bad.nii.gz").write_bytes(b"nothing")
    arguments = ["predict", str(experiment), str(masks), "--run", str(trained / "runs" / RUN)]
    assert cli.main(arguments) == 1
    out, err = capsys.readouterr()
    written = {path.relative_to(masks).as_posix() for path in masks.rglob("*") if path.is_file()}
    assert written == {"one.nrrd", "two/one.nrrd", "three/1.2.1.nii.gz"}
    assert len(out.splitlines()) == 3
    lines = [line for line in err.splitlines() if line.startswith(str(experiment))]
    assert len(lines) == 2
    assert any("uneven spacing" in line for line in lines)
    assert any("bad.nii.gz" in line for line in lines)


def test_predict_takes_the_scans_of_a_data_set_and_leaves_its_masks(trained, phantom, tmp_path):
    shutil.copytree(phantom / "train" / "MR", tmp_path / "set" / "MR")
    shutil.copytree(phantom / "train" / "Mask", tmp_path / "set" / "Mask")
    for number in range(3, 11):
        (tmp_path / "set" / "MR" / f"Case{number}.nii.gz").unlink()
    arguments = ["predict", str(tmp_path / "set"), str(tmp_path / "out"), "--run"]
    assert cli.main([*arguments, str(trained / "runs" / RUN)]) == 0
    assert [path.name for path in sorted((tmp_path / "out").rglob("*.gz"))] == [
        "Case1.nii.gz",
        "Case2.nii.gz",
    ]


def test_check_says_what_scans_without_masks_are_good_for(scan, tmp_path, capsys):
    write_dicom(tmp_path / "series", scan)
    assert cli.main(["data", "check", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "1 scan without a mask, nothing wrong: `spineseg predict` takes it" in said


def test_spider_from_check_to_scores(trained, phantom, workspace, capsys):
    """Phantoms in SPIDER's layout and labels: no sacrum, so none is scored; patients stay whole;
    all other scores are those of the same scans in the challenge's layout."""
    spider = workspace / "spider"
    for number in range(1, 11):
        image, mask = (
            sitk.ReadImage(str(phantom / "train" / name.format(number)))
            for name in ("MR/Case{}.nii.gz", "Mask/mask_case{}.nii.gz")
        )
        labels = sitk.GetArrayFromImage(mask).astype(np.int16)
        steps = np.select([labels >= 11, labels >= 2], [labels + 190, labels - 1], 0)
        relabelled = sitk.GetImageFromArray(steps.astype(np.int16))
        relabelled.CopyInformation(mask)
        for series in ("t1", "t2", "t2_SPACE") if number % 2 else ("t2",):
            write(sitk.Cast(image, sitk.sitkInt16), spider / f"images/{number}_{series}.mha")
            write(relabelled, spider / f"masks/{number}_{series}.mha")
    assert cli.main(["data", "check", str(spider)]) == 0
    assert "15 cases, nothing wrong" in capsys.readouterr().out
    assert cli.main(["data", "prepare", "--data", str(spider), "--profile", "smoke"]) == 0
    folds = json.loads((workspace / "runs/spider-smoke/split.json").read_text())["folds"]
    patients = [{case.split("_")[0] for case in fold} for fold in folds]
    assert sum(map(len, folds)) == 15
    assert sum(map(len, patients)) == 10
    run = trained / "runs" / RUN
    assert cli.main(["evaluate", str(run), "--data", str(spider)]) == 0
    assert "not labelled in this data, not scored: S" in capsys.readouterr().err
    scores = pd.read_csv(workspace / "results/phantom-mini-smoke-on-spider/scores.csv")
    assert set(scores["class"]) == {"L5", "L4", "L3", "L2", "L1", "T12", "T11"}
    assert set(scores["case"]) - {"all"} == {case for fold in folds for case in fold}
    theirs = pd.read_csv(run / "scores.csv").query("aggregation == 'volume' and `class` != 'S'")
    same = theirs.assign(case=theirs["case"].str.replace(r"Case(\d+)", r"\1_t2", regex=True))
    both = same.merge(scores, on=["case", "class", "aggregation", "metric"])
    assert len(both) == len(same) > 0
    assert np.allclose(both["value_x"], both["value_y"], equal_nan=True)
    assert cli.main(["data", "convert", str(spider), str(workspace / "out")]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == str(workspace / "out")
    assert "10 patients: 10 written" in err
    assert cli.main(["data", "check", str(workspace / "out")]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["data", "check", "{tmp}/none"], "no such folder"),
        (["data", "check", "{tmp}"], "holds no scans"),
        (["train", "--profile", "slow"], "no such profile; choose one of"),
        (["train", "--data", "{tmp}/none"], "no such folder"),
        (["train", "--data", "{data}", "--profile", "smoke", "--model", "vgg"], "no such method"),
        (["train", "--data", "{data}", "--profile", "smoke", "--fold", "7"], "fold 7"),
        (["evaluate", "{tmp}"], "not a finished run"),
        (["gather", "--data", "{data}", "--profile", "smoke"], "not trained and scored yet"),
        (["train", "--data", "{scan}"], "a file, not a folder of scans with masks"),
        (["train", "--data", "{tmp}", "--profile", "smoke"], "with masks in a known layout"),
        (["evaluate", "{run}", "--data", "{tmp}"], "holds no scans with masks"),
        (["data", "convert", "{data}", "{tmp}/out"], "has the challenge's layout already"),
        (["predict", "{tmp}/no.nii.gz", "{tmp}/mask.nii.gz", "--run", "{run}"], "does not exist"),
        (["predict", "{data}", "{tmp}/mask.nii.gz", "--run", "{run}"], "holds 10 scans; name a"),
        (["predict", "{data}", "{data}/masks", "--run", "{run}"], "is within the folder"),
        (["predict", "{broken}", "{tmp}/mask.mha", "--run", "{run}"], "broken.dcm: not a DICOM"),
        (["predict", "{scan}", "{tmp}/mask.txt", "--run", "{run}"], "mask.txt"),
        (["predict", "{scan}", "{tmp}/no/mask.mha", "--run", "{run}"], "folder does not exist"),
    ],
)
def test_bad_input_is_one_clear_line(
    arguments, words, phantom, trained, tmp_path, workspace, capsys
):
    places = {
        "tmp": tmp_path,
        "data": phantom,
        "scan": phantom / "train" / "MR" / "Case1.nii.gz",
        "run": trained / "runs" / RUN,
        "broken": tmp_path / "broken.dcm",
    }
    if "{broken}" in arguments:
        places["broken"].write_bytes(b"nothing")
    assert cli.main([argument.format(**places) for argument in arguments]) == 1
    error = capsys.readouterr().err
    assert words in error.splitlines()[-1]
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["train", "--fold", "two"],
        ["train", "--seed", "4001"],
        ["study", "--workers", "0"],
        ["data", "phantom"],
        ["data", "phantom", "out", "--cases", "0"],
        ["data", "phantom", "out", "--scale", "2"],
        ["data", "phantom", "out", "--cases", "many"],
        ["data", "convert", "in"],
    ],
)
def test_wrong_usage_exits_with_2(arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2


def test_a_phantom_is_not_written_among_other_files(tmp_path, capsys):
    (tmp_path / "MR").mkdir()
    assert cli.main(["data", "phantom", str(tmp_path), "--cases", "1"]) == 1
    assert capsys.readouterr().err == (
        f"{tmp_path}: holds files that are no phantom; choose another folder\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["MR"]


def test_help_tells_of_every_command():
    help_text = subprocess.run(
        [sys.executable, "-m", "spineseg", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert all(
        word in help_text
        for word in (
            "data",
            "train",
            "evaluate",
            "gather",
            "tables",
            "report",
            "compare",
            "verify",
            "reproduce",
            "study",
            "estimate",
        )
    )


def test_help_needs_no_torch():
    code = "import sys, spineseg.cli as c; c._parser(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_folder_with_faults_lists_them_all(phantom, tmp_path, capsys):
    bad = tmp_path / "bad"
    shutil.copytree(phantom, bad)
    (bad / "train" / "MR" / "Case1.nii.gz").write_bytes(b"nothing")
    (bad / "train" / "Mask" / "mask_case2.nii.gz").unlink()
    assert cli.main(["data", "check", str(bad)]) == 1
    problems = [x for x in capsys.readouterr().err.splitlines() if x.startswith(str(bad))]
    assert len(problems) == 2
