"""All figures: each function takes data from results/ and returns a matplotlib figure.

Fig. 2-4 are in `spineseg.figures.diagrams`, which draws networks and needs torch.
"""

from spineseg.figures.benchmark import growth, speed
from spineseg.figures.classes import class_sizes, intensities, scores_by_class
from spineseg.figures.comparisons import ablation, comparison, convexity, cost, receptive_fields
from spineseg.figures.curves import fig8, fig9, noise, training
from spineseg.figures.patients import (
    classes_of_methods,
    distances,
    paired_differences,
    spread,
    taps,
    worst_cases,
)
from spineseg.figures.slices import enlarged, examples, fig1, fig5, fig6, fig7, labelled_slice
from spineseg.figures.style import save

__all__ = [
    "ablation",
    "class_sizes",
    "classes_of_methods",
    "comparison",
    "convexity",
    "cost",
    "distances",
    "enlarged",
    "examples",
    "fig1",
    "fig5",
    "fig6",
    "fig7",
    "fig8",
    "fig9",
    "growth",
    "intensities",
    "labelled_slice",
    "noise",
    "paired_differences",
    "receptive_fields",
    "save",
    "scores_by_class",
    "speed",
    "spread",
    "taps",
    "training",
    "worst_cases",
]
