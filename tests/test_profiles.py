"""Profiles are read, validated and refused with one line per fault."""

import dataclasses
import json
import pickle
import subprocess
import sys

import pytest

from spineseg.profiles import Profile, load_profile
from spineseg.utils.errors import UserError
from spineseg.utils.paths import PROFILES, dataset_name


@pytest.mark.parametrize("path", sorted(PROFILES.glob("*.yaml")), ids=lambda path: path.stem)
def test_committed_profiles_load(path):
    assert load_profile(path.stem).name == path.stem


def test_paper_has_the_settings_of_the_paper():
    paper = load_profile("paper")
    assert (paper.optimizer, paper.learning_rate, paper.schedule) == ("sgd", 0.01, "exponential")
    assert (paper.batch_size, paper.epochs, paper.width, paper.image_size) == (2, 50, 64, 880)
    assert not paper.augment


def changed_quick(**changed) -> str:
    """The text of the profile `quick` with other values, added at its end."""
    lines = (PROFILES / "quick.yaml").read_text().splitlines()
    kept = [line for line in lines if line.split(":")[0] not in changed]
    return "\n".join([*kept, *(f"{setting}: {value}" for setting, value in changed.items())]) + "\n"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colour": "red"}, "unknown settings: colour; remove them"),
        ({"name": "mine"}, "unknown settings: name; remove them"),
        ({"epochs": "many"}, "epochs is 'many'; it should be a valid integer"),
        ({"epochs": "true"}, "epochs is True; it should be a valid integer"),
        ({"epochs": "5.0"}, "epochs is 5.0; it should be a valid integer"),
        ({"margin": "'0.1'"}, "margin is '0.1'; it should be a valid number"),
        ({"margin": "true"}, "margin is True; it should be a valid number"),
        ({"learning_rate": ".nan"}, "learning_rate is nan; it should be a finite number"),
        ({"optimizer": "adam"}, "optimizer is 'adam'; it should be 'sgd' or 'adamw'"),
        ({"augment": "1"}, "augment is 1; it should be a valid boolean"),
        ({"epochs": "["}, "line 24 is more than a setting and its value"),
        ({"epochs": '"x'}, "not readable as a profile"),
        ({"batch_size": "1"}, "it should be greater than or equal to 2"),
        ({"batch_size": "10001"}, "it should be less than or equal to 10000"),
    ],
)
def test_bad_settings_are_named(tmp_path, change, words):
    path = tmp_path / "mine.yaml"
    path.write_text(changed_quick(**change))
    with pytest.raises(UserError, match=r"mine\.yaml") as error:
        load_profile(path)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_every_fault_has_a_line(tmp_path):
    path = tmp_path / "mine.yaml"
    text = changed_quick(epochs=0, optimizer="adam", colour="red", sound="loud")
    path.write_text(text.replace("seed: 0\n", "").replace("folds: 5\n", ""))
    with pytest.raises(UserError) as error:
        load_profile(path)
    assert str(error.value).splitlines() == [
        f"{path}: epochs is 0; it should be greater than or equal to 1",
        f"{path}: optimizer is 'adam'; it should be 'sgd' or 'adamw'",
        f"{path}: unknown settings: colour, sound; remove them",
        f"{path}: missing settings: folds, seed; add them as in profiles/quick.yaml",
    ]


def test_a_whole_number_is_accepted_as_a_float(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(changed_quick(margin=0, learning_rate=1))
    profile = load_profile(path)
    assert (profile.margin, profile.learning_rate) == (0, 1)


def test_a_profile_survives_json_pickle_and_replacement():
    quick = load_profile("quick")
    stored = json.loads(json.dumps(dataclasses.asdict(quick)))
    assert Profile(**stored) == quick
    assert pickle.loads(pickle.dumps(quick)) == quick
    assert dataclasses.replace(quick, epochs=3).epochs == 3
    with pytest.raises(ValueError, match="epochs"):
        dataclasses.replace(quick, epochs=0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        quick.epochs = 3


def test_reading_a_profile_does_not_import_torch():
    code = "import sys, spineseg.profiles; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_custom_profile_has_its_own_name(tmp_path):
    text = (PROFILES / "quick.yaml").read_text()
    (tmp_path / "My quick.yaml").write_text(text)
    assert load_profile(tmp_path / "My quick.yaml").name == "my-quick"
    (tmp_path / "quick.yaml").write_text(text)
    with pytest.raises(UserError, match="rename the file"):
        load_profile(tmp_path / "quick.yaml")


def test_unknown_profile_lists_the_known():
    with pytest.raises(UserError, match="choose one of bundled, paper, paper-adamw, quick, smoke"):
        load_profile("quik")


def test_folds_run_until_enough_patients_are_tested():
    quick = load_profile("quick")
    assert quick.folds_to_run(172) == [0]
    assert quick.folds_to_run(11) == [0, 1, 2, 3, 4]
    assert load_profile("paper").folds_to_run(172) == [0, 1, 2, 3, 4]


def test_a_train_folder_is_named_by_its_parent(tmp_path):
    (tmp_path / "My Scans (2)" / "train").mkdir(parents=True)
    assert dataset_name(tmp_path / "My Scans (2)" / "train") == "my-scans-2"
    assert dataset_name(tmp_path / "My Scans (2)") == "my-scans-2"
