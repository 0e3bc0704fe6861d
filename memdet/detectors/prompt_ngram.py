"""Control: a text classifier that never sees the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.detectors.base import Detector, DetectorInfo
from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe

FOLDS = 5


class PromptNgram(Detector):
    """Held-out decision value of a logistic regression on word and character TF-IDF features.

    Five stratified folds, each cluster inside one fold, shuffled by the seed. Where labels say nothing of the prompts
    the pooled held-out value falls below AUROC .5 by construction (a fold with more positives leaves fewer to train
    on), so "blind" means not above .5 beyond chance.
    """

    info = DetectorInfo(
        name="prompt-ngram",
        title="TF-IDF and logistic regression, cross-validated",
        access="text",
        task="prompt",
        cost="none",
        whole_set=True,
        supervised=True,
    )

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        import numpy as np
        import torch
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedGroupKFold
        from sklearn.pipeline import make_pipeline, make_union

        prompts, labels, clusters = np.array(probe.prompts), np.array(probe.labels), np.array(probe.clusters)
        smallest = min(len(set(clusters[labels == label])) for label in (0, 1))
        if smallest < FOLDS:
            raise NotApplicableError(f"{FOLDS} folds need {FOLDS} clusters of each class, the smaller has {smallest}")
        scores = np.empty(len(prompts))
        folds = StratifiedGroupKFold(n_splits=FOLDS, shuffle=True, random_state=probe.seed)
        for train, held_out in folds.split(prompts, labels, clusters):
            classifier = make_pipeline(
                make_union(
                    TfidfVectorizer(ngram_range=(1, 2), lowercase=False, token_pattern=r"\S+"),
                    TfidfVectorizer(ngram_range=(2, 5), lowercase=False, analyzer="char_wb"),
                ),
                LogisticRegression(C=10.0, max_iter=1_000),
            )
            classifier.fit(prompts[train], labels[train])
            scores[held_out] = classifier.decision_function(prompts[held_out])
        return torch.from_numpy(scores)
