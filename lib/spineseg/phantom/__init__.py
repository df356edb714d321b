"""A simulator of sagittal T2 MR scans of the lumbar spine.

Labels and file layout are those of the MRSpineSeg challenge. `simulate` returns one scan with its
mask; `write_dataset` fills a folder. A reader may follow a scan through the modules in this order:
anatomy (one patient's sizes), spine (bones and discs in space), grid, shapes and canvas (from
shapes to voxels), signals, surroundings and structures (what is painted), acquisition (the
scanner), simulate (all of it), dataset (the files).
"""

from spineseg.phantom.dataset import TABLE1_SHAPES, plan_shapes, write_dataset
from spineseg.phantom.simulate import Phantom, simulate

__all__ = ["TABLE1_SHAPES", "Phantom", "plan_shapes", "simulate", "write_dataset"]
