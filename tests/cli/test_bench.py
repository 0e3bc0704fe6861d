"""``memdet bench numerics``."""

import json
import re
import shlex
from pathlib import Path

import pytest

from memdet.benching.numerics.table import BEGIN, END, replace_between

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "numerics.md"
SMALL = [
    "bench",
    "numerics",
    "--sample-set",
    "mixture-2d",
    "--items",
    "4",
    "--dtype",
    "float64",
    "--detector",
    "jeon2025",
]


def test_help_of_the_group_shows_its_commands(cli):
    code, out, _ = cli("bench", "--help")
    assert code == 0
    commands = out.partition("Commands:")[2]
    assert [line.split()[0] for line in commands.splitlines() if line.strip()] == ["numerics", "plan"]


@pytest.mark.slow
def test_json_of_a_planted_model(cli):
    arguments = ["--items", "2", "--dtype", "bfloat16", "--attention", "math", "--detector", "curvature-gap"]
    code, out, _ = cli("bench", "numerics", *arguments, "--format", "json")
    found = json.loads(out)
    assert code == 0
    assert (found["model"], found["sample_set"], found["n_positive"], found["n_negative"]) == (
        "tiny-sd-a",
        "tiny-sd-a-verbatim",
        1,
        1,
    )
    rows = {(row["subject"], row["t"], row["backend"]): row for row in found["rows"]}
    first = found["timesteps"][0]
    # bfloat16 keeps 8 bits: never closer than 1e-4, and far from float64 after a subtraction.
    exact = rows["J_c", first, "jvp"]
    assert 1e-4 < exact["median_error"] < 0.1
    assert rows["J_D", first, "jvp"]["median_error"] > exact["median_error"]
    assert rows["J_c", first, "fd"]["median_error"] > exact["median_error"]
    assert rows["curvature-gap", None, "jvp"]["auroc"] in {0.0, 0.5, 1.0}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dtype", "float8"], ["--dtype 'float8'", "float32, bfloat16, float16"]),
        (["--attention", "paged"], ["--attention 'paged'", "math, flash, efficient"]),
        (["--format", "xml"], ["--format 'xml'", "markdown"]),
        (["--items", "1"], ["--items 1"]),
        (["--model", "tiny-sd-q"], ["tiny-sd-q", "did you mean"]),
        (["--model", "tiny-sd-a"], ["mixture-2d"]),
        (["--sample-set", "tiny"], ["unknown sample set 'tiny'"]),
        (["--detector", "jeon2026"], ["unknown detector 'jeon2026'"]),
        (["--detector", "random"], ["random is a control"]),
        (["--device", "abacus"], ["--device 'abacus'"]),
    ],
)
def test_bad_input(arguments, words, refused):
    if arguments == ["--model", "tiny-sd-a"]:  # the conditions of the default set are not the mixture's
        arguments, words = ["--sample-set", "tiny-sd-a-verbatim", "--model", "mixture-2d"], ["mixture-2d", "condition"]
    refused(*SMALL, *arguments, words=words)


def test_a_markdown_file_keeps_what_is_outside_the_marks(cli, refused, tmp_path):
    file = tmp_path / "page.md"
    file.write_text(f"Before.\n\n{BEGIN}\nold\n{END}\nAfter.\n")
    arguments = [*SMALL, "--attention", "math", "--format", "markdown", "--out", file]
    assert cli(*arguments)[0] == 0
    text = file.read_text()
    assert text.startswith(f"Before.\n\n{BEGIN}\n\nmixture-2d on mixture-2d: 2 memorized, 2 not")
    assert text.endswith(f"{END}\nAfter.\n")
    file.write_text("My notes.\n")
    refused(*arguments, words=["numerics: begin"])
    assert file.read_text() == "My notes.\n"
    assert cli(*arguments[:-1], tmp_path / "new" / "page.md")[0] == 0
    assert (tmp_path / "new" / "page.md").read_text().startswith("mixture-2d on")


def test_the_page_can_be_written_again():
    """The command in it is one that the command line takes, and its marks are where the command looks."""
    from memdet.cli.bench import numerics

    text = DOCUMENT.read_text()
    assert replace_between(text, "new").count("new") >= 1
    (line,) = re.findall(r"^    (memdet bench numerics .*--out docs/numerics\.md)$", text, re.MULTILINE)
    context = numerics.make_context("numerics", shlex.split(line)[3:])
    assert (context.params["form"], context.params["out"]) == ("markdown", Path("docs/numerics.md"))
    assert "tiny-sd-a on tiny-sd-a-verbatim: 24 memorized, 24 not, seed 0" in text
