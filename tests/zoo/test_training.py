"""The training loop: resumable without a trace."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from memdet.zoo.training import Schedule, round_to_half, train


class Interrupted(Exception):
    pass


def run(checkpoint, *, schedule, stop_at=None, initial_seed=0):
    torch.manual_seed(initial_seed)
    module = nn.Linear(3, 2)

    def loss_of(step, generator):
        if step == stop_at:
            raise Interrupted
        x = torch.randn(4, 3, generator=generator)
        return (module(x) - x[:, :2]).square().mean()

    losses = train([module], loss_of, schedule, seed=5, checkpoint=checkpoint, label="linear", every=3)
    return module, losses


@pytest.mark.parametrize("average", [0.9, None])
@pytest.mark.parametrize("stop_at", [3, 5, 9])
def test_an_interrupted_run_ends_at_identical_weights(tmp_path, average, stop_at):
    schedule = Schedule(steps=10, learning_rate=0.1, warmup=2, average=average)
    whole, whole_losses = run(tmp_path / "whole.pt", schedule=schedule)
    with pytest.raises(Interrupted):
        run(tmp_path / "cut.pt", schedule=schedule, stop_at=stop_at)
    resumed, resumed_losses = run(tmp_path / "cut.pt", schedule=schedule, initial_seed=99)
    assert torch.equal(resumed.weight, whole.weight)
    assert torch.equal(resumed.bias, whole.bias)
    assert resumed_losses == whole_losses
    assert len(whole_losses) == 4


def test_a_finished_run_is_not_trained_again(tmp_path):
    schedule = Schedule(steps=4, learning_rate=0.1)
    done, _ = run(tmp_path / "done.pt", schedule=schedule)
    again, _ = run(tmp_path / "done.pt", schedule=schedule, stop_at=0, initial_seed=99)
    assert torch.equal(again.weight, done.weight)


def test_the_learning_rate_rises_then_falls_to_zero():
    schedule = Schedule(steps=100, warmup=10)
    factors = [schedule.factor(step) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == factors[9] == pytest.approx(0.91)
    assert factors[100] == 0


def test_rounding_to_half_survives_storage_in_half():
    module = nn.Linear(5, 5)
    round_to_half(module)
    assert module.weight.dtype == torch.float32
    assert torch.equal(module.weight, module.weight.half().float())
