"""Images as network input."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_tensor(images: NDArray[np.uint8]) -> Tensor:
    """Scale bytes to float32 in [-1, 1]: ``[n, h, w]`` to ``[n, 1, h, w]``, ``[n, h, w, 3]`` to ``[n, 3, h, w]``."""
    scaled = torch.from_numpy(images.astype(np.float32)) / 127.5 - 1
    return scaled[:, None] if scaled.ndim == 3 else scaled.permute(0, 3, 1, 2).contiguous()
