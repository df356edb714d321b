"""A training step as a CUDA graph computes what the step itself does."""

from dataclasses import replace

import pytest
import torch
from tqdm import tqdm

from spineseg.experiment import Experiment
from spineseg.runs import RunRecord
from spineseg.training.cuda_graph import EAGER_STEPS, GraphedStep
from spineseg.training.device import make_fabric
from spineseg.training.loop import Training
from spineseg.workflow.prepare import prepare

EPOCHS = 3
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with CUDA")


def losses(experiment: Experiment, model: str, graphed: bool) -> list[float]:
    """The mean training loss of each epoch."""
    cache = prepare(experiment)
    training = Training(RunRecord.of(experiment, cache, model, 0), cache, make_fabric())
    assert isinstance(training.step, GraphedStep)
    if not graphed:
        training.step = training._update
    return [training._train_epoch(epoch, tqdm(disable=True)) for epoch in range(EPOCHS)]


@needs_gpu
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("model", ["unet", "aspp_unet", "unet3d"])
def test_losses_are_those_of_the_step_itself(phantom, workspace, model, optimizer):
    """The learning rate changes from step to step, so the graph must read it each time."""
    experiment = Experiment.of(phantom, "smoke")
    profile = replace(experiment.profile, optimizer=optimizer)
    experiment = replace(experiment, profile=profile)
    eager, graphed = (losses(experiment, model, graphed) for graphed in (False, True))
    assert graphed == pytest.approx(eager, rel=0.02)
    assert graphed[-1] < graphed[0]


@needs_gpu
def test_the_first_steps_are_not_replayed():
    weight = torch.zeros(2, device="cuda")
    calls = []

    def step(images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        calls.append(images)
        weight.add_(images)
        return weight.sum() + masks.sum()

    graphed = GraphedStep(step)
    total = 0.0
    for number in range(EAGER_STEPS + 4):
        images = torch.full((2,), float(number), device="cuda")
        loss = graphed(images, torch.full((1,), 100.0 * number, device="cuda")).item()
        total += 2 * number
        assert loss == total + 100 * number
        assert len(calls) == min(number + 1, EAGER_STEPS + 1)


def test_without_a_gpu_a_step_is_the_step_itself(phantom, workspace, monkeypatch):
    monkeypatch.setenv("SPINESEG_DEVICE", "cpu")
    experiment = Experiment.of(phantom, "smoke")
    cache = prepare(experiment)
    training = Training(RunRecord.of(experiment, cache, "unet", 0), cache, make_fabric())
    assert training.step == training._update
