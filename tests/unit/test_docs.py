"""What the documents say about the code is true: every function and path they name is there."""

import ast
import re
import sys
from pathlib import Path

import pytest

from schemas.vocabulary import DeadLetterReason

ROOT = Path(__file__).resolve().parents[2]
HOPS = re.findall(
    r"\[`([\w.]+)`\]\(\.\./([\w/]+\.py)\)", (ROOT / "docs/message-life.md").read_text()
)


def _defined(path: Path) -> set[str]:
    """Give the dotted names of functions, classes and their methods in a module."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            functions = ast.FunctionDef | ast.AsyncFunctionDef
            names |= {f"{node.name}.{one.name}" for one in node.body if isinstance(one, functions)}
    return names


@pytest.mark.parametrize(("name", "path"), HOPS)
def test_each_hop_of_a_messages_life_leads_to_its_function(name: str, path: str) -> None:
    assert name in _defined(ROOT / path)


def test_a_messages_life_names_its_hops() -> None:
    assert len(HOPS) >= 15


def test_the_table_of_where_to_look_leads_to_what_is_there() -> None:
    rows = re.findall(r"(?m)^\| (?!I want|-)(.+) \| (.+) \|$", (ROOT / "docs/where.md").read_text())
    assert len(rows) >= 25
    for wanted, cell in rows:
        paths = re.findall(r"\]\(\.\./([\w./-]+)\)", cell)
        assert paths, wanted
        for path in paths:
            assert (ROOT / path).exists(), f"{wanted}: {path}"


def _pages() -> list[Path]:
    top = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "examples/README.md")
    chart = "deploy/helm/hybrid-orchestrator/README.md"
    return [ROOT / name for name in (*top, chart)] + sorted((ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("page", _pages(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_within_the_checkout_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text())
    for path, heading in links:
        target = page.parent / path if path else page
        assert target.exists(), path
        if heading:
            assert heading in _headings(target), f"{path}#{heading}"


def _headings(page: Path) -> set[str]:
    """Give the anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"(?m)^#+ (.+)$", page.read_text())
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


def test_every_path_of_code_that_a_document_names_is_there() -> None:
    pattern = (
        r"`((?:agents|streams|hybrid|schemas|tests|tools|bench|deploy|docs|examples)/[\w./-]*)`"
    )
    named = {
        (page.name, path) for page in _pages() for path in re.findall(pattern, page.read_text())
    }
    assert len(named) >= 40
    assert [(page, path) for page, path in sorted(named) if not (ROOT / path).exists()] == []


WIDTH, WIDEST_CELL = 100, 72


def _shown(row: str) -> list[str]:
    """Give the cells of a table's row as a reader sees them: links without their targets."""
    shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", row)
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", shown.strip("|"))]


@pytest.mark.parametrize("page", _pages(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_line_of_a_document_is_wider_than_100_columns(page: Path) -> None:
    """A row of a table cannot be broken in Markdown: it may be wider, its cells may not be long.

    What needs a sentence is no cell: it belongs into a list. The other exception is a line that is
    one word, such as an address.
    """
    for number, line in enumerate(page.read_text().splitlines(), 1):
        place = f"{page.name}:{number}"
        if line.startswith("|"):
            assert max(map(len, _shown(line))) <= WIDEST_CELL or len(line) <= WIDTH, place
        elif len(line.split()) > 1:
            assert len(line) <= WIDTH, place


def test_each_page_that_uses_the_products_own_words_links_the_glossary() -> None:
    own = r"\b(?:lane|ledger|breaker|hedge|orphan|upper bound|dispatcher|drain budget|fenced)s?\b"
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    users = [page for page in pages if re.search(own, page.read_text()) and page.stem != "glossary"]
    assert len(users) >= 8
    assert [page.name for page in users if "glossary.md" not in page.read_text()] == []


def test_every_metric_that_a_document_names_is_served() -> None:
    sys.path.insert(0, str(ROOT / "tools"))
    from metrics import served

    named = {
        (page.name, metric)
        for page in _pages()
        for metric in re.findall(r"`(hybrid_[a-z_]+)`", page.read_text())
    }
    assert len(named) >= 5
    assert [(page, metric) for page, metric in sorted(named) if metric not in served()] == []


def test_every_code_that_the_page_of_errors_names_is_written_somewhere() -> None:
    table = (ROOT / "docs/errors.md").read_text().partition("## Codes")[2]
    codes = {
        code
        for cell in re.findall(r"(?m)^\| (`.+?`) \|", table)
        for code in re.findall(r"`([a-z_0-9]+)`", cell)
    }
    written = {
        node.value
        for package in ("schemas", "agents", "streams")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert len(codes) >= 20
    assert codes - written == set()


def test_every_reason_of_a_dead_letter_says_what_a_program_does() -> None:
    table = (ROOT / "docs/errors.md").read_text().partition("## What a program does")[2]
    named = re.findall(r"(?m)^\| `([a-z_]+)` \|", table.partition("\n## ")[0])
    assert named[1:] == [one.value for one in DeadLetterReason]  # below the table's head


def test_the_picture_of_a_messages_life_has_the_steps_of_its_page() -> None:
    page, picture = ((ROOT / f"docs/message-life.{end}").read_text() for end in ("md", "svg"))
    told = re.findall(r"(?m)^(\d+)\. \*\*(.+?)\.?\*\*", page)
    drawn = re.findall(r">(\d+)  ([^<]+)<", picture)
    assert sorted(drawn, key=lambda step: int(step[0])) == [
        (number, name[0].lower() + name[1:]) for number, name in told
    ]
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "")


def test_each_figure_of_the_comparison_is_one_of_the_benchmarks() -> None:
    def rows(page: str, heading: str) -> dict[str, list[str]]:
        part = (ROOT / page).read_text().partition(f"## {heading}")[2].partition("\n## ")[0]
        cells = [row.strip("|").split(" | ") for row in re.findall(r"(?m)^\| .+\|$", part)]
        return {
            one[0].strip(): [re.sub(r"\(.*", "", cell).strip() for cell in one[1:]] for one in cells
        }

    measured = rows("docs/benchmarks.md", "A backlog, the provider at 0 ms")
    claimed = rows("docs/comparison.md", "What was measured")
    assert list(claimed["pipeline"]) == ["intents/s", "CPU s per 1,000", "peak MB", "doubled"]
    places = [measured["pipeline"].index(name) for name in claimed["pipeline"]]
    for pipeline, figures in list(claimed.items())[2:]:
        assert figures == [measured[pipeline][place] for place in places], pipeline
    text = (ROOT / "docs/comparison.md").read_text()
    latency, start = (
        rows("docs/benchmarks.md", "Added latency"),
        rows("docs/benchmarks.md", "Start"),
    )
    ours, loop = "Hybrid Orchestrator", "bare aiokafka + openai SDK"
    assert f"adds {latency[ours][2]} ms (p50), the loop {latency[loop][2]} ms" in text
    assert (
        f"{start[ours][1]} s until the first result, where the loop takes {start[loop][1]} s"
        in text
    )


def test_every_page_is_in_the_sites_navigation() -> None:
    """Without it the site is not built: `make docs` is strict."""
    navigation = (ROOT / "mkdocs.yml").read_text()
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert {page for page in pages if f" {page}\n" not in navigation} == set()
