"""nnU-Net-2D, a baseline of the paper: the package `nnunetv2` itself, not a copy.

Isensee et al. 2021 (doi:10.1038/s41592-020-01008-z). It gets the slices that our own networks get,
on the target grid and cropped, and plans its network, patch and batch from the training cases of a
fold. The recipe is nnU-Net's own. The profile says how long it trains.
"""
