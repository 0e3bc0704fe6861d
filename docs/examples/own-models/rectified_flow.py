"""A flow model (rectified flow, flow matching), as a model for memdet.

x_t = (1 - t) x_0 + t eps with t from 0 to 1, and the network predicts the velocity eps - x_0. A network that was
trained with time the other way round, from noise to data, is called at 1 - t, and its output is negated.

memdet run --model rectified_flow.py:make_model --samples mine.csv --steps 10 --detector wen2024 --detector jeon2025
"""

import pandas
import torch
from torch import nn

import memdet

SHAPE = (3, 8, 8)
SCHEDULE = memdet.NoiseSchedule.rectified_flow()


class Velocity(nn.Module):
    """Predicts the velocity at time t, given the features of a caption and which of them are there."""

    def __init__(self):
        super().__init__()
        self.text, self.time = nn.Linear(4, 16), nn.Linear(1, 16)
        self.enter, self.leave = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x, time, features, mask):
        told = self.text(features * mask) + self.time(time[:, None])
        return self.leave(torch.tanh(self.enter(x) + told[:, :, None, None]))


def embed(prompts):
    """Several tensors by name: the network is called with all of them, fn(x, t, features=..., mask=...)."""
    features = torch.tensor([[len(text), text.count(" "), text.count("a"), text.count("e")] for text in prompts]) / 10
    return {"features": features, "mask": (features > 0).float()}


def make_model():
    torch.manual_seed(0)
    network = Velocity().eval()  # here you would load weights

    def velocity(x, t, features, mask):
        time = torch.full((len(x),), SCHEDULE.sigma(t), dtype=x.dtype, device=x.device)
        return network(x, time, features, mask)

    return memdet.ScoreModel.from_callable(
        velocity,
        shape=SHAPE,
        prediction="flow",
        schedule=SCHEDULE,
        embed=embed,
        null={"features": torch.zeros(1, 4), "mask": torch.zeros(1, 4)},
        decode=lambda x: (x / 2 + 0.5).clamp(0, 1),
        name="flow",
    )


if __name__ == "__main__":
    table = pandas.DataFrame({"prompt": ["a cat", "the sea", "an apple tree", "rain"], "label": [1, 0, 1, 0]})
    items = memdet.SampleSet.from_pandas(table, id="four-prompts", steps=10)
    run = memdet.evaluate(["wen2024", "jeon2025"], items, model=make_model(), progress=False)
    print(run.scores[["wen2024", "jeon2025"]])
