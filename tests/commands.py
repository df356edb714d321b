"""Commands in processes of their own, and faults to inject into them.

Each is forked from a server that has imported everything and computed nothing, which saves the
seconds that a fresh interpreter takes to import torch.
"""

import codecs
import itertools
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

OPENED_FOR_WRITING = os.O_WRONLY | os.O_RDWR


@dataclass
class Ended:
    """How a command ended; `code` is negative where a signal ended it."""

    code: int
    out: str
    err: str


@dataclass
class Running:
    commands: "Commands"
    pid: int
    prints: Path

    def said(self) -> str:
        err = self.prints.with_suffix(".err")
        return err.read_text() if err.exists() else ""

    def wait_until_stopped(self) -> None:
        while Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.01)

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def is_alive(self) -> bool:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"

    def end(self) -> Ended:
        code = self.commands._ask({"wait": self.pid})
        self.commands.running.remove(self.pid)
        return Ended(code, self.prints.with_suffix(".out").read_text(), self.said())


@dataclass
class Commands:
    """The server's client. `prints` is a folder for what the commands print."""

    prints: Path
    numbers: itertools.count = field(default_factory=itertools.count)
    running: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
        self.server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def start(self, root: Path, *arguments: object, **fault: object) -> Running:
        """Start `spineseg ARGUMENTS` with SPINESEG_ROOT at `root`; see `_inject` for `fault`."""
        prints = self.prints / str(next(self.numbers))
        request = {"root": str(root), "arguments": list(map(str, arguments)), "fault": fault}
        running = Running(self, self._ask(request | {"prints": str(prints)}), prints)
        self.running.add(running.pid)
        return running

    def run(self, root: Path, *arguments: object, **fault: object) -> Ended:
        return self.start(root, *arguments, **fault).end()

    def _ask(self, request: dict) -> int:
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())

    def close(self) -> None:
        for pid in self.running:  # what a failed test left
            os.kill(pid, signal.SIGKILL)
        self.server.stdin.close()
        self.server.wait()


def serve() -> None:
    for name in ("cp437", "utf-8-sig", "unicode_escape"):  # of zip files, profiles and code
        codecs.lookup(name)  # another user may not be able to read Python's own files

    import scipy.stats  # noqa: F401
    import sklearn.model_selection  # noqa: F401

    import spineseg.benchmark.cost
    import spineseg.cli
    import spineseg.phantom
    import spineseg.training.loop
    import spineseg.workflow.gather
    import spineseg.workflow.predict
    import spineseg.workflow.score
    import spineseg.workflow.tables  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        elif not (answer := os.fork()):
            _obey(**request)
        print(answer, flush=True)


def _obey(root: str, arguments: list[str], prints: str, fault: dict) -> None:
    from spineseg import cli

    os.setsid()
    for stream, ending in ((0, None), (1, "out"), (2, "err")):
        path = f"{prints}.{ending}" if ending else os.devnull
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666), stream)
    os.environ["SPINESEG_ROOT"] = root
    code = 99
    try:
        _inject(**fault)
        code = cli.main(arguments)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        os._exit(code)


def _inject(
    at: str = "",
    nth: int = 0,
    by: int = signal.SIGKILL,
    list_to: str = "",
    file_size: int = 0,
    fatal: bool = False,
    user: int = 0,
    clock: list[float] | None = None,
) -> None:
    """Inject a fault: send itself the signal `by` at the `nth` touch of a path that matches `at`
    (`list_to`: list all such touches in that file instead); be unable to write files beyond
    `file_size` bytes, and, if `fatal`, die of the attempt; be another user; or have a clock that
    jumps by these seconds in turn whenever it is read.
    """
    if at:
        touches = itertools.count()

        def hook(event: str, details: tuple) -> None:
            if (touch := _touch(event, details)) and re.search(at, touch):
                number = next(touches)
                if list_to:
                    with open(list_to, "a") as file:
                        file.write(f"{touch}\n")
                elif number == nth:
                    os.kill(os.getpid(), by)

        sys.addaudithook(hook)
    if file_size:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if fatal else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if user:
        os.seteuid(user)
    if clock:
        import tqdm.std

        right, jumps = time.time, itertools.cycle(clock)
        time.time = tqdm.std.time = lambda: right() + next(jumps)


def _touch(event: str, details: tuple) -> str:
    """A line on what is about to happen to a file, `` for what changes nothing on the disk."""
    if event == "open" and isinstance(details[2], int) and details[2] & OPENED_FOR_WRITING:
        return f"open {details[0]}"
    if event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate"):
        return " ".join(
            [event, *(str(detail) for detail in details if isinstance(detail, str | Path))]
        )
    return ""


if __name__ == "__main__":
    serve()
