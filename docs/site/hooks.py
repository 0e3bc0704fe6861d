"""What the site adds to the documents: files from beside them, links that hold there, and links to papers.

Documents are written for a reader on GitHub: they link to files of the repository by relative paths. Here such a link
leads to a page of the site where it has one, and to the repository elsewhere.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.utils import get_relative_url

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
ADDED = {
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "leaderboard.html": "results/leaderboard.html",
}
PAPERS = "reference/papers.md"
LEADERBOARD = (
    '<iframe src="leaderboard.html" title="Leaderboard" style="width: 100%; height: 85vh; border: 0"></iframe>'
)

_SECTION = re.compile(r"^<!-- section of the README: (.*) -->$", re.MULTILINE)
_FENCE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")
_HREF = re.compile(r'(href=")([^"#:]+)((?:#[^"]*)?")')
_ARXIV = re.compile(r"(?<!\[)\barXiv:? (\d{4}\.\d{4,5})(?:v\d)?")


def on_files(files: Files, config: Any) -> Files:
    """Add the leaderboard, the files at the root, and the page of papers."""
    for name, source in ADDED.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / source)))
    files.append(File.generated(config, PAPERS, content=papers_page()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Lead links to where they hold, and arXiv numbers and keys of papers to the papers."""
    source = page.file.src_uri

    def prose(text: str) -> str:
        text = _LINK.sub(lambda found: found[1] + _target(found[2], source, files) + found[3], text)
        return _ARXIV.sub(lambda found: f"[{found[0]}](https://arxiv.org/abs/{found[1]})", text)

    parts = [text if text.startswith("`") else prose(text) for text in _FENCE.split(markdown)]
    if source == "detectors.md":
        parts = [_paper_of(text) for text in parts]
    return _SECTION.sub(_of_readme, "".join(parts)).replace("<!-- leaderboard -->", LEADERBOARD)


def _of_readme(found: re.Match[str]) -> str:
    """A section of the README, so that nothing is written twice."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return f"## {found[1]}\n" + readme.split(f"\n## {found[1]}\n")[1].split("\n## ")[0]


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """Lead the links of a notebook, which is no Markdown, to where they hold."""
    if not page.file.src_uri.endswith(".ipynb"):
        return html

    def url(found: re.Match[str]) -> str:
        target = _target(found[2], page.file.src_uri, files)
        file = files.get_file_from_path((Path(page.file.src_uri).parent / target).as_posix()) or _file(
            target, page, files
        )
        return found[1] + (get_relative_url(file.url, page.url) if file else target) + found[3]

    return _HREF.sub(url, html)


def _file(target: str, page: Any, files: Files) -> File | None:
    path = (DOCS / page.file.src_uri).parent.joinpath(target).resolve()
    return files.get_file_from_path(path.relative_to(DOCS).as_posix()) if path.is_relative_to(DOCS) else None


def _target(link: str, source: str, files: Files) -> str:
    """Where a link of a document leads on the site: to a page of it, or to the repository; what is nowhere stays."""
    base = ROOT if source in ADDED else (DOCS / source).parent
    path = (base / link).resolve()
    if not path.is_relative_to(ROOT) or not path.exists():
        return link
    name = path.relative_to(ROOT).as_posix()
    at_home = {origin: here for here, origin in ADDED.items()} | {"README.md": "index.md"}
    here = at_home.get(name, name.removeprefix("docs/") if path.is_relative_to(DOCS) else "")
    if here and files.get_file_from_path(here):
        return "../" * source.count("/") + here
    return f"https://github.com/memdet/memdet/{'tree' if path.is_dir() else 'blob'}/main/{name}"


@cache
def papers() -> dict[str, dict[str, str]]:
    """Entries of the bibliography by their key."""
    text = (DOCS / "bibliography.bib").read_text(encoding="utf-8")
    entries = re.findall(r"^@\w+\{([\w-]+),\n(.*?)^\}", text, flags=re.MULTILINE | re.DOTALL)
    return {key: dict(re.findall(r"(\w+)\s*=\s*\{(.*)\},?$", fields, flags=re.MULTILINE)) for key, fields in entries}


def papers_page() -> str:
    """All papers, with a link to each that has one."""
    lines = [
        "# Papers",
        "",
        "The papers of the detectors, by the key under which [Detectors](../detectors.md) names them.",
        "",
    ]
    for key, entry in sorted(papers().items()):
        number = entry.get("eprint") or "".join(re.findall(r"arXiv:(\d{4}\.\d{4,5})", entry.get("journal", "")))
        address = entry.get("url") or (f"https://arxiv.org/abs/{number}" if number else "")
        title = re.sub(r"[{}]", "", entry["title"])
        where = entry.get("booktitle") or entry.get("journal") or ""
        lines += [f"## {key}", "", f"[{title}]({address})" if address else title, ""]
        lines += [f"{entry.get('author', '').replace(' and ', '; ')}. {where}, {entry.get('year', '')}.", ""]
    return "\n".join(lines)


def _paper_of(text: str) -> str:
    key = text.strip("`")
    return f"[{text}]({PAPERS}#{key})" if text.startswith("`") and key in papers() else text
