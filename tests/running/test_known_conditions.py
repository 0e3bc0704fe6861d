"""What a model cannot answer is one refusal before scoring, and not an error in every row."""

import pandas as pd
import pytest
import torch

import memdet
from memdet.errors import UserError
from memdet.models import NoiseSchedule, ScoreModel

SCHEDULE = NoiseSchedule.vp([0.99, 0.5, 0.1])


def sample_set(conditions=("tight", "broad"), model=None, steps=3):
    frame = pd.DataFrame({"condition": conditions, "label": [0, 1]})
    return memdet.SampleSet.from_pandas(frame, id="mine", steps=steps, model=model)


def asked():
    """A model that writes down what it is asked."""
    calls = []

    def network(x, t):
        calls.append(t)
        return SCHEDULE.sigma(t) * x

    return ScoreModel.from_callable(network, shape=(2,), schedule=SCHEDULE), calls


def test_a_schedule_shorter_than_the_protocol_s_trajectory():
    model, calls = asked()
    with pytest.raises(
        UserError, match="sample set mine on network: a trajectory has 1 to 3 steps on this schedule, not 50"
    ):
        memdet.evaluate("hessian-trace", sample_set(steps=50), model=model, progress=False)
    assert calls == []


def test_unknown_conditions():
    with pytest.raises(UserError, match="sample set mine: mixture-2d has no condition 'wide'; it knows: tight, broad"):
        memdet.evaluate("wen2024", sample_set(("tight", "wide"), "mixture-2d"), progress=False)


def test_an_encoder_that_fails():
    def embed(texts):
        raise KeyError("no such word")

    model = ScoreModel.from_callable(
        lambda x, t, c: x, shape=(2,), schedule=SCHEDULE, embed=embed, null=torch.zeros(1, 2), name="mine"
    )
    with pytest.raises(UserError, match="`embed` of mine fails for 'tight', 'broad'.*KeyError"):
        memdet.evaluate("wen2024", sample_set(), model=model, progress=False)


def test_controls_ask_no_model():
    found = memdet.evaluate("random", sample_set(("tight", "wide"), "mixture-2d", steps=900), progress=False)
    assert set(found.score_rows()["detector"]) >= {"random"}
