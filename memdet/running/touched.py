"""Notices that a detector of somebody else changed what all detectors share."""

from __future__ import annotations

import torch

from memdet.detectors import Detector, detector_classes, make_detectors
from memdet.detectors.unpatched import Functions, replaced, shared_functions
from memdet.errors import UserError
from memdet.models import ScoreModel
from memdet.probing import Context, Items, Probe
from memdet.torch_state import kept_generators

DETECTORS = ("wen2024", "hessian-trace@probes=1")
"""They ask for predictions and for derivatives."""


class Touched:
    """Compares scores of two of memdet's detectors before and after one of somebody else's, and shared functions."""

    def __init__(self) -> None:
        self._detectors = make_detectors(DETECTORS, detector_classes())
        self._functions: Functions | None = None
        self._known: dict[int, tuple[Items, Context, list[torch.Tensor]]] = {}

    def remember(self, model: ScoreModel, items: Items, context: Context) -> None:
        """Score the first item of a model's first batch, and note all shared functions."""
        if self._functions is None:
            self._functions = shared_functions()
        if id(model) not in self._known:
            first = Items(
                items.ids[:1],
                items.conditions[:1],
                items.clusters[:1],
                (),
                items.has_prompts,
                None if items.images is None else items.images[:1],
            )
            self._known[id(model)] = first, context, self._scores(model, first, context)

    def check(self, model: ScoreModel, detector: Detector) -> None:
        """Compare after a detector has scored.

        Raises:
            UserError: It changed something: what.
        """
        assert self._functions is not None
        what = ", ".join(replaced(self._functions)[:3])
        if not what:
            items, context, known = self._known[id(model)]
            now = self._scores(model, items, context)
            if len(now) == len(known) and all(map(torch.equal, now, known)):
                return
            what = "the model"
        raise UserError(
            f"detector {detector.label} changes {what}, so that other detectors would score something else: have it "
            "undo what it changes, or give it a process of its own with `isolate_plugins`",
            parameters=("isolate_plugins",),
        )

    def _scores(self, model: ScoreModel, items: Items, context: Context) -> list[torch.Tensor]:
        found: list[torch.Tensor] = []
        with kept_generators():
            for detector in self._detectors:
                probe = Probe(model, items, context)
                try:
                    found.append(detector.score(probe).detach().cpu())
                except Exception:  # it does not apply here, or fails in its own row too
                    continue
                finally:
                    probe.forget()
        return found
