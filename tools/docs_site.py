"""What mkdocs does besides (`make docs`): pages from outside docs/, and links that leave docs/.

The pages stay as they are in the repository, where their links lead to files. On the site a link to
a page leads to the page; one to a source file becomes a link into the repository if `repo_url` is
configured, and else its text alone.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

__all__ = ["on_files", "on_page_markdown"]

ROOT = Path(__file__).resolve().parent.parent
#: File of the repository's root → its page of the site.
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security-policy.md",
    "CHANGELOG.md": "changelog.md",
}
LINK = re.compile(r"(?<!!)\[((?:`[^`]*`|[^\[\]`])+)\]\(([^()\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The site's files with the pages from the repository's root."""
    for name, page in OUTSIDE.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page's text with each link made to lead somewhere on the site."""
    source = page.file.src_uri
    inside = {path: name for name, path in OUTSIDE.items()}
    here = inside.get(source, f"docs/{source}")

    def rewritten(match: re.Match[str]) -> str:
        text, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match.group()
        path, _, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(here), path))
        on_site = OUTSIDE.get(path) or path.removeprefix("docs/")
        is_page = path in OUTSIDE or path.startswith("docs/")
        if is_page and files.get_file_from_path(on_site) is not None:
            relative = posixpath.relpath(on_site, posixpath.dirname(source) or ".")
            return f"[{text}]({relative}{'#' + anchor if anchor else ''})"
        if config.repo_url and (ROOT / path).exists():
            return f"[{text}]({config.repo_url.rstrip('/')}/blob/HEAD/{path})"
        return text if (ROOT / path).exists() else match.group()

    return LINK.sub(rewritten, markdown)
