"""nnU-Net-2D, a baseline of the paper: the package `nnunetv2` itself, not a copy.

Isensee et al. 2021 (doi:10.1038/s41592-020-01008-z). It gets the slices that our own networks get,
on the target grid and cropped, and plans its network, patch and batch from the training cases of a
fold. The profile says how long it trains. If the profile asks for SGD, as the paper's does, the
recipe is nnU-Net's own. If it asks for AdamW, two variants that nnU-Net brings along are used,
because within 300 batches its own recipe stays at DSC 0.
"""
