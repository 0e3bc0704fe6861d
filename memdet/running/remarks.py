"""What a user should know of a run's models and prompts before the scores: said once, kept in the manifest."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from memdet.errors import NotApplicableError
from memdet.io_utils import printable
from memdet.models import ScoreModel
from memdet.models.prediction_evidence import doubt_of
from memdet.results.run import Run
from memdet.samplesets import SampleSet

if TYPE_CHECKING:
    import pandas as pd

LABEL = "model"
"""Under which the messages of a manifest hold the remarks of a sample set."""
IDS_SHOWN = 5
PROMPTS_AT_ONCE = 1_000


def remarks_on(sample_sets: Sequence[SampleSet], models: Mapping[str, ScoreModel]) -> dict[str, list[str]]:
    """Remarks on the models of each sample set, and on prompts that they read in part; sets without any are left out.

    Args:
        sample_sets: Of a run.
        models: Of their items, by name; each is asked once.
    """
    of_models: dict[str, list[str]] = {}
    found: dict[str, list[str]] = {}
    for sample_set in sample_sets:
        if other := other_protocol(sample_set):
            found[sample_set.id] = [other]
        for name, part in sample_set.items.groupby("model", sort=False):
            model = models[str(name)]
            if name not in of_models:
                doubt = doubt_of(model, str(part["condition"].iloc[0]))
                of_models[str(name)] = [*([str(doubt)] if doubt else []), *model.remarks(), *_without_null(model)]
            remarks = [*of_models[str(name)], *cut_prompts(model, part)]
            if remarks:
                found.setdefault(sample_set.id, []).extend(remarks)
    return found


def _without_null(model: ScoreModel) -> list[str]:
    try:
        model.embed_null()
    except NotApplicableError:
        return [f"{model.name} has no null branch: trajectories follow the condition alone, whatever the guidance"]
    return []


def other_protocol(sample_set: SampleSet) -> str:
    """A sentence on settings that are not those of the sample set's own protocol; empty where all are."""
    if sample_set.spec is None:
        return ""
    own, now = sample_set.spec.protocol, sample_set.protocol
    changed = [
        f"{name} {getattr(now, name)} instead of {getattr(own, name)}"
        for name in ("steps", "guidance", "noise")
        if getattr(now, name) != getattr(own, name)
    ]
    if not changed:
        return ""
    return f"{', '.join(changed)}: this is not the protocol of the sample set, and such a run stands on no leaderboard"


def cut_prompts(model: ScoreModel, items: pd.DataFrame) -> list[str]:
    """A sentence on prompts that are longer than the model reads; none where all are read whole.

    Args:
        model: Reads them.
        items: With ``item_id`` and ``condition``.
    """
    if not model.takes_prompts:
        return []
    cut, total = [], 0
    for start in range(0, len(items), PROMPTS_AT_ONCE):
        part = items.iloc[start : start + PROMPTS_AT_ONCE]
        are_cut = model.are_cut(part["condition"].tolist())
        total += sum(are_cut)
        cut += [str(item) for item, is_cut in zip(part["item_id"], are_cut, strict=True) if is_cut][: IDS_SHOWN + 1]
    if not total:
        return []
    shown = ", ".join(cut[:IDS_SHOWN]) + (", ..." if total > IDS_SHOWN else "")
    verb = "is" if total == 1 else "are"
    return [
        f"{total} of {len(items)} prompts {verb} longer than {model.name} reads: only the beginning counts ({shown})"
    ]


def said_again(run: Run) -> Run:
    """The run, whose remarks are said to whoever asks for it again."""
    say({name: of_set.get(LABEL, []) for name, of_set in run.manifest.messages.items()})
    return run


def say(remarks: Mapping[str, Sequence[str]]) -> None:
    """Write remarks to standard error, each once, with the sample sets that it is about."""
    about: dict[str, list[str]] = {}
    for name, texts in remarks.items():
        for text in texts:
            about.setdefault(text, []).append(name)
    for text, names in about.items():
        print(printable(f"memdet: {', '.join(names)}: {text}"), file=sys.stderr)
