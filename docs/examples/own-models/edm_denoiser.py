"""An EDM denoiser D(x; sigma) (Karras et al., arXiv 2206.00364), as a model for memdet.

Noise of standard deviation sigma is added to images that are not scaled down: alpha = 1. D predicts the clean image.

memdet run --model edm_denoiser.py:make_model --samples mine.csv --steps 18 --detector wen2024 --detector jeon2025
"""

import pandas
import torch
from torch import nn

import memdet

SHAPE = (3, 8, 8)
CLASSES = 10
SCHEDULE = memdet.NoiseSchedule.edm(sigma_min=0.002, sigma_max=80)  # or NoiseSchedule.ve(sigmas): any rising levels


class Preconditioned(nn.Module):
    """D(x; sigma) = c_skip x + c_out F(c_in x; c_noise), the network of the paper's table 1."""

    def __init__(self, sigma_data=0.5):
        super().__init__()
        self.sigma_data = sigma_data
        self.label, self.time = nn.Linear(CLASSES, 16), nn.Linear(1, 16)
        self.enter, self.leave = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x, sigma, label):
        total = sigma**2 + self.sigma_data**2
        told = self.label(label) + self.time(sigma.log()[:, None] / 4)
        total, level = (value[:, None, None, None] for value in (total, sigma))
        raw = self.leave(torch.tanh(self.enter(x / total.sqrt()) + told[:, :, None, None]))
        return self.sigma_data**2 / total * x + level * self.sigma_data / total.sqrt() * raw


def embed(conditions):
    """One-hot classes; all zeros stand for none."""
    return torch.nn.functional.one_hot(torch.tensor([int(text) for text in conditions]), CLASSES).float()


def make_model():
    torch.manual_seed(0)
    network = Preconditioned().eval()  # here you would load weights

    def denoised(x, t, label):  # memdet's t is an index of the schedule; this network takes sigma
        return network(x, torch.full((len(x),), SCHEDULE.sigma(t), dtype=x.dtype, device=x.device), label)

    return memdet.ScoreModel.from_callable(
        denoised,
        shape=SHAPE,
        prediction="x0",
        schedule=SCHEDULE,
        embed=embed,
        null=torch.zeros(1, CLASSES),
        decode=lambda x: (x / 2 + 0.5).clamp(0, 1),
        name="edm",
    )


if __name__ == "__main__":
    table = pandas.DataFrame({"condition": ["0", "1", "2", "3"], "label": [1, 0, 1, 0]})
    items = memdet.SampleSet.from_pandas(table, id="four-classes", steps=18)
    run = memdet.evaluate(["wen2024", "jeon2025"], items, model=make_model(), progress=False)
    print(run.scores[["wen2024", "jeon2025"]])
