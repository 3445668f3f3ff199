"""The documentation site, built: every link leads somewhere, and no other host is asked."""

import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[2]


class Page(HTMLParser):
    """The ids, links and assets of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.assets: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids.update(given[name] for name in ("id", "name") if name in given)
        if "src" in given:
            self.assets.append(given["src"])
        if "href" in given:
            (self.links if tag == "a" else self.assets).append(given["href"])


def test_the_site_builds_its_links_lead_somewhere_and_its_assets_are_its_own() -> None:
    built = subprocess.run(["make", "docs"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, f"`make docs` failed: {built.stdout}{built.stderr}"
    site = ROOT / "site"
    pages = {path: Page(path.read_text("utf-8")) for path in site.rglob("*.html")}
    assert site / "index.html" in pages
    faults = []
    for path, page in pages.items():
        for link in page.assets + page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.assets and parts.scheme != "data":
                    faults.append(f"{path.name} loads {link}")
                continue
            if path.name == "404.html":  # its links start at the site's root
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            anchor = unquote(parts.fragment)
            known = pages[target].ids if target in pages else set()
            if not target.exists() or (anchor and target in pages and anchor not in known):
                faults.append(f"{path.name} links {link}, which is not there")
    assert not faults, "\n".join(faults)
