"""Fine-tunes of a planted Stable Diffusion pipeline by LoRA, with planted repetition."""
