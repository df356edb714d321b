"""Label scans: from scan files to mask files, pictures and tables."""

import csv
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from tqdm import tqdm

from spineseg.data.check import scan_notes
from spineseg.data.layouts import Case, LabelledFolder, ScanFolder, Source, open_source
from spineseg.data.volume import (
    DESCRIPTION,
    SEGMENTATION,
    extension,
    from_canonical,
    to_canonical,
    write_mask,
)
from spineseg.evaluation.segmenters import open_segmenter
from spineseg.experiment import CLEANED_UP, PHANTOM_RECORD
from spineseg.inference.segmenter import Segmenter
from spineseg.labels import ALL_CLASSES, CLASSES, FOREGROUND, LABEL_SETS, NUM_CLASSES, relabel
from spineseg.methods import METHODS
from spineseg.outputs.label_files import describe_segments, write_label_tables
from spineseg.outputs.levels import level_rows, measure_levels, write_levels
from spineseg.outputs.own import is_own, mark_of
from spineseg.runs import RunRecord, load_record
from spineseg.utils import paths
from spineseg.utils.errors import Problem, UserError, is_out_of_memory
from spineseg.utils.progress import progress_bar
from spineseg.workflow.targets import Outputs, Target, plan

ONLY_MASKS = Outputs()
SUMMARY = "summary.csv"  # of `evaluation.result_files`, which imports pandas


@dataclass
class Labelling:
    """A batch that is being labelled."""

    segmenter: Segmenter
    labelled_by: str
    outputs: Outputs
    rows: list[dict[str, str]] = field(default_factory=list)  # of the table of levels


def predict_scan(
    scan: Path, mask: Path, run: Path | None = None, outputs: Outputs = ONLY_MASKS
) -> dict[str, int]:
    """Write the mask of a scan, in its own grid and orientation, and other `outputs`.

    `scan` is a file or the folder of a DICOM series. `run` is the folder of a finished run, by
    default the network in weights/. Returns the number of voxels of each class. Raises
    UserError for a bad scan and if there is no such run.
    """
    if scan.exists() and len(open_source(scan).cases()) > 1:
        raise UserError.at(scan, "holds more than one scan", "give one of them")
    results = [found for _, found in predict_all(scan, mask, run, outputs)]
    for found in results:
        if isinstance(found, UserError):
            raise found
        counts = found
    return counts


def predict_all(
    scans: Path, masks: Path, run: Path | None = None, outputs: Outputs = ONLY_MASKS
) -> Iterator[tuple[Path, dict[str, int] | UserError]]:
    """Write the masks of all scans in a folder, as `predict_scan` does for one.

    Yields for each scan the path of its mask and the number of voxels of each class, or the path of
    what could not be labelled and the error; then the next scan is labelled all the same. Nothing
    is begun if an output would overwrite anything but the outputs of an earlier call (see
    `workflow.targets.plan`). Says on stderr which network labels, and what is unusual about a scan.
    """
    if not scans.exists():
        raise UserError.at(scans, "does not exist", "check the name")
    source = open_source(scans)
    others, problems, notes = _beside(source, scans)
    cases, own = _without_masks([*source.cases(), *others])
    problems = [*source.problems(), *problems]
    if not cases and not problems:
        only = "what an earlier `spineseg predict` wrote" if own else "masks"
        raise UserError.at(scans, f"holds no scan, only {only}", "give the scan")
    planned = plan(scans, cases, masks, outputs)
    _print_notes([*source.notes(), *notes, *own, *_label_notes(outputs.labels)])
    run = run or paths.BUNDLED
    segmenter, labelled_by = open_segmenter(run), run_line(run, outputs.clean_up)
    segmenter.clean = outputs.clean_up
    print(labelled_by, file=sys.stderr)
    batch = Labelling(segmenter, labelled_by, outputs)
    for problem in problems:
        yield Path(problem.path), UserError(problem)
    many = len(planned.targets) > 1
    for target in progress_bar(planned.targets, desc="predict", unit="scan", shown=many):
        yield _label(batch, target)
    try:
        if outputs.csv:
            write_levels(outputs.csv, batch.rows)
        if outputs.label_tables:
            write_label_tables(planned.folder, outputs.labels, LABEL_SETS[outputs.labels])
    except UserError as error:
        yield planned.folder, error


def _beside(source: Source, scans: Path) -> tuple[list[Case], list[Problem], list[Problem]]:
    """What is below a folder but not in its folders of scans and masks: scans, problems, notes."""
    if not isinstance(source, LabelledFolder):
        return [], [], []
    groups = [*source.images.values(), *source.masks.values()]
    own = {file.parent for group in groups for file in group}
    others = ScanFolder(scans)
    cases = [case for case in others.cases() if case.image.parent not in own]
    problems, notes = (
        [each for each in found if Path(each.path).parent not in own]
        for found in (others.problems(), others.notes())
    )
    return cases, problems, notes


def _without_masks(cases: list[Case]) -> tuple[list[Case], list[Problem]]:
    """The cases whose scans are no masks of an earlier call, and a note on each of the others."""
    kept: list[Case] = []
    notes: list[Problem] = []
    what = "a mask that an earlier `spineseg predict` wrote"
    for case in cases:
        if not case.slice_files and is_own(case.image):
            notes.append(Problem(case.image, what, "left out"))
        else:
            kept.append(case)
    return kept, notes


def run_line(run: Path, clean_up: bool) -> str:
    """One line on which run labels: its method, data, profile and fold, and what to expect of it.

    `clean_up` says whether levels are repaired. Raises UserError if there is no such run.
    """
    record = load_record(run)
    name = "the network in weights/" if run == paths.BUNDLED else run
    line = (
        f"labelled by {name}: {METHODS[record.model].title} trained on {record.data_name}, "
        f"profile {record.profile.name}, fold {record.fold}"
    )
    if record.profile.name == "smoke":
        return line + "; smoke only tests that everything runs, expect no useful mask"
    if record.as_experiment.is_synthetic or (Path(record.data) / PHANTOM_RECORD).is_file():
        scored = _scores_elsewhere(record, clean_up) or ["expect errors on patients"]
        line += "; ".join(["; it has seen simulated scans only", *scored])
    return line


def _scores_elsewhere(record: RunRecord, clean_up: bool) -> list[str]:
    """What a method of an experiment reaches on other data, as `spineseg evaluate` found it."""
    found = []
    pattern = record.as_experiment.results_on("*", clean_up=clean_up).name
    roots = (paths.REPOSITORY, paths.root())  # what was evaluated here counts more
    folders = {each.name: each for root in roots for each in (root / "results").glob(pattern)}
    for name, folder in sorted(folders.items()):
        if name.endswith(CLEANED_UP) == clean_up:
            with suppress(OSError, KeyError, TypeError, ValueError):  # no scores, no remark
                found += _mean_dsc(folder / SUMMARY, record.model)
    return found


def _mean_dsc(summary: Path, model: str) -> list[str]:
    wanted = {"model": model, "aggregation": "volume", "metric": "DSC", "class": ALL_CLASSES}
    with summary.open(newline="", encoding="utf-8") as table:
        return [
            f"mean DSC {100 * float(row['mean']):.0f} % on {row['cases']} scans of {row['data']}"
            for row in csv.DictReader(table)
            if wanted.items() <= row.items()
        ]


def _label(batch: Labelling, target: Target) -> tuple[Path, dict[str, int] | UserError]:
    """Label one scan; whatever goes wrong with it is an error to report, not the end."""
    try:
        return target.mask, _write_outputs(batch, target)
    except Exception as error:
        return target.case.image, _as_user_error(error, target.case.image)


def _write_outputs(batch: Labelling, target: Target) -> dict[str, int]:
    """Read a scan, label it and write what is wanted. Returns the voxels of each class."""
    case, labels = target.case, LABEL_SETS[batch.outputs.labels]
    notes: list[Problem] = []
    stored = case.read(notes)
    scan = to_canonical(stored)
    _print_notes([*notes, *scan_notes(scan, case.image)])
    classes = batch.segmenter(scan)
    mask = sitk.GetImageFromArray(relabel(classes, CLASSES, labels))
    mask.CopyInformation(scan)
    mask = from_canonical(mask, stored)
    if extension(target.mask) == SEGMENTATION:
        describe_segments(mask, labels)
    mask.SetMetaData(DESCRIPTION, mark_of(mask))
    write_mask(mask, target.mask, like=None if case.slice_files else case.image)
    if batch.outputs.csv:
        batch.rows += level_rows(target.name, measure_levels(classes, scan, stored))
    if target.preview:
        from spineseg.outputs.preview import write_preview

        write_preview(target.preview, scan, classes, target.name, batch.labelled_by)
    voxels = np.bincount(classes.ravel(), minlength=NUM_CLASSES)
    return dict(zip(CLASSES, voxels.tolist(), strict=True))


def _as_user_error(error: Exception, scan: Path) -> UserError:
    """What to tell about a scan that could not be labelled."""
    if is_out_of_memory(error):
        return UserError.at(scan, "not enough memory to label it", "free some, or crop the scan")
    if isinstance(error, UserError):
        return error
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}, line {place.lineno}"
    text = " ".join(str(error).split())[:120]
    what = f"an error of this program: {type(error).__name__}: {text} ({where})"
    return UserError.at(scan, what, "please report this line")


def _label_notes(label_set: str) -> Iterable[Problem]:
    """Which classes the masks cannot have, because their label set has no label for them."""
    missing = [name for name in FOREGROUND if name not in LABEL_SETS[label_set]]
    if missing:
        what = f"has no label for {', '.join(missing)}"
        yield Problem(f"--labels {label_set}", what, "left out of the masks")


def _print_notes(notes: Iterable[Problem]) -> None:
    for note in notes:
        tqdm.write(f"note: {note}", file=sys.stderr)  # above the progress bar, if there is one
