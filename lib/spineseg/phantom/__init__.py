"""A simulator of sagittal T2 lumbar MR with the MRSpineSeg challenge's labels and files.

`simulate` returns one volume; `write_dataset` fills a folder in the challenge's layout.
"""

from spineseg.phantom.dataset import FULL_SHAPES, plan_shapes, write_dataset
from spineseg.phantom.simulate import Phantom, simulate

__all__ = ["FULL_SHAPES", "Phantom", "plan_shapes", "simulate", "write_dataset"]
