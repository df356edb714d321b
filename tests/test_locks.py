"""Locks, and disks that have none. tests/test_faults.py takes them between processes."""

import errno
import os

import pytest
from filelock import SoftFileLock, Timeout

from spineseg.utils import locks
from spineseg.utils.errors import UserError
from spineseg.utils.files import write_json
from spineseg.utils.locks import acquire, file_lock, folder_lock, new_lock

fcntl = pytest.importorskip("fcntl")


@pytest.fixture
def answer(monkeypatch):
    """A function that makes every lock of a file fail with an error."""
    monkeypatch.setattr(locks, "_noted", set())

    def fail_with(number: int) -> None:
        def flock(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(fcntl, "flock", flock)

    return fail_with


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL])
def test_a_disk_without_locks_is_noted_once_and_used(tmp_path, answer, capsys, number):
    answer(number)
    for name in ("a.json", "b.json"):
        with folder_lock(tmp_path / "run"):
            write_json(tmp_path / name, [1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.json"]
    (line,) = capsys.readouterr().err.splitlines()
    assert f"this disk has no locks ({os.strerror(number)})" in line
    assert "run only one command at a time there" in line


def test_without_locks_nothing_waits_for_what_a_killed_process_left(tmp_path, answer, capsys):
    (tmp_path / ".lock-run").write_text("process 1 on another machine")
    answer(errno.ENOSYS)
    with folder_lock(tmp_path / "run"):
        pass
    assert "at work here" not in capsys.readouterr().err


def test_a_system_without_file_locks_is_noted_and_used(tmp_path, monkeypatch, capsys):
    """There, a lock is a file that exists, and what a killed process leaves would hold for ever."""
    monkeypatch.setattr(locks, "FileLock", SoftFileLock)
    monkeypatch.setattr(locks, "_noted", set())
    (tmp_path / ".lock-a.json").write_text("left by a killed process")
    write_json(tmp_path / "a.json", [1])
    assert "this system has no file locks" in capsys.readouterr().err


def test_other_errors_are_one_line_that_names_the_lock(tmp_path, answer):
    answer(errno.EPERM)
    for write in (
        lambda: write_json(tmp_path / "a.json", [1]),
        folder_lock(tmp_path / "a").__enter__,
    ):
        with pytest.raises(UserError, match="this lock cannot be taken") as error:
            write()
        assert ".lock-a" in str(error.value)
        assert "\n" not in str(error.value)


def test_something_else_called_like_a_lock_is_one_line(tmp_path):
    (tmp_path / ".lock-a.json").mkdir()
    with pytest.raises(UserError, match="this lock cannot be taken"):
        write_json(tmp_path / "a.json", [1])


def test_a_held_lock_is_not_taken_again(tmp_path):
    lock = new_lock(tmp_path / "lock")
    assert acquire(lock, wait=False)
    with pytest.raises(Timeout):
        acquire(new_lock(tmp_path / "lock"), wait=False)
    lock.release()
    with file_lock(tmp_path / "lock"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_at_work_is_refused_by_name(tmp_path):
    with folder_lock(tmp_path / "run"):
        holder = rf"process {os.getpid()} on .* is at work here"
        with pytest.raises(UserError, match=holder), folder_lock(tmp_path / "run"):
            pass
