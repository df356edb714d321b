"""Exercises of lesson 7: where a curve halves, denoising, and the floor of a score."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from spineseg.course.checks import FUNCTION, Exercise
from spineseg.utils.paths import BUNDLED, REPOSITORY

LEVELS = [0, 10, 30, 50, 70, 90]
CURVES = ([90, 88, 65, 25, 8, 2], [60, 50, 28, 7, 2, 1], [88, 84, 66, 42, 25, 15])
NOISE_TO_REMOVE = 30  # k
DRAWS = 5
CLEARLY = 3.0  # points of DSC, by which a denoised slice must be better


def half_level(k: Any, dsc: Any) -> float:
    """Where a falling curve reaches half of its first value; NaN if it does not."""
    half = dsc[0] / 2
    for i in range(1, len(k)):
        if dsc[i] <= half:
            return k[i - 1] + (dsc[i - 1] - half) / (dsc[i - 1] - dsc[i]) * (k[i] - k[i - 1])
    return float("nan")


def judge_half(answer: Callable[[Any, Any], float]) -> str:
    """Call the function with curves of which the level is known."""
    if not callable(answer):
        return FUNCTION.format("7_1", "half_level")
    for dsc in CURVES:
        found, right = float(answer(LEVELS, dsc)), half_level(LEVELS, dsc)
        if np.isclose(found, right, atol=0.05):
            continue
        if hint := _half_mistake(found, dsc):
            return hint
        return f"For the DSC {dsc} at k = {LEVELS}, the level is {right:.1f}, not {found:.1f}."
    never = answer(LEVELS, [87, 87, 84, 79, 72, 63])
    if never is not None and not np.isnan(float(never)):
        return "If the DSC stays above half, there is no such level. Return nan."
    return ""


def _half_mistake(found: float, dsc: list[int]) -> str:
    at_50 = half_level(LEVELS, [100, *dsc[1:]])
    if np.isclose(found, at_50, atol=0.05):
        return "This is where the DSC is 50 %. Take half of the DSC without noise."
    first = next(i for i, value in enumerate(dsc) if value <= dsc[0] / 2)
    if np.isclose(found, LEVELS[first]):
        return "This is the first level below half. The curve crosses before it: interpolate."
    if np.isclose(found, LEVELS[first - 1]):
        return "This is the last level above half. The curve crosses behind it: interpolate."
    mirrored = LEVELS[first - 1] + LEVELS[first] - half_level(LEVELS, dsc)
    if np.isclose(found, mirrored, atol=0.05):
        return "The right two levels, but the shares of the way between them are swapped."
    if np.isclose(found, np.interp(dsc[0] / 2, dsc, LEVELS)):
        return "`np.interp` wants a rising x. The DSC falls: turn both lists around."
    return ""


@cache
def _task() -> tuple[Any, np.ndarray, tuple[np.ndarray, ...]]:
    """The network, the truth, and the slice that comes with the repository, with noise."""
    import torch

    from spineseg.training.checkpoint import load_network
    from spineseg.training.transforms import add_noise

    stored = np.load(REPOSITORY / "results" / "phantom-laptop" / "noise.npz")
    network, _ = load_network(BUNDLED / "laptop" / "aspp_unet")
    gray = torch.from_numpy(stored["image_0"])
    draws = (torch.Generator().manual_seed(seed) for seed in range(DRAWS))
    slices = tuple(add_noise(gray, NOISE_TO_REMOVE, each).numpy() for each in draws)
    return network, stored["truth"], slices


def _mean_dice(slices: list[Any]) -> float:
    """Mean DSC over slices and classes, in per cent."""
    import torch

    from spineseg.evaluation.metrics import confusion, dsc, overlaps
    from spineseg.training.transforms import standardise

    network, truth, _ = _task()
    gray = torch.stack([torch.as_tensor(np.asarray(each, np.float32)) for each in slices])
    with torch.inference_mode():
        predicted = network(standardise(gray)).argmax(1).numpy()
    counts = overlaps(confusion(np.repeat(truth[None], len(slices), 0), predicted))
    return float(100 * np.nanmean(dsc(counts)[:, 1:]))


def judge_denoise(answer: Callable[[np.ndarray], Any]) -> str:
    """Label the slice before and after denoising."""
    if not callable(answer):
        return FUNCTION.format("7_2", "denoise")
    _, _, slices = _task()
    denoised = [np.asarray(answer(each.copy())) for each in slices]
    if denoised[0].shape != slices[0].shape:
        return f"The result has the shape {denoised[0].shape}, not {slices[0].shape}."
    if not all(np.isfinite(each).all() for each in denoised):
        return "The result has values that are not finite."
    if all(np.allclose(new, old) for new, old in zip(denoised, slices, strict=True)):
        return "The slice is as noisy as before. Each pixel must learn from its neighbours."
    before, after = _mean_dice(list(slices)), _mean_dice(denoised)
    if after >= before + CLEARLY:
        return ""
    rough = [np.abs(np.diff(each, axis=0)).mean() / max(each.std(), 1e-6) for each in denoised]
    still = [np.abs(np.diff(each, axis=0)).mean() / max(each.std(), 1e-6) for each in slices]
    words = f"The DSC is {after:.0f} % with it and {before:.0f} % without. "
    if np.mean(rough) > 0.8 * np.mean(still):
        return words + "There is still much noise. Try a stronger filter."
    return words + "The noise is gone, and edges with it. Try a weaker filter."


def can_fall_faster(clean: float, at_30: float) -> bool:
    """Whether a DSC can fall faster per unit of k from 30 to 50 than it fell from 0 to 30."""
    return at_30 / 20 > (clean - at_30) / 30


def judge_floor(answer: Callable[[float, float], Any]) -> str:
    """Call the function with pairs that tell the typical mistakes apart."""
    if not callable(answer):
        return FUNCTION.format("7_3", "can_fall_faster")
    pairs = [(90, 70), (90, 40), (90, 30), (90, 10), (60, 26), (30, 5)]
    found = [bool(answer(*pair)) for pair in pairs]
    right = [can_fall_faster(*pair) for pair in pairs]
    if found == right:
        return ""
    if len(set(found)) == 1:
        return "It depends on the two numbers. Compare the steepest fall that is left with the old."
    if found == [not each for each in right]:
        return "This is the opposite: True means that the DSC can fall faster."
    if found == [at_30 > clean - at_30 for clean, at_30 in pairs]:
        return "Compare falls per unit of k: 30 units before, and 20 units after."
    if found == [at_30 / 30 > (clean - at_30) / 20 for clean, at_30 in pairs]:
        return "The units are swapped: 30 units before, and 20 units after."
    wrong = next(pair for pair, one, two in zip(pairs, found, right, strict=True) if one != two)
    return f"For clean = {wrong[0]} and at_30 = {wrong[1]} the answer is another one."


EXERCISES = {
    "7.1": Exercise(
        judge_half,
        "One number per method, and each method is compared with itself.",
    ),
    "7.2": Exercise(
        judge_denoise,
        "A filter can bring back a part. Look at what it costs where there is no noise: the "
        "network has not seen smoothed slices either.",
    ),
    "7.3": Exercise(
        judge_floor,
        "Whoever is near the floor cannot fall fast. That is no robustness. If your function says "
        "that all methods can, the claim was at risk for each of them.",
    ),
}
