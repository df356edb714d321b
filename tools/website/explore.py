"""The page of sliders: slices of a volume, noise, atrous rates, and epochs of a training."""

from __future__ import annotations

import base64
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tools.website.folders import SITE
from tools.website.slider import Panel, Slider, legend, save_gray, save_labels

from spineseg.course.exercises.lesson_05 import mean_taps
from spineseg.data.gray import gray_range, to_gray
from spineseg.evaluation.metrics import confusion, dsc, overlaps
from spineseg.evaluation.noise import noisy
from spineseg.labels import CLASSES, COLOURS, challenge_to_class
from spineseg.methods import METHODS, PLAIN, PROPOSED
from spineseg.phantom import simulate
from spineseg.utils.paths import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

VOLUME = (12, 220, 220)  # slices, rows, columns
SEED = 3  # of the volume that is shown
NOISE_LEVELS = range(0, 100, 10)  # k of Eq. 5
EXAMPLE = REPOSITORY / "results" / "phantom-laptop" / "noise.npz"
WEIGHTS = REPOSITORY / "weights" / "laptop"
RATES = (1, 2, 3, 6, 12, 18, 24)
PAPER_IMAGE = (880, 464)  # rows, columns
OUR_IMAGE = (110, 64)  # of the profile `laptop`

PARTS = re.compile(r"<<(\w+)>>")  # of site/explore.md
NO_VIEWER = """(explore-volume)=
## The volume in 3-D
This site was built without npm, so the viewer is left out.
"""
NO_NETWORKS = "The trained networks of `weights/laptop/` are missing, so this slider is left out."


@dataclass(frozen=True)
class Volume:
    """A simulated scan: gray values 0..255, classes, and mm between slices, rows and columns."""

    gray: np.ndarray  # uint8 (slices, rows, columns)
    classes: np.ndarray  # uint8, the same shape
    spacing: tuple[float, float, float]


def simulated(shape: tuple[int, int, int], seed: int) -> Volume:
    """A phantom with 8-bit gray values."""
    phantom = simulate(shape, seed)
    gray = to_gray(phantom.image, *gray_range(phantom.image))
    return Volume(gray, challenge_to_class(phantom.mask), phantom.spacing)


def explore_page(static: Path, with_viewer: bool) -> str:
    """Write all pictures and data below `static`; returns the page in Markdown."""
    volume = simulated(VOLUME, SEED)
    write_volume(volume, static / "volume")
    start = time.monotonic()
    epochs = epochs_slider(static / "epochs")
    seconds = time.monotonic() - start
    noise = noise_slider(static / "noise")
    parts = {
        "slices": slices_slider(volume, static / "slices").html(),
        "volume": (SITE / "viewer.md").read_text(encoding="utf-8") if with_viewer else NO_VIEWER,
        "noise": f"```{{raw}} html\n{noise.html()}\n{legend()}\n```" if noise else NO_NETWORKS,
        "rates": rates_html(),
        "epochs": epochs.html(),
        "seconds": f"{seconds:.0f}",
        "legend": legend(),
    }
    template = (SITE / "explore.md").read_text(encoding="utf-8")
    return PARTS.sub(lambda part: parts[part[1]], template)


def slices_slider(volume: Volume, folder: Path) -> Slider:
    """The slices of a volume, with their labels."""
    frames = [
        _with_labels(g, c, volume.spacing[1:], folder, f"{n:02d}")
        for n, (g, c) in enumerate(zip(volume.gray, volume.classes, strict=True))
    ]
    count = len(volume.gray)
    texts = []
    for number, classes in enumerate(volume.classes, start=1):
        seen = [name for n, name in enumerate(CLASSES) if n and (classes == n).any()]
        names = ", ".join(seen) if seen else "no labelled bone"
        texts.append(f"Slice {number} of {count}: {names}.")
    values = [str(number) for number in range(1, count + 1)]
    panel = Panel("", "A sagittal slice of a simulated spine, with the vertebrae in colour", frames)
    return Slider("slices", "Slice", values, texts, [panel], first=count // 2)


def write_volume(volume: Volume, folder: Path) -> None:
    """Write image and labels as NIfTI, and both as a script that pages opened from disk load."""
    from spineseg.phantom.dataset import write_psr

    folder.mkdir(parents=True, exist_ok=True)
    files = {"image": volume.gray, "labels": volume.classes}
    for name, array in files.items():
        write_psr(array, volume.spacing, folder / f"{name}.nii.gz")
    data = {
        name: base64.b64encode((folder / f"{name}.nii.gz").read_bytes()).decode() for name in files
    }
    colours = [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in COLOURS.values()]
    data |= {"names": list(CLASSES), "colours": colours}
    script = f"window.spineVolume = {json.dumps(data)};\n"
    (folder / "volume.js").write_text(script, encoding="utf-8")


def noise_slider(folder: Path) -> Slider | None:
    """A slice with more and more noise, and what two trained networks make of it."""
    runs = {name: WEIGHTS / name for name in (PLAIN, PROPOSED)}
    if not (EXAMPLE.is_file() and all((run / "run.json").is_file() for run in runs.values())):
        return None
    from spineseg.inference.network import NetworkSegmenter

    segmenters = {name: NetworkSegmenter(run) for name, run in runs.items()}
    with np.load(EXAMPLE) as example:
        clean, truth, pixel = example["image_0"], example["truth"], tuple(example["spacing"])
    images, predictions, scores = [], {name: [] for name in runs}, {name: [] for name in runs}
    for k in NOISE_LEVELS:
        gray = noisy(clean, k, "site")
        file = save_gray(gray, pixel, folder / f"image-{k}.png")
        images.append((file,))
        for name, segmenter in segmenters.items():
            classes = segmenter.probabilities(gray[None])[0].argmax(-1).astype(np.uint8)
            labels = save_labels(classes, pixel, folder / f"{name}-{k}.png")
            predictions[name].append((file, labels))
            scores[name].append(mean_dsc(truth, classes))
    true_labels = save_labels(truth, pixel, folder / "truth.png")
    titles = {name: METHODS[name].title for name in runs}
    panels = [
        Panel("Truth", "The slice with its true labels", [(f[0], true_labels) for f in images]),
        *(
            Panel(titles[name], f"The slice with what {titles[name]} predicts", predictions[name])
            for name in runs
        ),
    ]
    texts = [
        f"k = {k}. Mean DSC on this slice: "
        + ", ".join(f"{titles[name]} {scores[name][n]:.0f} %" for name in runs)
        + "."
        for n, k in enumerate(NOISE_LEVELS)
    ]
    curves = {titles[name]: scores[name] for name in runs}
    return Slider("noise", "k =", [str(k) for k in NOISE_LEVELS], texts, panels, curves)


def mean_dsc(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Mean DSC over the classes that occur in truth or prediction, in per cent."""
    counts = overlaps(confusion(truth[None], predicted[None]))[0, 1:]
    return float(100 * np.nanmean(dsc(counts)))


def map_size(rows: int, columns: int, stages: int, position: int) -> tuple[int, int]:
    """Rows and columns of the map at a position (from 1) of a network with this many stages.

    The image is padded so that it can be halved at each stage.
    """
    step = 2**stages
    rows, columns = (-(-length // step) * step for length in (rows, columns))
    return rows // 2 ** (position - 1), columns // 2 ** (position - 1)


def rates_html() -> str:
    """The kernel on a map: a choice of maps, a slider of rates, and a drawing."""
    maps = [
        *(_map("Paper", *PAPER_IMAGE, 4, position) for position in range(1, 5)),
        *(_map("Here", *OUR_IMAGE, 3, position) for position in range(1, 4)),
    ]
    last = len(maps) - 1
    options = "".join(
        f"<option value={n}{' selected' * (n == last)}>{m['title']}</option>"
        for n, m in enumerate(maps)
    )
    data = json.dumps({"rates": RATES, "maps": maps})
    first = RATES.index(6)
    return "\n".join(
        [
            '<figure class="slider" id="rates">',
            '<svg id="rates-drawing" role="img" '
            'aria-label="The nine taps of the kernel on the map"></svg>',
            '<div class="slider-controls">',
            f"<label>Map <select>{options}</select></label>",
            f"<label>Rate <output>{RATES[first]}</output><input type='range' min='0' "
            f"max='{len(RATES) - 1}' step='1' value='{first}'></label>",
            "</div>",
            '<figcaption aria-live="polite"></figcaption>',
            f'<script type="application/json">{data}</script>',
            "</figure>",
        ]
    )


def _map(whose: str, rows: int, columns: int, stages: int, position: int) -> dict:
    """The map that the ASPP module at a position works on, and its taps at each rate."""
    rows, columns = map_size(rows, columns, stages, position)
    return {
        "title": f"{whose}: position {position}, {rows} × {columns}",
        "rows": rows,
        "columns": columns,
        "mean": [round(mean_taps(rows, columns, rate), 1) for rate in RATES],
    }


# -- a small training ---------------------------------------------------------------------------

TRAINED_SHAPE = (12, 64, 64)
TRAINED_COLUMNS = slice(16, 48)
TRAINED_SLICES = slice(4, 8)  # of each patient: those in the middle
PATIENTS, EPOCHS, BATCH = 32, 24, 8
TRAINED_WIDTH, TRAINED_STAGES, LEARNING_RATE = 8, 3, 1e-2


def epochs_slider(folder: Path) -> Slider:
    """A held-out slice and what a small network predicts for it after each epoch."""
    held_out = simulated(TRAINED_SHAPE, PATIENTS)
    middle = TRAINED_SHAPE[0] // 2
    gray = np.ascontiguousarray(held_out.gray[middle, :, TRAINED_COLUMNS])
    truth = np.ascontiguousarray(held_out.classes[middle, :, TRAINED_COLUMNS])
    pixel = held_out.spacing[1:]
    file = save_gray(gray, pixel, folder / "image.png")
    true_labels = save_labels(truth, pixel, folder / "truth.png")
    frames, texts, scores = [], [], []
    for epoch, (loss, classes) in enumerate(predictions_by_epoch(gray)):
        frames.append((file, save_labels(classes, pixel, folder / f"{epoch:02d}.png")))
        scores.append(mean_dsc(truth, classes))
        trained = f"mean training loss {loss:.2f}, " if epoch else ""
        texts.append(f"Epoch {epoch}: {trained}mean DSC on this slice {scores[-1]:.0f} %.")
    panels = [
        Panel("Truth", "A slice with its true labels", [(file, true_labels)] * len(frames)),
        Panel("Prediction", "The same slice with what the network predicts", frames),
    ]
    values = [str(epoch) for epoch in range(len(frames))]
    return Slider("epochs", "Epoch", values, texts, panels, {METHODS[PLAIN].title: scores})


def predictions_by_epoch(gray: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
    """Train; yield the mean loss and the classes of `gray` before and after each epoch."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # of a network this small, more threads only wait for each other
    try:
        yield from _train(gray)
    finally:
        torch.set_num_threads(threads)


def _train(gray: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
    import torch
    from torch.nn.functional import cross_entropy

    from spineseg.models import build_model
    from spineseg.training.transforms import standardise

    torch.manual_seed(0)
    volumes = [simulated(TRAINED_SHAPE, seed) for seed in range(PATIENTS)]
    images, targets = (
        torch.from_numpy(np.concatenate(arrays)[..., TRAINED_COLUMNS].copy())
        for arrays in (
            [volume.gray[TRAINED_SLICES] for volume in volumes],
            [volume.classes[TRAINED_SLICES] for volume in volumes],
        )
    )
    network = build_model(PLAIN, width=TRAINED_WIDTH, stages=TRAINED_STAGES)
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE)
    batches = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=EPOCHS * batches
    )
    shown = standardise(torch.from_numpy(gray)[None])
    yield float("nan"), _predict(network, shown)
    for _ in range(EPOCHS):
        losses = []
        network.train()
        for batch in torch.randperm(len(images))[: batches * BATCH].split(BATCH):
            loss = cross_entropy(network(standardise(images[batch])), targets[batch].long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        yield sum(losses) / len(losses), _predict(network, shown)


def _predict(network: nn.Module, image: Tensor) -> np.ndarray:
    import torch

    network.eval()
    with torch.inference_mode():
        return network(image)[0].argmax(0).numpy().astype(np.uint8)


def _with_labels(
    gray: np.ndarray, classes: np.ndarray, pixel: tuple[float, ...], folder: Path, name: str
) -> tuple[str, str]:
    rows, columns = pixel
    return (
        save_gray(gray, (rows, columns), folder / f"{name}.png"),
        save_labels(classes, (rows, columns), folder / f"{name}-labels.png"),
    )
