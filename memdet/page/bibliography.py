"""Papers of detectors: what ``docs/bibliography.bib`` says of a key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_ENTRY = re.compile(r"^@\w+\{([^,\s]+),\n.*?^\}$", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^\s*(\w+)\s*=\s*\{(.*)\},?\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Paper:
    """An entry of the bibliography.

    Attributes:
        bibtex: The entry as it is written.
        title, authors, year, venue: As far as it says.
        link: Where to read it; empty where the entry names no place.
    """

    bibtex: str
    title: str
    authors: str
    year: str
    venue: str
    link: str


@lru_cache
def papers() -> dict[str, Paper]:
    """All entries by key; empty where the file is not installed.

    Example:
        >>> papers()["jeon2025sharpness"].link
        'https://arxiv.org/abs/2412.04140'
    """
    package = Path(__file__).resolve().parents[1]
    file = next(
        (p for p in (package / "bibliography.bib", package.parent / "docs" / "bibliography.bib") if p.is_file()), None
    )
    return {} if file is None else papers_of(file.read_text(encoding="utf-8"))


def papers_of(text: str) -> dict[str, Paper]:
    """Entries of a BibTeX file by key; an entry ends with a brace that stands alone in its line.

    Args:
        text: Of the file.
    """
    return {match[1]: _paper(match[0]) for match in _ENTRY.finditer(text)}


def _paper(entry: str) -> Paper:
    fields = {
        name.lower(): " ".join(value.replace("{", "").replace("}", "").split()) for name, value in _FIELD.findall(entry)
    }
    venue = fields.get("booktitle") or fields.get("journal") or ""
    preprint = fields.get("eprint") or next(
        iter(re.findall(r"arXiv[: ](?:preprint arXiv:)?(\d{4}\.\d{4,5})", entry)), ""
    )
    link = f"https://arxiv.org/abs/{preprint}" if preprint else fields.get("url", "")
    if not link and "doi" in fields:
        link = f"https://doi.org/{fields['doi']}"
    return Paper(entry, fields.get("title", ""), fields.get("author", ""), fields.get("year", ""), venue, link)
