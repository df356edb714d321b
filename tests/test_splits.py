from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spineseg.data.layouts import Case, open_labelled
from spineseg.data.splits import split_folds
from spineseg.profiles import load_profile
from spineseg.utils.errors import UserError


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
        with pytest.raises(UserError, match="cannot be split into 5"):
            split_folds(cases, 5, seed)
        return
    folds = split_folds(cases, 5, seed)
    assert sorted(case for fold in folds for case in fold) == sorted(case.id for case in cases)
    patient = {case.id: case.patient for case in cases}
    tested = [{patient[case] for case in fold} for fold in folds]
    assert sum(map(len, tested)) == len(set(patients))
    assert split_folds(list(reversed(cases)), 5, seed) == folds


@settings(max_examples=30, deadline=None)
@given(
    series=st.dictionaries(
        st.integers(1, 300),
        st.sets(st.sampled_from(["t1", "t2", "t2_SPACE"]), min_size=1),
        min_size=1,
        max_size=60,
    ),
    name=st.sampled_from(["smoke", "laptop", "paper"]),
)
def test_all_series_of_a_spider_patient_stay_in_one_fold(tmp_path_factory, series, name):
    """The folds to run hold out the number of patients that the profile asks for."""
    root = tmp_path_factory.mktemp("spider")
    (root / "images").mkdir()
    for number, kinds in series.items():
        for kind in kinds:
            (root / "images" / f"{number}_{kind}.mha").touch()
    patients = {str(number) for number, kinds in series.items() if kinds - {"t1"}}
    if not patients:
        return
    folder = open_labelled(root)
    cases = folder.cases()
    patient = {case.id: case.patient for case in cases}
    assert set(patient.values()) == patients
    assert {case.id for case in cases} == {
        f"{n}_{kind}" for n, kinds in series.items() for kind in kinds - {"t1"}
    }
    profile = load_profile(name)
    if len(patients) < profile.folds:
        with pytest.raises(UserError):
            split_folds(cases, profile.folds, profile.split_seed)
        return
    tested = [{patient[case] for case in fold} for fold in split_folds(cases, profile.folds, 0)]
    assert sum(map(len, tested)) == len(set().union(*tested)) == len(patients)
    run = profile.folds_to_run(folder.patients())
    held_out = [sum(len(tested[fold]) for fold in run[:count]) for count in range(len(run) + 1)]
    wanted = profile.min_test_patients or len(patients)
    assert held_out[-1] == len(patients) or held_out[-2] < wanted <= held_out[-1]


def test_the_papers_numbers():
    folds = split_folds(make_cases(list(range(172))), 5, 0)
    assert [len(fold) for fold in folds] == [34, 34, 34, 35, 35]
    assert load_profile("paper").folds_to_run(172) == list(range(len(folds)))


def test_the_seed_matters():
    cases = make_cases(list(range(40)))
    assert split_folds(cases, 5, 0) != split_folds(cases, 5, 1)
