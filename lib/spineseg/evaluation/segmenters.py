"""The segmenter of a finished run, whatever its method."""

from pathlib import Path

from spineseg.inference.segmenter import Segmenter
from spineseg.methods import NNUNET
from spineseg.runs import load_record


def open_segmenter(run: Path, gpu: int = 0) -> Segmenter:
    """Load a finished run for prediction, on the GPU of that index if there are GPUs.

    Raises UserError for any other folder.
    """
    if load_record(run).model == NNUNET:
        from spineseg.nnunet.segmenter import NnunetSegmenter

        return NnunetSegmenter(run, gpu)
    from spineseg.inference.network import NetworkSegmenter

    return NetworkSegmenter(run, gpu)
