"""Trajectory and membership methods a second time: one item, one seed, plain loops, from their formulas alone."""

from __future__ import annotations

import json
import math
import statistics

import numpy as np
import torch
from diffusers import DDIMScheduler
from scipy.optimize import minimize

from memdet.io_utils import weights_root
from memdet.models import Condition, NoiseSchedule, load_model
from memdet.probing import Items, draws
from memdet.samplesets import load_sample_set
from tests.helpers.problems import CountingMixture, make_probe, scaled_linear_betas

SHAPE = (2, 8, 8)
STDS = [0.5, 0.3, 0.02]
WEIGHTS = {"null": [0.7, 0.29, 0.01], "broad": [0.8, 0.19, 0.01], "tight": [0.01, 0.02, 0.97]}
MEANS = 0.5 * torch.randn(3, 128, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
# Near to each other and equally wide: at any noise and time no component rules the others out, and D is not rounding.
NEAR_MEANS, EQUAL_STDS = 0.2 * MEANS, [0.5] * 3


def mixture(shape=SHAPE, means=MEANS, stds=STDS, weights=WEIGHTS):
    """Three components; `tight` asks for one that is all but a point and rare without a condition."""
    return CountingMixture(
        "image-shaped",
        means,
        stds=stds,
        weights=weights["null"],
        conditions=weights,
        schedule=NoiseSchedule.from_betas(scaled_linear_betas()),
        latent_shape=shape,
    )


def items(conditions, images=None, labels=None, prompts=False):
    """Items named by position."""
    names = [f"i{index}" for index in range(len(conditions))]
    return Items(names, list(conditions), names, labels or [0] * len(names), prompts, images)


class OneItem:
    """One item of one seed, without a batch; subclasses say what the model predicts."""

    timesteps: list[int]
    alpha_bar: np.ndarray
    final: float
    shape: tuple[int, ...]

    def __init__(self, condition, image=None, seed=0, guidance=7.5, name=None):
        self.condition, self.seed, self.guidance, self.name = condition, seed, guidance, name
        self.image = None if image is None else image.double()

    def levels(self, t):
        return math.sqrt(self.alpha_bar[t]), math.sqrt(1 - self.alpha_bar[t])

    def noise(self, draw=0):
        seed = self.seed + 1_000_000 * draw
        if self.name is not None:
            return draws.item_noise(self.shape, seed, self.name).double()
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(seed)).double()

    def difference(self, x, t):
        return self.eps(x, t, "cond") - self.eps(x, t, "null")

    def states(self, guidance, count):
        """The first states of a DDIM trajectory, the noise first."""
        found = [self.noise()]
        for i in range(count):
            x, t = found[-1], self.timesteps[i]
            null = self.eps(x, t, "null")
            eps = null + guidance * (self.eps(x, t, "cond") - null)
            alpha, sigma = self.levels(t)
            clean = (x - sigma * eps) / alpha
            last = i + 1 == len(self.timesteps)
            bar = self.final if last else self.alpha_bar[self.timesteps[i + 1]]
            found.append(math.sqrt(bar) * clean + math.sqrt(1 - bar) * eps)
        return found

    def place(self, t):
        nearest = min(self.timesteps, key=lambda candidate: abs(candidate - t))
        if self.image is not None:
            alpha, sigma = self.levels(nearest)
            return alpha * self.image + sigma * self.noise(), nearest
        return self.states(1.0, self.timesteps.index(nearest))[-1], nearest

    # Methods

    def asthana_terms(self):
        x, t = self.noise(), self.timesteps[len(self.timesteps) - 3]
        null, difference = self.eps(x, t, "null"), self.difference(x, t)
        cosines = []
        for row in range(self.shape[1]):
            for column in range(self.shape[2]):
                one, other = null[:, row, column], difference[:, row, column]
                cosines.append(float(one @ other / (one.norm() * other.norm())))
        return float(self.difference(x, self.timesteps[0]).norm()), statistics.fmean(cosines)

    def dsm(self, k):
        states = self.states(self.guidance, k + 1)
        late, early = (self.eps(states[i], self.timesteps[i], "cond") for i in (k + 1, k))
        return float((late - early).norm())

    def dsm_of_gap(self, k):
        states = self.states(self.guidance, k + 1)
        late, early = (self.difference(states[i], t) / self.levels(t)[1] for i, t in self.steps_from(k))
        return float((late - early).norm())

    def steps_from(self, k):
        return [(k + 1, self.timesteps[k + 1]), (k, self.timesteps[k])]

    def webster(self):
        """One Euler step in variance-exploding units, from the last timestep of the schedule to no noise at all."""
        t = len(self.alpha_bar) - 1
        alpha, sigma = self.levels(t)
        largest = sigma / alpha
        z = largest * self.noise()
        x = alpha * z
        eps = (1 - self.guidance) * self.eps(x, t, "null") + self.guidance * self.eps(x, t, "cond")
        denoised = z - largest * eps
        return float((z - denoised).square().mean())

    def lengths(self, first=None):
        states = self.states(self.guidance, len(self.timesteps))
        return [float((states[i] - states[i + 1]).norm()) for i in range(first or len(self.timesteps))]

    def score_difference(self):
        last = len(self.timesteps) - 1
        x, t = self.states(self.guidance, last)[-1], self.timesteps[last]
        square = (self.difference(x, t) / self.levels(t)[1]) ** 2
        return float(sum(square[:, i, j].sum() for i in range(x.shape[1]) for j in range(x.shape[2]))) / x[0].numel()

    def clean(self):
        return self.image if self.image is not None else self.states(self.guidance, len(self.timesteps))[-1]

    def condition_jacobian(self, t=None):
        x, t = self.place(self.timesteps[0] if t is None else t)
        h, sigma = 1e-4, self.levels(t)[1]
        return float((self.eps_along(x, t, h) - self.eps_along(x, t, -h)).norm()) / (2 * h * sigma)

    def curve(self, guidance):
        states = self.states(guidance, len(self.timesteps) - 1)
        return [float(self.difference(x, t).norm()) for x, t in zip(states, self.timesteps, strict=True)]

    def nemo(self, count, step=0):
        differences = []
        for x in map(self.noise, range(count)):
            difference = self.eps(x, self.timesteps[step], "cond") - x
            for channel in difference:
                channel -= channel.min().item()
                channel /= channel.max().item()
            differences.append(difference.numpy())
        return max(ssim(differences[i], differences[j]) for i in range(count) for j in range(i))

    def p_laplace(self, count, radius, t):
        alpha, sigma = self.levels(t)
        x = alpha * self.clean()
        r, total = radius * sigma * math.sqrt(x.numel()), 0.0
        for k in range(count):
            u = draws.gaussian(self.shape, self.seed, k).double()
            u = u / u.norm()
            score = -self.eps(x + r * u, t, "cond")
            total -= float((u * score).sum() / score.norm())
        return total / count

    def loss(self, t):
        x, t = self.place(t)
        return -float((self.eps(x, t, "cond") - self.noise()).square().mean())

    def secmi(self, t, stride):
        def move(x, a, b):
            (alpha, sigma), (alpha_b, sigma_b) = self.levels(a), self.levels(b)
            eps = self.eps(x, a, "cond")
            return alpha_b * (x - sigma * eps) / alpha + sigma_b * eps

        x, a = self.image, 0
        while a < t:
            b = min(a + stride, t)
            x, a = move(x, a, b), b
        return -float((move(move(x, t, t + stride), t + stride, t) - x).norm())

    def pia(self, t):
        alpha, sigma = self.levels(t)
        first = self.eps(self.image, 0, "cond")
        second = self.eps(alpha * self.image + sigma * first, t, "cond")
        return -float(((first - second) ** 4).sum() ** 0.25)


def ssim(one, other):
    """Wang et al. 2004 with uniform windows and sample covariances, window by window."""
    c1, c2, values = 0.01**2, 0.03**2, []  # both lie in [0, 1]
    for a, b in zip(one, other, strict=True):
        for row in range(a.shape[0] - 6):
            for column in range(a.shape[1] - 6):
                p, q = (z[row : row + 7, column : column + 7].ravel() for z in (a, b))
                (vp, cov), (_, vq) = np.cov(p, q)
                top = (2 * p.mean() * q.mean() + c1) * (2 * cov + c2)
                values.append(top / ((p.mean() ** 2 + q.mean() ** 2 + c1) * (vp + vq + c2)))
    return statistics.fmean(values)


def fitted_weights(terms, labels):
    """Logistic regression on standardised terms, by minimising its loss; weights for the terms as they are."""
    terms, signs = np.array(terms), 2 * np.array(labels) - 1
    spread = terms.std(axis=0)
    standard = (terms - terms.mean(axis=0)) / spread

    def loss(w):
        return np.logaddexp(0, -signs * (standard @ w[:2] + w[2])).sum() + w[:2] @ w[:2] / 2

    return minimize(loss, np.zeros(3), tol=1e-12).x[:2] / spread


class OfMixture(OneItem):
    """An item of :func:`mixture`."""

    timesteps, final, shape = list(range(981, 0, -20)), 1.0, SHAPE
    alpha_bar = np.cumprod(1 - scaled_linear_betas())
    means, stds = MEANS, STDS

    def eps(self, x, t, branch):
        return self._eps(x, t, WEIGHTS[self.condition if branch == "cond" else "null"])

    def eps_along(self, x, t, h):
        cond, null = WEIGHTS[self.condition], WEIGHTS["null"]
        return self._eps(x, t, [c + h * (c - u) for c, u in zip(cond, null, strict=True)])

    def _eps(self, x, t, weights):
        (alpha, sigma), flat, logs, cleans = self.levels(t), x.flatten(), [], []
        for mean, std, weight in zip(self.means, self.stds, weights, strict=True):
            m = alpha**2 * std**2 + sigma**2
            away = flat - alpha * mean
            logs.append(math.log(weight) - float(away @ away) / (2 * m) - len(flat) / 2 * math.log(m))
            cleans.append(mean + alpha * std**2 / m * away)
        shares = torch.softmax(torch.tensor(logs, dtype=torch.float64), 0)
        clean = sum(share * one for share, one in zip(shares, cleans, strict=True))
        return ((flat - alpha * clean) / sigma).view(x.shape)


class OfNearMixture(OfMixture):
    """An item of the mixture whose components are near."""

    means, stds = NEAR_MEANS, EQUAL_STDS


class OfNetwork(OneItem):
    """An item of a planted model, whose network is called on it alone."""

    def __init__(self, model, condition, steps, **options):
        super().__init__(condition, **options)
        self._model, self.shape = model, model.latent_shape
        scheduler = DDIMScheduler.from_config(
            json.loads((weights_root() / model.name / "scheduler" / "scheduler_config.json").read_text())
        )
        scheduler.set_timesteps(steps)
        self.timesteps = scheduler.timesteps.tolist()
        self.alpha_bar = scheduler.alphas_cumprod.double().numpy()
        self.final = float(scheduler.final_alpha_cumprod)

    def eps(self, x, t, branch):
        return self._eps(x, t, self._model.embed([self.condition]) if branch == "cond" else self._model.embed_null())

    def eps_along(self, x, t, h):
        cond = self._model.embed([self.condition])
        moved = cond.tensor + h * (cond.tensor - self._model.embed_null().tensor)
        return self._eps(x, t, Condition.of(moved, next(iter(cond.tensors))))

    def _eps(self, x, t, embedding):
        with torch.no_grad():
            return self._model.predict(x[None], t, embedding)[0]


class World:
    """A model, test items and dev items, as a probe and one by one."""

    def __init__(self, model, test, dev, one, steps=50, guidance=7.5):
        self.model, self.test, self.dev, self._one, self.steps, self.guidance = model, test, dev, one, steps, guidance

    def probe(self, **options):
        options = {"steps": self.steps, "guidance": self.guidance, "dev": self.dev} | options
        return make_probe(self.model, options.pop("items", self.test), **options)

    def singly(self, which="test", seed=0, noise="shared"):
        these = getattr(self, which)
        return [
            self._one(
                condition,
                image=None if these.images is None else these.images[index],
                seed=seed,
                guidance=self.guidance,
                name=these.ids[index] if noise == "per-item" else None,
            )
            for index, condition in enumerate(these.conditions)
        ]


def random_images(count, shape, seed=3):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def mixture_world(images=False):
    conditions = ["tight", "broad", "tight"]
    test = items(conditions, random_images(3, SHAPE) if images else None, labels=[1, 0, 1])
    dev = Items([f"d{k}" for k in range(6)], ["broad", "tight"] * 3, list("abcdef"), [0, 1] * 3, False)
    if images:
        return World(mixture(), test, dev, OfMixture)
    return World(mixture(means=NEAR_MEANS, stds=EQUAL_STDS), test, dev, OfNearMixture)


def network_world(name, steps, size=None):
    """Two memorized and one other test item of a planted model, and four dev items, in double precision.

    With a ``size`` latents have it, and images are the middle of their own: a network takes any.
    """
    images = name == "fashion-pixel-generated"
    sample_set = load_sample_set(name)
    model = load_model(sample_set.items["model"].iloc[0], dtype=torch.float64)
    if size:
        model.latent_shape = (model.latent_shape[0], size, size)
    parts = {}
    for split, counts in (("test", (1, 2)), ("dev", (2, 2))):
        frame = sample_set.items[sample_set.items["split"] == split]
        chosen = [frame[frame["label"] == label].head(count) for label, count in enumerate(counts)]
        rows = [row for part in chosen for row in part.itertuples()]
        pictures = torch.tensor(np.stack([row.image for row in rows])) if images else None
        if images and size:
            start = (pictures.shape[-1] - size) // 2
            pictures = pictures[..., start : start + size, start : start + size].contiguous()
        names = [row.item_id for row in rows]
        parts[split] = Items(
            names, [row.condition for row in rows], names, [row.label for row in rows], not images, pictures
        )

    def one(condition, **options):
        return OfNetwork(model, condition, steps, **options)

    return World(model, parts["test"], parts["dev"], one, steps=steps, guidance=2.0)
