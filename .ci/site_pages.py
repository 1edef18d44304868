"""A hook of MkDocs: documents of the repository's root are pages of the site, too."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security-policy.md",
}
"""Documents of the root, and where the site has them."""

LINK = re.compile(r"\]\(([^)#\s:]+)((?:#[^)\s]*)?)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents of the root."""
    root = Path(config.config_file_path).parent
    for document, page in PAGES.items():
        text = (root / document).read_text("utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Have links of the repository lead to the site's pages.

    A link to any other file of the repository stays, and fails a strict build.
    """
    documents = {page: document for document, page in PAGES.items()}
    # Where the page is in the repository, and its folder on the site.
    path = documents.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    folder = posixpath.dirname(page.file.src_uri)

    def on_site(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), match[1]))
        found = PAGES.get(target, target.removeprefix("docs/"))
        if found == target:
            return match[0]
        return f"]({posixpath.relpath(found, folder or '.')}{match[2]})"

    return LINK.sub(on_site, markdown)
