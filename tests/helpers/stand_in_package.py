"""A stand-in for ``denoising_diffusion_pytorch``: its names, arguments and shapes, with a network of two layers."""

from __future__ import annotations

import sys
from types import ModuleType

import torch
from torch import nn

PACKAGE = "denoising_diffusion_pytorch"


class Unet(nn.Module):
    """Called as the package's: ``unet(x, times, classes, cond_keep_mask=...)``, all of them a row an item."""

    def __init__(self, dim, num_classes, dim_mults=(1, 2), channels=3, attn_heads=4, attn_dim_head=32):
        super().__init__()
        self.channels = channels
        self.enter = nn.Conv2d(channels, dim, 3, padding=1)
        self.leave = nn.Conv2d(dim, channels, 3, padding=1)
        self.classes_emb = nn.Embedding(num_classes, dim)
        self.null_classes_emb = nn.Parameter(torch.randn(dim))

    def forward(self, x, time, classes, cond_drop_prob=None, cond_keep_mask=None):
        assert time.shape == classes.shape == cond_keep_mask.shape == x.shape[:1]
        known = torch.where(cond_keep_mask[:, None], self.classes_emb(classes), self.null_classes_emb)
        return self.leave(torch.tanh(self.enter(x) + (known + time[:, None] / 1000)[:, :, None, None]))


class GaussianDiffusion(nn.Module):
    """Holds what a trained file of the package holds: the network, its objective and the noise."""

    def __init__(self, model, *, image_size, timesteps=1000, objective="pred_noise", beta_schedule="cosine"):
        super().__init__()
        assert beta_schedule == "cosine"
        self.model, self.image_size, self.objective = model, image_size, objective
        self.channels = model.channels
        time = torch.linspace(0, 1, timesteps + 1, dtype=torch.float64)
        products = torch.cos((time + 0.008) / 1.008 * torch.pi / 2) ** 2
        betas = (1 - products[1:] / products[:-1]).clip(0, 0.999)
        self.register_buffer("alphas_cumprod", torch.cumprod(1 - betas, 0).float())


def install(monkeypatch) -> None:
    """Let the package be imported, for one test."""
    package, module = ModuleType(PACKAGE), ModuleType(f"{PACKAGE}.classifier_free_guidance")
    module.Unet, module.GaussianDiffusion = Unet, GaussianDiffusion
    package.classifier_free_guidance = module
    monkeypatch.setitem(sys.modules, package.__name__, package)
    monkeypatch.setitem(sys.modules, module.__name__, module)
