"""The card of a run on the hub: what was run, its table, its columns, how to load and cite it."""

from __future__ import annotations

from memdet.page.bibliography import papers
from memdet.results import SCORES, Run
from memdet.results.manifest import FILE
from memdet.results.store import SCORE_FILE
from memdet.samplesets.export import CITE_MEMDET, DESCRIPTIONS, UNKNOWN, columns_section, front_matter
from memdet.samplesets.own_export import check_licence
from memdet.tables import FORMATS, rows_of

_COLUMNS = DESCRIPTIONS | {
    "sample_set": "Id of the sample set.",
    "sample_set_version": "Its version.",
    "label": DESCRIPTIONS["memorized"],
    "detector": "Detector or control, with the options that differ from the defaults.",
    "detector_version": "Version of the detector.",
    "seed": "Noise seed.",
    "score": "The detector's score: larger means more memorized.",
    "status": "ok, or why there is no score.",
    "forwards": "Network forwards of the item and seed.",
    "jvps": "Jacobian products in forward mode.",
    "vjps": "Jacobian products in reverse mode.",
}


def run_card(run: Run, repo: str, licence: str | None = None) -> str:
    """README.md of a dataset repository with ``run.json`` and ``scores.parquet``.

    Args:
        run: Finished, with labels.
        repo: ``owner/name``.
        licence: Name of SPDX, of the scores; unknown if not given.

    Raises:
        UserError: A licence that the hub does not know, or a scan.
    """
    check_licence(licence)
    title = f"memdet run {run.name}"
    settings = run.manifest.settings
    named = UNKNOWN if licence is None else licence.lower()
    sets = "; ".join(
        f"`{entry.id}` v{entry.version} (model `{entry.model}`, {entry.steps} steps, guidance {entry.guidance})"
        for entry in settings.sample_sets
    )
    lines = [
        f"# {title}",
        "",
        "Scores of detectors of memorization in diffusion models, one a sample set, detector, item and noise seed, as "
        "memdet computed them. Prompts and images are not here.",
        "",
        f"- Sample sets: {sets}.",
        f"- memdet {settings.memdet or 'of an unknown version'}, on {settings.device or 'an unknown device'}.",
        f"- Licence of the scores: {licence or 'not stated'}.",
        "",
        "## Table",
        "",
        FORMATS["markdown"](rows_of(run)),
        "",
        *columns_section(SCORES.names, _COLUMNS),
        "## How to load",
        "",
        "```python",
        "import memdet",
        "from huggingface_hub import snapshot_download",
        "",
        f'run = memdet.load_run(snapshot_download("{repo}", repo_type="dataset"))',
        "```",
        "",
        f'`load_dataset("{repo}", split="scores")` of the library `datasets` reads `{SCORE_FILE}` alone. `{FILE}` says '
        "how the scores were made.",
        "",
        "## Citation",
        "",
        "Cite memdet, and the papers of the detectors:",
        "",
        "```bibtex",
        "\n\n".join([CITE_MEMDET, *_entries(run)]),
        "```",
    ]
    return front_matter(title, named, {"scores": SCORE_FILE}) + "\n".join(lines) + "\n"


def _entries(run: Run) -> list[str]:
    """BibTeX of the papers of memdet's own detectors that the run has."""
    from memdet.detectors import detector_classes

    known, classes = papers(), detector_classes()
    names = (entry.label.partition("@")[0] for entry in run.detectors)
    keys = dict.fromkeys(classes[name].info.paper for name in names if name in classes)
    return [known[key].bibtex for key in keys if key in known]
