"""Further membership methods a second time: one item of :mod:`tests.helpers.one_item`, plain loops, formulas alone."""

from __future__ import annotations

import math
import statistics
import zlib

import numpy as np


def sima(one, t):
    return -(sum(abs(value) ** 4 for value in one.eps(one.image, t, "cond").flatten().tolist()) ** 0.25)


def pian(one, t):
    alpha, sigma = one.levels(t)
    first = one.eps(one.image, 0, "cond")
    values = first.flatten().tolist()
    noise = first * math.sqrt(2 / math.pi) / (sum(map(abs, values)) / len(values))
    change = noise - one.eps(alpha * one.image + sigma * noise, t, "cond")
    return -float((change**4).sum() ** 0.25)


def loss(one, image, t, draw, branch):
    alpha, sigma = one.levels(t)
    noise = one.noise(draw)
    return float(((one.eps(alpha * image + sigma * noise, t, branch) - noise) ** 2).mean())


def clid(one, times):
    return statistics.fmean(
        loss(one, one.image, t, draw, "null") - loss(one, one.image, t, draw, "cond") for draw, t in enumerate(times)
    )


def enlarged_middle(image, share):
    """Pixel by pixel: the centre of each pixel is looked up between the centres of the crop's."""
    channels, height, width = image.shape
    rows, columns = int(height * share), int(width * share)
    top, left = (height - rows) // 2, (width - columns) // 2
    result = image.clone()

    def between(position, whole, part):
        place = min(max((position + 0.5) * part / whole - 0.5, 0.0), part - 1.0)
        low = min(int(place), part - 1)
        return low, min(low + 1, part - 1), place - low

    for i in range(height):
        for j in range(width):
            a, b, u = between(i, height, rows)
            c, d, v = between(j, width, columns)
            for k in range(channels):
                corner = image[k, top : top + rows, left : left + columns]
                upper = (1 - v) * corner[a, c] + v * corner[a, d]
                lower = (1 - v) * corner[b, c] + v * corner[b, d]
                result[k, i, j] = (1 - u) * upper + u * lower
    return result


def pfami(one, count, stride, share):
    cropped, rises = enlarged_middle(one.image, share), []
    for draw in range(count):
        own, other = (loss(one, image, draw * stride, draw, "cond") for image in (one.image, cropped))
        rises.append((other - own) / own)
    return statistics.fmean(rises)


def rectified_flow(one, share, count):
    """On the straight path of the paper: states and velocities as a rectified flow has them."""
    shares = [one.levels(t)[0] / sum(one.levels(t)) for t in range(len(one.alpha_bar))]
    t = min(range(len(shares)), key=lambda k: abs(shares[k] - share))
    s, scale, mean = shares[t], sum(one.levels(t)), 0
    for draw in range(count):
        mixture = s * one.image + (1 - s) * one.noise(draw)
        eps = one.eps(scale * mixture, t, "cond")
        mean = mean + ((mixture - (1 - s) * eps) / s - eps) / count
    pixels = np.clip(np.round((one.image.float().numpy() / 2 + 0.5) * 255), 0, 255).astype(np.uint8)
    return -float(((one.image - mean) ** 2).sum()) / len(zlib.compress(pixels.tobytes(), 9))
