"""The Hessian family a second time: one item of one seed, plain loops, the whole Jacobian."""

import numpy as np
import torch

from memdet.probing import draws
from tests.helpers.problems import MIXTURES, exact_hessian, exact_score, scaled_linear_betas

ALPHA_BAR = np.cumprod(1 - scaled_linear_betas())


class Naive:
    """Everything but the score and its Jacobian. Samples are flat.

    Args:
        shape: Of a sample.
        seed: Of the draws.
        steps: Of the trajectory.
        end: alpha and sigma that the last step lands on.
    """

    def __init__(self, shape, seed, steps, end):
        self.shape, self.seed, self.end = shape, seed, end
        self.timesteps = list(range(1, 1_000, 1_000 // steps))[::-1]
        self.noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double().flatten()
        self._known = {}

    def score(self, x, t, branch):
        raise NotImplementedError

    def jacobian(self, x, t, branch):
        """``d score_i / d x_j`` in row i and column j."""
        raise NotImplementedError

    @staticmethod
    def levels(t):
        return ALPHA_BAR[t] ** 0.5, (1 - ALPHA_BAR[t]) ** 0.5

    def eps(self, x, t, branch):
        return -self.levels(t)[1] * self.score(x, t, branch)

    def guided(self, index, guidance):
        """State before step ``index`` of a DDIM trajectory; the clean sample after the last one."""
        x = self.noise
        for i in range(index):
            key = (i, guidance)
            if key not in self._known:
                t = self.timesteps[i]
                null = self.eps(x, t, "null")
                eps = null + guidance * (self.eps(x, t, "cond") - null)
                alpha, sigma = self.levels(t)
                clean = (x - sigma * eps) / alpha
                alpha, sigma = self.levels(self.timesteps[i + 1]) if i + 1 < len(self.timesteps) else self.end
                self._known[key] = alpha * clean + sigma * eps
            x = self._known[key]
        return x

    def at(self, t):
        """State and timestep on the unguided trajectory; the noise for None."""
        if t is None:
            return self.noise, self.timesteps[0]
        nearest = sorted(self.timesteps, key=lambda candidate: abs(candidate - t))[0]
        return self.guided(self.timesteps.index(nearest), 1.0), nearest

    def in_large_steps(self, t, steps):
        """State and timestep after ``steps`` unguided ones between timesteps that lie evenly."""
        nearest = sorted(self.timesteps, key=lambda candidate: abs(candidate - t))[0]
        index = self.timesteps.index(nearest)
        if steps >= index:
            return self.guided(index, 1.0), nearest
        x, places = self.noise, [self.timesteps[int(i)] for i in np.rint(np.linspace(0, index, steps + 1))]
        for before, after in zip(places[:-1], places[1:], strict=True):
            eps, (alpha, sigma), (next_alpha, next_sigma) = (
                self.eps(x, before, "cond"),
                *map(self.levels, (before, after)),
            )
            x = next_alpha * (x - sigma * eps) / alpha + next_sigma * eps
        return x, nearest

    def gap(self, x, t):
        return self.jacobian(x, t, "cond") - self.jacobian(x, t, "null")

    def signs(self, probes):
        return [draws.rademacher(self.shape, self.seed, k).double().flatten() for k in range(probes)]

    def ritz(self, matrix, start, steps):
        """Eigenvalues of the symmetric part on the Krylov space of ``matrix.T``, and squared first components."""
        vectors = start[:, None]
        for _ in range(steps - 1):
            basis, _ = torch.linalg.qr(vectors)
            vectors = torch.cat([basis, (matrix.T @ basis[:, -1])[:, None]], dim=1)
        basis, _ = torch.linalg.qr(vectors)
        values, coordinates = torch.linalg.eigh(basis.T @ ((matrix + matrix.T) / 2) @ basis)
        return values, (basis.T @ start / start.norm() @ coordinates).square()

    def wen2024(self, t):
        x, t = self.at(t)
        return float((self.eps(x, t, "cond") - self.eps(x, t, "null")).norm())

    def wen2024_mean(self, steps):
        total = 0.0
        for index in range(steps):
            x, t = self.guided(index, 7.5), self.timesteps[index]
            total += float((self.eps(x, t, "cond") - self.eps(x, t, "null")).norm())
        return total / steps

    def jeon2025(self, t, power):
        x, t = self.at(t)
        return float((self.gap(x, t) @ (self.score(x, t, "cond") - self.score(x, t, "null"))).norm()) ** power

    def curvature_gap(self, t, probes):
        gap = self.gap(*self.at(t))
        return (sum(float((gap @ v).square().sum()) for v in self.signs(probes)) / probes) ** 0.5

    def hessian_trace(self, t, probes):
        matrix = self.jacobian(*self.at(t), "cond")
        return -sum(float(v @ matrix @ v) for v in self.signs(probes)) / probes

    def few_step_curvature(self, t, steps, probes):
        matrix = self.jacobian(*self.in_large_steps(t, steps), "cond")
        return -sum(float(v @ matrix @ v) for v in self.signs(probes)) / probes

    def eigenvalues(self, t, statistic, c=0.5):
        x, t = self.at(t)
        values = torch.linalg.eigvalsh(self.jacobian(x, t, "cond"))
        if statistic == "smallest":
            return -float(values.min())
        if statistic == "count-below":
            return float((values < -c / self.levels(t)[1] ** 2).sum())
        return -float((values > 0).sum())

    def hessian_cubic(self, t):
        x, t = self.at(t)
        return float((self.jacobian(x, t, "cond") @ self.score(x, t, "cond")).square().sum())

    def trace_gap(self, t, probes):
        x, t = self.at(t)
        return -sum(float(v @ self.gap(x, t) @ v) for v in self.signs(probes)) / probes

    def exact_trace_gap(self, t):
        return -float(self.gap(*self.at(t)).trace())

    def eigenvalue_gap(self, t, steps):
        start = draws.gaussian(self.shape, self.seed, 0).double().flatten()
        return -float(self.ritz(self.gap(*self.at(t)), start, steps)[0].min())

    def exact_eigenvalue_gap(self, t):
        gap = self.gap(*self.at(t))
        return -float(torch.linalg.eigvalsh((gap + gap.T) / 2).min())

    def metric2(self, t, transposed=True):
        x, t = self.at(t)
        both = {branch: self.jacobian(x, t, branch) for branch in ("cond", "null")}
        if transposed:
            both = {branch: matrix.T for branch, matrix in both.items()}
        difference = both["cond"] @ self.eps(x, t, "cond") - both["null"] @ self.eps(x, t, "null")
        return float(difference.square().sum())

    def filtered(self, values, t, c, p):
        kappa = c / self.levels(t)[1] ** 2
        return torch.tensor([1 / (1 + (abs(float(value)) / kappa) ** p) for value in values], dtype=torch.float64)

    def image(self, t, guidance=7.5):
        """The end of the guided trajectory, scaled as at t."""
        return self.levels(t)[0] * self.guided(len(self.timesteps), guidance)

    def lhsd(self, t, probes, steps, c=0.5, p=4):
        matrix, total = self.jacobian(self.image(t), t, "null"), 0.0
        for v in self.signs(probes):
            values, weights = self.ritz(matrix, v, steps)
            total += len(v) * float((weights * self.filtered(values, t, c, p)).sum())
        return -total / probes

    def exact_lhsd(self, t, c=0.5, p=4):
        return -float(self.filtered(self.null_spectrum(t), t, c, p).sum())

    def null_spectrum(self, t):
        matrix = self.jacobian(self.image(t), t, "null")
        return torch.linalg.eigvalsh((matrix + matrix.T) / 2)

    def curvature_map(self, probes, guidance=7.5):
        """``relu(-sum_channels diag J_D)``, for pictures a number a pixel, else a number a coordinate."""
        last = len(self.timesteps) - 1
        gap = self.gap(self.guided(last, guidance), self.timesteps[last])
        diagonal = gap.diagonal() if probes is None else sum(v * (gap.T @ v) for v in self.signs(probes)) / probes
        if len(self.shape) < 3:
            return torch.clamp(-diagonal, min=0)
        (channels, height, width), found = self.shape, torch.zeros(self.shape[1:], dtype=diagonal.dtype)
        for row in range(height):
            for column in range(width):
                at = [(k * height + row) * width + column for k in range(channels)]
                found[row, column] = max(0.0, -sum(float(diagonal[i]) for i in at))
        return found

    def curvature(self, probes):
        return float(self.curvature_map(probes).mean())

    def flipd(self, t, probes, guidance=7.5):
        t = sorted(self.timesteps, key=lambda candidate: abs(candidate - t))[0]
        alpha, sigma = self.levels(t)
        x = alpha * self.guided(len(self.timesteps), guidance)
        matrix = self.jacobian(x, t, "cond")
        if probes is None:
            trace = float(matrix.trace())
        else:
            trace = sum(float(v @ matrix @ v) for v in self.signs(probes)) / probes
        return -(len(x) + sigma**2 * (trace + float(self.score(x, t, "cond").square().sum())))


class OfMixture(Naive):
    """A condition of one of ``MIXTURES``, its Hessian by autograd from torch.distributions."""

    def __init__(self, name, condition, seed, steps=50):
        super().__init__(MIXTURES[name]["latent_shape"], seed, steps, end=(1.0, 0.0))
        self.name = name
        self.weights = {"cond": MIXTURES[name]["conditions"][condition], "null": MIXTURES[name]["weights"]}

    def score(self, x, t, branch):
        return exact_score(x, self.name, self.weights[branch], *self.levels(t))

    def jacobian(self, x, t, branch):
        return exact_hessian(x, self.name, self.weights[branch], *self.levels(t))


class OfNetwork(Naive):
    """A prompt of a Stable Diffusion model, its Jacobian from one graph of d copies with one output each."""

    def __init__(self, model, prompt, seed, steps=50):
        super().__init__(model.latent_shape, seed, steps, end=(ALPHA_BAR[0] ** 0.5, (1 - ALPHA_BAR[0]) ** 0.5))
        self.model = model
        self.text = {"cond": model.embed([prompt]), "null": model.embed_null()}
        self._matrices = {}

    def outputs(self, rows, t, branch):
        text = self.text[branch].expand(len(rows)).tensor
        eps = self.model._unet(rows.view(len(rows), *self.shape), t, encoder_hidden_states=text).sample
        return -eps.flatten(1) / self.levels(t)[1]

    def score(self, x, t, branch):
        with torch.no_grad():
            return self.outputs(x[None], t, branch)[0]

    def jacobian(self, x, t, branch):
        key = (t, branch, float(x.sum()))
        if key not in self._matrices:
            copies = x.expand(len(x), -1).clone().requires_grad_(True)
            (self._matrices[key],) = torch.autograd.grad(self.outputs(copies, t, branch).diagonal().sum(), copies)
        return self._matrices[key]
