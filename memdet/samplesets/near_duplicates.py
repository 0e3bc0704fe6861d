"""Families of near-duplicate prompts: pairs that share most of their words, joined by single linkage."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from memdet.samplesets.evidence import same_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

THRESHOLD = 0.5
PAIRS_AT_ONCE = 300_000  # compared or kept at once
_WORD = re.compile(r"\w+")


def words_of(prompt: str) -> list[str]:
    """Words in lower case, in their order; everything that is no letter, digit or underscore separates them.

    Example:
        >>> words_of("A <i>Mrs. Doubtfire</i> sequel")
        ['a', 'i', 'mrs', 'doubtfire', 'i', 'sequel']
    """
    return _WORD.findall(prompt.lower())


def near_duplicates(
    prompts: Sequence[str], *, known: Sequence[str] | None = None, threshold: float = THRESHOLD
) -> NDArray[np.int64]:
    """Family of each prompt.

    Two prompts are near-duplicates where the Jaccard similarity of their sets of words, shared words over all words of
    the two, is at least ``threshold``, or where they are the same text
    (:func:`~memdet.samplesets.evidence.same_text`). Families are the connected components. Nothing is approximate.
    Compared are the pairs that share one of their rarest words (the prefix filter of Chaudhuri, Ganti and Kaushik
    2006), which no two near-duplicates lack.

    Args:
        prompts: ``[n]``.
        known: ``[n]``, families that are known already; they are kept whole and may be joined.
        threshold: In (0, 1].

    Returns:
        ``[n]``, numbers from 0 in the order in which the families first occur.

    Example:
        >>> near_duplicates(["grey area rug", "Blue area rug", "a dog on a sofa", "a cat"]).tolist()
        [0, 0, 1, 2]
    """
    import numpy as np

    texts: dict[str, int] = {}
    place = np.array([texts.setdefault(same_text(prompt), len(texts)) for prompt in prompts], dtype=np.int64)
    component = np.arange(len(texts))
    for left, right in _pairs(list(texts), threshold):
        component = _joined(component, left, right)
    if known is not None:
        _, first, family = np.unique(np.asarray(known), return_index=True, return_inverse=True)
        component = _joined(component, place, place[first][family])
    _, first, number = np.unique(component[place], return_index=True, return_inverse=True)
    order: NDArray[np.int64] = np.argsort(np.argsort(first))[number]
    return order


def _joined(component: NDArray[Any], left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
    """Components after further pairs."""
    import numpy as np
    from scipy import sparse
    from scipy.sparse.csgraph import connected_components

    n = len(component)
    graph = sparse.coo_matrix((np.ones(len(left), dtype=np.int8), (component[left], component[right])), shape=(n, n))
    joined: NDArray[Any] = connected_components(graph, directed=False)[1][component]
    return joined


def _pairs(texts: Sequence[str], threshold: float) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Pairs of texts that are similar enough, some at a time.

    The words of a text are ordered from the rarest to the most frequent. Two sets that share ``threshold`` of all their
    words share as much of either's own, so they share one of each one's first words, all but that many and one more.
    """
    import numpy as np
    from scipy import sparse

    numbers: dict[str, int] = {}
    sizes = np.empty(len(texts), dtype=np.int64)
    listed = array("i")  # the words of each text in turn: sets of Python's would take many times as much
    for index, text in enumerate(texts):
        members = {numbers.setdefault(word, len(numbers)) for word in words_of(text)}
        listed.extend(members)
        sizes[index] = len(members)
    words = np.array(listed, dtype=np.int32)
    rarity = np.argsort(np.argsort(np.bincount(words, minlength=len(numbers)), kind="stable")).astype(np.int32)
    ends = np.concatenate([[0], np.cumsum(sizes)])
    words = rarity[words]
    for index in range(len(texts)):
        words[ends[index] : ends[index + 1]].sort()
    owner = np.repeat(np.arange(len(texts), dtype=np.int32), sizes)
    shape = (len(texts), len(numbers))
    holds = sparse.csr_matrix((np.ones(len(words), np.int32), words, ends), shape=shape)
    first = np.arange(len(words)) - ends[owner] <= (sizes - np.ceil(threshold * sizes - 1e-9))[owner]
    starts = sparse.csr_matrix((np.ones(int(first.sum()), np.int32), (owner[first], words[first])), shape=shape)
    transposed = starts.T.tocsr()
    # Texts behind a row's words: what the product of the row with all others takes at most.
    behind = np.cumsum(starts @ np.diff(transposed.indptr))
    start = 0
    while start < len(texts):
        done = behind[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(behind, done + PAIRS_AT_ONCE, side="right")))
        found = (starts[start:stop] @ transposed).tocoo()
        rows, others = found.row.astype(np.int64) + start, found.col.astype(np.int64)
        low, high = np.minimum(sizes[rows], sizes[others]), np.maximum(sizes[rows], sizes[others])
        likely = (rows < others) & (low >= threshold * high - 1e-9)
        rows, others = rows[likely], others[likely]
        for part in range(0, len(rows), PAIRS_AT_ONCE // 20):  # each takes the words of two texts
            one, other = rows[part : part + PAIRS_AT_ONCE // 20], others[part : part + PAIRS_AT_ONCE // 20]
            shared = np.asarray(holds[one].multiply(holds[other]).sum(axis=1)).ravel()
            similar = shared >= threshold * (sizes[one] + sizes[other] - shared) - 1e-9
            if similar.any():
                yield one[similar], other[similar]
        start = stop
