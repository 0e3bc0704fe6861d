"""A random number for an item, drawn without torch."""

from __future__ import annotations

import hashlib

import numpy as np


def key_of(*key: str | int) -> int:
    """Seed of the generator that draws for a key, 63 bits."""
    digest = hashlib.sha256("\0".join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def item_uniform(seed: int, item_id: str) -> float:
    """A number in [0, 1) for one item.

    It is what ``torch.rand`` draws in float64 from a generator on the CPU with the seed :func:`key_of`, to the last
    bit. That generator is the Mersenne Twister seeded by the low 32 bits, and 53 bits of two draws make the number.
    """
    twister = np.random.RandomState(key_of("uniform", seed, item_id) & 0xFFFFFFFF)
    high, low = (int(word) for word in twister.randint(0, 1 << 32, size=2, dtype=np.uint32))
    return (((high << 32) | low) & ((1 << 53) - 1)) / (1 << 53)
