"""Libraries say nothing while a model is loaded, and every setting of the process is what it was."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings

import pytest
from diffusers.utils import logging as of_diffusers
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from transformers.utils import logging as of_transformers

from memdet.models import load_model
from memdet.models.diffusers.quiet import quiet

LIBRARIES = ("diffusers", "transformers", "huggingface_hub")


def settings():
    """All that loading could have changed in this process."""
    loggers = {name: logging.getLogger(name) for name in ("", *LIBRARIES)}
    return {
        "loggers": {
            name: (logger.level, logger.disabled, logger.propagate, list(logger.handlers), list(logger.filters))
            for name, logger in loggers.items()
        },
        "below": logging.root.manager.disable,
        "bars": [of_diffusers.is_progress_bar_enabled(), of_transformers.is_progress_bar_enabled()],
        "bars of the hub": [are_progress_bars_disabled(group) for group in (None, "a", "a.b")],
        "environment": dict(os.environ),
        "warnings": list(warnings.filters),
    }


@pytest.fixture(params=["loud", "as it was", "silent"])
def chosen(request):
    """What a user may have chosen before; put back at the end."""
    with quiet():  # puts all of it back
        if request.param != "as it was":
            for library in (of_diffusers, of_transformers):
                library.set_verbosity_info() if request.param == "loud" else library.set_verbosity(logging.CRITICAL)
                library.enable_progress_bar() if request.param == "loud" else library.disable_progress_bar()
            disable_progress_bars("a")
            enable_progress_bars("a.b")
            logging.getLogger("huggingface_hub").setLevel(logging.NOTSET)
        yield request.param


@pytest.mark.parametrize("name", ["tiny-sd-a", "fashion-pixel"])
def test_settings_are_as_before_and_nothing_is_printed(chosen, name, capfd):
    before = settings()
    load_model(name)
    assert settings() == before
    assert capfd.readouterr() == ("", "")


def fail():
    with quiet():
        assert of_diffusers.get_verbosity() == logging.ERROR
        assert not of_transformers.is_progress_bar_enabled()
        assert are_progress_bars_disabled("any")
        raise RuntimeError("inside")


def test_settings_are_as_before_where_loading_fails():
    before = settings()
    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert settings() == before


def test_a_prompt_that_is_too_long_is_reported_and_not_warned_of(random_model, capfd):
    assert random_model.are_cut(["a red circle " * 200, "a red circle"]) == [True, False]
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "level"), [(None, "WARNING"), ("info", "INFO"), ("zzz", "WARNING")])
def test_the_first_import_is_silent_and_the_environment_is_heard(asked, level):
    code = (
        "import logging, os, sys, memdet.models as m; before = dict(os.environ); m.load_model('tiny-sd-a');"
        "assert dict(os.environ) == before;"
        "print(*(logging.getLevelName(logging.getLogger(n).level) for n in ('diffusers', 'transformers')));"
        "import transformers; print(transformers.utils.logging.is_progress_bar_enabled())"
    )
    environment = {name: value for name, value in os.environ.items() if "VERBOSITY" not in name and "HF_" not in name}
    if asked:
        environment |= {"DIFFUSERS_VERBOSITY": asked, "TRANSFORMERS_VERBOSITY": asked}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stderr == ""
    assert done.stdout == f"{level} {level}\nTrue\n"
