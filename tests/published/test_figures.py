"""The published figures: what the file holds, and how strictly it is read."""

import pytest

from memdet.detectors import detector_classes, make_detector
from memdet.errors import UserError
from memdet.page.bibliography import papers
from memdet.published.figures import FILE, Figure, figures_of, published_figures, sets_with_figures
from memdet.samplesets import load_spec

FIGURES = published_figures()
HEADER = ",".join(Figure.model_fields)
LINE = "s,m,5,5,wen2024,4,4,50,,auroc,0.9,key,2412.04140,Table 1,"


def value(detector, generations, measure, sample_set):
    (found,) = [
        one.value
        for one in FIGURES
        if (one.detector, one.generations, one.measure, one.sample_set) == (detector, generations, measure, sample_set)
    ]
    return found


def test_sentences_of_the_paper():
    """Jeon, Kim and No say them of their Table 1 in the text, section 4.5."""
    ours = [value("jeon2025", 4, measure, "jeon-sd1") for measure in ("auroc", "tpr_at_1_fpr")]
    assert ours == [0.998, 0.982]
    assert ours == [value("wen2024@steps=5", 16, measure, "jeon-sd1") for measure in ("auroc", "tpr_at_1_fpr")]
    assert value("jeon2025", 4, "auroc", "jeon-sd2") == 0.991


@pytest.mark.parametrize("detector", dict.fromkeys(one.detector for one in FIGURES))
def test_each_is_of_a_detector_under_the_label_of_runs(detector):
    assert make_detector(detector, detector_classes()).label == detector


@pytest.mark.parametrize("name", sets_with_figures())
def test_each_is_of_a_set_its_model_and_its_prompts(name):
    spec, own = load_spec(name), [one for one in FIGURES if one.sample_set == name]
    parts = {part.name: part.items for part in spec.source.parts}
    assert {(one.n_memorized, one.n_other) for one in own} == {(parts["memorized"], parts["control"])}
    assert {one.model for one in own} == {spec.model.rpartition("/")[2]}
    assert {one.steps for one in own} == {spec.protocol.steps}
    assert {one.guidance for one in own} <= {None, spec.protocol.guidance}
    assert all(one.arxiv in spec.citation for one in own)


def test_each_says_where_it_stands():
    for one in FIGURES:
        assert one.paper in papers()
        assert one.arxiv in papers()[one.paper].link
        assert one.place


def test_measures_come_in_pairs():
    """The table of a paper has both columns; a rate at few false positives is below the area that it allows for."""
    pairs = {}
    for one in FIGURES:
        pairs.setdefault((one.paper, one.model, one.detector, one.generations), {})[one.measure] = one.value
    for pair in pairs.values():
        assert set(pair) == {"auroc", "tpr_at_1_fpr"}
        # At 1 % FPR the rate is t: the ROC curve lies above (0, 0), (.01, t), (1, t) but for what is left of .01.
        assert pair["auroc"] >= pair["tpr_at_1_fpr"] * 0.985


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["a,b", "1,2"], f"it.csv has the columns a, b: they are {', '.join(Figure.model_fields)}"),
        ([HEADER, LINE.replace("0.9", "90")], "it.csv line 2: value: "),
        ([HEADER, LINE.replace("auroc", "AUC")], "it.csv line 2: measure: "),
        ([HEADER, LINE, LINE.replace("wen2024,4,4", "wen2024,2,4")], "it.csv line 3: "),
        ([HEADER, LINE, LINE.replace("0.9", "0.8")], "it.csv line 3: the same number stands above"),
        ([HEADER, LINE.replace(",key,", ",,")], "it.csv line 2: paper: "),
        ([HEADER, LINE + ",more"], "it.csv line 2: "),
    ],
)
def test_a_mistake_names_its_line(lines, words):
    with pytest.raises(UserError) as caught:
        figures_of(lines, "it.csv")
    assert words in str(caught.value)


def test_what_is_read():
    (one,) = figures_of([HEADER, LINE], FILE)
    assert (one.guidance, one.value, one.source) == (None, 0.9, "key, arXiv 2412.04140, Table 1")
