"""Files from others: damaged ones are refused in one line, and none of them runs code."""

import io
import json
import pickle
import shutil
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mutants import SCAN_KINDS, mutant
from scans import make_scan, peak_memory_kib, write, write_case
from spineseg.data.check import check_folder
from spineseg.data.volume import canonical_shape, read_mask, read_scan, to_canonical
from spineseg.evaluation.segmenters import open_segmenter
from spineseg.experiment import Experiment
from spineseg.methods import nnunet_is_installed
from spineseg.profiles import PROFILES, load_profile
from spineseg.training.checkpoint import load_checkpoint
from spineseg.utils.errors import UserError
from spineseg.utils.files import read_arrays
from spineseg.workflow.gather import Run, gather
from spineseg.workflow.prepare import prepare
from spineseg.workflow.train import train

SEEDS = st.integers(0, 2**32)
MAX_MESSAGE = 500  # characters, without the path

installed = pytest.mark.skipif(
    not nnunet_is_installed(), reason="nnunetv2 is not installed (`make nnunet`)"
)


def outcome(read, path: Path):
    """What a reader returns, or the line with which it refuses; a profile has a line per fault."""
    try:
        return read(path)
    except UserError as error:
        lines = list(map(str, error.problems))
        assert len(lines) == 1 or read is load_profile
        for line in lines:
            assert line.isprintable()
            assert line.startswith(f"{path}: ")
            assert "; " in line
            assert len(line) - len(str(path)) < MAX_MESSAGE
        return str(error)


# Damaged scans, masks and profiles. `make fuzz` tries more of them, in separate processes.


@pytest.mark.parametrize("kind", SCAN_KINDS)
@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
@example(seed=215288389)  # as .nii.gz: a single slice, which is a mask but no scan
def test_a_damaged_volume_is_read_or_refused_in_one_line(tmp_path_factory, kind, seed):
    path = tmp_path_factory.mktemp("volume") / f"x{kind}"
    path.write_bytes(mutant(kind, seed).data)
    shape, scan, mask = (outcome(read, path) for read in (canonical_shape, read_scan, read_mask))
    if not isinstance(scan, str):
        assert shape == to_canonical(scan).GetSize()[::-1]
    if isinstance(shape, str):
        assert isinstance(scan, str)
        assert isinstance(mask, str) or (min(mask.GetSize()) == 1 and "not a 3-D volume" in shape)
    shutil.rmtree(path.parent)


@settings(max_examples=300, deadline=None)
@given(seed=SEEDS)
def test_a_damaged_profile_is_read_or_refused_in_one_line_per_fault(tmp_path_factory, seed):
    path = tmp_path_factory.getbasetemp() / "profile.yaml"
    path.write_bytes(mutant(".yaml", seed).data)
    profile = outcome(load_profile, path)
    if not isinstance(profile, str):
        assert len(profile.folds_to_run(172)) >= 1
        assert profile.learning_rate > 0


@settings(max_examples=15, deadline=None)
@given(seeds=st.lists(SEEDS, min_size=6, max_size=6))
def test_a_folder_of_damaged_files_gives_problems_and_notes_only(tmp_path_factory, seeds):
    root = tmp_path_factory.mktemp("folder")
    for number, seed in enumerate(seeds):
        kind = SCAN_KINDS[seed % len(SCAN_KINDS)]
        files = write_case(root, number, ext=kind)
        files[seed % 2].write_bytes(mutant(kind, seed).data)
    report = check_folder(root)
    assert all(str(each).isprintable() for each in [*report.problems, *report.notes])
    of_files = {problem.path for problem in report.problems if problem.path != root}
    assert len(of_files | {case.mask for case in report.cases}) == 6
    shutil.rmtree(root)


# Faults that the fuzzer found.


def test_voxels_are_not_read_from_a_file_of_similar_name(tmp_path):
    """ITK reads the voxels of x.nii.gz from x.nii, if both are in one folder."""
    write(make_scan(seed=1), tmp_path / "x.nii")
    path = write(make_scan(seed=2), tmp_path / "x.nii.gz")
    ours = sitk.GetArrayFromImage(read_scan(path))
    assert np.array_equal(ours, sitk.GetArrayFromImage(make_scan(seed=2)))


def text_file(tmp_path, kind, change, compressed=True):
    """A sound file with a text header, with some bytes replaced."""
    path = tmp_path / f"x{kind}"
    sitk.WriteImage(make_scan(), str(path), compressed)
    data = path.read_bytes()
    for old, new in change.items():
        assert data.count(old) == 1
        data = data.replace(old, new)
    path.write_bytes(data)
    return path


def test_a_false_size_of_the_compressed_bytes_changes_no_voxel(tmp_path):
    """ITK trusts CompressedDataSize and fills the rest of the volume with uninitialised memory."""
    path = text_file(tmp_path, ".mha", {b"CompressedDataSize = ": b"CompressedDataSize = 1 "})
    assert np.array_equal(
        sitk.GetArrayFromImage(read_scan(path)), sitk.GetArrayFromImage(make_scan())
    )


@pytest.mark.parametrize(
    "line",
    [
        *(b"HeaderSize = 99999", b"ElementNumberOfChannels = 2", b"ElementSpacing = nan 1 1"),
        *(b"ElementSpacing = 1 1", b"DimSize = 10 14 12 1", b"TransformMatrix = 0 0 0 0 0 0 0 0 0"),
        *(b"TransformMatrix = 2 0 0 0 2 0 0 0 2", b"Offset = 1e300 0 0", b"\xffOffset = 0 0 0"),
        *(
            b"TransformMatrix = 1 1e-309 0 0 1 0 0 0 1",
            b"Offset   0 0 0",
            b"Position = 1 2 3",
            b"Orientation = 1 0 0 0 1 0 0 0 1",
        ),
    ],
)
def test_a_line_that_makes_no_sense_is_refused_without_noise(tmp_path, capfd, line):
    key = line.split(b" = ")[0]
    path = text_file(tmp_path, ".mha", {})
    lines = [x for x in path.read_bytes().split(b"\n") if not x.startswith(key + b" = ")]
    path.write_bytes(b"\n".join([lines[0], lines[1], line, *lines[2:]]))
    with pytest.raises(UserError):
        read_scan(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"space directions: ", b"space directions: " + b"(" * 2000),  # ITK crashes
        (b"kinds: domain", b"kinds: vector"),
        (b"encoding: gzip", b"encoding: gzip\nbyte skip: -1"),
        (b"type: short", b"type: block"),
        (b"space origin: (", b"space origin: (nan,"),
    ],
)
def test_a_field_that_makes_no_sense_is_refused(tmp_path, old, new):
    with pytest.raises(UserError):
        read_scan(text_file(tmp_path, ".nrrd", {old: new}))


def test_unknown_fields_do_no_harm(tmp_path):
    """ITK would crash at such a block size, so the field is not passed on."""
    blank = {b"encoding: gzip": b"encoding: gzip\nblock size:" + b" " * 3000}
    comments = {b"NDims = 3": b"NDims = 3\nComment = a\nComment = b\nColor = x"}
    for path in (text_file(tmp_path, ".nrrd", blank), text_file(tmp_path, ".mha", comments)):
        image = read_scan(path)
        assert np.array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(make_scan()))
        assert image.GetSpacing() == pytest.approx(make_scan().GetSpacing())
        assert image.GetDirection() == make_scan().GetDirection()
        assert image.GetOrigin() == make_scan().GetOrigin()


@pytest.mark.parametrize("kind", [".nii.gz", ".mha", ".nrrd"])
def test_a_decompression_bomb_is_refused_in_little_memory(tmp_path, kind):
    """A small file that expands a thousandfold, with a header that claims little."""
    import gzip

    zeros = gzip.compress(bytes(1 << 28))
    if kind == ".nii.gz":
        raw = gzip.decompress(write(make_scan(), tmp_path / "y.nii.gz").read_bytes())
        data = gzip.compress(raw) + zeros
    else:
        data = text_file(tmp_path, kind, {}).read_bytes()
        end = b"LOCAL\n" if kind == ".mha" else b"\n\n"
        data = data[: data.index(end) + len(end)] + zeros
    path = tmp_path / f"x{kind}"
    path.write_bytes(data)
    before = peak_memory_kib()
    with pytest.raises(UserError, match="far less than the file holds"):
        read_scan(path)
    assert peak_memory_kib() - before < 20_000


def test_a_mask_with_a_thousand_odd_labels_gets_a_short_note(tmp_path):
    image, mask = write_case(tmp_path, 1)
    values = np.arange(10 * 14 * 12, dtype=np.int16).reshape(12, 14, 10)
    odd = sitk.GetImageFromArray(values)
    odd.CopyInformation(sitk.ReadImage(str(image)))
    write(odd, mask)
    notes = [note.what for note in check_folder(tmp_path).notes if "unknown labels" in note.what]
    assert ["and 1651 more" in note for note in notes] == [True]


def profile_text(**changed) -> str:
    lines = (PROFILES / "laptop.yaml").read_text().splitlines()
    kept = [line for line in lines if line.split(":")[0] not in changed]
    return "\n".join([*kept, *(f"{setting}: {value}" for setting, value in changed.items())]) + "\n"


LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{y}: &{y} [*{x}, *{x}]\n" for x, y in zip("abc", "bcd", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (profile_text(epochs=0), "epochs is 0; it should be greater than or equal to 1"),
        (profile_text(epochs=-5), "epochs is -5"),
        (profile_text(width=0), "width is 0"),
        (profile_text(folds=1), "folds is 1"),
        (profile_text(learning_rate=".nan"), "learning_rate is nan"),
        (profile_text(learning_rate=".inf"), "learning_rate is inf"),
        (profile_text(margin=1.5), "margin is 1.5"),
        (profile_text(test_slices=0), "test_slices is 0"),
        (profile_text(split_seed=10**40), "split_seed is about 10^40"),
        (profile_text(split_seed="9" * 5000), "not readable as a profile"),
        (profile_text(split_seed="0x" + "f" * 9000), "split_seed is about 10^10837"),
        (profile_text(epochs="2001-99-99"), "not readable as a profile"),
        (profile_text(epochs="!!python/object/apply:os.system [x]"), "more than a setting"),
        (profile_text(epochs="!!int 5"), "more than a setting"),
        (profile_text(epochs="!!bool maybe"), "more than a setting"),
        (profile_text(epochs="&a 5", width="*a"), "more than a setting"),
        (profile_text() + LAUGHS, "more than a setting"),
        (profile_text() + "epochs: 5\n", "repeated settings: epochs"),
        (profile_text(epochs="[" * 20_000), "more than a setting"),
        (profile_text() + "# " + "x" * 70_000, "larger than 64 KiB"),
        (profile_text() + "".join(f"k{i}: 1\n" for i in range(99)), "and 90 more"),
        ("- a\n- b\n", "line 1 is more than a setting"),
        ("five", "line 1 is more than a setting"),
        ("", "has no settings"),
        ("\x00", "not readable as a profile"),
    ],
)
def test_profiles_that_are_refused(tmp_path, text, words):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert words in outcome(load_profile, path)


def test_profiles_that_are_no_text(tmp_path):
    path = tmp_path / "mine.yaml"
    for data in (b"\xff\xfe", profile_text().encode("utf-16"), b"epochs: \x80"):
        path.write_bytes(data)
        assert "not UTF-8" in outcome(load_profile, path)
    path.write_bytes(profile_text().encode("utf-8-sig"))
    assert load_profile(path).epochs == load_profile("laptop").epochs


# Checkpoints, caches and results that came from elsewhere.


class Hack:
    """Unpickling it leaves a file behind."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@pytest.fixture
def hack(tmp_path):
    """Something whose unpickling runs code, which is seen to after the test."""
    trace = tmp_path / "hacked"
    pickle.loads(pickle.dumps(Hack(trace)))
    assert trace.exists()
    trace.unlink()
    yield Hack(trace)
    assert not trace.exists()


def refused(error, path: Path) -> None:
    """One line that names the file and says what to remove."""
    line = str(error.value)
    assert line.isprintable()
    assert str(path) in line
    assert "remove" in line


def save_zip(content, path):
    torch.save(content, path)


def save_old(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def save_plain(content, path):
    path.write_bytes(pickle.dumps(content))


def save_script(content, path):
    with warnings.catch_warnings(action="ignore"):
        torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), str(path))


@pytest.mark.parametrize("save", [save_zip, save_old, save_plain, save_script])
@pytest.mark.parametrize("key", ["record", "network", "optimizer", "note"])
def test_a_checkpoint_cannot_run_code(tmp_path, capfd, hack, save, key):
    save({"record": {}, "network": {}, "optimizer": {}, key: hack}, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError) as error:
        load_checkpoint(tmp_path)
    refused(error, tmp_path / "checkpoint.pt")
    assert "weights_only" not in str(error.value)  # no advice to trust it
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02.", b"junk" * 99])
def test_what_is_no_checkpoint(tmp_path, content):
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(UserError) as error:
        load_checkpoint(tmp_path)
    refused(error, tmp_path / "checkpoint.pt")


@pytest.mark.parametrize(
    "content",
    [[1], {"record": 5, "network": 5}, {"record": {}, "network": {}}, {"network": {}}, None],
)
def test_a_checkpoint_of_something_else(trained, tmp_path, content):
    run = shutil.copytree(a_run(trained), tmp_path / "run")
    torch.save(content, run / "checkpoint.pt")
    with pytest.raises(UserError) as error:
        open_segmenter(run)
    refused(error, run)


def a_run(root: Path) -> Path:
    return root / "runs" / "phantom-mini-smoke" / "aspp_unet-fold-0-seed-0"


@pytest.mark.parametrize("content", ["", "[" * 10**6, "[]", "{}", "null", '{"model": "unet"}'])
def test_a_run_with_another_record(trained, tmp_path, content):
    run = shutil.copytree(a_run(trained), tmp_path / "run")
    (run / "run.json").write_text(content)
    with pytest.raises(UserError) as error:
        open_segmenter(run)
    refused(error, run / "run.json")


def objects(hack) -> bytes:
    """An .npy file of Python objects."""
    file = io.BytesIO()
    np.save(file, np.array([hack], dtype=object), allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize("name", ["images.npy", "masks.npy"])
@pytest.mark.parametrize("write_bad", [objects, pickle.dumps])
def test_a_cache_cannot_run_code(trained, phantom, tmp_path, monkeypatch, hack, name, write_bad):
    root = shutil.copytree(trained, tmp_path / "root")
    monkeypatch.setenv("SPINESEG_ROOT", str(root))
    experiment = Experiment.of(phantom, "smoke")
    path = prepare(experiment).folder / name
    path.write_bytes(write_bad(hack))
    shutil.rmtree(a_run(root))
    with pytest.raises(ValueError, match=name) as error:
        train(experiment)
    refused(error, path)


def test_a_cache_with_another_index(trained, phantom, tmp_path, monkeypatch):
    root = shutil.copytree(trained, tmp_path / "root")
    monkeypatch.setenv("SPINESEG_ROOT", str(root))
    experiment = Experiment.of(phantom, "smoke")
    path = prepare(experiment).folder / "index.json"
    for content in ("", "[]", "{", "[" * 10**6):
        path.write_text(content)
        with pytest.raises(ValueError, match="index") as error:
            prepare(experiment)
        refused(error, path)


def test_results_cannot_run_code(trained, phantom, tmp_path, monkeypatch, hack):
    root = shutil.copytree(trained, tmp_path / "root")
    monkeypatch.setenv("SPINESEG_ROOT", str(root))
    path = a_run(root) / "examples.npz"
    names = zipfile.ZipFile(path).namelist()
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, objects(hack))
    with pytest.raises(ValueError, match="examples") as error:
        gather(Experiment.of(phantom, "smoke"), [Run("aspp_unet", 0)])
    assert str(error.value).isprintable()
    assert str(path) in str(error.value)
    path.write_bytes(pickle.dumps(hack))
    with pytest.raises(ValueError, match="examples"):
        read_arrays(path)


# nnU-Net unpickles and imports whatever its files name.


@pytest.fixture(scope="module")
def interrupted(phantom, tmp_path_factory):
    """The workspace of a run of nnU-Net that stopped after its first epoch."""
    from spineseg.nnunet import trainer as nnunet
    from test_nnunet import Stopped, smoke_experiment

    whole_epoch = nnunet.Trainer.on_epoch_end

    def stop(trainer):
        whole_epoch(trainer)
        raise Stopped

    root = tmp_path_factory.mktemp("nnunet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPINESEG_ROOT", str(root))
        patch.setattr(nnunet.Trainer, "on_epoch_end", stop)
        with pytest.raises(Stopped):
            train(smoke_experiment(phantom), "nnunet")
    return root


NNUNET_RUN = "runs/phantom-mini-smoke/nnunet-fold-0-seed-0"


@installed
def test_a_checkpoint_of_nnunet_cannot_run_code(interrupted, phantom, tmp_path, monkeypatch, hack):
    from test_nnunet import smoke_experiment

    root = shutil.copytree(interrupted, tmp_path / "root")
    monkeypatch.setenv("SPINESEG_ROOT", str(root))
    (path,) = root.rglob("checkpoint_latest.pth")
    saved = torch.load(path, weights_only=False)
    torch.save({**saved, "init_args": hack}, path)
    with pytest.raises(UserError) as error:
        train(smoke_experiment(phantom), "nnunet")
    refused(error, path)


@installed
def test_nnunets_own_files_cannot_run_code(interrupted, phantom, tmp_path, monkeypatch, hack):
    """Preprocessed cases are pickles, and the plans name what is imported: both are made anew."""
    from test_nnunet import smoke_experiment

    root = shutil.copytree(interrupted, tmp_path / "root")
    monkeypatch.setenv("SPINESEG_ROOT", str(root))
    pickles = list((root / NNUNET_RUN).rglob("*.pkl"))
    assert len(pickles) >= 10
    for path in pickles:
        path.write_bytes(pickle.dumps(hack))
    for path in (root / NNUNET_RUN).rglob("nnUNetPlans.json"):
        path.write_text(path.read_text().replace("torch.nn.LeakyReLU", "antigravity"))
    run = train(smoke_experiment(phantom), "nnunet")
    assert "antigravity" not in (run / "plans.json").read_text()


@installed
@pytest.mark.parametrize("name", ["torch.nn.LeakyReLU", "LabelManager", "2d"])
def test_plans_of_a_finished_run_name_nothing_else(
    interrupted, phantom, tmp_path, monkeypatch, name
):
    from spineseg.nnunet.segmenter import read_plans

    (path,) = (interrupted / NNUNET_RUN).rglob("results/**/plans.json")
    shutil.copy(path, tmp_path / "plans.json")
    assert read_plans(tmp_path) == json.loads(path.read_text())
    (tmp_path / "hostile.py").write_text("raise SystemExit('hacked')")
    monkeypatch.syspath_prepend(tmp_path)
    text = path.read_text().replace(f'"{name}"', '"hostile"')
    (tmp_path / "plans.json").write_text(text)
    with pytest.raises(ValueError, match=r"plans\.json") as error:
        read_plans(tmp_path)
    refused(error, tmp_path / "plans.json")


def test_nifti_whose_scaling_is_next_to_nothing(tmp_path):
    raw = bytearray(write(make_scan(), tmp_path / "x.nii").read_bytes())
    struct.pack_into("<f", raw, 112, 1e-20)
    (tmp_path / "x.nii").write_bytes(raw)
    with pytest.raises(UserError, match="scaled by 1e-20"):
        read_scan(tmp_path / "x.nii")
