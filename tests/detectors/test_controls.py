"""Controls: values by hand, blindness to the model, and folds."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_info, threadpool_limits

from memdet.detectors import detector_classes, make_detector
from memdet.detectors.blind import BlindControl, Told
from memdet.detectors.controls import prompt_ngram
from memdet.errors import NotApplicableError
from memdet.probing import Items
from memdet.probing.uniform import item_uniform, key_of
from tests.helpers.problems import make_items, make_probe

PROMPTS = ["Blue Jeans by Levi's, size 32", "a plain shirt", "", "ÉTÉ 2024"]


def score(name, items, seed=0):
    """Score without a model, so whoever asks for one fails."""
    detector = make_detector(name, detector_classes())
    probe = make_probe(None, items, seed=seed)
    with probe.charge(supervised=detector.info.supervised) as cost:
        scores = detector.score(probe)
    assert (cost.forwards, cost.jvps, cost.vjps) == (0, 0, 0)
    return scores


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("prompt-case", [3 / 6, 0, 0, 1 / 2]),
        ("prompt-length", [29, 13, 0, 8]),
        ("prompt-digits", [2 / 29, 0, 0, 4 / 8]),
    ],
)
def test_values_by_hand(name, expected):
    scores = score(name, make_items(PROMPTS, has_prompts=True))
    assert scores.dtype == torch.float64
    assert scores.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", ["prompt-case", "prompt-length", "prompt-digits", "prompt-ngram"])
def test_text_controls_need_text(name):
    with pytest.raises(NotApplicableError, match="not text"):
        score(name, make_items(PROMPTS))


def test_random_depends_on_seed_and_item():
    items = make_items(PROMPTS)
    assert score("random", items).tolist() == score("random", items).tolist()
    assert score("random", items).tolist() != score("random", items, seed=1).tolist()
    labels = [0, 1] * 500
    area = roc_auc_score(labels, score("random", make_items(["x"] * 1_000, labels=labels)))
    assert area == pytest.approx(0.5, abs=4 * (1 / 12 / 500 * 2) ** 0.5)


@pytest.mark.parametrize("name", [name for name, cls in detector_classes().items() if issubclass(cls, BlindControl)])
def test_an_audit_reads_what_a_run_reads(name):
    """The same control, asked with a probe and without one."""
    items = two_vocabularies()
    control = make_detector(name, detector_classes())
    assert score(name, items).tolist() == control.values(Told(items)).tolist()


def test_the_numbers_of_items_are_those_of_torch():
    for seed in (0, 1, 2**40):
        for item in ("", "item-00001", "é", *(f"i{k}" for k in range(200))):
            generator = torch.Generator().manual_seed(key_of("uniform", seed, item))
            assert item_uniform(seed, item) == torch.rand((), generator=generator, dtype=torch.float64).item()


def two_vocabularies(n=60, families=20):
    """Prompts whose words tell the label; each cluster is one prompt with small changes."""
    words = {0: ["cotton", "wool", "linen", "silk"], 1: ["engine", "wheel", "brake", "gear"]}
    prompts, clusters, labels = [], [], []
    for index in range(n):
        label, family = index % 2, index // 2 % families
        pick = [words[label][(family >> shift) % 4] for shift in (0, 1, 2)]
        prompts.append(" ".join([*pick, f"v{index}"]))
        clusters.append(f"{label}-{family}")
        labels.append(label)
    return Items([f"i{k}" for k in range(n)], prompts, clusters, labels, has_prompts=True)


def test_ngrams_separate_two_vocabularies():
    items = two_vocabularies()
    scores = score("prompt-ngram", items)
    assert scores.dtype == torch.float64
    assert roc_auc_score(items.labels, scores) > 0.95
    swapped = Items(items.ids, items.conditions, items.clusters, [1 - label for label in items.labels], True)
    assert roc_auc_score(swapped.labels, score("prompt-ngram", swapped)) > 0.95


def test_ngrams_cannot_learn_from_a_near_duplicate():
    """Each cluster has words of its own and a label by chance: what is held out was never seen in training."""
    prompts, clusters, labels = [], [], []
    generator = torch.Generator().manual_seed(0)
    for family in range(40):
        label = int(torch.randint(2, (), generator=generator))
        for _ in range(5):
            prompts.append(" ".join(chr(0x4E00 + 10 * family + k) for k in range(5)))
            clusters.append(f"family-{family}")
            labels.append(label)
    items = Items([f"i{k}" for k in range(200)], prompts, clusters, labels, has_prompts=True)
    assert roc_auc_score(labels, score("prompt-ngram", items)) < 0.6
    # The same prompts with every item a cluster of its own are learnt by heart.
    leaking = Items(items.ids, prompts, items.ids, labels, has_prompts=True)
    assert roc_auc_score(labels, score("prompt-ngram", leaking)) > 0.95


def test_folds_keep_clusters_together(monkeypatch):
    items, seen = two_vocabularies(), []
    split = StratifiedGroupKFold.split

    def spy(self, x, y, groups):
        for train, held_out in split(self, x, y, groups):
            seen.append((train, held_out))
            yield train, held_out

    monkeypatch.setattr(StratifiedGroupKFold, "split", spy)
    score("prompt-ngram", items)
    assert len(seen) == 5
    assert sorted(index for _, held_out in seen for index in held_out) == list(range(len(items)))
    for train, held_out in seen:
        assert not {items.clusters[i] for i in train} & {items.clusters[i] for i in held_out}


def test_ngrams_are_fitted_on_one_thread_of_the_linear_algebra(monkeypatch):
    """Else the others wait busily on the cores that the network takes next."""

    def threads():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    fit, seen = LogisticRegression.fit, []

    def watched(self, *data):
        seen.append(threads())
        return fit(self, *data)

    monkeypatch.setattr(LogisticRegression, "fit", watched)
    items = make_items([f"{word} {n}" for n in range(20) for word in ("red", "blue")], has_prompts=True)
    with threadpool_limits(2, user_api="blas"):
        score("prompt-ngram", items)
        after = threads()
    assert after
    assert set(after) == {2}
    assert seen == [[1] * len(after)] * prompt_ngram.FOLDS


def test_ngrams_learn_from_a_bounded_number_of_prompts(monkeypatch):
    items, whole = two_vocabularies(), score("prompt-ngram", two_vocabularies())
    monkeypatch.setattr(prompt_ngram, "PROMPTS_AT_ONCE", 7)
    assert torch.equal(score("prompt-ngram", items), whole)
    fitted, fit = [], LogisticRegression.fit
    monkeypatch.setattr(
        LogisticRegression, "fit", lambda self, x, y: (fitted.append((len(y), int(sum(y)))), fit(self, x, y))[1]
    )
    monkeypatch.setattr(prompt_ngram, "LARGEST_FIT", 40)
    scores = score("prompt-ngram", items)
    assert fitted == [(40, 20)] * 5
    assert not torch.equal(scores, whole)
    assert roc_auc_score(items.labels, scores) > 0.9
    few = [int(index < 40 and label) for index, label in enumerate(items.labels)]  # twenty
    fitted.clear()
    score("prompt-ngram", Items(items.ids, items.conditions, items.ids, few, has_prompts=True))
    assert [n for n, _ in fitted] == [40] * 5
    assert sum(positives for _, positives in fitted) == 4 * 20  # each is in four of five


def test_ngrams_need_five_clusters_of_each_class():
    items = two_vocabularies(n=20, families=4)
    with pytest.raises(NotApplicableError, match="5 folds need 5 clusters of each class, the smaller has 4"):
        score("prompt-ngram", items)
    one_class = Items(items.ids, items.conditions, items.ids, [0] * 20, has_prompts=True)
    with pytest.raises(NotApplicableError, match="the smaller has 0"):
        score("prompt-ngram", one_class)
    assert score("prompt-ngram", two_vocabularies(n=20, families=5)).shape == (20,)
