"""Worker processes that end when the process they work for does."""

import os
from multiprocessing import parent_process
from threading import Thread


def end_with_parent() -> None:
    """To be called in a worker: a pool's own wait for ever for work once their parent is killed."""
    if parent := parent_process():

        def follow() -> None:
            parent.join()
            os._exit(1)

        Thread(target=follow, daemon=True).start()
