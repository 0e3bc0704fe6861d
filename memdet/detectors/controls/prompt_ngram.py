"""Control: a text classifier that never sees the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.detectors.base import DetectorInfo
from memdet.detectors.blind import BlindControl, Told
from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from memdet.probing import Probe

FOLDS = 5
SHUFFLE = 0  # of the items before they are cut into folds, and of the draw of those that a fold learns from
LARGEST_FIT = 2_000  # prompts that a classifier learns from
PROMPTS_AT_ONCE = 1_000  # prompts that are scored at once


class PromptNgram(BlindControl):
    """Held-out decision value of a logistic regression on word and character TF-IDF features.

    There are five stratified folds, and each family of near-duplicate prompts is inside one fold. The control never
    calls the model, so its folds and scores are the same under every noise seed; a run and an audit of a set show the
    same AUROC. If the labels have nothing to do with the prompts, the AUROC of the pooled held-out values is below .5:
    a fold with more positives leaves fewer of them to train on. So "blind" means not above .5 beyond chance.

    A fold learns from at most 2,000 prompts, drawn once: 1,000 of each label, or all of the rarer label and more of the
    other. Memory therefore does not grow with the set. In sets of up to 2,500 prompts, a fold learns from all prompts
    of the other four.
    """

    info = DetectorInfo(
        name="prompt-ngram",
        title="TF-IDF and logistic regression, cross-validated",
        access="text",
        task="prompt",
        cost="none",
        version=2,
        whole_set=True,
        supervised=True,
        seeded=False,
    )

    def values(self, told: Told | Probe) -> NDArray[np.float64]:
        """Score each item, ``[batch]``."""
        import numpy as np

        prompts, labels = told.prompts, np.array(told.labels)
        _, clusters = np.unique(np.array(list(told.clusters)), return_inverse=True)
        smallest = min(len(set(clusters[labels == label])) for label in (0, 1))
        if smallest < FOLDS:
            raise NotApplicableError(f"{FOLDS} folds need {FOLDS} clusters of each class, the smaller has {smallest}")

        # Only here: it takes more than a second to import.
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedGroupKFold
        from sklearn.pipeline import make_pipeline, make_union
        from threadpoolctl import threadpool_limits

        scores = np.empty(len(labels))
        folds = StratifiedGroupKFold(n_splits=FOLDS, shuffle=True, random_state=SHUFFLE)
        rng = np.random.default_rng(SHUFFLE)
        for train, held_out in folds.split(labels, labels, clusters):
            if len(train) > LARGEST_FIT:
                told.note(f"a fold learns from {LARGEST_FIT:,} of {len(labels):,} prompts")
                train = _drawn(rng, train, labels[train])
            classifier = make_pipeline(
                make_union(
                    TfidfVectorizer(ngram_range=(1, 2), lowercase=False, token_pattern=r"\S+"),
                    TfidfVectorizer(ngram_range=(2, 5), lowercase=False, analyzer="char_wb"),
                ),
                LogisticRegression(C=10.0, max_iter=1_000),
            )
            # Idle threads of OpenBLAS wait busily: the fit takes longer with them, and so does the network after it.
            with threadpool_limits(1, user_api="blas"):
                classifier.fit([prompts[i] for i in train], labels[train])
            for start in range(0, len(held_out), PROMPTS_AT_ONCE):
                block = held_out[start : start + PROMPTS_AT_ONCE]
                scores[block] = classifier.decision_function([prompts[i] for i in block])
        return scores


def _drawn(rng: np.random.Generator, members: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """``LARGEST_FIT`` of the members in their order, the labels as even as they can be."""
    import numpy as np

    sides = [rng.permutation(members[labels == label]) for label in (0, 1)]
    rarer = min(LARGEST_FIT // 2, *map(len, sides))
    taken = [rarer if len(side) == rarer else min(len(side), LARGEST_FIT - rarer) for side in sides]
    return np.sort(np.concatenate([side[:n] for side, n in zip(sides, taken, strict=True)]))
