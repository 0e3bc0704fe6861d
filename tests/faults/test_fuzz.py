"""Parsers meet files that somebody changed: each is read, or refused in one line. Nothing is written or begun."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from memdet.detectors.base import DetectorInfo, Headline
from memdet.detectors.cost import declared_cost
from memdet.errors import NotApplicableError, UserError
from memdet.models.diffusers.directory import _find_class, latent_sizes, weights_in
from memdet.models.diffusers.flow_config import is_flow
from memdet.models.diffusers.scheduler_config import checked_config
from memdet.results.shards import DamagedShard
from tests.faults import fuzz, hostile

ALL_SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in fuzz.PARSERS]


@pytest.mark.parametrize("name", ALL_SLOW)
def test_any_file_is_read_or_refused_in_one_line(name):
    """``MEMDET_FUZZ_EXAMPLES`` says how many examples; the same ones come each time."""
    parser = fuzz.PARSERS[name]()
    number = fuzz.examples_of(parser)
    chosen = settings(
        max_examples=number,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    found = fuzz.try_parser(parser, chosen)
    assert 0 < found["refused"] < found["examples"]  # of valid files some are left


def test_what_is_watched(tmp_path):
    """A parser that writes, that raises something else, or that says lines, is found."""

    def writes(folder, case):
        (tmp_path / "elsewhere").write_text("x")

    def raises(folder, case):
        raise KeyError("x")

    def says_lines(folder, case):
        raise RuntimeError("a\nb")

    wrong = ((writes, (UserError,)), (raises, (UserError,)), (says_lines, (RuntimeError,)))
    for read, refusals in wrong:
        parser = fuzz.Parser(None, read, {"a": b""}, 1, refusals)
        with pytest.raises((AssertionError, KeyError)):
            fuzz.check(parser, {"a": b""}, tmp_path / "given")


@pytest.mark.parametrize("kind", [UserError, NotApplicableError, DamagedShard])
def test_what_an_error_quotes_steers_no_terminal(kind):
    assert str(kind("a \x1b[2J\r\n  b\u2028c \ud800 \u202e")) == r"a \x1b[2J b c \ud800 \u202e"
    assert str(kind("two  spaces")) == "two  spaces"


GIVEN = {"name": "mine", "title": "t", "access": "score", "cost": "F"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", hostile.HUGE),
        ("access", hostile.HUGE),
        ("access", np.array(["score", "none"])),
        ("paper", 3),
        ("year", "2024"),
        ("aliases", "old"),
        ("headline", "steps=50"),
    ],
    ids=lambda given: given if isinstance(given, str) else type(given).__name__,
)
def test_a_field_of_another_kind_is_refused(field, value):
    with pytest.raises(UserError, match=rf"^detector 'mine': {field} is "):
        DetectorInfo(**GIVEN | {field: value})


@pytest.mark.parametrize("field", ["options", "seeds", "guidance", "source"])
def test_a_headline_of_other_kinds_is_refused(field):
    with pytest.raises(UserError, match=rf"^headline: {field} is \[1\], not "):
        Headline(**{field: [1]})


@pytest.mark.parametrize(
    "formula",
    ["1/0 F", "(" * 500 + "F", "1" + "+1" * 9000 + " F", "1e999 - x F"],
    ids=["ratio", "deep", "long", "name"],
)
def test_a_cost_that_cannot_be_evaluated_is_refused(formula):
    with pytest.raises(UserError, match="cannot be read"):
        declared_cost(formula, {})


@pytest.mark.parametrize("name", [{}, [1], None, 3, "", "../model.safetensors", "/etc/passwd", "a\0"])
def test_shards_lie_beside_their_index(name, tmp_path):
    """One that is no text raised a TypeError, and one elsewhere was read there."""
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": name}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="no file beside it"):
        weights_in(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["num_train_timesteps", "steps_offset"])
def test_a_schedule_without_end_is_not_made(name):
    """A billion timesteps are three lines of a configuration, and gigabytes of memory."""
    with pytest.raises(UserError, match=f"{name} is 1000000000, not a whole number from . to 100,000"):
        checked_config({name: 10**9})


@pytest.mark.parametrize("name", [[], {}, 3, None])
def test_a_scheduler_s_class_is_text(name):
    assert not is_flow({"_class_name": name, "use_flow_sigmas": True}, "")


@pytest.mark.parametrize("blocks", [3, "ab", {"a": 1}])
def test_blocks_of_an_autoencoder_are_a_list(blocks, tmp_path):
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").write_text(json.dumps({"sample_size": 64, "block_out_channels": blocks}))
    with pytest.raises(UserError, match="sample_size of the denoiser is None"):
        latent_sizes(tmp_path, None)


@pytest.mark.parametrize("name", ["__version__", "logging", "UNet2DModelOfNobody"])
def test_a_class_is_one_that_loads_weights(name, tmp_path):
    with pytest.raises(UserError, match=f"has no class {name}"):
        _find_class(tmp_path, "unet", ["diffusers", name])
