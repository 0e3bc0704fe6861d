"""How the prompts of two classes differ: length, case, vocabulary, duplicates."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memdet.metrics import auroc
from memdet.samplesets.evidence import same_text
from memdet.samplesets.near_duplicates import words_of

Ints = NDArray[np.int64]
_HTML = re.compile(r"</?[A-Za-z][^<>]*>|&(#\d+|[A-Za-z]+);")
MEASURES: dict[str, Callable[[str], float]] = {
    "words": lambda prompt: len(prompt.split()),
    "prompts with characters outside ASCII": lambda prompt: not prompt.isascii(),
    "prompts with HTML": lambda prompt: _HTML.search(prompt) is not None,
    "prompts that end with a full stop": lambda prompt: prompt.rstrip().endswith("."),
}
"""What is counted of a prompt, beside the values of the text controls."""
TOLD = 10
LARGEST = 5


def shifts(prompts: Sequence[str], labels: Ints, known: dict[str, Sequence[float]]) -> list[dict[str, Any]]:
    """Mean of each measure over the two classes, and its AUROC: the share of pairs where the memorized prompt has more.

    Args:
        prompts, labels: ``[n]``.
        known: Further measures by name, ``[n]`` each.
    """
    values = {name: np.asarray(column, dtype=np.float64) for name, column in known.items()}
    values |= {name: np.array([float(of(prompt)) for prompt in prompts]) for name, of in MEASURES.items()}
    return [
        {
            "measure": name,
            "memorized": float(column[labels == 1].mean()),
            "control": float(column[labels == 0].mean()),
            "auroc": auroc(column, labels),
        }
        for name, column in values.items()
    ]


def vocabulary(prompts: Sequence[str], labels: Ints, families: Ints) -> dict[str, Any]:
    """How far the words of one class are known from the other, and the words that tell most.

    A word's share is that of the families of a class which hold it, so that a family of many prompts counts once.

    Returns:
        For each class the number of distinct words, and the shares of them and of all words in running text that the
        other class has too; ``telling``, the words whose shares differ most.
    """
    counts: dict[int, Counter[str]] = {0: Counter(), 1: Counter()}
    holders: dict[int, Counter[str]] = {0: Counter(), 1: Counter()}
    seen: set[tuple[int, int, str]] = set()
    for prompt, label, family in zip(prompts, labels.tolist(), families.tolist(), strict=True):
        words = words_of(prompt)
        counts[label].update(words)
        for word in set(words):
            if (label, family, word) not in seen:
                seen.add((label, family, word))
                holders[label][word] += 1
    of_class = {label: len(np.unique(families[labels == label])) for label in (0, 1)}
    share = {
        word: (holders[1][word] / of_class[1], holders[0][word] / of_class[0]) for word in {*counts[0], *counts[1]}
    }
    telling = sorted(share, key=lambda word: (-abs(share[word][0] - share[word][1]), word))[:TOLD]
    return {
        "memorized": _known(counts[1], counts[0]),
        "control": _known(counts[0], counts[1]),
        "telling": [{"word": word, "memorized": share[word][0], "control": share[word][1]} for word in telling],
    }


def _known(own: Counter[str], other: Counter[str]) -> dict[str, Any]:
    shared = own.keys() & other.keys()
    return {
        "distinct": len(own),
        "distinct_in_other": len(shared) / len(own) if own else None,
        "running_in_other": sum(own[word] for word in shared) / own.total() if own else None,
    }


def duplicates(prompts: Sequence[str], labels: Ints, families: Ints) -> dict[str, int]:
    """Prompts that are repeated, exactly (:func:`~memdet.samplesets.evidence.same_text`) or nearly.

    Returns:
        ``exact_memorized`` and ``exact_control``: prompts of a class that repeat an earlier one of it.
        ``exact_across``: prompts that the other class holds too. ``near_across``: prompts in families of both classes.
    """
    texts: dict[int, list[str]] = {0: [], 1: []}
    for prompt, label in zip(prompts, labels.tolist(), strict=True):
        texts[label].append(same_text(prompt))
    both = set(texts[0]) & set(texts[1])
    mixed = set(families[labels == 1].tolist()) & set(families[labels == 0].tolist())
    return {
        "exact_memorized": len(texts[1]) - len(set(texts[1])),
        "exact_control": len(texts[0]) - len(set(texts[0])),
        "exact_across": sum(text in both for text in texts[0] + texts[1]),
        "near_across": sum(family in mixed for family in families.tolist()),
    }


def largest_families(prompts: Sequence[str], labels: Ints, families: Ints) -> list[dict[str, Any]]:
    """The largest families of more than one prompt: their size in each class, and the words that four fifths share."""
    numbers, sizes = np.unique(families, return_counts=True)
    found = []
    for number in numbers[np.argsort(-sizes, kind="stable")][:LARGEST]:
        members = np.flatnonzero(families == number).tolist()
        if len(members) < 2:
            break
        order = dict.fromkeys(word for index in members for word in words_of(prompts[index]))
        held = Counter(word for index in members for word in set(words_of(prompts[index])))
        shared = [word for word in order if held[word] >= 0.8 * len(members)]
        positives = int(labels[members].sum())
        found.append({"memorized": positives, "control": len(members) - positives, "words": shared[:TOLD]})
    return found
