"""``wen2024@steps=50`` beside a plain guided sampling loop of diffusers that makes the same predictions."""

from __future__ import annotations

import torch

from benchmarks.throughput.conftest import BATCH, detector_of
from benchmarks.throughput.sampling import SamplingLoop
from memdet.benching.throughput import Batch, Bench
from memdet.io_utils import weights_root
from memdet.probing.draws import shared_noise

MOST = 1.05


def test_wen2024_against_the_sampling_loop(benchmark, bench: Bench, batch: Batch, beside) -> None:
    model, protocol = bench.model, bench.sample_set.protocol
    loop = SamplingLoop.of(model, str(weights_root() / "tiny-sd-a"), protocol.steps, protocol.guidance)
    noise = shared_noise(model.latent_shape, bench.options.seed).to(model.device)
    latents = noise[None].expand(BATCH, *noise.shape)
    null = model.embed_null().expand(BATCH).tensor
    detector = detector_of("wen2024@steps=50")
    _, differences = loop(latents, null, batch.condition.tensor)
    norms = torch.stack([difference.flatten(1).norm(dim=1) for difference in differences]).mean(dim=0)
    scores = torch.tensor(batch.score(detector)[0])
    assert ((scores - norms.cpu()).abs() / scores).max() < 1e-3
    ratios = beside(
        lambda: batch.score(detector), rounds=7, sampling_loop=lambda: loop(latents, null, batch.condition.tensor)
    )
    benchmark.extra_info |= {"detector": detector.label, "batch_size": BATCH, "steps": protocol.steps}
    assert ratios["sampling_loop"].median <= MOST
