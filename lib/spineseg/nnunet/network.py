"""The network that nnU-Net plans for slices of a given size (Table 4)."""

import math

from torch import nn

from spineseg.labels import NUM_CLASSES


def planned_network(rows: int, columns: int) -> tuple[nn.Module, tuple[int, ...]]:
    """nnU-Net's network for isotropic slices of this size, and the shape of its padded input."""
    from dynamic_network_architectures.architectures.unet import PlainConvUNet
    from nnunetv2.experiment_planning.experiment_planners.network_topology import (
        get_pool_and_conv_props,
    )

    _, strides, kernels, padded, _ = get_pool_and_conv_props((1, 1), (rows, columns), 4, math.inf)
    stages = len(strides)
    network = PlainConvUNet(
        input_channels=1,
        n_stages=stages,
        features_per_stage=[min(512, 32 * 2**stage) for stage in range(stages)],
        conv_op=nn.Conv2d,
        kernel_sizes=kernels,
        strides=strides,
        n_conv_per_stage=2,
        num_classes=NUM_CLASSES,
        n_conv_per_stage_decoder=2,
        conv_bias=True,
        norm_op=nn.InstanceNorm2d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    )
    return network.eval(), (1, 1, *map(int, padded))
