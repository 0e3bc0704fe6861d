"""A class-conditional model of the package denoising_diffusion_pytorch (2.3 or later), as a model for memdet.

memdet run --model denoising_diffusion.py:make_model --samples mine.csv --steps 10 --detector jeon2025
"""

import pandas
import torch
from denoising_diffusion_pytorch.classifier_free_guidance import GaussianDiffusion, Unet

import memdet

CLASSES = 10
PREDICTIONS = {"pred_noise": "eps", "pred_x0": "x0", "pred_v": "v"}


def embed(conditions):
    """Arguments of the network by name; a mask that keeps the class, or drops it for the null branch."""
    classes = torch.tensor([int(text) for text in conditions])
    return {"classes": classes, "cond_keep_mask": torch.ones(len(classes), dtype=torch.bool)}


def make_model():
    torch.manual_seed(0)
    unet = Unet(dim=8, num_classes=CLASSES, dim_mults=(1, 2), attn_heads=1, attn_dim_head=8)
    diffusion = GaussianDiffusion(unet, image_size=16, objective="pred_v", beta_schedule="cosine")
    # Here you would load weights: diffusion.load_state_dict(torch.load("model-100.pt", weights_only=True)["model"])
    unet.eval()

    def network(x, t, classes, cond_keep_mask):
        return unet(x, torch.full((len(x),), t, device=x.device), classes, cond_keep_mask=cond_keep_mask)

    return memdet.ScoreModel.from_callable(
        network,
        shape=(diffusion.channels, diffusion.image_size, diffusion.image_size),
        prediction=PREDICTIONS[diffusion.objective],
        schedule=memdet.NoiseSchedule.vp(diffusion.alphas_cumprod),
        embed=embed,
        null={"classes": torch.zeros(1, dtype=torch.long), "cond_keep_mask": torch.zeros(1, dtype=torch.bool)},
        decode=lambda x: (x / 2 + 0.5).clamp(0, 1),
        name="denoising-diffusion",
    )


if __name__ == "__main__":
    table = pandas.DataFrame({"condition": ["0", "1", "2", "3"], "label": [1, 0, 1, 0]})
    items = memdet.SampleSet.from_pandas(table, id="four-classes", steps=10)
    run = memdet.evaluate(["wen2024", "jeon2025"], items, model=make_model(), progress=False)
    print(run.scores[["wen2024", "jeon2025"]])
