"""What the pages read from results/: which experiments, and their scores."""

from collections.abc import Sequence
from functools import cache

import pandas as pd

from spineseg.evaluation.provenance import device_names
from spineseg.evaluation.result_files import COMPARISON, CONVERGENCE, RUNS, SCORES, SEARCH, SUMMARY
from spineseg.evaluation.summary import common_runs, same_runs
from spineseg.experiment import CLEANED_UP
from spineseg.labels import FOREGROUND
from spineseg.methods import METHODS, PLAIN, PROPOSED
from spineseg.paper import control_networks, mechanism
from spineseg.paper.tables import compare, with_interval
from spineseg.profiles import load_profile
from spineseg.utils.files import read_json
from spineseg.utils.paths import REPOSITORY

RESULTS = REPOSITORY / "results"
SHOWN = "phantom-laptop"  # the experiment whose figures and tables are committed
SHOWN_PROFILE = "laptop"
LETTER = "phantom-laptop-sgd"  # exactly the paper's recipe
MECHANISM = {"simulated-laptop": "laptop", "simulated-laptop-220": "laptop-220"}  # and profiles
CONTROLLED = "simulated-laptop"  # the experiment with the control networks
ABLATED = "simulated-laptop-220"  # Table 2
BUNDLED_ON_PATIENTS = "randomised-1000-bundled-on-real-t2-lumbar"
TRAINED_ON_PATIENTS = {  # where the training starts from, and the experiment
    "simulated patients": "real-t2-lumbar-patients",
    "simulated patients, 220 rows": "real-t2-lumbar-patients-220",
    "simulated patients, 320 rows": "real-t2-lumbar-patients-320",
    "simulated patients, twice the epochs": "real-t2-lumbar-patients-long",
    "random weights": "real-t2-lumbar-patients-scratch",
}
BY_IMAGE_SIZE = [  # experiments on patients that differ in the size of the images
    f"real-t2-lumbar-{profile}" for profile in ("patients", "patients-220", "patients-320")
]


@cache
def scores_of(experiment: str) -> pd.DataFrame:
    """The scores of each case that an experiment stores."""
    return SCORES.read(RESULTS / experiment)


def runs_of(experiment: str) -> pd.DataFrame:
    """The records of the runs that an experiment stores: model, epochs, device and more."""
    return pd.DataFrame(read_json(RESULTS / experiment / RUNS))


def speed() -> pd.DataFrame:
    """How fast the library is beside others (Appendix A2)."""
    return pd.read_csv(RESULTS / "benchmark" / "speed.csv")


def devices_of(experiment: str) -> pd.Series:
    """The devices that each method of an experiment was trained on, as text."""
    return scores_of(experiment).groupby("model")["device"].agg(device_names)


def trained_on(experiment: str, models: Sequence[str]) -> str:
    """Which of these methods were trained on which devices, one sentence per device.

    It looks at the runs (fold and seed) that all of them have, as the tables do.
    """
    runs = common_runs(scores_of(experiment), models)
    devices = runs.groupby("model")["device"].agg(device_names).reindex(models).dropna()
    return " ".join(
        f"These were trained on {device}: {'; '.join(METHODS[str(name)].title for name in names)}."
        for device, names in devices.groupby(devices, sort=False).groups.items()
    )


def convergence() -> pd.DataFrame:
    """What twice the epochs change of the methods of Table 3, by model: convergence.csv."""
    return CONVERGENCE.read(RESULTS / SHOWN).set_index("model")


def dsc_of(experiment: str) -> pd.DataFrame:
    """The mean DSC of volumes, a fraction, by model and class, with interval and counts."""
    summary = SUMMARY.read(RESULTS / experiment)
    rows = summary.query("aggregation == 'volume' and metric == 'DSC'")
    return rows.set_index(["model", "class"])


def classes_of(experiment: str) -> list[str]:
    """The classes that an experiment scores, from the sacrum upwards."""
    scored = dsc_of(experiment).index
    return [name for name in FOREGROUND if (PROPOSED, name) in scored]


def lead_over(model: str, experiment: str = SHOWN) -> pd.Series:
    """ASPP-UNet's lead in DSC over another method: the row of comparison.csv."""
    table = COMPARISON.read(RESULTS / experiment)
    return table.query("metric == 'DSC' and model == @model").iloc[0]


def was_compared(model: str, experiment: str) -> bool:
    """Whether the experiment has ASPP-UNet's lead over that method."""
    return model in set(COMPARISON.read(RESULTS / experiment)["model"])


def leads_with_and_without_repair(model: str, experiment: str) -> list[str]:
    """ASPP-UNet's lead over a method as the networks label, and with repaired levels, as text."""
    return [in_points(lead_over(model, f"{experiment}{ending}")) for ending in ("", CLEANED_UP)]


@cache
def leads_on_phantom() -> tuple[pd.Series, pd.Series]:
    """ASPP's lead as the networks label, and with repaired levels, in the runs that have both."""
    repaired = scores_of(f"{SHOWN}{CLEANED_UP}")
    labelled = same_runs(scores_of(SHOWN), repaired)
    before, after = (
        compare(scores, (PLAIN, PROPOSED)).query("metric == 'DSC'").iloc[0]
        for scores in (labelled, repaired)
    )
    return before, after


@cache
def depths() -> pd.DataFrame:
    """`mechanism.depth_table` of all image sizes, the smaller first."""
    tables = [
        mechanism.depth_table(scores_of(name), load_profile(profile))
        for name, profile in MECHANISM.items()
    ]
    return pd.concat(tables).sort_values(["image_rows", "stages"], ignore_index=True)


def searched() -> pd.DataFrame:
    """Which settings were tried for the networks of the mechanism: rows of search.csv."""
    tables = (SEARCH.read(RESULTS / name) for name in (SHOWN, CONTROLLED))
    return pd.concat(tables, ignore_index=True)


def shown_depths() -> pd.DataFrame:
    """The rows of `depths` whose images are those of the shown profile."""
    table = depths()
    return table[table["image_rows"] == load_profile(SHOWN_PROFILE).image_size]


@cache
def deeper() -> pd.DataFrame:
    """`mechanism.deeper_table` of all image sizes."""
    return pd.concat(
        mechanism.deeper_table(scores_of(name), load_profile(profile))
        for name, profile in MECHANISM.items()
    )


@cache
def sizes() -> pd.DataFrame:
    """`mechanism.same_ratio` of all image sizes."""
    profiles = MECHANISM.items()
    return mechanism.same_ratio((scores_of(name), load_profile(each)) for name, each in profiles)


@cache
def longer() -> pd.DataFrame:
    """`mechanism.longer_table` of the networks of the mechanism."""
    return mechanism.longer_table(searched(), load_profile(SHOWN_PROFILE))


@cache
def controls() -> pd.DataFrame:
    """`control_networks.control_table` of the control networks."""
    return control_networks.control_table(scores_of(CONTROLLED))


@cache
def longer_controls() -> pd.DataFrame:
    """`control_networks.longer_controls` of the control networks."""
    return control_networks.longer_controls(searched(), load_profile(SHOWN_PROFILE).epochs)


def in_per_cent(row: pd.Series) -> str:
    """The mean of a row of `dsc_of` with its interval."""
    return with_interval(*(100 * float(row[column]) for column in ("mean", "low", "high")))


def in_points(row: pd.Series) -> str:
    """The difference of a comparison with its interval."""
    return with_interval(*(float(row[column]) for column in ("difference", "low", "high")), "+.1f")
