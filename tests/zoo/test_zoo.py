"""Names of the zoo."""

from __future__ import annotations

import subprocess
import sys

import pytest

import memdet.zoo as zoo
from memdet.errors import UserError


def test_importing_the_zoo_imports_nothing_heavy():
    code = "import sys, memdet.zoo; print({'torch', 'pandas', 'diffusers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_recipe_is_where_the_table_says():
    from importlib import import_module

    for name in zoo.recipe_names():
        module, _, attribute = zoo.RECIPES[name].partition(":")
        assert getattr(import_module(module), attribute).name == name


@pytest.mark.parametrize("call", [zoo.weights_directory, zoo.verify, lambda name: zoo.build(name, None)])
def test_an_unknown_name_is_answered_with_the_nearest(call):
    with pytest.raises(UserError, match=r"'tiny-sd-q'.*did you mean .*tiny-sd-a"):
        call("tiny-sd-q")


def test_a_name_like_no_other_is_answered_with_all():
    with pytest.raises(UserError, match="there are fashion-multi, fashion-pixel, solid-pixel, tiny-ddpm"):
        zoo.weights_directory("zzz")
