"""Tiny random parts of pipelines: autoencoders, text encoders, tokenizers, schedulers."""

from __future__ import annotations

CHANNELS = 4


def make_vae(**options):
    from diffusers import AutoencoderKL

    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    parameters = {"block_out_channels": (4, 8), "latent_channels": CHANNELS, "norm_num_groups": 2, "sample_size": 16}
    return AutoencoderKL(in_channels=3, out_channels=3, **blocks, **parameters | options)


def make_clip(tokenizer, cls, width=16, projection=8):
    from transformers import CLIPTextConfig

    ends = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return cls(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            projection_dim=projection,
            max_position_embeddings=tokenizer.model_max_length,
            **ends,
        )
    )


def make_t5(tokenizer, width=16):
    from transformers import T5Config, T5EncoderModel

    config = T5Config(vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    return T5EncoderModel(config)


def make_flow(**options):
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(**options)


def make_betas(cls="DDIMScheduler", **options):
    import diffusers

    noise = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}
    return getattr(diffusers, cls)(**noise | options)


def make_gemma(tokenizer):
    from transformers import Gemma2Config, Gemma2Model

    return Gemma2Model(
        Gemma2Config(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
        )
    )


def make_letters():
    """A tokenizer of letters: the pipeline cuts off so many tokens of its template as words are not there."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = {chr(code): index for index, code in enumerate([10, *range(32, 127)])}
    tokenizer = Tokenizer(models.WordLevel(letters, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="?", pad_token=" ", eos_token=" ")


def make_qwen(tokenizer):
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"},
    }
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
    tokens = {f"{name}_token_id": 1 for name in ("image", "video", "vision_start", "vision_end")}
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision, **tokens))
