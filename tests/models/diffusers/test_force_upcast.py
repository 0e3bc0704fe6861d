"""An autoencoder that overflows in float16 decodes in float32 where it says so, and else gives no picture."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from memdet.models import load_model


@pytest.fixture
def overflowing(copy_of_pipeline):
    """Gives a pipeline whose autoencoder leaves the range of float16 on the way and not that of float32."""

    def make(**config):
        directory = copy_of_pipeline()
        path = directory / "vae" / "diffusion_pytorch_model.safetensors"
        weights = load_file(path)
        for name in ("decoder.conv_in.weight", "decoder.conv_in.bias"):
            weights[name] *= 1e6  # the norm that follows divides by it
        save_file(weights, path, metadata={"format": "pt"})
        said = directory / "vae" / "config.json"
        kept = {key: value for key, value in json.loads(said.read_text()).items() if key != "force_upcast"}
        said.write_text(json.dumps(kept | config))
        return directory

    return make


def latents(dtype):
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("config", [{"force_upcast": True}, {}])  # AutoencoderKL takes true where nothing is said
def test_float16_decodes_in_float32(overflowing, config):
    directory = overflowing(**config)
    half = load_model(directory, dtype=torch.float16).decode(latents(torch.float16))
    exact = load_model(directory).decode(latents(torch.float16).float())
    assert exact.isfinite().all()
    assert exact.std() > 1e-3
    torch.testing.assert_close(half.float(), exact, rtol=0, atol=1e-5)


def test_without_it_the_pictures_are_missing(overflowing):
    directory = overflowing(force_upcast=False)
    decoded = load_model(directory, dtype=torch.float16).decode(latents(torch.float16))
    assert decoded.isnan().flatten(1).any(dim=1).all()
    assert load_model(directory).decode(latents(torch.float32)).isfinite().all()


def test_bfloat16_has_the_range_and_decodes_as_it_is(overflowing):
    model = load_model(overflowing(force_upcast=True), dtype=torch.bfloat16)
    assert model.decode(latents(torch.bfloat16)).dtype == torch.bfloat16
