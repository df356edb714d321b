"""Convert a data set to the challenge's layout, names and labels, with one scan per patient."""

import sys
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from spineseg.data.layouts import (
    CHU_LEVELS,
    Case,
    CaseKey,
    ChallengeFolder,
    ChuFolder,
    LabelledFolder,
    SpiderFolder,
    open_labelled,
)
from spineseg.data.levels import label_problems, labels_in, refuse_other_labels
from spineseg.data.prepare import files_hash
from spineseg.data.volume import (
    DESCRIPTION,
    canonical_shape,
    on_grid_of,
    read_mask,
    write_image,
)
from spineseg.labels import CHALLENGE_LABELS, relabel, unknown_labels
from spineseg.utils.errors import Problem, UserError
from spineseg.utils.files import checksum, holds, read_json, write_json
from spineseg.utils.progress import progress_bar

RECORD, PARTIAL_RECORD = "source.json", "source.partial.json"
MARK = "converted from files with the hash "  # in the header of scans and masks
# What source.json says of a public data set.
ORIGINS: dict[type[LabelledFolder], dict[str, Any]] = {
    SpiderFolder: {
        "set": "SPIDER",
        "version": "Zenodo record 10159290, doi:10.5281/zenodo.10159290",
        "licence": "CC BY 4.0",
        "cite": "van der Graaf et al. 2024, doi:10.1038/s41597-024-03090-w",
    },
    ChuFolder: {
        "set": "Chu et al. 2015",
        "version": "Zenodo record 22304, doi:10.5281/zenodo.22304",
        "licence": "see the record; the article is CC BY",
        "cite": "Chu et al. 2015, doi:10.1371/journal.pone.0143327",
        "changed": "the header's second axis reversed, because it runs from front to back; "
        f"label 1 divided into {', '.join(CHU_LEVELS)}, counted from below",
        "labels": {"1": [CHALLENGE_LABELS.index(level) for level in CHU_LEVELS]},
    },
}


def convert(source: Path, out: Path, labels: str | None = None) -> Path:
    """Write a folder's scans and masks into `out`/train in the challenge's layout; returns `out`.

    The masks have the labels of the folder's layout or, if given, those named `labels` in
    `LABEL_SETS`. Of a SPIDER patient the T2 series is used, or the T2 SPACE series if there is no
    T2. Voxels and grid do not change, except that the header of Chu et al. is corrected.
    `out`/source.json, written last, records the origin. An interrupted conversion can be resumed.
    A scan or mask is written again if its source has changed, but no mask that was changed since.
    Prints a summary to stderr. Raises UserError if there is nothing to convert or `out` holds
    anything else, and, after all good files are written, one that lists the bad files.
    """
    folder = open_labelled(source, labels)
    if isinstance(folder, ChallengeFolder) and labels is None:
        what = "has the challenge's layout already"
        remedy = "use it as it is, or name the label set of its masks with --labels"
        raise UserError.at(source, what, remedy)
    record = _record(folder, source)
    chosen: dict[int, CaseKey] = {}
    for key in folder.case_keys():  # T2 before T2 SPACE
        chosen.setdefault(key[0], key)
    targets = {key: _targets(number, out) for number, key in chosen.items()}
    _refuse_other_files(out, {file for pair in targets.values() for file in pair}, record)
    for part in ("MR", "Mask"):
        (out / "train" / part).mkdir(parents=True, exist_ok=True)
    if not (out / RECORD).exists():
        write_json(out / PARTIAL_RECORD, record)
    written: dict[CaseKey, list[int]] = {}
    bad: list[Problem] = []
    bad_cases = 0
    for key, target in progress_bar(targets.items(), desc="convert", unit="case"):
        try:
            case = _single_case(folder, key)
            mark = _mark_of(case)
            if todo := _to_write(case, target, mark):
                written[key] = _convert_case(case, target, todo, mark, folder.labels_declared)
        except UserError as error:
            bad.extend(error.problems)
            bad_cases += 1
    for line in _summary(folder, chosen, len(written), bad_cases):
        print(line, file=sys.stderr)
    if not bad and len(written) == len(chosen):
        bad = _remove_unmarked(folder, written, targets)
        if bad:
            (out / PARTIAL_RECORD).unlink(missing_ok=True)
    if bad:
        raise UserError(*bad)
    series = {f"Case{number}": folder.case_id(key) for number, key in chosen.items()}
    write_json(out / RECORD, record | {"cases": series})
    (out / PARTIAL_RECORD).unlink(missing_ok=True)
    return out


def _record(folder: LabelledFolder, source: Path) -> dict[str, Any]:
    """What source.json says of every conversion of such a folder."""
    names = {
        str(label): CHALLENGE_LABELS.index(name)
        for label, name in enumerate(folder.labels)
        if name in CHALLENGE_LABELS
    }
    origin = ORIGINS.get(type(folder), {"set": source.resolve().name})
    return {"labels": names, "other labels": 0, **origin}


def _targets(number: int, out: Path) -> tuple[Path, Path]:
    train = out / "train"
    return train / "MR" / f"Case{number}.nii.gz", train / "Mask" / f"mask_case{number}.nii.gz"


def _refuse_other_files(out: Path, targets: set[Path], record: dict[str, Any]) -> None:
    """Raise UserError if the folder holds files that this conversion would not write."""
    present = [out / name for name in (RECORD, PARTIAL_RECORD) if (out / name).exists()]
    for path in present:
        if not _is_record(path, record):
            what = "describes another data set or other labels"
            raise UserError.at(path, what, "choose another folder")
    allowed = {*targets, *present} if present else set()
    for path in sorted(out.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(out).parts)
        if path.is_file() and not hidden and path not in allowed:
            what = "was not made from this data set"
            raise UserError.at(path, what, "choose another folder")


def _is_record(path: Path, record: dict[str, Any]) -> bool:
    try:
        found = read_json(path)
    except ValueError:
        return False
    return isinstance(found, dict) and record.items() <= found.items()


def _single_case(folder: LabelledFolder, key: CaseKey) -> Case:
    images, masks = folder.images.get(key, []), folder.masks.get(key, [])
    if len(images) != 1 or len(masks) != 1:
        what = f"{len(images)} scans and {len(masks)} masks of this series"
        raise UserError.at((*images, *masks)[0], what, "leave one of each")
    return folder.case(key, images[0], masks[0])


def _convert_case(
    case: Case, targets: tuple[Path, Path], todo: set[Path], mark: str, declared: bool
) -> list[int]:
    """Write the scan and the mask that are in `todo`, and return the labels found.

    Raises UserError for bad files.
    """
    notes: list[Problem] = []
    path = case.mask or case.image
    scan, mask = case.read(notes), case.read_mask(notes)
    if not declared:
        refuse_other_labels(mask, case.labels, path)
    found = labels_in(mask)
    mask = on_grid_of(mask, scan, path, case.image, notes)
    stored = sitk.GetArrayViewFromImage(mask)
    if unknown := unknown_labels(stored, case.labels):
        what = f"unknown labels: {', '.join(map(str, unknown))}"
        notes.append(Problem(path, what, "become background"))
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    labelled = sitk.GetImageFromArray(relabel(stored, case.labels, CHALLENGE_LABELS))
    labelled.CopyInformation(mask)
    marks = mark, f"{mark}{_checksum_of(labelled)}"
    for image, target, description in zip((scan, labelled), targets, marks, strict=True):
        if target in todo:
            image.SetMetaData(DESCRIPTION, description)
            write_image(image, target)
    return found


def _mark_of(case: Case) -> str:
    """What the headers of a converted case say of the files that it was made from.

    Raises UserError if one of them cannot be read.
    """
    files = [case.image, *case.slice_files, *filter(None, [case.mask])]
    try:
        return f"{MARK}{files_hash(files)}"
    except OSError as error:
        what = f"cannot be read ({error.strerror})"
        raise UserError.at(error.filename, what, "check its name and rights") from None


def _checksum_of(mask: sitk.Image) -> str:
    """What the header of a converted mask says of its voxels."""
    return f", voxels {checksum(sitk.GetArrayViewFromImage(mask))}"


def _to_write(case: Case, targets: tuple[Path, Path], mark: str) -> set[Path]:
    """The scan, the mask or both, if they are missing, cut short or of another source.

    A mask without a mark, or with other voxels than were written, was changed by somebody. It is
    kept, with a note if its source has changed as well.
    """
    shape = canonical_shape(case.image)
    mask = targets[1]
    todo = {
        target
        for target in targets
        if not _is_complete(target, shape) or (holds(target, MARK) and not holds(target, mark))
    }
    if (
        mask in todo
        and _is_complete(mask, shape)
        and not holds(mask, _checksum_of(read_mask(mask)))
    ):
        print(
            f"note: {Problem(mask, 'was changed since it was converted', 'kept')}", file=sys.stderr
        )
        todo.remove(mask)
    return todo


def _is_complete(target: Path, shape: tuple[int, int, int]) -> bool:
    try:
        return canonical_shape(target) == shape
    except UserError:
        return False


def _remove_unmarked(
    folder: LabelledFolder,
    written: dict[CaseKey, list[int]],
    targets: dict[CaseKey, tuple[Path, Path]],
) -> list[Problem]:
    """If no mask that was written marks any class, remove them all and return what is wrong."""
    found = {folder.masks[key][0]: labels for key, labels in written.items()}
    problems = label_problems(folder.root, found, folder.labels, declared=True)
    if problems:
        for key in written:
            for target in targets[key]:
                target.unlink()
    return problems


def _summary(
    folder: LabelledFolder, chosen: dict[int, CaseKey], written: int, bad: int
) -> list[str]:
    kept = len(chosen) - written - bad
    lines = [f"{len(chosen)} patients: {written} written, {kept} kept, {bad} bad"]
    unused = [folder.case_id(key) for key in folder.case_keys() if key not in chosen.values()]
    if unused:
        names = ", ".join(unused)
        lines.append(f"left out, because the challenge has one scan per patient: {names}")
    return lines + [f"note: {note}" for note in folder.notes()]
