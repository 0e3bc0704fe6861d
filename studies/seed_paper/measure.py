"""What the figures of Jeon, Kim and No (arXiv 2412.04140) show, measured on the planted models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memdet.benching.numerics.table import rank_correlation
from memdet.curvature import eigenvalues
from memdet.metrics import auroc, delong, evaluate_scores
from memdet.models import ScoreModel
from memdet.probing import Context, Items, Probe, SeedMemory
from memdet.samplesets import Protocol, SampleSet

if TYPE_CHECKING:
    import pandas as pd

GROUPS = ("memorized", "other")
PIXEL_STEPS, PIXEL_GUIDANCE = 100, 5.0
PIXEL_CLASSES = {"memorized": "trouser", "other": "t-shirt"}
TINY_TIMES = (None, 201)  # None is the first step
NOISES = ("per-item", "protocol")  # of the identities: an item's own draw, or what the sample set says
IDENTITIES = {"trace": ("norm", "trace"), "cubic": ("product_norm", "cubic_trace")}  # estimate and quantity
_BATCH = 48

Json = dict[str, Any]
Floats = NDArray[np.float64]


def measure_pixel(model: ScoreModel, items: int, seed: int, advance: Callable[[], object] = object) -> Json:
    """Figure 2: whole spectra of the conditional Jacobian, at the first and the last step of guided generations.

    Args:
        model: Class-conditional, with the classes of ``PIXEL_CLASSES``.
        items: Generations of each class; those of one number share their noise.
        seed: Of the noise.
        advance: Called after each whole Jacobian of a batch.
    """
    names = [f"noise-{index}" for index in range(items)] * 2
    labels = [1] * items + [0] * items
    conditions = [PIXEL_CLASSES["memorized"]] * items + [PIXEL_CLASSES["other"]] * items
    found: dict[int, list[Floats]] = {}
    context = context_of(seed, steps=PIXEL_STEPS, guidance=PIXEL_GUIDANCE)
    for part in slices(len(names)):
        probe = probe_of(model, names[part], conditions[part], labels[part], context)
        for index in (0, PIXEL_STEPS - 1):
            t = probe.timesteps[index]
            spectrum = probe.spectrum(probe.trajectory().state(index), t, "cond")
            found.setdefault(t, []).append(spectrum.numpy() * model.schedule.sigma(t) ** 2)
            advance()
    places = []
    for t, parts in found.items():
        spectra = np.concatenate(parts)
        split = {"memorized": spectra[:items], "other": spectra[items:]}
        places.append(
            {
                "t": t,
                "sigma": rounded(model.schedule.sigma(t)),
                "spectra": {group: quartiles(values) for group, values in split.items()},
                "smallest": {group: rounded(values[:, 0]) for group, values in split.items()},
                "positive": {group: (values > 0).sum(axis=1).tolist() for group, values in split.items()},
            }
        )
    settings = settings_of(model, seed, items=items, steps=PIXEL_STEPS, guidance=PIXEL_GUIDANCE, classes=PIXEL_CLASSES)
    return {"settings": settings, "data": {"places": places}, "numbers": pixel_numbers(places)}


def pixel_numbers(places: Sequence[Json]) -> list[Json]:
    """Medians and AUROCs of each time, from the values of each generation."""
    numbers = []
    for place in places:
        row: Json = {"t": place["t"]}
        for figure in ("positive", "smallest"):
            by_group = place[figure]
            scores = -np.array([*by_group["memorized"], *by_group["other"]], float)
            labels = [1] * len(by_group["memorized"]) + [0] * len(by_group["other"])
            row[figure] = {group: rounded(np.median(by_group[group])) for group in GROUPS}
            row[figure]["auroc"] = rounded(auroc(scores, labels))
        numbers.append(row)
    return numbers


def measure_tiny(
    model: ScoreModel, sample_set: SampleSet, items: int, seed: int, advance: Callable[[], object] = object
) -> Json:
    """Figures 4 and 5: two identities of the Hessian, and smallest eigenvalues of S_c and S_D, from whole Jacobians.

    The identities are about means over x. Each item gets a draw of its own for them; with one draw for all, the mean
    over items would be that of one x at pure noise. They are also taken under the noise of the sample set.

    Args:
        model: The planted model.
        sample_set: Its first test items are taken, and its protocol.
        items: Of each label.
        seed: Of the noise.
        advance: Called after each whole Jacobian of a batch.
    """
    frame = first_items(sample_set.items[sample_set.items["split"] == "test"], items)
    protocol = sample_set.protocol
    own_noise = context_of(seed, steps=protocol.steps, guidance=protocol.guidance)
    noises = {"per-item": (own_noise, SeedMemory()), "protocol": (Context(protocol, seed), SeedMemory())}
    found: dict[tuple[str, int], list[Json]] = {}
    for part in slices(len(frame)):
        chosen = frame.iloc[part]
        ids, conditions, labels = (chosen[name].tolist() for name in ("item_id", "condition", "label"))
        for noise, (context, memory) in noises.items():
            probe = probe_of(model, ids, conditions, labels, context, memory)
            for time in TINY_TIMES:
                x, t = probe.at(time)
                sigma = model.schedule.sigma(t)
                cond = probe.jacobian_matrix(x, t, "cond").double() * sigma**2
                values = identities(cond, probe.score(x, t, "cond").double() * sigma)
                if noise == "protocol":
                    null = probe.jacobian_matrix(x, t, "null").double() * sigma**2
                    values |= {"smallest": eigenvalues(cond)[:, 0], "smallest_gap": eigenvalues(cond - null)[:, 0]}
                found.setdefault((noise, t), []).append({key: value.numpy() for key, value in values.items()})
                advance()
    data: Json = {"labels": frame["label"].tolist(), "clusters": frame["cluster"].tolist()}
    for (noise, t), parts in found.items():
        joined = {key: rounded(np.concatenate([values[key] for values in parts])) for key in parts[0]}
        data.setdefault(noise, []).append({"t": t, **joined})
    settings = settings_of(model, seed, sample_set=sample_set.id, steps=protocol.steps, noise=protocol.noise)
    return {"settings": settings, "data": data, "numbers": tiny_numbers(data)}


def identities(jacobian: Tensor, score: Tensor) -> dict[str, Tensor]:
    """Both sides of ``E norm(s)^2 = -E tr H`` and ``E norm(H s)^2 = -E tr H^3``, each ``[batch]``.

    Args:
        jacobian: ``[batch, d, d]``; H is its symmetric part.
        score: ``[batch, ...]``.
    """
    hessian = (jacobian + jacobian.transpose(1, 2)) / 2
    flat = score.flatten(1)
    product = torch.einsum("bij,bj->bi", hessian, flat)
    square = hessian @ hessian
    return {
        "norm": flat.square().sum(1),
        "trace": -hessian.diagonal(dim1=1, dim2=2).sum(1),
        "product_norm": product.square().sum(1),
        "cubic_trace": -(square * hessian).sum((1, 2)),
    }


def tiny_numbers(data: Json) -> Json:
    """Ratios, rank correlations and AUROCs of each time, from the values of each item."""
    labels = np.array(data["labels"])
    members = {"all": labels >= 0, "memorized": labels == 1, "other": labels == 0}
    numbers: Json = {noise: [_identity_numbers(place, members) for place in data[noise]] for noise in NOISES}
    numbers["eigenvalues"] = []
    for place in data["protocol"]:
        row: Json = {"t": place["t"]}
        for name in ("smallest", "smallest_gap"):
            values = np.array(place[name])
            area = evaluate_scores(-values, labels, data["clusters"]).auroc
            row[name] = {"auroc": rounded(area.value), "low": rounded(area.low), "high": rounded(area.high)}
            row[name] |= {group: rounded(np.median(values[members[group]])) for group in GROUPS}
        gap, smallest = -np.array(place["smallest_gap"]), -np.array(place["smallest"])
        difference, p = delong(gap, smallest, labels, clusters=data["clusters"])
        numbers["eigenvalues"].append(row | {"gain": rounded(difference), "p": rounded(p)})
    return numbers


def _identity_numbers(place: Json, members: dict[str, NDArray[np.bool_]]) -> Json:
    row: Json = {"t": place["t"]}
    for name, (estimate, quantity) in IDENTITIES.items():
        a, b = np.array(place[estimate]), np.array(place[quantity])
        row[name] = {
            group: {
                "ratio": rounded(a[chosen].mean() / b[chosen].mean()),
                "rank_correlation": rounded(rank_correlation(a[chosen], b[chosen])),
            }
            for group, chosen in members.items()
        }
    return row


def first_items(table: pd.DataFrame, items: int) -> pd.DataFrame:
    """The first rows of each label, so many or all there are, memorized ones first."""
    return table.loc[[*table[table["label"] == 1].index[:items], *table[table["label"] == 0].index[:items]]]


def batches(items: int) -> int:
    """How many slices the probes take for so many items a group."""
    return len(list(slices(2 * items)))


def probe_of(
    model: ScoreModel,
    ids: Sequence[str],
    conditions: Sequence[str],
    labels: Sequence[int],
    context: Context,
    memory: SeedMemory | None = None,
) -> Probe:
    """A probe of items that stand for themselves."""
    return Probe(model, Items(ids, conditions, ids, labels, model.takes_prompts), context, memory=memory)


def context_of(seed: int, *, steps: int, guidance: float) -> Context:
    """One noise seed, from which each item gets a draw of its own."""
    return Context(Protocol(steps=steps, guidance=guidance, seeds=1, noise="per-item"), seed)


def settings_of(model: ScoreModel, seed: int, **others: Any) -> Json:
    """What a part of the document was measured on."""
    return {"model": model.name, "fingerprint": model.fingerprint(), "seed": seed, "torch": torch.__version__, **others}


def slices(count: int) -> Iterator[slice]:
    """Batches of so many items."""
    return (slice(start, start + _BATCH) for start in range(0, count, _BATCH))


def quartiles(values: Floats) -> Json:
    """Over the first axis."""
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
    return {"low": rounded(low), "median": rounded(median), "high": rounded(high)}


def rounded(values: Any, digits: int = 5) -> Any:
    """So many significant digits, in lists as in arrays; None for what is undefined."""
    if isinstance(values, list | tuple | np.ndarray):
        return [rounded(value, digits) for value in values]
    return float(f"{float(values):.{digits}g}") if np.isfinite(values) else None
