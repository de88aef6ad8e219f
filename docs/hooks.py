"""Pages of the site that lie outside of its folder: the README as its first page, the changelog, examples.

Links are written so that they work on a code host; here they are led to the pages of the site.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent

OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "examples/README.md": "examples.md",
}
"""Files of the repository, and the pages that they become."""

LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages."""
    for source, page in OUTSIDE.items():
        text = led((ROOT / source).read_text(encoding="utf-8"), source, page)
        files.append(File.generated(config, page, content=text))
    for path in (ROOT / "LICENSE", *sorted((ROOT / "examples").glob("*.*"))):
        if path.name != "README.md":
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead the links of a page in the folder to pages that come from outside of it."""
    name = page.file.src_uri
    return markdown if name in OUTSIDE.values() else led(markdown, f"docs/{name}", name)


def led(text: str, source: str, page: str) -> str:
    """Return a text whose links lead from the page to where they lead from the file in the repository."""

    def lead(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), found[1]))
        to = OUTSIDE.get(target) or target.removeprefix("docs/")
        return f"]({posixpath.relpath(to, posixpath.dirname(page) or '.')}{found[2] or ''})"

    return LINK.sub(lead, text)
