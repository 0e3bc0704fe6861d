"""What every detector promises, tried on a planted model and on a closed form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from memdet.detectors import Detector
from memdet.detectors.cost import cost_of
from memdet.errors import NotApplicableError, UserError
from memdet.metrics import auroc
from memdet.models import load_model
from memdet.probing import Context, Items, Policy, Probe
from memdet.probing.context import DEFAULT_PROTOCOL
from memdet.probing.from_sample_set import items_of
from memdet.samplesets import load_sample_set

SETS = {"prompt": "tiny-sd-a-verbatim", "any": "tiny-sd-a-verbatim", "image": "fashion-pixel-generated"}
ORACLE = "oracle-16k"
STEPS = 5  # of trajectories
ITEMS = 5  # of each label
ORACLE_ITEMS, ORACLE_STEPS = 16, 10
TOLERANCE = 1e-6  # of the largest score, in float64
OF_DIFFERENCES = 1e-3  # finite differences divide rounding by a small step


@dataclass(frozen=True)
class Finding:
    """One check of the contract.

    Attributes:
        check: Its name.
        status: ``passed``, ``failed`` or ``skipped``.
        detail: What was found.
    """

    check: str
    status: Literal["passed", "failed", "skipped"]
    detail: str


def validate(detector: Detector) -> list[Finding]:
    """Try a detector's promises: what it returns, what it must not look at, what it costs.

    Args:
        detector: Configured.

    Returns:
        A finding for each check. A check that cannot be made says why.
    """
    bench = _Bench(detector)
    checks: dict[str, Callable[[Detector, _Bench], str]] = {
        "shape and float64": _shape,
        "determinism": _determinism,
        "batch invariance": _batches,
        "no labels, no ids": _blindness,
        "cost": _cost,
        f"direction on {ORACLE}": _direction,
    }
    findings = []
    for name, check in checks.items():
        try:
            findings.append(Finding(name, "passed", check(detector, bench)))
        except NotApplicableError as error:
            findings.append(Finding(name, "skipped", str(error)))
        except Exception as error:  # the author's mistake, whatever it is
            kind = "" if isinstance(error, _BrokenError | UserError) else f"{type(error).__name__}: "
            findings.append(Finding(name, "failed", (kind + str(error)).splitlines()[0]))
    return findings


class _BrokenError(Exception):
    """A promise that does not hold."""


class _Bench:
    """A few items of each label, and a model in float64."""

    def __init__(self, detector: Detector) -> None:
        sample_set = load_sample_set(SETS[detector.info.task])
        self.model = load_model(str(sample_set.model), dtype=torch.float64)
        table = sample_set.items
        tested, dev = (table[table["split"] == split] for split in ("test", "dev"))
        self.items = items_of(tested.groupby("label").head(ITEMS), sample_set, self.model)
        self.dev = items_of(dev.groupby("label").head(ITEMS), sample_set, self.model)

    def score(
        self, detector: Detector, items: Items | None = None, noise: Literal["shared", "per-item"] = "shared"
    ) -> tuple[Tensor, dict[str, float]]:
        """Scores of a fresh probe, and what they cost an item."""
        chosen = items or self.items
        protocol = DEFAULT_PROTOCOL.model_copy(update={"steps": STEPS, "noise": noise})
        probe = Probe(self.model, chosen, Context(protocol, n_items=len(self.items)), dev=self.dev)
        with probe.charge(supervised=detector.info.supervised) as cost:
            scores = torch.as_tensor(detector.score(probe))
        return scores, {"F": cost.forwards, "JVP": cost.jvps, "VJP": cost.vjps}


def _shape(detector: Detector, bench: _Bench) -> str:
    scores, _ = bench.score(detector)
    if scores.shape != (len(bench.items),):
        raise _BrokenError(f"score() returned shape {tuple(scores.shape)}, expected ({len(bench.items)},)")
    if scores.is_floating_point() and scores.dtype != torch.float64:
        raise _BrokenError(f"scores of a float64 model are {str(scores.dtype).removeprefix('torch.')}, not float64")
    if not torch.isfinite(scores.double()).all():
        raise _BrokenError(f"scores are not finite: {scores.tolist()}")
    return f"{len(scores)} finite scores"


def _determinism(detector: Detector, bench: _Bench) -> str:
    first, second = (bench.score(detector)[0] for _ in range(2))
    if not torch.equal(first, second):
        raise _BrokenError(f"the same items and seed gave {first.tolist()} and {second.tolist()}")
    return "two calls give the same scores"


def _batches(detector: Detector, bench: _Bench) -> str:
    if detector.info.whole_set:
        raise NotApplicableError("it scores the whole set in one call")
    together = bench.score(detector)[0].double()
    order = list(range(len(bench.items)))
    single = torch.cat([bench.score(detector, _select(bench.items, [i]))[0].double() for i in order[:2]])
    reverse = bench.score(detector, _select(bench.items, order[::-1]))[0].double().flip(0)
    worst = float(max((single - together[:2]).abs().max(), (reverse - together).abs().max()))
    scale = float(together.abs().max()) or 1.0
    bound = OF_DIFFERENCES if "fd" in str(getattr(detector, "backend", "")) else TOLERANCE
    if worst > bound * scale:
        raise _BrokenError(f"an item's score depends on its batch: differences up to {worst:.3g} of {scale:.3g}")
    return f"alone, together and reversed within {worst / scale:.0e} of the largest score"


def _blindness(detector: Detector, bench: _Bench) -> str:
    if detector.info.is_control:
        raise NotApplicableError("a control; it never calls the model")
    items = bench.items
    renamed = Items(
        ids=[f"renamed-{index}" for index in range(len(items))],
        conditions=items.conditions,
        clusters=[f"renamed-{index}" for index in range(len(items))],
        labels=[1 - label for label in items.labels],
        has_prompts=items.has_prompts,
        images=items.images,
    )
    if not torch.equal(bench.score(detector)[0], bench.score(detector, renamed)[0]):
        raise _BrokenError("scores change with labels or item ids")
    return "other labels and ids, same scores"


def _cost(detector: Detector, bench: _Bench) -> str:
    declared = cost_of(detector, bench.model.schedule.timesteps(STEPS))
    counted = bench.score(detector, noise="per-item")[1]
    texts = [_cost_text(cost) for cost in (declared, counted)]
    if texts[0] != texts[1]:
        raise _BrokenError(f"declared {texts[0]} an item and seed ({detector.info.cost}), counted {texts[1]}")
    return f"{texts[1]} an item and seed, as declared"


def _direction(detector: Detector, bench: _Bench) -> str:
    if detector.info.is_control:
        raise NotApplicableError("a control; it never calls the model")
    if detector.info.task == "image":
        raise NotApplicableError(f"the items of {ORACLE} are not images")
    value = _auroc(detector, ORACLE)
    if value >= 0.5:
        return f"AUROC {value:.3f}"
    # Late on the trajectory the branches differ more for what is not memorized there, which the spec tells.
    planted = _auroc(detector, SETS["prompt"])
    if planted < 0.5:
        raise _BrokenError(f"AUROC {value:.3f}, and {planted:.3f} on {SETS['prompt']}: larger must mean more memorized")
    return f"AUROC {value:.3f}, but {planted:.3f} on {SETS['prompt']}; see the known problems of {ORACLE}"


def _auroc(detector: Detector, name: str) -> float:
    """On a few test items of a sample set."""
    sample_set = load_sample_set(name)
    model = load_model(str(sample_set.model))
    tested = sample_set.items[sample_set.items["split"] == "test"]
    chosen = tested.groupby("label").sample(ORACLE_ITEMS, random_state=0)
    dev = items_of(sample_set.items[sample_set.items["split"] == "dev"], sample_set, model)
    protocol = DEFAULT_PROTOCOL.model_copy(update={"steps": ORACLE_STEPS})
    context = Context(protocol, policy=Policy(self_check=False))
    probe = Probe(model, items_of(chosen, sample_set, model), context, dev=dev)
    with probe.charge():
        scores = torch.as_tensor(detector.score(probe)).double()
    return auroc(scores.numpy(), chosen["label"].to_numpy())


def _cost_text(cost: dict[str, float]) -> str:
    return ", ".join(f"{value:g} {unit}" for unit, value in cost.items() if value) or "nothing"


def _select(items: Items, order: Sequence[int]) -> Items:
    return Items(
        ids=[items.ids[i] for i in order],
        conditions=[items.conditions[i] for i in order],
        clusters=[items.clusters[i] for i in order],
        labels=[items.labels[i] for i in order],
        has_prompts=items.has_prompts,
        images=None if items.images is None else items.images[list(order)],
    )
