"""A batch of named tensors."""

import pytest
import torch

from memdet.models import Condition, NoiseSchedule, ScoreModel


def two_tensors():
    return Condition({"hidden": torch.arange(6.0).view(3, 2), "labels": torch.arange(3)}, 3, "hidden")


def test_rows_are_taken_of_every_tensor():
    condition = two_tensors()
    part = condition.rows(slice(1, None))
    assert (part.size, part.differentiable) == (2, "hidden")
    assert part.tensors["labels"].tolist() == [1, 2]
    assert part.tensors["hidden"].tolist() == [[2.0, 3.0], [4.0, 5.0]]
    assert condition.rows(torch.tensor([2, 0, 2]))["labels"].tolist() == [2, 0, 2]


def test_it_is_a_mapping_of_names():
    condition = two_tensors()
    assert list(condition) == ["hidden", "labels"]
    assert {**condition}["labels"].tolist() == [0, 1, 2]
    with pytest.raises(KeyError):
        condition["text"]


def test_joined_parts_are_the_whole():
    condition = two_tensors()
    whole = Condition.cat([condition.rows(slice(1)), condition.rows(slice(1, None))])
    assert whole.size == 3
    for name, tensor in condition.tensors.items():
        assert torch.equal(whole.tensors[name], tensor)


def test_one_row_serves_all():
    row = two_tensors().rows(slice(1))
    many = row.expand(4)
    assert many.size == 4
    assert many.tensors["hidden"].data_ptr() == row.tensors["hidden"].data_ptr()
    assert many.expand(4) is many


def test_only_real_numbers_change_their_dtype():
    moved = two_tensors().to(torch.device("cpu"), torch.float64)
    assert {name: tensor.dtype for name, tensor in moved.tensors.items()} == {
        "hidden": torch.float64,
        "labels": torch.int64,
    }


def test_what_is_no_condition():
    with pytest.raises(ValueError, match=r"labels has shape \[2\], not 3 rows"):
        Condition({"labels": torch.arange(2)}, 3)
    with pytest.raises(ValueError, match="'text' is none of hidden, labels"):
        Condition(two_tensors().tensors, 3, "text")
    with pytest.raises(ValueError, match="2 tensors, not one: hidden, labels"):
        two_tensors().tensor  # noqa: B018
    assert Condition.nothing(5).expand(7).size == 7
    assert Condition.of(torch.arange(3)).differentiable is None


def test_a_network_of_ones_own_is_told_tensors_by_name():
    told = {}

    def network(x, t, *, hidden, labels):
        told.update(hidden=hidden, labels=labels)
        return x * hidden.sum(1, keepdim=True)

    model = ScoreModel.from_callable(
        network,
        shape=(2,),
        schedule=NoiseSchedule.vp([0.9, 0.5]),
        embed=lambda texts: {"hidden": torch.ones(len(texts), 3), "labels": torch.arange(len(texts))},
        null={"hidden": torch.zeros(1, 3), "labels": torch.tensor([9])},
    )
    x = torch.ones(2, 2)
    assert torch.equal(model.eps(x, 1, model.embed(["a", "b"])), 3 * x)
    assert told["labels"].tolist() == [0, 1]
    assert torch.equal(model.eps(x, 1, model.embed_null()), 0 * x)
    assert told["labels"].tolist() == [9, 9]
