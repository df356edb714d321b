from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spineseg.data.sources import Case
from spineseg.data.splits import SplitError, split_folds
from spineseg.profiles import load_profile


def make_cases(patients: list[int]) -> list[Case]:
    return [
        Case(f"Case{i}", Path(f"{i}.nii"), Path(f"m{i}.nii"), f"patient{p}")
        for i, p in enumerate(patients)
    ]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=5, max_size=60), st.integers(0, 9))
def test_each_case_is_tested_once_and_patients_stay_together(patients, seed):
    cases = make_cases(patients)
    if len(set(patients)) < 5:
        with pytest.raises(SplitError, match="cannot be parted into 5"):
            split_folds(cases, 5, seed)
        return
    folds = split_folds(cases, 5, seed)
    assert sorted(case for fold in folds for case in fold) == sorted(case.id for case in cases)
    patient = {case.id: case.patient for case in cases}
    homes = [{patient[case] for case in fold} for fold in folds]
    assert sum(map(len, homes)) == len(set(patients))
    assert split_folds(list(reversed(cases)), 5, seed) == folds


def test_the_papers_numbers():
    folds = split_folds(make_cases(list(range(172))), 5, 0)
    assert [len(fold) for fold in folds] == [34, 34, 34, 35, 35]
    assert load_profile("full").folds_to_run(172) == list(range(len(folds)))


def test_the_seed_matters():
    cases = make_cases(list(range(40)))
    assert split_folds(cases, 5, 0) != split_folds(cases, 5, 1)
