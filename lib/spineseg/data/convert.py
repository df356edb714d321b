"""Convert SPIDER to the challenge's layout, names and labels, with one scan per patient."""

import sys
from pathlib import Path

import SimpleITK as sitk

from spineseg.data.layouts import CaseKey, SpiderFolder
from spineseg.data.volume import (
    canonical_shape,
    geometry_mismatch,
    read_mask,
    read_scan,
    write_image,
)
from spineseg.labels import CHALLENGE_LABELS, SPIDER_LABELS, relabel, unknown_labels
from spineseg.utils.errors import Problem, UserError
from spineseg.utils.files import read_json, write_json
from spineseg.utils.progress import progress_bar

RECORD, PARTIAL_RECORD = "source.json", "source.partial.json"
SPIDER_RECORD = {
    "set": "SPIDER",
    "version": "Zenodo record 10159290, doi:10.5281/zenodo.10159290",
    "licence": "CC BY 4.0",
    "cite": "van der Graaf et al. 2024, doi:10.1038/s41597-024-03090-w",
    "labels": {  # SPIDER's label: the challenge's label
        str(label): CHALLENGE_LABELS.index(name)
        for label, name in enumerate(SPIDER_LABELS)
        if name in CHALLENGE_LABELS
    },
    "other labels": 0,
}


def convert(source: Path, out: Path) -> Path:
    """Write a SPIDER folder's scans and masks into `out`/train in the challenge's layout.

    Each patient's T2 series is used, or the T2 SPACE series if there is no T2. Voxels and grid do
    not change. `out`/source.json, written last, records the origin. An interrupted conversion can
    be resumed. Prints a summary to stderr. Raises UserError if `source` is not SPIDER or `out`
    holds anything else, and, after all good files are written, one that lists the bad files.
    """
    folder = SpiderFolder(source)
    chosen: dict[int, CaseKey] = {}
    for key in folder.case_keys():  # T2 before T2 SPACE
        chosen.setdefault(key[0], key)
    targets = {key: _targets(number, out) for number, key in chosen.items()}
    _refuse_other_files(out, {file for pair in targets.values() for file in pair})
    for part in ("MR", "Mask"):
        (out / "train" / part).mkdir(parents=True, exist_ok=True)
    if not (out / RECORD).exists():
        write_json(out / PARTIAL_RECORD, SPIDER_RECORD)
    written, bad = 0, []
    for key, target in progress_bar(targets.items(), desc="convert", unit="case"):
        try:
            written += _convert_case(_scan_and_mask(folder, key), target)
        except UserError as error:
            bad.append(error)
    for line in _summary(folder, chosen, written, len(bad)):
        print(line, file=sys.stderr)
    if bad:
        raise UserError(*(problem for error in bad for problem in error.problems))
    series = {f"Case{number}": folder.case_id(key) for number, key in chosen.items()}
    write_json(out / RECORD, SPIDER_RECORD | {"cases": series})
    (out / PARTIAL_RECORD).unlink(missing_ok=True)
    return out


def _targets(number: int, out: Path) -> tuple[Path, Path]:
    train = out / "train"
    return train / "MR" / f"Case{number}.nii.gz", train / "Mask" / f"mask_case{number}.nii.gz"


def _refuse_other_files(out: Path, targets: set[Path]) -> None:
    """Raise UserError if the folder holds files that this conversion would not write."""
    records = [out / name for name in (RECORD, PARTIAL_RECORD) if (out / name).exists()]
    for record in records:
        if not _is_our_record(record):
            what = "describes another data set or other labels"
            raise UserError.at(record, what, "choose another folder")
    allowed = {*targets, *records} if records else set()
    for path in sorted(out.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(out).parts)
        if path.is_file() and not hidden and path not in allowed:
            what = "was not made from this data set"
            raise UserError.at(path, what, "choose another folder")


def _is_our_record(record: Path) -> bool:
    try:
        found = read_json(record)
    except ValueError:
        return False
    return isinstance(found, dict) and SPIDER_RECORD.items() <= found.items()


def _scan_and_mask(folder: SpiderFolder, key: CaseKey) -> tuple[Path, Path]:
    images, masks = folder.images.get(key, []), folder.masks.get(key, [])
    if len(images) != 1 or len(masks) != 1:
        what = f"{len(images)} scans and {len(masks)} masks of this series"
        raise UserError.at((*images, *masks)[0], what, "leave one of each")
    return images[0], masks[0]


def _convert_case(sources: tuple[Path, Path], targets: tuple[Path, Path]) -> bool:
    """Write scan and mask. Returns False if both exist already. Raises UserError for bad files."""
    shape = canonical_shape(sources[0])
    if all(_is_written(target, shape) for target in targets):
        return False
    scan, mask = read_scan(sources[0]), read_mask(sources[1])
    if mismatch := geometry_mismatch(mask, scan):
        what = f"does not fit {sources[0]}: {mismatch}"
        raise UserError.at(sources[1], what, "copy both again")
    stored = sitk.GetArrayViewFromImage(mask)
    if unknown := unknown_labels(stored, SPIDER_LABELS):
        what = f"unknown labels: {', '.join(map(str, unknown))}"
        print(f"note: {Problem(sources[1], what, 'become background')}", file=sys.stderr)
    labelled = sitk.GetImageFromArray(relabel(stored, SPIDER_LABELS, CHALLENGE_LABELS))
    labelled.CopyInformation(mask)
    for image, target in zip((scan, labelled), targets, strict=True):
        write_image(image, target)
    return True


def _is_written(target: Path, shape: tuple[int, int, int]) -> bool:
    """Whether a complete file of that shape exists."""
    try:
        return canonical_shape(target) == shape
    except UserError:
        return False


def _summary(folder: SpiderFolder, chosen: dict[int, CaseKey], written: int, bad: int) -> list[str]:
    kept = len(chosen) - written - bad
    lines = [f"{len(chosen)} patients: {written} written, {kept} kept, {bad} bad"]
    unused = [folder.case_id(key) for key in folder.case_keys() if key not in chosen.values()]
    if unused:
        names = ", ".join(unused)
        lines.append(f"left out, because the challenge has one scan per patient: {names}")
    return lines + [f"note: {note}" for note in folder.notes()]
