"""Third-party libraries kept from talking while a model is loaded, and left as they were."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_VERBOSITY = {"diffusers": "DIFFUSERS_VERBOSITY", "transformers": "TRANSFORMERS_VERBOSITY"}
_HUB = "huggingface_hub"


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, diffusers, transformers and the hub's client log errors alone, show no bars and give no warnings.

    Afterwards every setting is what it was. What a user chose, in the code or in the environment, holds outside.
    Libraries that are not imported yet are imported here, in silence: one of them would import another in the middle.
    """
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        for library in _VERBOSITY:
            _import(library)
        stack.enter_context(_hidden_bars_of_the_hub())  # ends last: the other libraries' switches turn these bars too
        for library in (*_VERBOSITY, _HUB):
            stack.enter_context(_errors_alone(library))
            stack.enter_context(_hidden_bars(library))
        yield


def _import(library: str) -> None:
    """Import a library; where that is the first time, in silence, and then with the verbosity that it takes itself."""
    if library in sys.modules:
        return
    variable = _VERBOSITY[library]
    asked = os.environ.get(variable)
    os.environ[variable] = "error"
    try:
        levels = importlib.import_module(f"{library}.utils.logging").log_levels
    finally:
        if asked is None:
            del os.environ[variable]
        else:
            os.environ[variable] = asked
    logging.getLogger(library).setLevel(levels.get(asked, logging.WARNING))


@contextmanager
def _errors_alone(library: str) -> Iterator[None]:
    logger = logging.getLogger(library)
    level = logger.level
    logger.setLevel(max(logger.getEffectiveLevel(), logging.ERROR))
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _hidden_bars(library: str) -> Iterator[None]:
    switches = importlib.import_module(f"{library}.utils.logging")
    if not (hasattr(switches, "is_progress_bar_enabled") and switches.is_progress_bar_enabled()):
        yield
        return
    switches.disable_progress_bar()
    try:
        yield
    finally:
        switches.enable_progress_bar()


@contextmanager
def _hidden_bars_of_the_hub() -> Iterator[None]:
    """They are kept in a table by group, which its own switches clear."""
    importlib.import_module(f"{_HUB}.utils")
    states: dict[str, bool] = sys.modules[f"{_HUB}.utils.tqdm"].progress_bar_states
    kept = dict(states)
    states.clear()
    states["_global"] = False
    try:
        yield
    finally:
        states.clear()
        states.update(kept)
