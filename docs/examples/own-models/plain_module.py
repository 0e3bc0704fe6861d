"""A plain PyTorch module that predicts noise (DDPM), as a model for memdet.

memdet run --model plain_module.py:make_model --samples mine.csv --detector wen2024 --detector jeon2025
"""

import pandas
import torch
from torch import nn

import memdet

SHAPE = (3, 8, 8)
CLASSES = 10


class Denoiser(nn.Module):
    """Predicts the noise in an image, given its class; class 10 stands for none."""

    def __init__(self):
        super().__init__()
        self.label, self.time = nn.Embedding(CLASSES + 1, 16), nn.Linear(1, 16)
        self.enter, self.leave = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x, t, label):
        told = self.label(label) + self.time(torch.full((len(x), 1), t / 1000, dtype=x.dtype, device=x.device))
        return self.leave(torch.tanh(self.enter(x) + told[:, :, None, None]))


def embed(conditions):
    """Conditions are text, as in the file of samples; what the network takes, a row each."""
    return torch.tensor([int(text) for text in conditions])


def make_model():
    torch.manual_seed(0)
    network = Denoiser().eval()  # and here: network.load_state_dict(torch.load("weights.pt", weights_only=True))
    betas = torch.linspace(1e-4, 0.02, 1000)  # those of the training
    return memdet.ScoreModel.from_callable(
        network,
        shape=SHAPE,
        prediction="eps",
        schedule=memdet.NoiseSchedule.vp(torch.cumprod(1 - betas, 0)),
        embed=embed,
        null=torch.tensor([CLASSES]),
        decode=lambda x: (x / 2 + 0.5).clamp(0, 1),
    )


if __name__ == "__main__":
    table = pandas.DataFrame({"condition": ["0", "1", "2", "3"], "label": [1, 0, 1, 0]})
    items = memdet.SampleSet.from_pandas(table, id="four-classes", steps=10)
    run = memdet.evaluate(["wen2024", "jeon2025"], items, model=make_model(), progress=False)
    print(run.scores[["wen2024", "jeon2025"]])
