"""Profiles are read, validated and refused with one line per fault."""

import dataclasses
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scans import link_to
from spineseg.experiment import Experiment
from spineseg.methods import METHODS
from spineseg.models.receptive_field import rows_seen
from spineseg.profiles import Profile, load_profile, tuned_settings
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


@pytest.mark.parametrize(
    ("name", "stages", "rows", "seen"),
    [("laptop", 3, 110, 68), ("laptop-220", 4, 220, 140), ("paper", 4, 880, 140)],
)
def test_images_are_longer_than_what_a_plain_network_sees(name, stages, rows, seen):
    profile = load_profile(name)
    assert (profile.stages, profile.image_size) == (stages, rows)
    assert rows_seen(profile.stages) == seen < rows / 1.5


def test_the_letter_is_the_papers_recipe_at_laptop_size():
    letter, paper, laptop = map(load_profile, ("laptop-sgd", "paper", "laptop"))
    recipe = ("optimizer", "learning_rate", "weight_decay", "schedule", "batch_size", "epochs")
    recipe += ("slices_per_epoch", "augment")
    size = ("image_size", "stages", "width", "folds", "split_seed")
    for names, other in ((recipe, paper), (size, laptop)):
        assert [getattr(letter, name) for name in names] == [getattr(other, name) for name in names]


def test_what_was_chosen_for_a_method_replaces_the_profiles_settings(tmp_path, monkeypatch):
    table = "profile,model,learning_rate,epochs\nlaptop,unet,0.02,7\nmine,segnet,0.5,9\n"
    (tmp_path / "tuned.csv").write_text(table)
    monkeypatch.setattr("spineseg.profiles.TUNED", tmp_path / "tuned.csv")
    laptop = load_profile("laptop")
    assert laptop.tuned("unet") == dataclasses.replace(laptop, learning_rate=0.02, epochs=7)
    assert laptop.tuned("segnet") == laptop
    assert laptop.tuned("unet").training_settings("unet")["epochs"] == 7
    assert laptop.tuned("segnet").training_settings("segnet")["epochs"] == laptop.epochs
    assert "epochs" not in laptop.tuned("nnunet").training_settings("nnunet")
    (tmp_path / "tuned.csv").unlink()
    assert laptop.tuned("unet") == laptop


def test_every_setting_that_was_chosen_is_that_of_a_method_and_a_profile():
    assert tuned_settings()
    for (profile, model), settings in tuned_settings().items():
        assert model in METHODS
        assert settings == {
            name: getattr(load_profile(profile).tuned(model), name) for name in settings
        }


@pytest.mark.parametrize(
    ("data", "model", "epochs"),
    [
        (None, "unet", 7),
        (None, "segnet", 60),
        (None, "nnunet", 96),
        ("scans", "unet", 50),
        ("scans", "nnunet", 80),
    ],
)
def test_epochs_of_a_method(tmp_path, monkeypatch, data, model, epochs):
    """On scans, a network that starts from simulated patients trains for `finetune_epochs`.

    nnU-Net takes the same share of its own: 96 * 50 / 60.
    """
    (tmp_path / "tuned.csv").write_text("profile,model,learning_rate,epochs\nlaptop,unet,0.02,7\n")
    monkeypatch.setattr("spineseg.profiles.TUNED", tmp_path / "tuned.csv")
    (tmp_path / "scans").mkdir()
    experiment = Experiment.of(data and tmp_path / data)
    profile = dataclasses.replace(experiment.profile, finetune_epochs=50)
    experiment = dataclasses.replace(experiment, profile=profile)
    assert experiment.epochs(model) == epochs
    assert experiment.pretraining == Experiment(Path("simulated"), profile)
    assert not experiment.pretraining.starts_from_simulated


def test_a_name_tells_the_settings_that_were_tried():
    tried = Experiment.of("simulated").with_settings(learning_rate=0.003, epochs=30)
    assert tried.name == "simulated-laptop-learning_rate-0.003-epochs-30"
    assert (tried.profile.learning_rate, tried.profile.epochs) == (0.003, 30)
    folder = tried.run("unet", "validation", seed=2)
    assert folder.parent.name == tried.name
    assert folder.name == "unet-fold-validation-seed-2"


def changed_laptop(**changed) -> str:
    """The text of the profile `laptop` with other values, added at its end."""
    lines = (PROFILES / "laptop.yaml").read_text().splitlines()
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
        ({"epochs": "["}, "line 25 is more than a setting and its value"),
        ({"epochs": '"x'}, "not readable as a profile"),
        ({"batch_size": "1"}, "it should be greater than or equal to 2"),
        ({"batch_size": "10001"}, "it should be less than or equal to 10000"),
    ],
)
def test_bad_settings_are_named(tmp_path, change, words):
    path = tmp_path / "mine.yaml"
    path.write_text(changed_laptop(**change))
    with pytest.raises(UserError, match=r"mine\.yaml") as error:
        load_profile(path)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_every_fault_has_a_line(tmp_path):
    path = tmp_path / "mine.yaml"
    text = changed_laptop(epochs=0, optimizer="adam", colour="red", sound="loud")
    path.write_text(text.replace("split_seed: 0\n", "").replace("folds: 5\n", ""))
    with pytest.raises(UserError) as error:
        load_profile(path)
    assert str(error.value).splitlines() == [
        f"{path}: epochs is 0; it should be greater than or equal to 1",
        f"{path}: optimizer is 'adam'; it should be 'sgd' or 'adamw'",
        f"{path}: unknown settings: colour, sound; remove them",
        f"{path}: missing settings: folds, split_seed; add them as in profiles/laptop.yaml",
    ]


def test_a_whole_number_is_accepted_as_a_float(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(changed_laptop(margin=0, learning_rate=1))
    profile = load_profile(path)
    assert (profile.margin, profile.learning_rate) == (0, 1)


def test_a_profile_survives_json_pickle_and_replacement():
    laptop = load_profile("laptop")
    stored = json.loads(json.dumps(dataclasses.asdict(laptop)))
    assert Profile(**stored) == laptop
    assert pickle.loads(pickle.dumps(laptop)) == laptop
    assert dataclasses.replace(laptop, epochs=3).epochs == 3
    with pytest.raises(ValueError, match="epochs"):
        dataclasses.replace(laptop, epochs=0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        laptop.epochs = 3


def test_reading_a_profile_does_not_import_torch():
    code = "import sys, spineseg.profiles; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_custom_profile_has_its_own_name(tmp_path):
    text = (PROFILES / "laptop.yaml").read_text()
    (tmp_path / "My laptop.yaml").write_text(text)
    assert load_profile(tmp_path / "My laptop.yaml").name == "my-laptop"
    (tmp_path / "laptop.yaml").write_text(text)
    with pytest.raises(UserError, match="rename the file"):
        load_profile(tmp_path / "laptop.yaml")


def test_unknown_profile_lists_the_known():
    known = ", ".join(sorted(path.stem for path in PROFILES.glob("*.yaml")))
    with pytest.raises(UserError, match=f"choose one of {known}"):
        load_profile("labtop")


def test_folds_run_until_enough_patients_are_tested():
    laptop = load_profile("laptop")
    assert laptop.folds_to_run(172) == [0]
    assert laptop.folds_to_run(11) == [0, 1, 2, 3, 4]
    assert load_profile("paper").folds_to_run(172) == [0, 1, 2, 3, 4]


def test_a_train_folder_is_named_by_its_parent(tmp_path):
    (tmp_path / "My Scans (2)" / "train").mkdir(parents=True)
    assert dataset_name(tmp_path / "My Scans (2)" / "train") == "my-scans-2"
    assert dataset_name(tmp_path / "My Scans (2)") == "my-scans-2"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("profile,model,epochs\nlaptop,unet,7\n", "line 2 lacks a profile"),
        ("profile,model,learning_rate,epochs\nlaptop,unet,fast,7\n", "line 2 lacks"),
        ("profile,model,learning_rate,epochs\nlaptop,unet\n", "line 2 lacks"),
        (
            "profile,model,learning_rate,epochs\nlaptop,unet,0.1,7\nlaptop,unet,0.2,7\n",
            "line 3 repeats laptop, unet",
        ),
        ("profile,model,learning_rate,epochs\nlaptop,unet,-1,7\n", "learning_rate is -1.0"),
    ],
)
def test_a_bad_line_of_tuned_settings_is_named(table, words, tmp_path, monkeypatch):
    (tmp_path / "tuned.csv").write_text(table)
    monkeypatch.setattr("spineseg.profiles.TUNED", tmp_path / "tuned.csv")
    with pytest.raises(UserError, match=words) as error:
        load_profile("laptop").tuned("unet")
    assert str(tmp_path / "tuned.csv") in str(error.value)


def test_names_keep_the_letters_of_all_alphabets(tmp_path):
    file = tmp_path / "Мой профиль.yaml"
    shutil.copy(PROFILES / "smoke.yaml", file)
    assert load_profile(file).name == "мой-профиль"
    with pytest.raises(UserError, match="has no letters or digits; rename"):
        load_profile(shutil.copy(file, tmp_path / "---.yaml"))
    assert dataset_name(tmp_path / "患者" / "train") == "患者"
    assert dataset_name(tmp_path / "__") == "data"


def test_the_phantom_may_lie_on_another_disk(tmp_path, monkeypatch):
    (tmp_path / "disk" / "phantom").mkdir(parents=True)
    (tmp_path / "root").mkdir()
    link_to(tmp_path / "disk", tmp_path / "root" / "data")
    monkeypatch.setenv("SPINESEG_ROOT", str(tmp_path / "root"))
    phantom = Experiment.of("", "smoke")
    assert Experiment.of(tmp_path / "root" / "data" / "phantom", "smoke") == phantom
    assert Experiment.of(tmp_path / "disk" / "phantom", "smoke") == phantom
