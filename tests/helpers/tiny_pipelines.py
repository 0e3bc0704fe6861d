"""Tiny random pipelines of many families, each made of its own classes of diffusers and transformers."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partialmethod, wraps
from pathlib import Path

import torch

from memdet.zoo.tiny_sd import recipe
from tests.helpers.tiny_parts import (
    CHANNELS,
    make_betas,
    make_clip,
    make_flow,
    make_gemma,
    make_letters,
    make_qwen,
    make_t5,
    make_vae,
)

SIZE = 8


def sd():
    """One text encoder; noise of betas."""
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel

    tokenizer = recipe.make_tokenizer()
    unet = UNet2DConditionModel(
        sample_size=SIZE,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=(2, 4),
    )
    return StableDiffusionPipeline(
        vae=make_vae(),
        text_encoder=make_clip(tokenizer, CLIPTextModel),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=make_betas(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def pixels(**options):
    """No autoencoder and no condition."""
    from diffusers import DDPMPipeline, UNet2DModel

    unet = UNet2DModel(
        sample_size=SIZE,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        **options,
    )
    return DDPMPipeline(unet=unet, scheduler=make_betas("DDPMScheduler"))


def pixels_of_classes():
    """No autoencoder, two classes and the null class."""
    return pixels(num_class_embeds=3)


def sdxl():
    """Two text encoders, a pooled vector, sizes; Euler's sampler of betas."""
    from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    tokenizer = recipe.make_tokenizer()
    unet = UNet2DConditionModel(
        sample_size=SIZE,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=8 + 6 * 4,
        transformer_layers_per_block=(1, 1),
    )
    return StableDiffusionXLPipeline(
        vae=make_vae(),
        text_encoder=make_clip(tokenizer, CLIPTextModel),
        text_encoder_2=make_clip(tokenizer, CLIPTextModelWithProjection),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=make_betas("EulerDiscreteScheduler", steps_offset=1, timestep_spacing="leading"),
    )


def sd3():
    """A flow with shift 3, two text encoders with projections, no T5."""
    from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline
    from transformers import CLIPTextModelWithProjection

    tokenizer = recipe.make_tokenizer()
    transformer = SD3Transformer2DModel(
        sample_size=SIZE,
        patch_size=2,
        in_channels=CHANNELS,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=16,
        out_channels=CHANNELS,
    )
    return StableDiffusion3Pipeline(
        vae=make_vae(use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06),
        text_encoder=make_clip(tokenizer, CLIPTextModelWithProjection),
        text_encoder_2=make_clip(tokenizer, CLIPTextModelWithProjection),
        text_encoder_3=None,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        tokenizer_3=None,
        transformer=transformer,
        scheduler=make_flow(shift=3.0),
    )


def auraflow():
    """A flow whose network's time is a thousandth of the scheduler's."""
    from diffusers import AuraFlowPipeline, AuraFlowTransformer2DModel

    tokenizer = recipe.make_tokenizer()
    transformer = AuraFlowTransformer2DModel(
        sample_size=SIZE,
        patch_size=2,
        in_channels=CHANNELS,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        caption_projection_dim=16,
        out_channels=CHANNELS,
        pos_embed_max_size=64,
    )
    return AuraFlowPipeline(
        tokenizer=tokenizer,
        text_encoder=make_t5(tokenizer),
        vae=make_vae(),
        transformer=transformer,
        scheduler=make_flow(shift=1.73),
    )


def pixart():
    """Noise prediction with a variance, and a mask of the text."""
    from diffusers import PixArtAlphaPipeline, PixArtTransformer2DModel

    tokenizer = recipe.make_tokenizer()
    transformer = PixArtTransformer2DModel(
        sample_size=SIZE,
        patch_size=2,
        in_channels=CHANNELS,
        out_channels=2 * CHANNELS,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        cross_attention_dim=16,
        caption_channels=16,
        norm_type="ada_norm_single",
        use_additional_conditions=False,
    )
    return PixArtAlphaPipeline(
        tokenizer=tokenizer,
        text_encoder=make_t5(tokenizer),
        vae=make_vae(),
        transformer=transformer,
        scheduler=make_betas(),
    )


def dit():
    """Classes, of which the last is the null class, and a variance."""
    from diffusers import DiTPipeline, DiTTransformer2DModel

    transformer = DiTTransformer2DModel(
        sample_size=SIZE,
        patch_size=2,
        in_channels=CHANNELS,
        out_channels=2 * CHANNELS,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        num_embeds_ada_norm=1000,
    )
    return DiTPipeline(transformer=transformer, vae=make_vae(), scheduler=make_betas())


def flux():
    """Packed latents, a guidance that the network is told, and times that are shifted by the length."""
    from diffusers import FluxPipeline, FluxTransformer2DModel
    from transformers import CLIPTextModel

    tokenizer = recipe.make_tokenizer()
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * CHANNELS,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        guidance_embeds=True,
        axes_dims_rope=(2, 2, 4),
    )
    return FluxPipeline(
        scheduler=make_flow(shift=3.0, use_dynamic_shifting=True),
        vae=make_vae(use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.1),
        text_encoder=make_clip(tokenizer, CLIPTextModel),
        tokenizer=tokenizer,
        text_encoder_2=make_t5(tokenizer),
        tokenizer_2=tokenizer,
        transformer=transformer,
    )


def sana():
    """Linear attention, a mask of the text, an autoencoder of its own, and a flow told to a scheduler of betas."""
    from diffusers import AutoencoderDC, DPMSolverMultistepScheduler, SanaPipeline, SanaTransformer2DModel

    tokenizer = recipe.make_tokenizer()
    transformer = SanaTransformer2DModel(
        sample_size=4,
        patch_size=1,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=16,
        timestep_scale=0.5,
    )
    flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0}
    sides, five = ("encoder", "decoder"), 5
    blocks = {f"{side}_block_out_channels": (8,) * five for side in sides}
    layers = {f"{side}_layers_per_block": (1,) * five for side in sides}
    scales = {f"{side}_qkv_multiscales": ((),) * five for side in sides}
    return SanaPipeline(
        tokenizer=tokenizer,
        text_encoder=make_gemma(tokenizer),
        vae=AutoencoderDC(latent_channels=CHANNELS, scaling_factor=0.4, **blocks, **layers, **scales),
        transformer=transformer,
        scheduler=DPMSolverMultistepScheduler(**flow, solver_order=1),
    )


def lumina2():
    """Time from noise to image, two calls a step, and a guidance that keeps the norm."""
    from diffusers import Lumina2Pipeline, Lumina2Transformer2DModel

    tokenizer = recipe.make_tokenizer()
    transformer = Lumina2Transformer2DModel(
        sample_size=4,
        patch_size=2,
        in_channels=CHANNELS,
        hidden_size=16,
        num_layers=1,
        num_refiner_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=4,
        axes_dim_rope=(4, 2, 2),
        axes_lens=(300, 16, 16),
        cap_feat_dim=16,
    )
    return Lumina2Pipeline(
        transformer=transformer,
        scheduler=make_flow(shift=6.0),
        vae=make_vae(use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.1),
        text_encoder=make_gemma(tokenizer),
        tokenizer=tokenizer,
    )


def cogvideox():
    """Videos: latents with frames, and a scheduler of betas whose noise is rescaled."""
    from diffusers import (
        AutoencoderKLCogVideoX,
        CogVideoXDDIMScheduler,
        CogVideoXPipeline,
        CogVideoXTransformer3DModel,
    )

    tokenizer = recipe.make_tokenizer()
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        time_embed_dim=2,
        text_embed_dim=16,
        num_layers=1,
        sample_width=4,
        sample_height=4,
        sample_frames=5,
        patch_size=2,
        max_text_seq_length=226,
    )
    blocks = {"down_block_types": ("CogVideoXDownBlock3D",) * 4, "up_block_types": ("CogVideoXUpBlock3D",) * 4}
    return CogVideoXPipeline(
        tokenizer=tokenizer,
        text_encoder=make_t5(tokenizer),
        vae=AutoencoderKLCogVideoX(
            block_out_channels=(4,) * 4, latent_channels=CHANNELS, layers_per_block=1, norm_num_groups=2, **blocks
        ),
        transformer=transformer,
        scheduler=CogVideoXDDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True),
    )


def qwen_image():
    """Packed latents, texts of their own lengths, and a null branch that is a negative prompt."""
    from diffusers import AutoencoderKLQwenImage, QwenImagePipeline, QwenImageTransformer2DModel

    tokenizer = make_letters()
    transformer = QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=4 * CHANNELS,
        out_channels=CHANNELS,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(4, 2, 2),
    )
    moments = {"latents_mean": [0.1, 0.2, 0.3, 0.4], "latents_std": [1.0, 2.0, 3.0, 4.0]}
    vae = AutoencoderKLQwenImage(
        base_dim=4, z_dim=CHANNELS, dim_mult=[1, 2], num_res_blocks=1, temperal_downsample=[False], **moments
    )
    return QwenImagePipeline(
        scheduler=make_flow(use_dynamic_shifting=True),
        vae=vae,
        text_encoder=make_qwen(tokenizer),
        tokenizer=tokenizer,
        transformer=transformer,
    )


def kandinsky3():
    """A network that pools the tokens of a call's longest text, padding included, and cross-attention."""
    from diffusers import Kandinsky3Pipeline, Kandinsky3UNet, VQModel

    tokenizer = recipe.make_tokenizer()
    unet = Kandinsky3UNet(
        in_channels=CHANNELS,
        time_embedding_dim=8,
        groups=2,
        attention_head_dim=4,
        layers_per_block=2,
        block_out_channels=(8, 16),
        cross_attention_dim=16,
        encoder_hid_dim=16,
    )
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    movq = VQModel(
        block_out_channels=(4, 8), latent_channels=CHANNELS, num_vq_embeddings=8, norm_num_groups=2, **blocks
    )
    return Kandinsky3Pipeline(
        tokenizer=tokenizer, text_encoder=make_t5(tokenizer), unet=unet, scheduler=make_betas(), movq=movq
    )


@contextmanager
def small_images():
    """Inside, pipelines that alone say how large their images are make 8 x 8 latents, or as many tokens."""
    from diffusers import Kandinsky3Pipeline, QwenImagePipeline

    make, call = QwenImagePipeline.__init__, Kandinsky3Pipeline.__call__

    @wraps(make)
    def smaller(self, *arguments, **named):
        make(self, *arguments, **named)
        self.default_sample_size = SIZE

    QwenImagePipeline.__init__ = smaller
    Kandinsky3Pipeline.__call__ = partialmethod(call, height=64, width=64)
    try:
        yield
    finally:
        QwenImagePipeline.__init__ = make
        Kandinsky3Pipeline.__call__ = call


CLASSES = "pixels of classes"
OTHERS = {"sd": sd, "pixels": pixels, CLASSES: pixels_of_classes}  # read by classes of their own
FAMILIES = {
    "sdxl": sdxl,
    "kandinsky3": kandinsky3,
    "sd3": sd3,
    "flux": flux,
    "auraflow": auraflow,
    "lumina2": lumina2,
    "qwen-image": qwen_image,
    "sana": sana,
    "pixart": pixart,
    "dit": dit,
    "cogvideox": cogvideox,
}


def save(name: str, directory: Path) -> Path:
    """Make a pipeline and write it."""
    torch.manual_seed(0)
    pipeline = (OTHERS | FAMILIES)[name]()
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            for parameter in part.parameters():  # what is zero at the start would hide what it multiplies
                if not bool(parameter.any()):
                    torch.nn.init.normal_(parameter, std=0.2)
    pipeline.save_pretrained(directory / name)
    if name == CLASSES:
        (directory / name / "labels.json").write_text('["0", "1"]')
    return directory / name
