"""What tables of results say, in sentences whose words are chosen by the numbers."""

from spineseg.paper.findings.ablation import on_ablation
from spineseg.paper.findings.caveats import (
    against,
    on_longer,
    on_one_more_stage,
    on_repair,
    on_trained_out,
)
from spineseg.paper.findings.claims import on_audit, on_needs, on_outcome, on_verdicts
from spineseg.paper.findings.comparison import (
    on_best,
    on_errors,
    on_folds,
    on_leads,
    on_means,
    on_worst,
)
from spineseg.paper.findings.cost import on_cost, on_other_cpu, on_peak, on_printed_times
from spineseg.paper.findings.mechanism import (
    CONTROLLED,
    on_best_control,
    on_cause,
    on_classes,
    on_controls,
    on_fall,
    on_fields,
    on_lead,
    on_limits_of_controls,
    on_names,
    on_paper_share,
    on_sizes,
    on_stages,
    smaller_or_larger,
)
from spineseg.paper.findings.noise import on_noise, on_noise_training, on_scale
from spineseg.paper.findings.scans import on_brightness, on_patches, on_resampling, on_scans
from spineseg.paper.findings.training import (
    on_letter,
    on_losses,
    on_more_epochs,
    on_scores,
    on_worst_class,
)
from spineseg.paper.findings.view import on_reach, on_share, on_view

__all__ = [
    "CONTROLLED",
    "against",
    "on_ablation",
    "on_audit",
    "on_best",
    "on_best_control",
    "on_brightness",
    "on_cause",
    "on_classes",
    "on_controls",
    "on_cost",
    "on_errors",
    "on_fall",
    "on_fields",
    "on_folds",
    "on_lead",
    "on_leads",
    "on_letter",
    "on_limits_of_controls",
    "on_longer",
    "on_losses",
    "on_means",
    "on_more_epochs",
    "on_names",
    "on_needs",
    "on_noise",
    "on_noise_training",
    "on_one_more_stage",
    "on_other_cpu",
    "on_outcome",
    "on_paper_share",
    "on_patches",
    "on_peak",
    "on_printed_times",
    "on_reach",
    "on_repair",
    "on_resampling",
    "on_scale",
    "on_scans",
    "on_scores",
    "on_share",
    "on_sizes",
    "on_stages",
    "on_trained_out",
    "on_verdicts",
    "on_view",
    "on_worst",
    "on_worst_class",
    "smaller_or_larger",
]
