"""The registry of methods: what the paper's tables compare, and our variants of ASPP-UNet."""

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

NNUNET = "nnunet"
PROPOSED = "aspp_unet"
INSTALL_NNUNET = "make nnunet"


@dataclass(frozen=True)
class Method:
    """A method and how its network is built and trained."""

    title: str  # as tables and figures show it
    network: str  # module.Class in spineseg.models; empty for nnU-Net, which plans its own
    tables: tuple[str, ...]  # which of table3, ablation and noise it belongs to
    options: dict[str, Any] = field(default_factory=dict)  # of the network's class
    positions: str = ""  # of its ASPP modules, as Table 2 prints them
    volumetric: bool = False  # takes whole volumes, not slices
    noise: float = 0.0  # largest k of Eq. 5 that is added to images in training


UNET = "aspp_unet.ASPPUNet"


def _without_aspp_except(*positions: int) -> dict[str, Any]:
    return {"aspp": [position in positions for position in (1, 2, 3, 4)]}


def _ablated(*positions: int) -> Method:
    printed = "+".join(map(str, positions))
    options = _without_aspp_except(*positions)
    return Method(f"ASPP {printed}", UNET, ("ablation",), options, positions=printed)


# In the order of Tables 2 and 3.
METHODS = {
    "unet": Method(
        "U-Net-2D",
        UNET,
        ("table3", "ablation", "noise"),
        _without_aspp_except(),
        positions="none",
    ),
    "segnet": Method("SegNet", "segnet.SegNet", ("table3", "noise")),
    "deeplabv3": Method("DeepLabV3", "deeplabv3.DeepLabV3", ("table3", "noise")),
    "unet3d": Method("U-Net-3D", "unet3d.UNet3D", ("table3", "noise"), volumetric=True),
    NNUNET: Method("nnU-Net-2D", "", ("table3", "noise")),
    "aspp_unet_1": _ablated(1),
    "aspp_unet_2": _ablated(2),
    "aspp_unet_3": _ablated(3),
    "aspp_unet_4": _ablated(4),
    "aspp_unet_12": _ablated(1, 2),
    "aspp_unet_34": _ablated(3, 4),
    "aspp_unet_234": _ablated(2, 3, 4),
    PROPOSED: Method("ASPP-UNet", UNET, ("table3", "ablation", "noise"), positions="1+2+3+4"),
    "aspp_unet_wide": Method(
        "full-width branches",
        UNET,
        ("ablation",),
        {"branch": 1.0},
        positions="1+2+3+4, full-width branches",
    ),
    "aspp_unet_near": Method(
        "rates 1, 2, 3",
        UNET,
        ("ablation",),
        {"rates": (1, 2, 3)},
        positions="1+2+3+4, rates 1, 2, 3",
    ),
    "aspp_unet_noise": Method("ASPP-UNet, trained with noise", UNET, ("noise",), noise=50.0),
}


def _in_table(name: str) -> tuple[str, ...]:
    return tuple(method for method, entry in METHODS.items() if name in entry.tables)


TABLE3 = _in_table("table3")
ABLATION = _in_table("ablation")
NOISE_METHODS = _in_table("noise")
OWN_NETWORKS = tuple(name for name in METHODS if name != NNUNET)


def nnunet_is_installed() -> bool:
    return find_spec("nnunetv2") is not None


def runnable() -> tuple[str, ...]:
    """All methods; nnU-Net only if its package is installed."""
    return tuple(name for name in METHODS if name != NNUNET or nnunet_is_installed())
