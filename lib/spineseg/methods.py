"""The registry of methods: what the paper's tables compare, and our variants of ASPP-UNet."""

from collections.abc import Collection
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

NNUNET = "nnunet"
PLAIN = "unet"
PROPOSED = "aspp_unet"
NOISE_TRAINED = "aspp_unet_noise"
INSTALL_NNUNET = "make nnunet"


@dataclass(frozen=True)
class Method:
    """A method and how its network is built and trained."""

    title: str  # as tables and figures show it
    network: str  # module.Class in spineseg.models; empty for nnU-Net, which plans its own
    tables: tuple[str, ...]  # which of table3, ablation, noise and mechanism it belongs to
    options: dict[str, Any] = field(default_factory=dict)  # of the network's class
    positions: str = ""  # of its ASPP modules, as Table 2 prints them
    has_stages: bool = True  # whether the profile says how many stages the network has
    volumetric: bool = False  # takes whole volumes, not slices
    noise: float = 0.0  # largest k of Eq. 5 that is added to images in training


UNET = "aspp_unet.ASPPUNet"
DEPTHS = (1, 2, 3, 4, 5)  # stages of the networks that show the mechanism
CONTROL_DEPTH = 2  # stages of the control networks


def _ablated(*positions: int) -> Method:
    printed = "+".join(map(str, positions))
    return Method(f"ASPP {printed}", UNET, ("ablation",), {"aspp": positions}, positions=printed)


def at_depth(name: str, stages: int) -> str:
    """The name of U-Net-2D or ASPP-UNet with a number of stages of its own."""
    return f"{name}_depth_{stages}"


def _at_depths() -> dict[str, Method]:
    """U-Net-2D and ASPP-UNet of each depth."""
    return {
        at_depth(name, stages): Method(
            f"{title}, {stages} stage{'s' * (stages > 1)}",
            UNET,
            ("mechanism",),
            {"stages": stages, **options},
        )
        for name, title, options in (
            (PLAIN, "U-Net-2D", {"aspp": ()}),
            (PROPOSED, "ASPP-UNet", {}),
        )
        for stages in DEPTHS
    }


def _control(title: str, **options: Any) -> Method:
    return Method(title, UNET, ("mechanism",), {"stages": CONTROL_DEPTH, **options})


# In the order of Tables 2 and 3.
METHODS = {
    PLAIN: Method(
        "U-Net-2D",
        UNET,
        ("table3", "ablation", "noise"),
        {"aspp": ()},
        positions="none",
    ),
    "segnet": Method("SegNet", "segnet.SegNet", ("table3", "noise")),
    "deeplabv3": Method("DeepLabV3", "deeplabv3.DeepLabV3", ("table3", "noise"), has_stages=False),
    "unet3d": Method("U-Net-3D", "unet3d.UNet3D", ("table3", "noise"), volumetric=True),
    NNUNET: Method("nnU-Net-2D", "", ("table3", "noise"), has_stages=False),
    "aspp_unet_1": _ablated(1),
    "aspp_unet_2": _ablated(2),
    "aspp_unet_3": _ablated(3),
    "aspp_unet_4": _ablated(4),
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
    NOISE_TRAINED: Method("ASPP-UNet, trained with noise", UNET, ("noise",), noise=50.0),
    **_at_depths(),
    "control_no_pooling": _control("ASPP without image pooling", pooling=False),
    "control_pooling": _control("1x1 branch and image pooling alone", rates=()),
    "control_near": _control("ASPP with rates 1, 2, 3", rates=(1, 2, 3)),
    "control_wide": _control(
        "five full-width 1x1 branches", branch=1.0, rates=(0, 0, 0, 0), pooling=False
    ),
    "control_rows": _control("U-Net-2D with the row as input", aspp=(), sees_rows=True),
}


def _in_table(name: str) -> tuple[str, ...]:
    return tuple(method for method, entry in METHODS.items() if name in entry.tables)


MAP_STRIDES = {"deeplabv3": 8}  # image pixels per pixel of the map, for methods that enlarge it

TABLE3_METHODS = _in_table("table3")
ABLATION_METHODS = _in_table("ablation")
NOISE_METHODS = _in_table("noise")
MECHANISM_METHODS = _in_table("mechanism")
OWN_NETWORKS = tuple(name for name in METHODS if name != NNUNET)


def proposed_or_first(models: Collection[str]) -> str:
    """Of these methods, ASPP-UNet or, without it, the first of Table 3."""
    return next(name for name in (PROPOSED, *TABLE3_METHODS) if name in models)


def nnunet_is_installed() -> bool:
    return find_spec("nnunetv2") is not None


def runnable() -> tuple[str, ...]:
    """The methods of Table 3 and of the noise test; nnU-Net only if its package is installed."""
    return tuple(name for name in NOISE_METHODS if name != NNUNET or nnunet_is_installed())
