"""The notebooks as steps of the graph: which files each reads, and what it writes."""

from collections.abc import Sequence
from dataclasses import dataclass

from spineseg.benchmark import TABLES, table_file
from spineseg.evaluation.result_files import (
    AUDIT,
    COMPARISON,
    CONFUSION,
    CONVERGENCE,
    CONVEXITY,
    COST,
    FIVE_FOLDS,
    NOISE_CURVES,
    RUNS,
    SCORES,
    SEARCH,
    SUMMARY,
    TABLE3,
    TABLE4,
    TRAINED_FIELDS,
    VERDICTS,
)
from spineseg.experiment import CLEANED_UP
from spineseg.workflow.gather import GATHERED


@dataclass(frozen=True)
class Notebook:
    """What a notebook reads of results/, what it writes there, and its figures.

    `reads` are files of the experiment itself. `stored` are files of the study, as
    `folder/name`. A notebook that takes far longer than the others has a `priority`, so that it
    does not start last and run alone.
    """

    reads: Sequence[str] = ()
    writes: Sequence[str] = ()
    figures: Sequence[str] = ()
    stored: Sequence[str] = ()
    priority: int = 0


VALIDATED = (*GATHERED, SUMMARY.name)  # what `results_of` reads
NOTEBOOKS = {
    "00_start": Notebook(),
    "01_data_exploration": Notebook(
        writes=["shapes.csv", "measured.csv", "slice.npz"],
        figures=["fig1a", "intensities", "class_sizes"],
    ),
    "02_preprocessing": Notebook(writes=["preprocessing.csv", "fig1.npz"], figures=["fig1"]),
    "03_network": Notebook(
        writes=["network.csv", "receptive_field.csv"],
        figures=["fig2", "fig3", "fig4", "receptive_field"],
    ),
    "04_training": Notebook(
        [*VALIDATED, SEARCH.name, CONVERGENCE.name, TABLE3.name],
        figures=["training", "scores", "examples"],
        stored=[f"{name}/{SCORES.name}" for name in ("phantom-laptop", "phantom-laptop-sgd")],
        priority=1,
    ),
    "05_ablation": Notebook(
        [*VALIDATED, VERDICTS.name],
        figures=["ablation"],
        stored=[f"simulated-laptop-220/{name}" for name in (RUNS, SCORES.name, VERDICTS.name)],
    ),
    "06_baselines": Notebook(
        [
            *(*VALIDATED, TABLE3.name, COMPARISON.name, VERDICTS.name),
            *(CONVERGENCE.name, FIVE_FOLDS.name),
        ],
        figures=["fig7", "comparison"],
    ),
    "07_noise": Notebook([*VALIDATED, NOISE_CURVES.name], figures=["fig5", "fig6", "noise"]),
    "08_cost": Notebook([COST.name, TABLE4.name, str(table_file("speed"))], figures=["cost"]),
    "09_mechanism": Notebook(
        figures=["mechanism", "controls", "classes_by_depth", "confusion", "trained_fields"],
        stored=[
            *(
                f"simulated-laptop/{name}"
                for name in (SCORES.name, CONFUSION.name, RUNS, TRAINED_FIELDS.name)
            ),
            f"simulated-laptop-cleaned-up/{SCORES.name}",
            f"phantom-laptop/{SEARCH.name}",
            f"simulated-laptop-220/{SCORES.name}",
        ],
    ),
    "10_audit": Notebook(
        [AUDIT.name, CONVEXITY.name],
        figures=["convexity"],
        stored=[f"phantom-laptop/{SUMMARY.name}"],
    ),
    "11_verdicts": Notebook(
        [SCORES.name, CONVERGENCE.name, VERDICTS.name],
        stored=[
            *(f"phantom-laptop{ending}/{SCORES.name}" for ending in ("", CLEANED_UP)),
            f"simulated-laptop-220/{VERDICTS.name}",
        ],
    ),
    "A1_figures": Notebook([*VALIDATED, "fig1.npz"], figures=["fig8", "fig9"]),
    "A2_speed": Notebook(
        [RUNS, *(str(table_file(name)) for name in TABLES)], figures=["speed", "growth"]
    ),
}
