"""The study: every run behind the stored results, and the search for each method's settings.

A chain is a sequence of steps. A step is a list of runs that can be trained at the same time, and
it begins when the step before it is done.
"""

from __future__ import annotations

import heapq
import math
import os
import time
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import pandas as pd

from spineseg.evaluation.result_files import SCORES, VALIDATION_SCORES
from spineseg.evaluation.summary import volume_dsc
from spineseg.experiment import ALL, VALIDATION, Experiment
from spineseg.methods import (
    ABLATION_METHODS,
    MAP_STRIDES,
    MECHANISM_METHODS,
    NNUNET,
    NOISE_TRAINED,
    PLAIN,
    PROPOSED,
    TABLE3_METHODS,
    at_depth,
    nnunet_is_installed,
)
from spineseg.paper.control_networks import CONTROLS
from spineseg.paper.search import TRAINED_OUT
from spineseg.profiles import TUNED, tuned_settings
from spineseg.runs import is_finished
from spineseg.utils.errors import Problem, UserError
from spineseg.utils.files import write_csv
from spineseg.utils.processes import end_with_parent
from spineseg.utils.progress import progress_bar, silence_lightning
from spineseg.workflow.score import is_scored, score_run
from spineseg.workflow.train import train

RATES = (0.001, 0.003, 0.01)  # the learning rates that each network is tried with
# Numbers of epochs that a method of Table 3 is tried with, over the profile's. For one whose map is
# coarser than the image, more would not change the verdict (see `evaluation/ceiling.py`).
LENGTHS = (1, 2, 4, 8)
LENGTHS_OF_COARSE_MAPS = (1, 2, 4)
SEEDS = (0, 1, 2)
FOLDS = (0, 1, 2, 3, 4)
CROSS_VALIDATED = (PLAIN, PROPOSED)
SEARCHED_ON = "simulated"  # the same patients as the phantom's
LAPTOP, LAPTOP_220, LETTER = "laptop", "laptop-220", "laptop-sgd"
KILLED = UserError.at(
    "study",
    "a process was killed, perhaps for lack of memory",
    "run the same command again, with fewer --workers",
)
MORE_ROWS_DEPTH = 3  # stages of the networks that are trained at both sizes
STAGES_TRIED_LONGER = (1, 2, 4, 5)  # with twice the epochs; of three, Table 3's chains do this


@dataclass(frozen=True)
class Job:
    """A run of the study, to be trained and scored."""

    experiment: Experiment
    model: str
    fold: int | str = 0
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.model} fold {self.fold} seed {self.seed}"

    @property
    def folder(self) -> Path:
        return self.experiment.run(self.model, self.fold, self.seed)

    @property
    def is_done(self) -> bool:
        scored = self.fold == ALL or is_scored(self.folder)  # a run on all cases has no test cases
        return scored and is_finished(self.folder)


Chain = Generator[list[Job], None, None]


def experiments() -> list[Experiment]:
    """The experiments that the study stores results of."""
    on_phantom = [Experiment.of(None, profile) for profile in (LAPTOP, LETTER)]
    return [*on_phantom, *(Experiment.of(SEARCHED_ON, name) for name in (LAPTOP, LAPTOP_220))]


def chains() -> list[Chain]:
    """All chains of the study, the most important first."""
    small, large = (Experiment.of(SEARCHED_ON, profile) for profile in (LAPTOP, LAPTOP_220))
    return [
        *(table3_chain(small, model) for model in TABLE3_METHODS if model != NNUNET),
        *(mechanism_chain(small, model) for model in MECHANISM_METHODS),
        *(mechanism_chain(large, model) for model in ABLATION_METHODS),
        *(mechanism_chain(large, at_depth(model, MORE_ROWS_DEPTH)) for model in CROSS_VALIDATED),
        letter_chain(),
        *([nnunet_chain()] if nnunet_is_installed() else []),
    ]


def nnunet_chain() -> Chain:
    """nnU-Net has its own recipe; half and twice its epochs are tried, and nothing is chosen."""
    simulated, phantom = Experiment.of(SEARCHED_ON, LAPTOP), Experiment.of(None, LAPTOP)
    epochs = phantom.profile.nnunet_epochs
    yield [
        *(Job(phantom, NNUNET, 0, seed) for seed in SEEDS),
        *(trial(simulated, NNUNET, 0, number) for number in (epochs // 2, epochs, 2 * epochs)),
    ]


def table3_chain(searched_on: Experiment, model: str) -> Chain:
    """Search, then train on the phantom; the two networks in question on all folds.

    At the end, twice the epochs are tried of a network for which the search did not do this.
    """
    rate = yield from choose_rate(searched_on, model)
    epochs = yield from choose_epochs(searched_on, model, rate)
    phantom = Experiment.of(None, searched_on.profile.name)
    write_tuned(phantom.profile.name, model, rate, epochs)
    yield [Job(phantom, model, 0, seed) for seed in SEEDS]
    if model == PROPOSED:
        write_tuned(phantom.profile.name, NOISE_TRAINED, rate, epochs)
        yield [Job(phantom, NOISE_TRAINED, 0, seed) for seed in SEEDS]
    if model in CROSS_VALIDATED:
        yield [Job(phantom, model, fold) for fold in FOLDS[1:]]
    yield [trial(searched_on, model, rate, 2 * epochs)]


def mechanism_chain(experiment: Experiment, model: str) -> Chain:
    """Search, then train on simulated patients; some also for twice the epochs, as trials.

    A network that Table 3 has too, under the same profile, takes the learning rate found there.
    """
    epochs = experiment.profile.epochs
    same_network = model.removesuffix(at_depth("", experiment.profile.stages))
    rate = yield from choose_rate(experiment, same_network)
    write_tuned(experiment.profile.name, model, rate, epochs)
    yield [Job(experiment, model, 0, seed) for seed in SEEDS]
    of_depth = {
        at_depth(name, stages) for name in CROSS_VALIDATED for stages in STAGES_TRIED_LONGER
    }
    if model in of_depth.union(CONTROLS, ABLATION_METHODS):
        yield [trial(experiment, model, rate, number) for number in (epochs, 2 * epochs)]


def letter_chain() -> Chain:
    """Exactly the paper's recipe."""
    letter = Experiment.of(None, LETTER)
    yield [Job(letter, model, 0, seed) for seed in SEEDS for model in CROSS_VALIDATED]


def choose_rate(experiment: Experiment, model: str) -> Generator[list[Job], None, float]:
    """The best of RATES on patients of the training part, after half of the profile's epochs."""
    epochs = experiment.profile.epochs // 2
    trials = {rate: trial(experiment, model, rate, epochs) for rate in RATES}
    yield list(trials.values())
    return max(trials, key=lambda rate: mean_dsc(trials[rate]))


def choose_epochs(
    experiment: Experiment, model: str, rate: float
) -> Generator[list[Job], None, int]:
    """The first length whose DSC twice the epochs change by less than TRAINED_OUT, or the last.

    On patients of the training part.
    """
    multiples = LENGTHS_OF_COARSE_MAPS if model in MAP_STRIDES else LENGTHS
    lengths = [experiment.profile.epochs * multiple for multiple in multiples]
    trials = [trial(experiment, model, rate, epochs) for epochs in lengths]
    for shorter, longer, epochs in zip(trials, trials[1:], lengths, strict=False):
        yield [shorter, longer]
        if abs(mean_dsc(longer) - mean_dsc(shorter)) < TRAINED_OUT:
            return epochs
    return lengths[-1]


def trial(experiment: Experiment, model: str, rate: float, epochs: int) -> Job:
    """The run that tries these settings on validation patients; nnU-Net has its own rate."""
    if model == NNUNET:
        return Job(experiment.with_settings(nnunet_epochs=epochs), model, VALIDATION)
    settings = experiment.with_settings(learning_rate=rate, epochs=epochs)
    return Job(settings, model, VALIDATION)


def write_tuned(profile: str, model: str, rate: float, epochs: int) -> None:
    """Put what was chosen for a method into profiles/tuned.csv."""
    chosen = {"learning_rate": rate, "epochs": epochs}
    table = {**tuned_settings(), (profile, model): chosen}
    rows = [{"profile": name, "model": each, **table[name, each]} for name, each in sorted(table)]
    write_csv(TUNED, pd.DataFrame(rows))


def mean_dsc(job: Job) -> float:
    """The mean DSC of a run over its test cases, per cent."""
    return float(case_dsc(job)["DSC"].mean())


def case_dsc(job: Job) -> pd.DataFrame:
    """The mean DSC over the classes of each test case of a run, per cent: case, DSC.

    That of a trial which is not here comes from results/.
    """
    if not is_scored(job.folder) and (stored := stored_trial(job)) is not None:
        return stored
    scores = volume_dsc(SCORES.read(job.folder))
    return (100 * scores.groupby("case")["value"].mean()).rename("DSC").reset_index()


def stored_trial(job: Job) -> pd.DataFrame | None:
    """The `case_dsc` of a trial that results/ holds; None if it does not hold this trial."""
    for folder in (each.results for each in experiments()):
        if (folder / VALIDATION_SCORES.name).is_file():
            tried = VALIDATION_SCORES.read(folder)
            experiment = tried["data"] + "-" + tried["profile"]
            same = (experiment == job.experiment.name) & (tried["model"] == job.model)
            same &= tried["seed"] == job.seed
            if same.any():
                return tried[same].groupby("case")["DSC"].mean().reset_index()
    return None


def carry_out(job: Job, until: float) -> bool:
    """Train and score a run; returns whether it is done. `until` is a Unix time."""
    limit = time.monotonic() + until - time.time()
    if time.monotonic() > limit:
        return False
    folder = train(job.experiment, job.model, job.fold, limit, job.seed)
    if not is_finished(folder):
        return False
    if not job.is_done:
        score_run(folder, job.experiment)
    return True


class _Queue:
    """The runs that can be trained now, those of earlier chains first."""

    def __init__(self, chains: Sequence[Chain]) -> None:
        self.failed: list[Problem] = []  # of chains whose scores cannot be read
        self._chains = chains
        self._heap: list[tuple[int, int, Job]] = []
        self._queued: set[Job] = set()
        self._waiting: dict[int, set[Job]] = {}  # the unfinished runs of each chain's step
        for number in range(len(chains)):
            self._advance(number)

    def __bool__(self) -> bool:
        return bool(self._heap)

    def pop(self) -> Job:
        return heapq.heappop(self._heap)[-1]

    def tell(self, done: Job) -> None:
        """Begin the next step of the chains that waited for a run."""
        for number in [number for number, jobs in self._waiting.items() if done in jobs]:
            self._waiting[number].remove(done)
            if not self._waiting[number]:
                self._advance(number)

    def _advance(self, number: int) -> None:
        """Queue the next step of a chain that has runs to do, if it can continue."""
        try:
            step = next((todo for step in self._chains[number] if (todo := _unfinished(step))), [])
        except UserError as error:  # scores that choose the next runs cannot be read
            self.failed += error.problems
            return
        self._waiting[number] = set(step)
        for job in step:
            if job not in self._queued:  # two chains can have a run in common
                heapq.heappush(self._heap, (number, len(self._queued), job))
                self._queued.add(job)


def _unfinished(step: Sequence[Job]) -> list[Job]:
    return [job for job in dict.fromkeys(step) if not job.is_done]


def run_chains(chains: Sequence[Chain], workers: int, until: float = math.inf) -> list[Problem]:
    """Carry out chains with that number of processes; returns what failed.

    Runs of earlier chains come first. No epoch begins that would end after `until`, a Unix time;
    another call resumes. Raises UserError if a process was killed.
    """
    failed: list[Problem] = []
    running: dict[Future, Job] = {}
    with (
        ProcessPoolExecutor(workers, get_context("spawn"), _start_worker) as pool,
        progress_bar(desc="study", unit="run") as bar,
    ):
        queue = _Queue(chains)
        while queue or running:
            while queue and len(running) < workers:
                job = queue.pop()
                running[pool.submit(carry_out, job, until)] = job
            bar.set_postfix_str(", ".join(str(job) for job in running.values()))
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                job = running.pop(future)
                bar.update()
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    raise KILLED from None
                if error:
                    failed += _problems(job, error)
                elif future.result():
                    queue.tell(job)
    return failed + queue.failed


def _problems(job: Job, error: BaseException) -> Sequence[Problem]:
    """What to say of a run that failed."""
    if isinstance(error, UserError):
        return error.problems
    what = str(error) or type(error).__name__
    return [Problem(job.folder, what, "run the same command again")]


def _start_worker() -> None:
    """One thread per worker; the progress bars of many runs would overwrite each other."""
    end_with_parent()
    silence_lightning()
    os.environ["TQDM_DISABLE"] = "1"
    import torch

    torch.set_num_threads(1)
