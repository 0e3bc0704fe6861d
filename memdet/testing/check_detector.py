"""What every detector promises, tried on a planted model and on a closed form."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from memdet.detectors import Detector
from memdet.detectors.cost import cost_of
from memdet.errors import NotApplicableError, UserError
from memdet.metrics import Interval, auroc_interval
from memdet.models import load_model
from memdet.probing import Context, Items, Policy, Probe
from memdet.probing.context import DEFAULT_PROTOCOL
from memdet.probing.from_sample_set import items_of
from memdet.samplesets import load_sample_set
from memdet.torch_state import in_own_state

SETS = {"prompt": "tiny-sd-a-verbatim", "any": "tiny-sd-a-verbatim", "image": "fashion-pixel-generated"}
ORACLE = "oracle-16k"
STEPS = 5  # of trajectories; as many as a pipeline takes for a detector that looks at a later step
ITEMS = 5  # of each label
ITEMS_TOLD, MORE_ITEMS, STEPS_TOLD = 16, 48, 10  # of each label, and steps, where the direction is told
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


@in_own_state
def validate(detector: Detector) -> list[Finding]:
    """Try a detector's promises: what it returns, what it must not look at, what it costs, which way it points.

    Args:
        detector: Configured.

    Returns:
        A finding for each check. A check that cannot be made says why; where none can be made, none of the promises is
        known to hold, and all of them failed. Of memdet's own detectors, which tests hold to them on other models too,
        these are skipped.
    """
    bench = _Bench(detector)
    checks: dict[str, Callable[[Detector, _Bench], str]] = {
        "shape and float64": _shape,
        "determinism": _determinism,
        "batch invariance": _batches,
        "no labels, no ids": _blindness,
        "cost": _cost,
        f"direction on {SETS['image'] if detector.info.task == 'image' else ORACLE}": _direction,
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
    if is_unchecked(findings) and not is_built_in(detector):
        why = f"nothing could be checked on {SETS[detector.info.task]}, whose model and items should serve it: "
        findings = [Finding(finding.check, "failed", why + finding.detail) for finding in findings]
    return findings


def is_unchecked(findings: Sequence[Finding]) -> bool:
    """Whether no check could be made, so that nothing is known."""
    return all(finding.status == "skipped" for finding in findings)


def is_built_in(detector: Detector) -> bool:
    """Whether a detector is one of memdet's own."""
    return type(detector).__module__.startswith("memdet.detectors.")


class _BrokenError(Exception):
    """A promise that does not hold."""


class _Bench:
    """A few items of each label, and a model in float64.

    Args:
        detector: Trajectories are as long as it needs.
    """

    def __init__(self, detector: Detector) -> None:
        sample_set = load_sample_set(SETS[detector.info.task])
        self.model = load_model(str(sample_set.model), dtype=torch.float64)
        table = sample_set.items
        tested, dev = (table[table["split"] == split] for split in ("test", "dev"))
        self.items = items_of(tested.groupby("label").head(ITEMS), sample_set, self.model)
        self.dev = items_of(dev.groupby("label").head(ITEMS), sample_set, self.model)
        self.steps = STEPS
        self._first: Tensor | None = None
        self.steps = long_enough(lambda _: self.first(detector), STEPS)

    def first(self, detector: Detector) -> Tensor:
        """Scores of all items under seed 0 and shared noise, made once, with global generators of seed 0."""
        if self._first is None:
            with _global_random_states() as reseed:
                reseed(0)
                self._first = self.score(detector)[0]
        return self._first

    def score(
        self,
        detector: Detector,
        items: Items | None = None,
        noise: Literal["shared", "per-item"] = "shared",
        seed: int = 0,
    ) -> tuple[Tensor, dict[str, float]]:
        """Scores of a fresh probe, and what they cost per item."""
        chosen = _select(items or self.items, range(len(items or self.items)))
        protocol = DEFAULT_PROTOCOL.model_copy(update={"steps": self.steps, "noise": noise})
        context = Context(protocol, seed, n_items=len(self.items))
        probe = Probe(self.model, chosen, context, dev=self.dev)
        with probe.charge(supervised=detector.info.supervised) as cost:
            scores = _tensor(detector.score(probe))
        if not _same_items(chosen, items or self.items):
            raise _BrokenError("score() changed the prompts, labels, ids or images of the probe: work on copies")
        return scores, {"F": cost.forwards, "JVP": cost.jvps, "VJP": cost.vjps}


def long_enough(score: Callable[[int], object], steps: int) -> int:
    """Length of trajectories that a detector can be tried on: ``steps``, or a pipeline's if it looks at later ones."""
    try:
        score(steps)
    except NotApplicableError:
        return DEFAULT_PROTOCOL.steps
    except Exception:  # the checks meet it again, and tell it
        return steps
    return steps


def _shape(detector: Detector, bench: _Bench) -> str:
    scores = bench.first(detector)
    if scores.shape != (len(bench.items),):
        raise _BrokenError(f"score() returned shape {tuple(scores.shape)}, expected ({len(bench.items)},)")
    if scores.dtype != torch.float64 and not (detector.info.is_control and not scores.is_complex()):
        how = "convert them with .double()" if not scores.is_floating_point() else "keep the model's precision"
        raise _BrokenError(f"scores of a float64 model are {_name(scores.dtype)}, not float64: {how}")
    if not torch.isfinite(scores.double()).all():
        raise _BrokenError(f"scores are not finite: {scores.tolist()}")
    if not detector.info.is_control and (same := _constant(scores.double())):
        raise _BrokenError(f"{same}: a detector tells items apart")
    return f"{len(scores)} finite scores"


def _determinism(detector: Detector, bench: _Bench) -> str:
    first = bench.first(detector)
    found: list[Tensor] = []
    with _global_random_states() as reseed:
        for seed in (0, 1):
            reseed(seed)
            found.append(bench.score(detector)[0])
    again, other = found
    if not _equal(first, again):
        raise _BrokenError(f"the same items and seed gave {first.tolist()} and {again.tolist()}")
    if not _equal(again, other):
        raise _BrokenError(
            "scores follow the global random state of torch, NumPy or Python: draw with probe.noise, "
            "probe.directions(...) or a generator of your own"
        )
    free = detector.info.seeded or detector.info.is_control  # of controls `random` alone draws, once for all seeds
    if not free and not _equal(first, bench.score(detector, seed=1)[0]):
        raise _BrokenError("scores change with the noise seed, though info says seeded=False: leave that out")
    return "two calls give the same scores"


def _batches(detector: Detector, bench: _Bench) -> str:
    together = _usable(bench.first(detector), len(bench.items))
    if detector.info.supervised:
        raise NotApplicableError("it is fitted to the whole set in one call")
    order = list(range(len(bench.items)))
    reverse = bench.score(detector, _select(bench.items, order[::-1]))[0].double().flip(0)
    differences = [reverse - together]
    if not detector.info.whole_set:
        single = [bench.score(detector, _select(bench.items, [i]))[0].double() for i in order[:2]]
        differences.append(torch.cat(single) - together[:2])
    worst = max(float(difference.abs().max()) for difference in differences)
    scale = float(together.abs().max()) or 1.0
    bound = OF_DIFFERENCES if "fd" in str(getattr(detector, "backend", "")) else TOLERANCE
    if not worst <= bound * scale:
        on = "the order of the set" if detector.info.whole_set else "its batch"
        raise _BrokenError(f"an item's score depends on {on}: differences up to {worst:.3g} of {scale:.3g}")
    alone = "" if detector.info.whole_set else "alone, "
    return f"{alone}together and reversed within {worst / scale:.0e} of the largest score"


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
    if not _equal(bench.first(detector), bench.score(detector, renamed)[0]):
        raise _BrokenError("scores change with labels or item ids")
    return "other labels and ids, same scores"


def _cost(detector: Detector, bench: _Bench) -> str:
    declared = cost_of(detector, bench.model.schedule.timesteps(bench.steps))
    counted = bench.score(detector, noise="per-item")[1]
    texts = [_cost_text(cost) for cost in (declared, counted)]
    if texts[0] != texts[1]:
        raise _BrokenError(f"declared {texts[0]} per item and seed ({detector.info.cost}), counted {texts[1]}")
    if detector.info.is_control and any(counted.values()):
        raise _BrokenError(
            f"access {detector.info.access} is that of a control, which never calls the model, and this one takes "
            f"{texts[1]} per item"
        )
    return f"{texts[1]} per item and seed, as declared"


def _direction(detector: Detector, bench: _Bench) -> str:
    if detector.info.is_control:
        raise NotApplicableError("a control; it never calls the model")
    planted = SETS[detector.info.task]
    # Late on the trajectory the branches differ more for what is not memorized on the oracle, which its spec tells: a
    # detector that points the other way there is asked on the planted model too, of more items where few say nothing.
    tries = [(planted, ITEMS_TOLD), (planted, MORE_ITEMS)]
    if detector.info.task != "image":
        tries.insert(0, (ORACLE, ITEMS_TOLD))
    told: dict[str, Interval] = {}
    reasons: dict[str, str] = {}
    for name, count in tries:
        if name in reasons or (name in told and told[name].high < 0.5):
            continue
        try:
            told[name] = found = _auroc(detector, name, count)
        except NotApplicableError as error:
            reasons[name] = f"{name}: {error}"
            continue
        if found.low > 0.5:
            return _shown(told)
    if not told:
        raise NotApplicableError("; ".join(reasons.values()))
    if found.value < 0.5 and any(interval.high < 0.5 for interval in told.values()):
        raise _BrokenError(
            f"{_shown(told)}: larger must mean more memorized, so return the score with its sign changed"
        )
    raise NotApplicableError(f"{_shown(told)}: not told from chance, so it points nowhere that could be checked")


def _shown(told: Mapping[str, Interval]) -> str:
    return ", ".join(f"AUROC {f.value:.3f} [{f.low:.3f}, {f.high:.3f}] on {name}" for name, f in told.items())


def _auroc(detector: Detector, name: str, count: int) -> Interval:
    """On so many test items of each label of a sample set, or as many as there are."""
    sample_set = load_sample_set(name)
    model = load_model(str(sample_set.model))
    tested = sample_set.items[sample_set.items["split"] == "test"]
    chosen = tested.groupby("label").sample(min(count, int(tested["label"].value_counts().min())), random_state=0)
    dev = items_of(sample_set.items[sample_set.items["split"] == "dev"], sample_set, model)
    items = items_of(chosen, sample_set, model)
    found: list[Tensor] = []

    def score(steps: int) -> None:
        protocol = DEFAULT_PROTOCOL.model_copy(update={"steps": steps})
        probe = Probe(model, items, Context(protocol, policy=Policy(self_check=False)), dev=dev)
        with probe.charge(supervised=detector.info.supervised):
            found.append(_tensor(detector.score(probe)))

    steps = long_enough(score, STEPS_TOLD)
    if not found:
        score(steps)
    scores = _usable(found[0], len(items))
    if same := _constant(scores):
        raise _BrokenError(f"{same} of {name}: it points nowhere")
    return auroc_interval(scores.numpy(), chosen["label"].to_numpy(), chosen["item_id"].to_numpy(str))


def _constant(scores: Tensor) -> str:
    """What is wrong with scores that differ by no more than rounding; empty if they do."""
    spread, scale = float(scores.max() - scores.min()), float(scores.abs().max())
    if spread > TOLERANCE * scale:
        return ""
    if spread == 0:
        return f"all {len(scores)} items score {float(scores[0]):.6g}"
    return f"the scores of {len(scores)} items differ by {spread:.1g} of {scale:.3g} at most"


def _usable(scores: Tensor, count: int) -> Tensor:
    """Scores in float64, if there is a finite number for each item; else the first check has said what is wrong."""
    if scores.shape != (count,) or scores.is_complex() or not torch.isfinite(scores).all():
        raise NotApplicableError("not every item has a finite score to look at")
    return scores.double()


def _tensor(raw: Any) -> Tensor:
    """What ``score()`` returned, on the CPU."""
    try:
        return torch.as_tensor(raw).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise _BrokenError(
            f"score() returned a {type(raw).__name__}, expected a tensor of one number per item"
        ) from None


def _equal(first: Tensor, second: Tensor) -> bool:
    """Whether all scores are the same; what is not a number is the same as itself."""
    if first.shape != second.shape:
        return False
    return bool(((first == second) | (first.isnan() & second.isnan())).all())


def _same_items(first: Items, second: Items) -> bool:
    names = ("ids", "conditions", "clusters", "labels")
    lists = all(list(getattr(first, name)) == list(getattr(second, name)) for name in names)
    return lists and (first.images is None or second.images is None or torch.equal(first.images, second.images))


@contextmanager
def _global_random_states() -> Iterator[Callable[[int], None]]:
    """Give what seeds the global generators; they are afterwards as they were before."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()

    def reseed(seed: int) -> None:
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)

    try:
        yield reseed
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


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
