"""The study: what the search chooses, in which order runs are trained, and how it resumes."""

import csv
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spineseg.data.cache import Cache
from spineseg.data.splits import split_folds
from spineseg.experiment import VALIDATION, Experiment
from spineseg.methods import ABLATION_METHODS, MECHANISM_METHODS, NNUNET, TABLE3_METHODS
from spineseg.profiles import tuned_settings
from spineseg.runs import load_record
from spineseg.training.checkpoint import load_checkpoint
from spineseg.utils.errors import UserError
from spineseg.utils.files import read_json
from spineseg.utils.progress import progress_bar
from spineseg.workflow import study
from spineseg.workflow.study import Job, run_chains

MODEL = "unet_depth_1"


@pytest.fixture(autouse=True)
def tuned(tmp_path, monkeypatch) -> Path:
    """An empty file in place of profiles/tuned.csv."""
    path = tmp_path / "tuned.csv"
    for module in ("spineseg.profiles", "spineseg.workflow.study"):
        monkeypatch.setattr(f"{module}.TUNED", path)
    return path


@pytest.fixture(autouse=True)
def threads(monkeypatch) -> None:
    """Threads in place of processes, which would not see what a test replaces."""
    monkeypatch.setattr(
        study, "ProcessPoolExecutor", lambda workers, *_: ThreadPoolExecutor(workers)
    )


@dataclass
class Trainer:
    """A stand-in for training and scoring: `dsc(job)` is the score, per cent."""

    dsc: Callable[[Job], float] = lambda job: 50.0
    fails: Callable[[Job], bool] = lambda job: False
    done: list[Job] = field(default_factory=list)
    at_most: int = 10_000  # then the time is up

    def __call__(self, job: Job, until: float) -> bool:
        if len(self.done) >= self.at_most:
            return False
        if self.fails(job):
            raise RuntimeError("out of memory")
        self.done.append(job)
        write_scores(job.folder, self.dsc(job))
        (job.folder / "run.json").write_text("{}")
        return True


def write_scores(folder: Path, dsc: float) -> None:
    """Scores of two cases and two classes with the given mean."""
    folder.mkdir(parents=True)
    rows = [
        {"case": case, "class": name, "value": dsc / 100 + above + more}
        for case, above in (("A", 0.01), ("B", -0.01))
        for name, more in (("L5", 0.02), ("L4", -0.02))
    ]
    keys = {"data": "", "profile": "", "device": "any", "model": "any", "fold": "0", "seed": 0}
    keys |= {"aggregation": "volume", "metric": "DSC", "units": "ratio"}
    pd.DataFrame(rows).assign(**keys).to_csv(folder / "scores.csv", index=False)


@pytest.fixture
def trainer(monkeypatch, workspace) -> Trainer:
    stand_in = Trainer()
    monkeypatch.setattr(study, "carry_out", stand_in)
    return stand_in


@pytest.fixture
def laptop() -> Experiment:
    return Experiment.of("simulated", "laptop")


def epochs_of(job: Job) -> int:
    return job.experiment.profile.epochs


def rate_of(job: Job) -> float:
    return job.experiment.profile.learning_rate


# --- the search


def test_the_mean_is_over_classes_and_cases(laptop, workspace):
    job = Job(laptop, "unet")
    write_scores(job.folder, 80)
    assert study.mean_dsc(job) == pytest.approx(80)
    assert study.case_dsc(job)["DSC"].tolist() == pytest.approx([81, 79])


@pytest.mark.parametrize("best", study.RATES)
def test_the_best_rate_is_chosen(trainer, laptop, best):
    trainer.dsc = lambda job: 90 - 1000 * abs(rate_of(job) - best)
    assert run_chains([study.mechanism_chain(laptop, "control_near")], 1) == []
    chosen = {"learning_rate": best, "epochs": laptop.profile.epochs}
    assert tuned_settings() == {("laptop", "control_near"): chosen}
    trials, runs, longer = trainer.done[:3], trainer.done[3:6], trainer.done[6:]
    assert [rate_of(job) for job in trials] == list(study.RATES)
    assert {epochs_of(job) for job in trials} == {laptop.profile.epochs // 2}
    assert {job.fold for job in trials} == {VALIDATION}
    assert runs == [Job(laptop, "control_near", 0, seed) for seed in study.SEEDS]
    assert longer == [study.trial(laptop, "control_near", best, epochs) for epochs in (60, 120)]


@pytest.mark.parametrize("model", ["unet_depth_4", "aspp_unet_depth_1", "unet", "aspp_unet_34"])
def test_networks_of_other_depths_and_of_table_2_also_get_twice_the_epochs(trainer, laptop, model):
    trainer.dsc = lambda job: 90 - 1000 * abs(rate_of(job) - 0.003)
    assert run_chains([study.mechanism_chain(laptop, model)], 1) == []
    longer = trainer.done[-2:]
    assert longer == [study.trial(laptop, model, 0.003, epochs) for epochs in (60, 120)]
    assert tuned_settings()["laptop", model]["epochs"] == 60


@pytest.mark.parametrize(
    ("dsc", "chosen", "tried"),
    [
        ({60: 80, 120: 80.9, 240: 95}, 60, (60, 120)),
        ({60: 80, 120: 79.1, 240: 95}, 60, (60, 120)),
        ({60: 80, 120: 82, 240: 82.5}, 120, (60, 120, 240)),
        ({60: 80, 120: 82, 240: 85, 480: 85.5}, 240, (60, 120, 240, 480)),
        ({60: 80, 120: 78, 240: 85, 480: 83}, 480, (60, 120, 240, 480, 960)),
    ],
)
def test_the_first_length_after_which_little_changes_is_chosen(trainer, laptop, dsc, chosen, tried):
    trainer.dsc = lambda job: dsc.get(epochs_of(job), 50)
    assert run_chains([study.table3_chain(laptop, "segnet")], 1) == []
    assert tuned_settings()["laptop", "segnet"]["epochs"] == chosen
    trials = [job for job in trainer.done[len(study.RATES) :] if job.fold == VALIDATION]
    assert tuple(epochs_of(job) for job in trials) == tried
    phantom = Experiment.of(None, "laptop")
    runs = [job for job in trainer.done if job.fold != VALIDATION]
    assert runs == [Job(phantom, "segnet", 0, seed) for seed in study.SEEDS]


def test_a_method_of_a_coarse_map_is_not_trained_for_eight_times_the_epochs(trainer, laptop):
    trainer.dsc = lambda job: epochs_of(job) / 10
    assert run_chains([study.table3_chain(laptop, "deeplabv3")], 1) == []
    assert tuned_settings()["laptop", "deeplabv3"]["epochs"] == 240
    trials = [epochs_of(job) for job in trainer.done if job.fold == VALIDATION]
    assert trials[len(study.RATES) :] == [60, 120, 240, 480]


def test_the_noise_trained_network_gets_the_settings_of_the_proposed_one(trainer, laptop):
    run_chains([study.table3_chain(laptop, study.PROPOSED)], 1)
    chosen = tuned_settings()
    assert chosen["laptop", study.NOISE_TRAINED] == chosen["laptop", study.PROPOSED]
    noisy = [job for job in trainer.done if job.model == study.NOISE_TRAINED]
    assert [job.seed for job in noisy] == list(study.SEEDS)


def test_what_was_chosen_is_written_in_order_and_read_back(tuned):
    study.write_tuned("b", "unet", 0.003, 120)
    study.write_tuned("a", "unet", 0.01, 60)
    study.write_tuned("b", "unet", 0.001, 240)
    with tuned.open(newline="") as file:
        rows = [(row["profile"], row["model"]) for row in csv.DictReader(file)]
    assert rows == [("a", "unet"), ("b", "unet")]
    assert tuned_settings() == {
        ("a", "unet"): {"learning_rate": 0.01, "epochs": 60},
        ("b", "unet"): {"learning_rate": 0.001, "epochs": 240},
    }


# --- the runs


def test_every_run_of_the_study(trainer, monkeypatch):
    monkeypatch.setattr(study, "nnunet_is_installed", lambda: True)
    assert run_chains(study.chains(), 1) == []
    assert len(trainer.done) == len(set(trainer.done))
    runs: dict[tuple[str, str], set] = {}
    for job in trainer.done:
        if job.fold != VALIDATION:
            runs.setdefault((job.experiment.name, job.model), set()).add((job.fold, job.seed))
    seeds = {(0, seed) for seed in (0, 1, 2)}
    folds = {(fold, 0) for fold in range(5)}
    for model in TABLE3_METHODS:
        both = seeds | folds if model in study.CROSS_VALIDATED else seeds
        assert runs["phantom-laptop", model] == both
    assert runs["phantom-laptop", study.NOISE_TRAINED] == seeds
    small = {model for experiment, model in runs if experiment == "simulated-laptop"}
    large = {model for experiment, model in runs if experiment == "simulated-laptop-220"}
    assert small == set(MECHANISM_METHODS)
    assert large == {*ABLATION_METHODS, "unet_depth_3", "aspp_unet_depth_3"}
    simulated = (runs[key] for key in runs if key[0].startswith("simulated"))
    assert all(each == seeds for each in simulated)
    letter = {model: each for (name, model), each in runs.items() if name == "phantom-laptop-sgd"}
    assert letter == {key: seeds for key in study.CROSS_VALIDATED}
    searched = {model for _, model in tuned_settings()}
    assert searched == {model for _, model in runs} - {NNUNET}


def test_nnunet_is_tried_for_half_and_twice_its_epochs(trainer):
    run_chains([study.nnunet_chain()], 1)
    trials = [job for job in trainer.done if job.fold == VALIDATION]
    assert [job.experiment.profile.nnunet_epochs for job in trials] == [48, 96, 192]
    assert tuned_settings() == {}


# --- carrying out


def jobs(count: int, model: str) -> list[Job]:
    return [Job(Experiment.of("simulated", "smoke"), model, 0, seed) for seed in range(count)]


def test_a_step_begins_when_the_one_before_is_done_and_earlier_chains_come_first(trainer):
    first, second = jobs(4, "unet"), jobs(3, "segnet")
    chains = [iter([first[:2], first[2:]]), iter([second])]
    run_chains(chains, 1)
    assert trainer.done == [*first, *second]


def test_a_step_waits_for_all_its_runs(trainer, monkeypatch):
    """With more workers than runs in a step, runs of a later chain fill them."""
    first, second = jobs(3, "unet"), jobs(2, "segnet")
    order = []
    monkeypatch.setattr(
        study, "carry_out", lambda job, until: (order.append(job), trainer(job, until))[1]
    )
    run_chains([iter([first[:1], first[1:]]), iter([second])], 3)
    assert set(order[:3]) == {first[0], *second}
    assert set(order[3:]) == set(first[1:])


def test_a_failed_run_stops_its_chain_and_no_other(trainer):
    first, second = jobs(4, "unet"), jobs(3, "segnet")
    trainer.fails = lambda job: job == first[0]
    failed = run_chains([iter([first[:2], first[2:]]), iter([second])], 1)
    assert [str(each) for each in failed] == [
        f"{first[0].folder}: out of memory; run the same command again"
    ]
    assert trainer.done == [first[1], *second]


def test_a_chain_that_cannot_go_on_stops_no_other(trainer):
    """Its search ends in scores that cannot be read."""

    def damaged():
        yield jobs(1, "unet")
        raise UserError.at("scores.csv", "damaged", "remove it")

    second = jobs(3, "segnet")
    failed = run_chains([damaged(), iter([second])], 1)
    assert [str(each) for each in failed] == ["scores.csv: damaged; remove it"]
    assert trainer.done == [*jobs(1, "unet"), *second]


def test_a_killed_process_ends_the_study_with_one_line(trainer, monkeypatch):
    def killed(job: Job, until: float) -> bool:
        raise BrokenProcessPool("A process in the process pool was terminated abruptly")

    monkeypatch.setattr(study, "carry_out", killed)
    with pytest.raises(UserError, match=r"^study: a process was killed.*with fewer --workers$"):
        run_chains([iter([jobs(4, "unet")])], 2)


def test_workers_show_no_bars_of_their_own(monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")  # after tqdm was imported, as in a worker
    assert progress_bar().disable
    monkeypatch.delenv("TQDM_DISABLE")
    assert not progress_bar().disable


def test_the_same_call_resumes(trainer, laptop):
    def chains() -> list[study.Chain]:
        return [study.table3_chain(laptop, "unet"), study.mechanism_chain(laptop, "control_near")]

    trainer.at_most = 7
    assert run_chains(chains(), 2) == []
    assert len(trainer.done) == 7
    trainer.at_most = 10_000
    for _ in range(2):
        assert run_chains(chains(), 2) == []
        assert len(trainer.done) == len(set(trainer.done)) == 3 + 1 + 1 + 3 + 4 + 3 + 3 + 2


def test_nothing_is_trained_after_the_time_is_up(workspace, monkeypatch):
    monkeypatch.setattr(study, "train", lambda *_: pytest.fail("trained"))
    assert run_chains([iter([jobs(2, "unet")])], 1, until=0) == []


# --- validation patients


@settings(max_examples=100, deadline=None)
@given(
    patients=st.lists(st.integers(0, 40), min_size=2, max_size=80),
    folds=st.integers(2, 6),
    seed=st.integers(0, 4000),
)
def test_validation_patients_are_in_no_other_part(patients, folds, seed):
    """Several scans of one patient count as one: patients are what must not be shared."""
    cases = [SimpleNamespace(id=f"C{i}", patient=f"P{p}") for i, p in enumerate(patients)]
    if len(set(patients)) < folds:
        return
    cache = Cache(Path("unused"))
    split = split_folds(cases, folds, seed)
    cache.__dict__["index"] = {"cases": [case.id for case in cases], "folds": split}
    patient = {case.id: case.patient for case in cases}

    def of(ids: list[str]) -> set[str]:
        return {patient[case] for case in ids}

    tested, tried, trained = (
        of(cache.test_ids(0)),
        of(cache.test_ids(VALIDATION)),
        of(cache.train_ids(VALIDATION)),
    )
    assert tried
    assert tested.isdisjoint(tried)
    assert tested.isdisjoint(trained)
    assert tried.isdisjoint(trained)
    assert tried | trained == of(cache.train_ids(0))
    assert tested | tried | trained == set(patient.values())


# --- for real


def test_a_chain_from_the_search_to_its_scores(workspace, monkeypatch):
    monkeypatch.setattr(study, "RATES", (0.0001, 0.01))
    monkeypatch.setattr(study, "SEEDS", (0, 1))
    smoke = Experiment.of("simulated-10", "smoke")
    profile = replace(smoke.profile, epochs=2, slices_per_epoch=32)
    smoke = replace(smoke, profile=profile)
    assert run_chains([study.mechanism_chain(smoke, MODEL)], 1) == []
    trials = {rate: study.trial(smoke, MODEL, rate, 1) for rate in study.RATES}
    scores = {rate: study.mean_dsc(job) for rate, job in trials.items()}
    chosen = tuned_settings()["smoke", MODEL]
    assert chosen == {"learning_rate": max(scores, key=scores.get), "epochs": 2}
    split = read_json(smoke.runs / "split.json")["folds"]
    for job in trials.values():
        record = load_record(job.folder)
        assert (record.epochs, record.fold) == (1, VALIDATION)
        assert record.test == tuple(split[1])
        assert not {*record.train, *record.test} & set(split[0])
    weights = []
    for seed in study.SEEDS:
        folder = smoke.run(MODEL, 0, seed)
        record = load_record(folder)
        assert (record.seed, record.profile.learning_rate) == (seed, chosen["learning_rate"])
        assert record.test == tuple(split[0])
        assert set(pd.read_csv(folder / "scores.csv")["seed"]) == {seed}
        weights.append(load_checkpoint(folder)["network"])
    assert not same(*weights)
    assert same(weights[1], trained_again(smoke, workspace / "again"))


def trained_again(experiment: Experiment, root: Path) -> dict[str, torch.Tensor]:
    """The weights of the run with seed 1, trained from nothing elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPINESEG_ROOT", str(root))
        job = Job(experiment, MODEL, 0, 1)
        assert study.carry_out(job, until=float("inf"))
        return load_checkpoint(job.folder)["network"]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())
