"""Which methods the paper's tables compare, and what runs here."""

from importlib.util import find_spec

from spineseg.models import MODELS

NNUNET = "nnunet"
TABLE3 = ("unet", "segnet", "deeplabv3", "unet3d", NNUNET, "aspp_unet")
ABLATION = (
    "unet",
    "aspp_unet_1",
    "aspp_unet_2",
    "aspp_unet_3",
    "aspp_unet_4",
    "aspp_unet_12",
    "aspp_unet_34",
    "aspp_unet_234",
    "aspp_unet",
    "aspp_unet_wide",
    "aspp_unet_near",
)
NOISE = (*TABLE3, "aspp_unet_noise")
METHODS = tuple(dict.fromkeys((*TABLE3, *ABLATION, *NOISE)))
TITLES = {name: MODELS[name].title if name in MODELS else "nnU-Net-2D" for name in METHODS}
INSTALL_NNUNET = "make nnunet"


def nnunet_is_installed() -> bool:
    return find_spec("nnunetv2") is not None


def runnable() -> tuple[str, ...]:
    """All methods, but nnU-Net where its package is not installed."""
    return tuple(name for name in METHODS if name != NNUNET or nnunet_is_installed())
