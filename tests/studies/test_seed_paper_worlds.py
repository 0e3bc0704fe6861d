"""The claims of arXiv 2412.04140 by world: measured on closed forms in every parametrisation, judged by rules."""

import copy
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch

from memdet.errors import UserError
from memdet.metrics import Interval
from memdet.models import GaussianMixture, NoiseSchedule
from memdet.models.flow_schedule import FlowSchedule
from memdet.samplesets import SampleSet
from studies.seed_paper.claims import (
    AREA,
    CLAIMS,
    FAILS,
    GAIN,
    HOLDS,
    OPEN,
    RATIO_OF_MEANS,
    SHARE,
    outcome,
    over_models,
    rank_interval,
    ratio_interval,
)
from studies.seed_paper.measure_world import Extent, Steps, measure_model
from studies.seed_paper.page import render_page, write_document
from studies.seed_paper.page_worlds import file_of, read_world, read_worlds, render_worlds
from studies.seed_paper.worlds import sets_of, worlds

STEPS, ITEMS = 20, 12
TIGHT, BROAD = 0.02, 3.0


def flow():
    """From pure noise in even steps."""
    return FlowSchedule(lambda steps: (np.linspace(1000, 1000 / steps, steps), np.linspace(1, 0, steps + 1)))


def zero_snr():
    """A variance-preserving schedule whose last timestep, the first of trajectories of 20 steps, is pure noise."""
    angle = np.linspace(0.01, np.pi / 2, 1_000)
    return NoiseSchedule(np.append(np.cos(angle)[:-1], 0.0), np.sin(angle), offset=49)


def vp():
    return NoiseSchedule.from_betas(np.linspace(1e-4, 0.02, 1_000))


SCHEDULES = {"eps": vp, "flow": flow, "v": zero_snr}


def mixture(schedule, kind, dimensions=3):
    """Copies are points, nearly; the others are broad Gaussians. A condition is one of both, the null branch all."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(2 * ITEMS, dimensions, generator=generator, dtype=torch.float64)
    stds = [TIGHT] * ITEMS + [BROAD] * ITEMS
    own = np.eye(2 * ITEMS).tolist()
    conditions = {f"condition {index}": own[index] for index in range(2 * ITEMS)}
    weights = [1.0] * (2 * ITEMS)
    return GaussianMixture(f"mixture-{kind}", means, stds, weights, conditions, schedule, kind)


def items_of(model, noise="shared"):
    names = [f"condition {index}" for index in range(2 * ITEMS)]
    frame = pd.DataFrame({"condition": names, "label": [1] * ITEMS + [0] * ITEMS})
    return SampleSet.from_pandas(frame, model=model.name, id=model.name, noise=noise, steps=STEPS, guidance=2.0)


@pytest.fixture(scope="module")
def measured():
    models = {kind: mixture(schedule(), kind) for kind, schedule in SCHEDULES.items()}
    return {kind: (model, measure_model(model, items_of(model), Extent(ITEMS))) for kind, model in models.items()}


def document_of(*parts, world="closed"):
    models = {part["settings"]["model"]: part for part in parts}
    return {"schema_version": 1, "world": world, "models": models}


@pytest.mark.parametrize("kind", SCHEDULES)
def test_spectra_are_those_of_the_closed_form_in_every_parametrisation(measured, kind):
    """Under a condition the density is N(alpha mu, m): H = -1 / m, which is -sigma^2 / m in the study's scale."""
    model, part = measured[kind]
    data = part["data"]
    assert data["labels"] == [1] * ITEMS + [0] * ITEMS
    assert len(data["places"]) == 3
    for place in data["places"]:
        alpha, sigma = model.schedule.alpha(place["t"]), model.schedule.sigma(place["t"])
        units = [sigma**2 / (alpha**2 * tau**2 + sigma**2) for tau in [TIGHT] * ITEMS + [BROAD] * ITEMS]
        assert place["smallest"] == pytest.approx([-h for h in units], rel=1e-6)
        assert place["positive"] == [0] * (2 * ITEMS)
    for place in data["identities"]:
        alpha, sigma = model.schedule.alpha(place["t"]), model.schedule.sigma(place["t"])
        units = [sigma**2 / (alpha**2 * tau**2 + sigma**2) for tau in [TIGHT] * ITEMS + [BROAD] * ITEMS]
        assert place["trace"] == pytest.approx([3 * h for h in units], rel=1e-6)
        assert place["cubic_trace"] == pytest.approx([3 * h**3 for h in units], rel=1e-6)
        squares = [h**2 * norm for h, norm in zip(units, place["norm"], strict=True)]
        assert place["product_norm"] == pytest.approx(squares, rel=1e-6)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_null_branch_and_difference_are_those_of_the_closed_form(measured, kind):
    """The closed form knows the spectrum of a difference without a Jacobian, at the points that a probe visits."""
    from memdet.probing import Context, Items, Probe

    model, part = measured[kind]
    conditions = [f"condition {index}" for index in range(2 * ITEMS)]
    items = Items(conditions, conditions, conditions, part["data"]["labels"], False)
    probe = Probe(model, items, Context(items_of(model).protocol))
    cond, null = model.embed(conditions), model.embed_null()
    for place in part["data"]["places"]:
        t = place["t"]
        x = probe.trajectory(guidance=1.0).state(probe.timesteps.index(t))
        sigma = model.schedule.sigma(t)
        gap = model.exact_difference_spectrum(x, t, cond, null)[:, 0] * sigma**2
        assert place["smallest_gap"] == pytest.approx(gap.tolist(), rel=1e-6, abs=1e-9)
        alone = model.exact_spectrum(x, t, null)[:, 0] * sigma**2
        assert place["smallest_null"] == pytest.approx(alone.tolist(), rel=1e-6)


@pytest.mark.parametrize("kind", ["flow", "v"])
def test_at_pure_noise_the_norm_is_the_distance_of_two_means_and_the_rest_is_of_the_second_step(measured, kind):
    model, part = measured[kind]
    timesteps = model.schedule.timesteps(STEPS)
    assert model.schedule.alpha(timesteps[0]) == 0
    assert part["data"]["t"]["start"] == timesteps[0]
    assert part["data"]["t"]["first"] == part["data"]["places"][0]["t"] == timesteps[1]
    means = model._means
    distances = (means - means.mean(dim=0)).norm(dim=1)
    assert part["data"]["norms"]["difference"] == pytest.approx(distances.tolist(), rel=1e-6)


def test_the_hessian_norm_is_the_product_that_the_closed_form_knows(measured):
    model, part = measured["flow"]
    t = part["data"]["t"]["first"]
    x = items_at(model, t)
    conditions = [f"condition {index}" for index in range(2 * ITEMS)]
    cond, null = model.embed(conditions), model.embed_null().expand(2 * ITEMS)
    gap = model._exact_score(x, t, cond) - model._exact_score(x, t, null)
    product = model.exact_hessian_product(x, t, cond, gap) - model.exact_hessian_product(x, t, null, gap)
    wanted = product.norm(dim=1) * model.schedule.sigma(t) ** 3
    assert part["data"]["norms"]["hessian"] == pytest.approx(wanted.tolist(), rel=1e-6)


def items_at(model, t):
    """One step from pure noise lands on alpha mu + sigma noise."""
    from memdet.probing import Context, Items, Probe

    probe = Probe(model, Items(["a"], ["condition 0"], ["a"], [1], False), Context(items_of(model).protocol))
    noise = probe.noise.double()
    return model.schedule.alpha(t) * model._means + model.schedule.sigma(t) * noise


def test_what_a_network_predicts_changes_nothing():
    """One density on one schedule, told as noise, clean sample, v and flow."""
    parts = []
    for kind in ("eps", "x0", "v", "flow"):
        model = mixture(vp(), kind)
        parts.append(measure_model(model, items_of(model, "per-item"), Extent(4, times=4))["data"])
    for part in parts[1:]:
        assert part["t"] == parts[0]["t"]
        for given, wanted in zip(
            part["places"] + part["identities"], parts[0]["places"] + parts[0]["identities"], strict=True
        ):
            assert given.keys() == wanted.keys()
            for key, values in given.items():
                assert values == pytest.approx(wanted[key], rel=1e-6, abs=1e-9), key
        assert part["norms"]["hessian"] == pytest.approx(parts[0]["norms"]["hessian"], rel=1e-5)


def test_near_pure_noise_the_networks_own_part_is_not_lost():
    """Of -1 + 3.6e-5 float32 would keep two digits of the second part."""
    model = mixture(flow(), "flow")
    model.dtype = torch.float32
    data = measure_model(model, items_of(model).with_protocol(steps=500), Extent(2))["data"]
    place = data["places"][0]
    assert place["t"] == 998
    excess = (0.002 / 0.998) ** 2 * BROAD**2
    raised = 1 + np.array(place["smallest"][2:])
    assert raised == pytest.approx([excess / (1 + excess)] * 2, rel=2e-4)


def test_times_are_the_first_the_late_and_the_last_step():
    model = mixture(flow(), "flow")
    three, six = Steps.of(model, 50, 3), Steps.of(model, 50, 6)
    timesteps = model.schedule.timesteps(50)
    assert [timesteps[index] for index in three.indices] == [980, 200, 20]
    assert [timesteps[index] for index in six.indices] == [980, 780, 600, 400, 200, 20]  # the middle ones are rounded
    assert (six.first, six.late, six.last) == (1, 40, 49)
    assert Steps.of(mixture(vp(), "eps"), 50, 3).first == 0
    assert Steps.of(model, 1, 3).indices == [0]


VERDICTS = {
    ("The smallest eigenvalue of S_c is lower for copies", "first"): HOLDS,
    ("The smallest eigenvalue of S_c is lower for copies", "late"): HOLDS,
    ("The smallest eigenvalue of S_c is lower for copies", "last"): HOLDS,
    ("S_c has fewer positive eigenvalues for copies", "last"): FAILS,  # nobody has any
    ("S_c has no positive eigenvalue for most copies", "last"): HOLDS,
    ("The smallest eigenvalue of S_D tells copies better than that of S_c", "first"): OPEN,  # both are perfect
}


@pytest.mark.parametrize("kind", SCHEDULES)
def test_verdicts_on_a_closed_form(measured, kind):
    data = measured[kind][1]["data"]
    found = {(claim.text, claim.when): outcome(claim.measure(data), claim.kind) for claim in CLAIMS}
    assert len(found) == len(CLAIMS)
    assert VERDICTS.keys() <= found.keys()
    for key, wanted in VERDICTS.items():
        assert found[key] == wanted, key


@pytest.mark.parametrize(
    ("number", "kind", "wanted"),
    [
        ((0.97, 0.9, 0.99), AREA, HOLDS),
        ((1.0, 0.158, 1.0), AREA, OPEN),  # two items against two
        ((0.88, 0.8, 0.93), AREA, OPEN),
        ((0.88, 0.85, 0.89), AREA, FAILS),
        ((0.1, 0.01, 0.2), GAIN, HOLDS),
        ((0.0, 0.0, 0.0), GAIN, OPEN),
        ((0.1, -0.01, 0.2), GAIN, OPEN),
        ((-0.1, -0.2, -0.01), GAIN, FAILS),
        ((1.05, 0.95, 1.15), RATIO_OF_MEANS, HOLDS),
        ((1.05, 0.85, 1.25), RATIO_OF_MEANS, OPEN),
        ((1.3, 1.2, 1.4), RATIO_OF_MEANS, FAILS),
        ((0.75, 0.72, 0.78), RATIO_OF_MEANS, FAILS),
        ((0.9, 0.6, 1.0), SHARE, HOLDS),
        ((0.6, 0.4, 0.8), SHARE, OPEN),
        ((math.nan, math.nan, math.nan), AREA, OPEN),
    ],
)
def test_the_rule_of_verdicts(number, kind, wanted):
    assert outcome(Interval(*number), kind) == wanted


def claim_of(text, when):
    return next(claim for claim in CLAIMS if claim.text.startswith(text) and claim.when == when)


def test_a_difference_that_nothing_moves_is_left_to_the_sign_test():
    """All of n copies are found by one and none by the other: p = 2^(1 - n)."""
    for n, wanted in ((4, OPEN), (12, HOLDS)):
        data = {
            "labels": [1] * n + [0] * n,
            "clusters": [str(index) for index in range(2 * n)],
            "norms": {"hessian": [1.0] * n + [0.0] * n, "difference": [0.0] * (2 * n)},
        }
        claim = claim_of("norm(J_D s_D)", "first")
        found = claim.measure(data)
        assert found.value == 0.5
        assert outcome(found, claim.kind) == wanted
        data["norms"] = {"hessian": data["norms"]["difference"], "difference": data["norms"]["hessian"]}
        assert outcome(claim.measure(data), claim.kind) == {OPEN: OPEN, HOLDS: FAILS}[wanted]


def test_identities_of_a_gaussian_hold_in_the_mean_and_not_from_item_to_item():
    """H = -diag(1 / v) everywhere and s = -x / v: one trace, and norms of which it is the mean."""
    rng = np.random.default_rng(0)
    variances = np.array([0.5, 1.0, 2.0] * 20)
    norm = np.square(rng.standard_normal((400, 60)) / np.sqrt(variances)).sum(axis=1)
    trace = np.full(400, (1 / variances).sum())
    data = {
        "clusters": [str(index) for index in range(400)],
        "t": {"first": 10},
        "identities": [{"t": 10, "norm": norm.tolist(), "trace": (trace + 1e-6 * rng.random(400)).tolist()}],
    }
    ratio, rank = (claim_of(text, "first") for text in ("norm(s)^2 is", "norm(s)^2 follows"))
    found = ratio.measure(data)
    standard_error = norm.std() / np.sqrt(400) / trace[0]
    assert found.value == pytest.approx(1, abs=4 * standard_error)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * standard_error, rel=0.1)
    assert outcome(found, ratio.kind) == HOLDS
    assert outcome(rank.measure(data), rank.kind) == FAILS


def test_the_interval_of_a_ratio_counts_clusters():
    """A constant denominator leaves the mean, whose interval is Student's t."""
    a, b = np.array([0.0, 2.0]), np.ones(2)
    found = ratio_interval(a, b, ["a", "b"])
    assert found.value == 1
    assert found.high - 1 == 1 - found.low == pytest.approx(12.7062, rel=1e-5)  # t of one degree, standard error 1
    twice = ratio_interval(np.repeat(a, 3), np.repeat(b, 3), ["a"] * 3 + ["b"] * 3)
    assert twice.high == pytest.approx(found.high)
    assert math.isnan(ratio_interval(a, b, ["a", "a"]).low)


def test_the_interval_of_a_rank_correlation():
    none, perfect = np.arange(28.0), np.arange(28.0)
    best = rank_interval(perfect, perfect)
    assert (best.value, best.high) == (pytest.approx(1), pytest.approx(1))
    assert 0.99 < best.low < 1
    assert rank_interval(perfect[:4], perfect[:4]).low < 0  # four items prove nothing
    assert rank_interval(perfect[:4], -perfect[:4]).high > 0
    found = rank_interval(none, np.tile([0.0, 1.0, 1.0, 0.0], 7))  # no correlation
    assert found.value == pytest.approx(0, abs=1e-12)
    assert found.high == pytest.approx(math.tanh(1.959964 / 5))
    assert found.low == -found.high
    assert math.isnan(rank_interval(none, np.zeros(28)).low)
    assert math.isnan(rank_interval(none[:3], perfect[:3]).low)


def test_a_mean_without_an_interval_of_one_model_has_none():
    missing = over_models([Interval(1.0, 0.9, 1.0), Interval(1.0, math.nan, math.nan)])
    assert missing.value == 1.0
    assert outcome(missing, AREA) == OPEN


def test_the_page_has_a_column_a_world_and_leaves_out_the_others(measured):
    one = document_of(measured["flow"][1], world="flow")
    two = document_of(measured["eps"][1], measured["v"][1], world="mixed")
    assert render_worlds([]) == []
    page = "\n\n".join(render_worlds([one, two]))
    lines = page.splitlines()
    header = next(line for line in lines if line.startswith("| claim | when | number"))
    assert header == "| claim | when | number | flow | mixed |"
    rows = [line for line in lines if "is lower for copies | first step" in line]
    assert "| AUROC | **holds** 1.000 [.74, 1.00] | **holds** 1.000 [.74, 1.00] |" in rows[0]  # 0.025^(1 / 12)
    assert "the step before it, t = 1000, is pure noise" in page
    assert "d = 3: 12 copies and 12 others" in page
    assert render_page({"schema_version": 1, "parts": {}}, [one, two]).endswith(page + "\n")


def test_a_stored_world_is_read_again(measured, tmp_path):
    document = document_of(measured["flow"][1], world="flow")
    path = file_of(tmp_path, "flow")
    path.write_text(write_document(document))
    assert path.name == "seed-paper-flow.json"
    assert read_worlds(tmp_path) == [json.loads(json.dumps(document))]


def test_a_file_that_is_no_world_is_refused(measured, tmp_path):
    document = document_of(measured["flow"][1], world="flow")
    broken = copy.deepcopy(document)
    del broken["models"]["mixture-flow"]["data"]["norms"]
    for given in ("{", json.dumps(document | {"world": "other"}), json.dumps(broken), json.dumps({})):
        path = file_of(tmp_path, "flow")
        path.write_text(given)
        with pytest.raises(UserError, match=r"seed-paper-flow\.json holds no numbers of a world"):
            read_world(path)


def test_a_model_without_a_null_branch_is_refused():
    from memdet.errors import NotApplicableError

    class Alone(GaussianMixture):
        def embed_null(self):
            raise NotApplicableError("none")

    model = mixture(vp(), "eps")
    model.__class__ = Alone
    with pytest.raises(UserError, match="mixture-eps has no null branch"):
        measure_model(model, items_of(model), Extent(2))


def test_worlds_are_those_of_the_specs():
    assert sets_of("grey") == ["tiny-sd-a-verbatim", "tiny-sd-b-verbatim"]
    with pytest.raises(UserError, match=f"`world` 'gray' .* known worlds: {', '.join(worlds())}"):
        sets_of("gray")


@pytest.mark.slow
def test_a_transformer_of_a_flow_has_the_spectra_of_its_own_jacobian(tmp_path, monkeypatch):
    """A pipeline with random weights: sigma^2 H = -sigma (1 + alpha J_u), u being what its network returns."""
    from memdet.models import load_model
    from memdet.probing import Context, Items, Probe
    from tests.helpers import tiny_pipelines

    monkeypatch.setattr(tiny_pipelines, "SIZE", 4)
    model = load_model(tiny_pipelines.save("sd3", tmp_path))
    prompts = ["a red boot", "a blue bag", "one cat", "two dogs"]
    frame = pd.DataFrame({"prompt": prompts, "label": [1, 1, 0, 0]})
    given = SampleSet.from_pandas(frame, model=model.name, id="four", steps=4, guidance=2.0)
    part = measure_model(model, given, Extent(2))
    assert part["settings"]["prediction_type"] == "flow"
    assert part["settings"]["d"] == 64
    data = part["data"]
    assert data["t"]["start"] == 1000
    probe = Probe(model, Items(prompts, prompts, prompts, [1, 1, 0, 0], True), Context(given.protocol))
    t = data["t"]["first"]
    x, condition = probe.at(t)[0], model.embed(prompts)
    alpha, sigma = model.schedule.alpha(t), model.schedule.sigma(t)
    assert 0 < alpha < 1
    for row in (0, 3):
        own = torch.autograd.functional.jacobian(
            lambda z, row=row: model.predict(z[None], t, condition.rows(slice(row, row + 1)))[0], x[row]
        )
        symmetric = own.reshape(64, 64).double()
        symmetric = (symmetric + symmetric.T) / 2
        spectrum = -sigma * (1 + alpha * torch.linalg.eigvalsh(symmetric))
        place = data["places"][0]
        assert place["smallest"][row] == pytest.approx(float(spectrum.min()), rel=1e-4)
        assert place["positive"][row] == int((spectrum > 0).sum())
    document = document_of(part, world="flow")
    assert read_back(document, tmp_path)["models"].keys() == {model.name}


def read_back(document, directory):
    path = file_of(directory, document["world"])
    path.write_text(write_document(document))
    return read_world(path)
