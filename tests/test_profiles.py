import pytest

from spineseg.profiles import load_profile
from spineseg.utils.errors import UserError
from spineseg.utils.paths import PROFILES, dataset_name


@pytest.mark.parametrize("path", sorted(PROFILES.glob("*.yaml")), ids=lambda path: path.stem)
def test_committed_profiles_load(path):
    assert load_profile(path.stem).name == path.stem


def test_full_is_the_paper():
    full = load_profile("full")
    assert (full.optimizer, full.learning_rate, full.schedule) == ("sgd", 0.01, "exponential")
    assert (full.batch_size, full.epochs, full.width, full.image_size) == (2, 50, 64, 880)
    assert not full.augment


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("colour: red\n", "missing or unknown knobs: colour"),
        ("epochs: many\n", "epochs is 'many'; it should be int"),
        ("optimizer: adam\n", "optimizer is 'adam'; it should be sgd or adamw"),
        ("augment: 1\n", "augment is 1; it should be bool"),
        ("epochs: [\n", "line 24 is more than a knob and its value"),
        ('epochs: "x\n', "not readable as YAML"),
        ("batch_size: 1\n", "it should be between 2 and 10000"),
    ],
)
def test_bad_knobs_are_named(tmp_path, change, words):
    path = tmp_path / "mine.yaml"
    knob = change.split(":")[0]
    lines = [
        x
        for x in (PROFILES / "quick.yaml").read_text().splitlines()
        if not x.startswith(knob + ":")
    ]
    path.write_text("\n".join(lines) + "\n" + change)
    with pytest.raises(UserError, match=r"mine\.yaml") as error:
        load_profile(path)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_profile_of_ones_own_has_a_name_of_its_own(tmp_path):
    text = (PROFILES / "quick.yaml").read_text()
    (tmp_path / "My quick.yaml").write_text(text)
    assert load_profile(tmp_path / "My quick.yaml").name == "my-quick"
    (tmp_path / "quick.yaml").write_text(text)
    with pytest.raises(UserError, match="rename the file"):
        load_profile(tmp_path / "quick.yaml")


def test_unknown_profile_lists_the_known():
    with pytest.raises(UserError, match="choose one of full, full-adamw, quick, smoke"):
        load_profile("quik")


def test_folds_run_until_enough_are_held_out():
    quick = load_profile("quick")
    assert quick.folds_to_run(172) == [0]
    assert quick.folds_to_run(11) == [0, 1, 2, 3, 4]
    assert load_profile("full").folds_to_run(172) == [0, 1, 2, 3, 4]


def test_a_train_folder_goes_by_its_parent(tmp_path):
    (tmp_path / "My Scans (2)" / "train").mkdir(parents=True)
    assert dataset_name(tmp_path / "My Scans (2)" / "train") == "my-scans-2"
    assert dataset_name(tmp_path / "My Scans (2)") == "my-scans-2"
