"""Who trains and who is tested: by patient, sorted, seeded."""

from collections.abc import Sequence
from typing import Protocol


class Scan(Protocol):
    """What is parted: `patient` is the unit."""

    @property
    def id(self) -> str: ...

    @property
    def patient(self) -> str: ...


class SplitError(ValueError):
    """Too few patients for the folds that were asked for."""


def split_folds(cases: Sequence[Scan], folds: int, seed: int) -> list[list[str]]:
    """Part the cases into `folds` test sets; no patient stands in two of them.

    Returns the sorted case ids held out by each fold, smaller folds first, so that fold 0 of five
    is the paper's 4:1 split (138 / 34 of 172, section 3). The result depends on nothing but the
    set of patients and the seed. Raises SplitError when there are fewer patients than folds.
    """
    from sklearn.model_selection import KFold

    patients = sorted({case.patient for case in cases})
    if len(patients) < folds:
        raise SplitError(
            f"{len(patients)} patients cannot be parted into {folds} folds; add scans, or set "
            f"`folds` in the profile to {len(patients)} or fewer"
        )
    parts = KFold(folds, shuffle=True, random_state=seed).split(patients)
    tests = sorted(
        ({patients[i] for i in test} for _, test in parts),
        key=lambda part: (len(part), sorted(part)),
    )
    return [sorted(case.id for case in cases if case.patient in test) for test in tests]
