"""Decomposition of the trajectory, critical scale, inward flux: a second implementation, cost, order, direction."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from memdet.detectors import detector_classes, make_detector
from memdet.detectors.methods.critical_scale import _last_crossing
from memdet.errors import NotApplicableError
from memdet.models import GaussianMixture, NoiseSchedule
from memdet.probing import Items, SeedMemory, draws
from tests.helpers.one_item import EQUAL_STDS, NEAR_MEANS, SHAPE, WEIGHTS, items, mixture, mixture_world, random_images
from tests.helpers.problems import make_probe, scaled_linear_betas

N, STEPS = 6, 10
# Forwards of an item's own, and those that all items share where they share the noise.
TRAJECTORY = (2 * STEPS - 1, 1)
COSTS = {
    "trajectory-decomposition": TRAJECTORY,
    "critical-scale": (TRAJECTORY[0] + 10 + 8 + 6 + 4 + 2, 1),
    "critical-scale@levels=2,tolerance=0.2": (TRAJECTORY[0] + 10 + 5, 1),
    "critical-scale@levels=3": (TRAJECTORY[0] + 10 + 7 + 4, 1),
    "invmm@steps=6": (TRAJECTORY[0] + 6, 1),
    "verma2026": (TRAJECTORY[0] + 3 + 32, 1),
    "verma2026@cycles=0,directions=1,t=300": (TRAJECTORY[0] + 4, 1),
}
IMAGE_COSTS = {"critical-scale": (30, 0), "invmm": (50, 0), "verma2026": (3 + 32, 0)}
PRODUCTS = {"invmm@steps=6": 6, "invmm": 50}
CASES = [(text, False) for text in COSTS] + [(text, True) for text in IMAGE_COSTS]
IMAGES = random_images(N, SHAPE)


def some(images=False):
    return items(["tight", "broad"] * (N // 2), IMAGES if images else None)


def near():
    """Components that no condition, noise or time rules out: at little noise both branches of others agree exactly."""
    return mixture(means=NEAR_MEANS, stds=EQUAL_STDS)


def ask(text, probe):
    with probe.charge() as cost:
        return make_detector(text, detector_classes()).score(probe).double(), cost


# By hand: one item of one seed, from the formulas


def decomposition(one):
    """Weights by NumPy's least squares."""
    states = one.states(one.guidance, len(one.timesteps))
    basis = np.stack([states[-1].numpy().ravel(), states[0].numpy().ravel()], axis=1)
    beyond = []
    for state, t in zip(states[1:-1], one.timesteps[1:], strict=True):
        weights = np.linalg.lstsq(basis, state.numpy().ravel(), rcond=None)[0]
        beyond.append(weights[0] - one.levels(t)[0])
    return sum(beyond) / len(beyond)


def end_of(one):
    return one.image if one.image is not None else one.states(one.guidance, len(one.timesteps))[-1]


def critical_scale(levels, tolerance):
    def of(one):
        x, steps = end_of(one), len(one.timesteps)
        found = [(0.0, 0.0)]
        for level in range(levels - 1, -1, -1):
            first = level * steps // levels
            alpha, sigma = one.levels(one.timesteps[first])
            y = alpha * x + sigma * one.noise(1)
            for i in range(first, steps):
                t = one.timesteps[i]
                eps = one.eps(y, t, "cond")
                clean = (y - one.levels(t)[1] * eps) / one.levels(t)[0]
                bar = one.final if i + 1 == steps else one.alpha_bar[one.timesteps[i + 1]]
                y = math.sqrt(bar) * clean + math.sqrt(1 - bar) * eps
            found.append((sigma / alpha, float((y - x).norm() / x.norm())))
        for place in range(len(found) - 1, -1, -1):
            scale, error = found[place]
            if error < tolerance:
                if place == len(found) - 1:
                    return scale
                above, more = found[place + 1]
                return scale + (above - scale) * (tolerance - error) / (more - error)
        raise AssertionError("the first error is 0")

    return of


def inward_flux(t=50, cycles=3, directions=8, radius=0.01):
    def of(one):
        clean, nearest = end_of(one), min(one.timesteps, key=lambda candidate: abs(candidate - t))
        alpha, sigma = one.levels(nearest)
        for cycle in range(cycles):
            x = alpha * clean + sigma * one.noise(1 + cycle)
            clean = (x - sigma * one.eps(x, nearest, "cond")) / alpha
        total = 0.0
        for index in range(directions):
            u = draws.gaussian(one.shape, one.seed, index).double()
            u = u / u.norm()
            inward = 0.0
            for branch, sign in (("cond", 1), ("null", -1)):
                for side in (1, -1):
                    score = -one.eps(alpha * clean + side * radius * sigma * u, nearest, branch) / sigma
                    inward += sign * -float((score * side * u).sum()) / 2
            total += inward
        return total / directions

    return of


def invmm(steps, weight=1.0, rate=0.1):
    """By autograd and torch's Adam: the loss as it is written, of means over the dimensions times their number."""

    def of(one):
        x, found = end_of(one), [torch.zeros(one.shape, dtype=torch.float64, requires_grad=True) for _ in range(2)]
        mean, log_variance = found
        optimizer = torch.optim.Adam(found, lr=rate)
        for step in range(steps):
            t = math.floor(math.modf((step + 0.5) * (math.sqrt(5) - 1) / 2)[0] * 1_000)
            alpha, sigma = one.levels(t)
            noise = mean + torch.exp(log_variance / 2) * draws.gaussian(one.shape, one.seed, step).double()
            noisy = alpha * x + sigma * noise
            clean = (noisy - sigma * differentiable_eps(one, noisy, t)) / alpha
            divergence = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1)
            optimizer.zero_grad()
            ((clean - x) ** 2 + weight * divergence).sum().backward()
            optimizer.step()
        return -float((0.5 * (mean**2 + log_variance.exp() - log_variance - 1)).mean().detach())

    return of


def differentiable_eps(one, x, t):
    """Noise prediction of the mixture under the item's condition, by its responsibilities."""
    alpha, sigma = one.levels(t)
    variances = torch.tensor([alpha**2 * 0.5**2 + sigma**2] * 3, dtype=torch.float64)
    weights = torch.tensor(WEIGHTS[one.condition], dtype=torch.float64)
    gaps = x.flatten() - alpha * NEAR_MEANS
    logs = weights.log() - gaps.square().sum(dim=1) / (2 * variances) - gaps.shape[1] / 2 * variances.log()
    score = -(torch.softmax(logs, dim=0)[:, None] * gaps / variances[:, None]).sum(dim=0)
    return (-sigma * score).view(x.shape)


BY_HAND = {
    "trajectory-decomposition": decomposition,
    "critical-scale": critical_scale(5, 0.5),
    "critical-scale@levels=3,tolerance=0.2": critical_scale(3, 0.2),
    "invmm@steps=7": invmm(7),
    "invmm@steps=4,weight=0.1,rate=0.3": invmm(4, 0.1, 0.3),
    "verma2026": inward_flux(),
    "verma2026@t=300,cycles=0,directions=3,radius=0.5": inward_flux(300, 0, 3, 0.5),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "noise", "images"),
    [(text, noise, False) for text in BY_HAND for noise in ("shared", "per-item")]
    + [(text, "shared", True) for text in BY_HAND if text.startswith(("critical", "verma"))],
)
def test_by_hand(text, noise, images):
    world = mixture_world(images)
    found, _ = ask(text, world.probe(seed=2, noise=noise))
    expected = [BY_HAND[text](one) for one in world.singly("test", 2, noise)]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


# Cost, order, batches


@pytest.mark.parametrize("noise", ["shared", "per-item"])
@pytest.mark.parametrize(("text", "images"), CASES)
def test_cost(text, images, noise):
    model = mixture()
    probe = make_probe(model, some(images), noise=noise, steps=STEPS, check=False)
    _, cost = ask(text, probe)
    own, shared = (IMAGE_COSTS if images else COSTS)[text]
    assert cost.forwards == pytest.approx(own + shared * (1 / N if noise == "shared" else 1))
    assert (cost.jvps, cost.vjps) == (0, PRODUCTS.get(text, 0))
    made_again = PRODUCTS.get(text, 0)  # with a graph, since the direction of the product is the prediction
    assert model.rows == pytest.approx(N * (cost.forwards + made_again))
    assert ask(text, probe)[1].forwards == pytest.approx(cost.forwards)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize(("text", "images"), CASES)
def test_order_and_batches_do_not_matter(text, images, size):
    whole = some(images)
    expected, _ = ask(text, make_probe(near(), whole, steps=STEPS))
    assert len(set(expected.tolist())) > 1
    memory, model = SeedMemory(), near()
    order = torch.randperm(N, generator=torch.Generator().manual_seed(size)).tolist()
    for start in range(0, N, size):
        rows = order[start : start + size]
        part = Items(
            *([getattr(whole, name)[i] for i in rows] for name in ("ids", "conditions", "clusters", "labels")),
            False,
            IMAGES[rows] if images else None,
        )
        found, _ = ask(text, make_probe(model, part, steps=STEPS, memory=memory, n_items=N))
        assert found.tolist() == pytest.approx(expected[rows].tolist(), rel=1e-6)


# What must come out


def wells(width, dimensions=64):
    """Two conditions: a narrow well among others, and a broad one."""
    generator = torch.Generator().manual_seed(1)
    means = torch.randn(12, dimensions, generator=generator, dtype=torch.float64)
    memorized, others = [1.0] + [0.0] * 11, [0.0] + [1 / 11] * 11
    return GaussianMixture(
        "wells",
        means,
        stds=[width] + [1.0] * 11,
        weights=[1 / 12] * 12,
        conditions={"memorized": memorized, "broad": others},
        schedule=NoiseSchedule.from_betas(scaled_linear_betas()),
        latent_shape=(dimensions,),
    )


@pytest.mark.parametrize("text", ["trajectory-decomposition", "critical-scale", "verma2026@t=700", "invmm"])
def test_a_memorized_condition_scores_higher(text):
    batch = items(["memorized", "broad"] * 6)
    found, _ = ask(text, make_probe(wells(0.01), batch, steps=20, guidance=3.0, noise="per-item"))
    assert roc_auc_score([1, 0] * 6, found) > (0.8 if "verma" in text else 0.99)


def test_a_point_mass_comes_back_from_pure_noise():
    """Whatever the noise, denoising leads to the one point: the scale is that of the first level."""
    probe = make_probe(wells(0.0), items(["memorized"] * 2), steps=20, guidance=1.0)
    found, _ = ask("critical-scale", probe)
    schedule, first = probe.model.schedule, probe.timesteps[0]
    assert found.tolist() == pytest.approx([schedule.sigma(first) / schedule.alpha(first)] * 2)


def test_the_states_of_a_point_mass_are_those_of_the_schedule():
    """Unguided DDIM to a point stays on alpha x + sigma x_T, with x_T as the noise that the first state implies."""
    found, _ = ask("trajectory-decomposition", make_probe(wells(0.0), items(["memorized"]), steps=20, guidance=1.0))
    schedule = make_probe(wells(0.0), items(["memorized"]), steps=20).model.schedule
    timesteps = schedule.timesteps(20)
    first_alpha, first_sigma = schedule.alpha(timesteps[0]), schedule.sigma(timesteps[0])
    beyond = [-schedule.sigma(t) * first_alpha / first_sigma for t in timesteps[1:]]
    assert found.item() == pytest.approx(sum(beyond) / len(beyond), rel=1e-6)


def test_inward_flux_is_the_trace_of_the_jacobian():
    """Of Gaussians the score is linear: the mean of -u J u / d over all directions, here of both branches."""
    model = wells(0.5, dimensions=4)
    batch = items(["memorized"])
    probe = make_probe(model, batch, steps=20, guidance=1.0)
    (found,) = ask("verma2026@directions=300,cycles=0,t=1", probe)[0].tolist()
    t = probe.nearest_timestep(1)
    x = model.schedule.alpha(t) * probe.clean()
    gap = (probe.jacobian_matrix(x, t, "cond") - probe.jacobian_matrix(x, t, "null"))[0]
    expected = -0.01 * model.schedule.sigma(t) * float(gap.trace()) / 4
    spread = 0.01 * model.schedule.sigma(t) * float(torch.linalg.matrix_norm(gap)) / 4
    assert found == pytest.approx(expected, abs=spread * 3 / math.sqrt(300) + 1e-9)


def test_crossings():
    scales = [0.0, 1.0, 3.0, 4.0]
    errors = torch.tensor(
        [
            [0.0, 0.2, 0.4, 0.49],  # returns from everywhere
            [0.0, 1.0, 1.0, 1.0],  # from nowhere: between nothing and the first
            [0.0, 0.25, 0.75, 0.9],
            [0.0, 0.9, 0.1, 0.9],  # the last time counts
            [0.0, 0.5, float("nan"), 1.0],
        ]
    )
    found = _last_crossing(scales, errors, 0.5)
    assert found[:4].tolist() == pytest.approx([4.0, 0.5, 2.0, 3.5])
    assert math.isnan(found[4])


def test_what_the_protocol_must_have():
    short = make_probe(mixture(), some(), steps=1)
    with pytest.raises(NotApplicableError, match="no state between"):
        ask("trajectory-decomposition", short)
    with pytest.raises(NotApplicableError, match="5 levels of noise, and the trajectory has 1"):
        ask("critical-scale", short)
    with pytest.raises(NotApplicableError, match="items are images"):
        ask("trajectory-decomposition", make_probe(mixture(), some(images=True)))
