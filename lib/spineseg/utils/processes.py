"""Worker processes that end with their parent."""

import os
from multiprocessing import parent_process
from threading import Thread


def end_with_parent() -> None:
    """Call this in a worker: it exits when its parent dies. Pool workers would wait forever."""
    if parent := parent_process():

        def follow() -> None:
            parent.join()
            os._exit(1)

        Thread(target=follow, daemon=True).start()
