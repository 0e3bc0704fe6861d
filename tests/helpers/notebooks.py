"""The tutorials: how they are run, and what their cells say.

``python -m tests.helpers.notebooks docs/tutorials/NAME.ipynb ...`` runs notebooks and writes their outputs into them.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.helpers.source import ROOT

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)(?:e[-+]?\d+)?")
BAR = re.compile(r"^.*\b\d+%\|.*\n", re.MULTILINE)  # a bar of progress


def executed(path: Path) -> NotebookNode:
    """The notebook with the outputs of a fresh kernel, which runs where the notebook lies.

    A cell that raises ends the run with its traceback.
    """
    notebook = nbformat.read(path, as_version=4)
    old = os.environ.get("PATH", "")
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{old}"  # where `!memdet` is
    try:
        client = NotebookClient(
            notebook,
            timeout=600,
            kernel_name="python3",
            resources={"metadata": {"path": path.parent}},
            coalesce_streams=True,
        )
        client.execute()
    finally:
        os.environ["PATH"] = old
    return notebook


def values(notebook: NotebookNode) -> list[tuple[str, list[float]]]:
    """What the cells with the tag ``value`` print: their words, and their numbers."""
    found = []
    for cell in notebook.cells:
        if "value" in cell.metadata.get("tags", []):
            text = "".join(output.get("text", "") for output in cell.outputs)
            numbers = [float(number.replace(",", "")) for number in NUMBER.findall(text)]
            found.append((NUMBER.sub("#", text), numbers))
    return found


def _tidy(notebook: NotebookNode) -> None:
    """Take out what differs from run to run and machine to machine."""
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if "text" in output:
                output["text"] = BAR.sub("", output["text"])


if __name__ == "__main__":
    for name in sys.argv[1:]:
        made = executed(Path(name))
        _tidy(made)
        nbformat.write(made, name)
        print(name, values(made))
