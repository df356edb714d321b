import shutil
import subprocess
import sys

import pytest
import SimpleITK as sitk

from spineseg import cli
from spineseg.data.sources import ChallengeFolder

RUN = "phantom-mini-smoke/aspp_unet-fold-0"


def test_train_prints_the_run_last_and_progress_elsewhere(trained, phantom, capsys, monkeypatch):
    monkeypatch.setenv("SPINESEG_ROOT", str(trained))
    assert cli.main(["train", "--data", str(phantom), "--profile", "smoke"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(trained / "runs" / RUN)


def test_predict_takes_the_newest_finished_run(trained, phantom, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SPINESEG_ROOT", str(trained))
    scan = ChallengeFolder(phantom).cases()[0].image
    assert cli.main(["predict", str(scan), str(tmp_path / "mask.nii.gz")]) == 0
    assert str(tmp_path / "mask.nii.gz") in capsys.readouterr().out
    assert sitk.ReadImage(str(tmp_path / "mask.nii.gz")).GetPixelID() == sitk.sitkUInt8


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["data", "check", "{tmp}/none"], "no such folder"),
        (["data", "check", "{tmp}"], "holds no scans"),
        (["train", "--profile", "slow"], "no such profile; choose one of"),
        (["train", "--data", "{tmp}/none"], "no such folder"),
        (["train", "--data", "{data}", "--profile", "smoke", "--model", "vgg"], "no such model"),
        (["train", "--data", "{data}", "--profile", "smoke", "--fold", "7"], "fold 7"),
        (["evaluate", "{tmp}"], "not a finished run"),
        (["gather", "--data", "{data}", "--profile", "smoke"], "not trained and scored yet"),
        (["predict", "{tmp}/no.nii.gz", "{tmp}/mask.nii.gz"], "does not exist"),
        (["predict", "{scan}", "{tmp}/mask.nii.gz"], "no finished run"),
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
    }
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
        ["data", "phantom"],
        ["data", "phantom", "out", "--cases", "0"],
        ["data", "phantom", "out", "--scale", "2"],
        ["data", "phantom", "out", "--cases", "many"],
    ],
)
def test_wrong_usage_exits_with_2(arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2


def test_help_tells_of_every_command():
    help_text = subprocess.run(
        [sys.executable, "-m", "spineseg.cli", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert all(
        word in help_text
        for word in ("data", "train", "evaluate", "gather", "report", "verify", "predict")
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
