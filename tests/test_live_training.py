"""A training can be watched, and its recipe is a table in words."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from torch import nn

from spineseg.course import live as module
from spineseg.course.live import LiveTraining, seconds_for
from spineseg.course.recipe import NAMES, recipe_table
from spineseg.profiles import load_profile


class Handle:
    """What `display` returns in a notebook."""

    updates = 0

    def update(self, figure, metadata):
        assert metadata["image/png"]["alt"]
        self.updates += 1


@pytest.mark.parametrize(("epochs", "titles"), [(3, "1 2 3"), (30, "3 6 9 12 15 18 21 24 27 30")])
def test_each_epoch_is_drawn_and_many_are_thinned(monkeypatch, epochs, titles):
    handle = Handle()
    monkeypatch.setattr(module, "display", lambda figure, **options: handle)
    image, truth = np.full((20, 10), 100, np.uint8), np.eye(20, 10, dtype=np.uint8)
    live = LiveTraining(image, truth, np.array([2.0, 2.0]), epochs)
    for epoch in range(epochs):
        live.update(2.0 / (epoch + 1), 1.0 / (epoch + 1), truth)
    assert handle.updates == epochs
    shown = [panel.get_title() for panel in live.panels if panel.get_title()]
    assert shown == ["truth", *(f"epoch {number}" for number in titles.split())]
    (train, _) = live.losses.lines
    assert list(train.get_ydata()) == live.train_losses
    assert not plt.fignum_exists(live.figure.number)


def test_timing_leaves_the_network_and_the_dice_alone():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 9, 3, padding=1), nn.BatchNorm2d(9))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    seconds = seconds_for(network, torch.randn(2, 1, 8, 8), torch.zeros(2, 8, 8).long(), 10)
    torch.set_rng_state(state)
    assert 0 < seconds < 60
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_recipe_is_in_words():
    paper = load_profile("paper")
    table = recipe_table(paper, load_profile("laptop"))
    assert list(table.columns) == ["the paper's", "laptop"]
    assert list(table.index) == list(NAMES.values())
    assert table.loc["slices per epoch", "the paper's"] == "all"
    assert list(table.loc["augmentation"]) == ["no", "yes"]
    assert table.loc["its change", "the paper's"] == "times 0.99 per epoch"
    for optimizer in ("sgd", "adamw"):
        for schedule in ("exponential", "onecycle"):
            other = replace(paper, optimizer=optimizer, schedule=schedule, name="other")
            assert not recipe_table(paper, other).isin(["None", "True", "False"]).any(axis=None)
