"""Cross-validation folds: split by patient, reproducible from a seed."""

from collections.abc import Sequence
from typing import Protocol

from spineseg.utils.errors import UserError


class Scan(Protocol):
    """A scan; scans are split by patient."""

    @property
    def id(self) -> str: ...

    @property
    def patient(self) -> str: ...


def split_folds(cases: Sequence[Scan], folds: int, seed: int) -> list[list[str]]:
    """Split the cases into `folds` test sets. No patient is in two of them.

    Returns the sorted case ids that each fold holds out, smaller folds first, so that fold 0 of
    five is the paper's 4:1 split (138 / 34 of 172, section 3). The result depends only on the set
    of patients and the seed. Raises UserError if there are fewer patients than folds.
    """
    from sklearn.model_selection import KFold

    patients = sorted({case.patient for case in cases})
    if len(patients) < folds:
        what = f"{len(patients)} patients cannot be split into {folds} folds"
        remedy = f"add scans, or set `folds` in the profile to {len(patients)} or fewer"
        raise UserError.at("folds", what, remedy)
    parts = KFold(folds, shuffle=True, random_state=seed).split(patients)
    tests = sorted(
        ({patients[i] for i in test} for _, test in parts),
        key=lambda part: (len(part), sorted(part)),
    )
    return [sorted(case.id for case in cases if case.patient in test) for test in tests]
