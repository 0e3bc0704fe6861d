"""``memdet show``, names that a shell completes, and what is understood where a name is expected."""

import json

import click
import pytest
from click.shell_completion import ShellComplete
from rich.cells import cell_len

from memdet.cli import COMMANDS, group
from memdet.cli.completion import detector_names, offered, set_names
from memdet.detectors import detector_classes
from memdet.mitigation import mitigation_classes
from memdet.models import model_names
from memdet.samplesets import sample_set_ids, suite_names


def everything():
    return sorted({*detector_classes(), *mitigation_classes(), *sample_set_ids(), *suite_names(), *model_names()})


@pytest.mark.slow
def test_everything_that_has_a_name_is_shown(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for name in everything():
        code, out, _ = cli("show", name)
        assert code == 0
        assert out.startswith(f"{name} (")
        broken = [line for line in out.splitlines() if cell_len(line) > 80 and len(line.split()) > 2]
        assert broken == [], name


def test_a_detector_says_what_it_computes_and_costs(cli):
    code, out, _ = cli("show", "wen2024")
    assert code == 0
    for words in ("norm(eps_c - eps_u)", "2 steps F", "ICLR 2024", "steps (int; default 1)", "faithful", "Wen"):
        assert words in out
    (shown,) = json.loads(cli("show", "jeon2025", "--format", "json")[1])
    assert shown["kind"] == "detector"
    assert "arxiv.org/abs/2412.04140" in shown["facts"]["paper"]
    assert set(shown["options"]) == set(detector_classes()["jeon2025"].option_types())


def test_a_sample_set_says_what_it_can_show(cli):
    (shown,) = json.loads(cli("show", "tiny-sd-a-verbatim", "--format", "json")[1])
    assert shown["facts"]["test items"] == "118 memorized, 120 not"
    assert "an AUROC from .604 on is told from .5" in shown["facts"]["can show"]
    assert "quick" in shown["facts"]["suites"].split(", ")


def test_a_name_of_several_things_shows_them_all(cli):
    found = json.loads(cli("show", "mixture-2d", "--format", "json")[1])
    assert [one["kind"] for one in found] == ["sample set", "model"]
    assert cli("show", "prompt-ngram")[1].startswith("prompt-ngram (control)")
    assert cli("show", "quick")[1].startswith("quick (suite)")


def test_a_variant_leads_to_its_detector(cli):
    assert cli("show", "wen2024@steps=5")[1].startswith("wen2024 (detector)")


def test_an_unknown_name_is_refused_with_what_is_near(refused):
    refused("show", "wen2", words=["'wen2'", "wen2024"])
    refused("show", "wen2024@stops=5", words=["stops"])


def test_a_plugin_is_shown(cli, tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from memdet.detectors import Detector, DetectorInfo\n"
        "class Mine(Detector):\n"
        "    '''Sum of squares, a formula of mine.'''\n"
        "    info = DetectorInfo(name='mine', title='mine', access='score', cost='1 F', aliases=('former',))\n"
        "    def score(self, probe):\n"
        "        raise NotImplementedError\n"
    )
    for name in ("mine", "former"):
        code, out, _ = cli("show", name, "--plugin", plugin)
        assert code == 0
        assert "a formula of mine" in out
        assert "former names: former" in out


def completions(*words):
    *before, begun = words
    return [
        item.value for item in ShellComplete(group, {}, "memdet", "_MEMDET_COMPLETE").get_completions(before, begun)
    ]


def test_a_shell_completes_names():
    assert completions("run", "tiny-sd-a-v") == ["tiny-sd-a-verbatim", "tiny-sd-a-verbatim-guided"]
    assert completions("run", "qui") == ["quick"]
    assert completions("run", "quick", "-d", "wen") == ["wen2024"]
    assert completions("run", "quick", "-d", "jeon2025,wen") == ["jeon2025,wen2024"]
    assert completions("run", "--suite", "few") == ["few-step"]
    assert "sail2025" in completions("mitigate", "--method", "sail")
    assert completions("show", "garm") == ["garment-classifier"] or completions("show", "tiny-sd-sw") == [
        "tiny-sd-swap"
    ]
    assert completions("sh") == ["show"]


def test_a_broken_source_of_names_breaks_no_prompt():
    def broken():
        raise RuntimeError

    complete = offered(broken, set_names)
    found = complete(click.Context(group), click.Option(["--x"]), "mixture")
    assert [item.value for item in found] == ["mixture-2d"]
    assert "random" in detector_names()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell(cli, shell):
    code, out, _ = cli("completion", shell)
    assert code == 0
    assert "_MEMDET_COMPLETE" in out


def test_a_suite_is_understood_where_a_set_is_expected(cli, refused):
    from memdet.cli.sets import with_suite

    assert with_suite(["quick"], None) == ((), "quick")
    assert with_suite(["mixture-2d"], "quick") == (("mixture-2d",), "quick")
    assert with_suite(["a.yaml"], None) == (("a.yaml",), None)
    refused("run", "quick", "controlled", words=["one suite at a time", "quick and controlled"])
    refused("run", "quick", "--suite", "controlled", words=["one suite at a time"])
    refused("run", "mitigation", words=["memdet mitigate"])
    refused("localize", "quick", words=["is a suite", "mixture-2d", "tiny-sd-a-verbatim"])
    refused("export", "quick", words=["is a suite"])


def test_every_command_is_verbose_on_demand(cli):
    for name in COMMANDS:
        command = group.get_command(click.Context(group), name)
        assert any(parameter.name == "verbose" for parameter in command.params), name
    code, _, err = cli("show", "nobody", "-v")
    assert code == 2
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("memdet: nothing is named 'nobody'")
    assert "Traceback" not in cli("show", "nobody")[2]


def test_version(cli):
    from importlib.metadata import version

    assert cli("--version")[1].strip().endswith(version("memdet"))


def test_orders_are_of_the_table_on_a_screen(cli, refused):
    refused("list", "suites", "--format", "json", "--limit", "1", words=["--limit", "--format json"])
    refused("list", "suites", "--sort", "colour", words=["--sort", "'colour'", "sample_sets"])
    assert cli("list", "suites", "--limit", "1")[1].splitlines()[1].startswith("controlled")
    lines = cli("list", "suites", "--sort", "name", "--limit", "2")[1].splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["controlled", "dear"]


def test_sample_sets_are_listed_by_either_name(cli):
    assert cli("list", "sets") == cli("list", "samples")
