"""A small, real Stable Diffusion 2 pipeline of colour clip art: a UNet that predicts v, and zero terminal SNR."""
