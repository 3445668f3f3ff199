"""What people and other systems write: names that act on terminals, files, moments, addresses."""

import gzip
import io
import json
import sys
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from hybrid.cli import _prepare_output
from hybrid.commands.common import parse_moment
from hybrid.config import load_settings
from hybrid.errors import UsageError
from hybrid.moments import EARLIEST, LATEST
from hybrid.plots import Chart, draw, write_png
from hybrid.printing import Format, print_table
from hybrid.providing import require_keys
from hybrid.text import cell, json_text, shown_address, visible
from streams.publishing.intents import FIRST_LINES, _hint, _line, _no_text
from streams.store.address import address_of

NAMES = [
    "[/red]acme", "[bold]corp[/bold]", "[link=http://x]y[/link]", "\x1b[2Jwiped", "\u202etxt.exe",
    "全角の名前", "a\nb", "\x9b31m", "\x7f", "\ud800half", "🇩🇪 👨\u200d👩",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_shown_as_it_is_and_acts_on_nothing(name: str) -> None:
    out = StringIO()
    console = Console(file=out, width=80, force_terminal=False)
    table = Table()
    table.add_column("tenant")
    table.add_row(cell(name))
    console.print(table)
    draw(Chart(name, [name], {name: [1.0]}), console)
    written = out.getvalue()
    assert visible(name) in written
    assert not set(written) & set("\x1b\x9b\x7f\u202e\ud800")
    if name.startswith("["):
        assert name in written


def test_a_series_without_a_number_is_not_drawn() -> None:
    """A forecast in the first days: nothing is expected yet."""
    out = StringIO()
    console = Console(file=out, width=80, force_terminal=False)
    known: dict[str, list[float | None]] = {"openai": [1.0, 2.0]}
    for series in (known, {**known, "openai, expected": [None, None]}):
        draw(Chart("USD a day", ["01-01", "01-02"], series, trend=True), console)
    assert "openai" in out.getvalue()
    draw(Chart("USD a day", ["01-01"], {"openai": [None]}, trend=True), console)
    assert out.getvalue().endswith("nothing to draw\n")


@pytest.mark.parametrize("trend", [True, False])
def test_a_picture_shows_any_name_without_a_word(
    tmp_path: Path, recwarn: pytest.WarningsRecorder, *, trend: bool
) -> None:
    names = [*NAMES, "$\\frac{$", "a $x$ b", "_hidden", r"\$"]
    places = [f"0{n}-01" for n in range(len(names))] if trend else names
    series: dict[str, list[float | None]] = {name: [1.0] * len(places) for name in names}
    write_png(Chart("$\\frac$", places, series, trend=trend), tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size
    assert not recwarn.list


@pytest.mark.parametrize("name", NAMES)
def test_json_for_a_terminal_is_still_json(name: str) -> None:
    written = json_text({"tenant": name}, indent=2)
    assert json.loads(written) == {"tenant": name}
    assert not set(written) & set("\x1b\x9b\x7f\u202e\ud800")


@pytest.mark.parametrize("name", NAMES)
def test_json_of_a_report_is_the_names_and_acts_on_nothing(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_table(["tenant"], [(name,)], Format.JSON)
    written = capsys.readouterr().out
    assert json.loads(written) == [{"tenant": name}]
    assert not set(written) & set("\x1b\x9b\x7f\u202e\ud800")


@pytest.mark.parametrize("terminal", [True, False])
def test_csv_acts_on_no_terminal_and_gives_programs_every_sign(
    monkeypatch: pytest.MonkeyPatch, *, terminal: bool
) -> None:
    out = StringIO()
    monkeypatch.setattr(out, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stdout", out)
    print_table(["tenant"], [("\x1b[2J\u202ea",)], Format.CSV)
    shown = r"\x1b[2J\u202ea" if terminal else "\x1b[2J\u202ea"
    assert out.getvalue() == f"tenant\n{shown}\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_signs_that_the_terminals_encoding_lacks_are_escaped_and_json_stays_json(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    text = json.dumps("é 🙂 \ud800 ─", ensure_ascii=False)
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", None)
    _prepare_output()
    out.write(text)
    out.flush()
    assert json.loads(raw.getvalue().decode(encoding)) == "é 🙂 \ud800 ─"
    assert sys.stderr.write("nobody reads it")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:s3crhunter2@proxy:8443/v1?sig=hunter2#x", "https://proxy:8443/v1"),
        ("https://s3cr@hunter2@proxy/v1", "https://proxy/v1"),
        ("https://[::1]:80/v1", "https://[::1]:80/v1"),
        ("https://me:s3cr[hunter2@proxy", "an address that cannot be read"),
    ],
)
def test_an_address_is_shown_without_what_may_be_secret(url: str, shown: str) -> None:
    assert shown_address(url) == shown


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("KAFKA_BOOTSTRAP_SERVERS", "me:s3crhunter2@k:9092", "'…@k:9092': brokers have no login"),
        ("KAFKA_BOOTSTRAP_SERVERS", "SASL_SSL://me:s3cr@hunter2@k:9092", "brokers have no login"),
        ("KAFKA_BOOTSTRAP_SERVERS", "a:1,me:s3cr,hunter2@k:9092", "brokers have no login"),
        ("OPENAI_BASE_URL", "ftp://me:s3crhunter2@h/v1", "must be an http(s) URL"),
        ("AZURE_OPENAI_ENDPOINT", "me:s3crhunter2@h", "must be an http(s) URL"),
        ("HYBRID_SIMULATOR", "me:s3crhunter2@h", "must be an http(s) URL"),
    ],
)
def test_a_login_in_an_address_is_never_shown(name: str, value: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        load_settings(environment={name: value}, file=Path("none.toml"))
    assert said in str(error.value)
    assert not any(part in str(error.value) for part in ("s3cr", "hunter2"))


@pytest.mark.parametrize("host", ["a..b", "a" * 64, ".b", "k," + "b" * 300])
def test_a_broker_whose_name_cannot_be_looked_up_is_one_sentence(host: str) -> None:
    with pytest.raises(UsageError, match="names no host"):
        load_settings(
            environment={"KAFKA_BOOTSTRAP_SERVERS": f"{host}:9092"}, file=Path("none.toml")
        )


@pytest.mark.parametrize(
    "name", ["KAFKA_BOOTSTRAP_SERVERS", "KAFKA_SASL_PASSWORD", "CLICKHOUSE_URL", "OPENAI_API_KEY"]
)
def test_a_variable_that_is_no_text_is_named(name: str) -> None:
    with pytest.raises(UsageError, match=f"^{name} is not UTF-8$"):
        load_settings(environment={name: "http://s3cr\udcffhunter2"}, file=Path("none.toml"))


@pytest.mark.parametrize("key", ["s3cr\n", "s3cré", "s3cr🙂", " s3cr", "s3cr hunter2", "s3cr\0"])
@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "AZURE_OPENAI_API_KEY"])
def test_a_key_that_no_header_can_hold_is_refused_before_any_call(name: str, key: str) -> None:
    environment = {name: key, "AZURE_OPENAI_ENDPOINT": "https://a.example"}
    settings = load_settings(environment=environment, file=Path("none.toml"))
    with pytest.raises(UsageError, match="printable ASCII") as error:
        require_keys(settings)
    assert str(error.value).startswith(f"{name} = (not shown)")
    assert "s3cr" not in str(error.value)


def test_kerberos_without_its_package_says_what_to_install() -> None:
    environment = {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_MECHANISM": "GSSAPI"}
    with pytest.raises(UsageError, match="pip install gssapi"):
        load_settings(environment=environment, file=Path("none.toml"))


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (b'\xef\xbb\xbf{"a":1}\r\n', b'{"a":1}'),
        (b'{"a":1}\r\n', b'{"a":1}'),
        (b"\xef\xbb\xbf", b""),
        (b"\x1a", b""),
        (b'{"a":1}\x1a', b'{"a":1}'),
    ],
)
def test_a_line_is_read_without_what_other_systems_add(raw: bytes, line: bytes) -> None:
    assert _line(raw) == line


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
@pytest.mark.parametrize("before", ["", "\n", "\r\n"])
def test_a_file_of_wide_signs_is_named(encoding: str, before: str) -> None:
    raw = f'{before}{{"a": 1}}\n'.encode(encoding)
    first = io.BytesIO(raw).readlines()[:FIRST_LINES]
    assert any("UTF-16 or UTF-32" in str(_no_text(line)) for line in first)


def test_a_packed_file_is_named_and_text_is_text() -> None:
    assert "unpack it" in str(_no_text(gzip.compress(b"{}")))
    for text in (
        b"{}",
        b"\xef\xbb\xbf{}",
        b"\n",
        b"\r\n",
        b"",
        "é".encode("latin-1"),
        b"\0\0\0\0\n",
    ):
        assert _no_text(text) is None


@pytest.mark.parametrize("line", [b"[", b"{", b'"a": 1,', b'[{"a": 1}]'])
def test_a_part_of_other_json_is_told_what_json_lines_are(line: bytes) -> None:
    assert "one whole JSON object on each line" in _hint(line)
    assert _hint(b'{"a": 1}') == ""


@pytest.mark.parametrize(
    "text",
    [
        "30000d", "9999999d", "99999999999999999999d", "1969-12-31", "0001-01-01T00:00:00+14:00",
        "0001-01-01", "9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59+12:00", "0d", "1.5h",
    ],
)  # fmt: skip
def test_any_moment_is_inside_what_can_be_held(text: str) -> None:
    moment = parse_moment(text)
    assert moment is not None
    assert EARLIEST <= moment <= LATEST


def test_a_moment_inside_is_taken_as_it_is() -> None:
    moment = parse_moment("2026-01-31T09:00:00+02:00")
    assert moment == datetime(2026, 1, 31, 7, tzinfo=UTC)


@pytest.mark.parametrize("text", ["-1d", "1e3d", "", "yesterday", "[/red]", "١d", "1 d"])
def test_what_is_no_moment_is_one_sentence(text: str) -> None:
    with pytest.raises(UsageError, match="write a moment like"):
        parse_moment(text)


SIGNS = "#/?@[]:%"


def _quoted(text: str) -> str:
    return "".join(f"%{ord(sign):02X}" if sign in SIGNS else sign for sign in text)


@pytest.mark.parametrize("sign", SIGNS)
def test_an_encoded_password_arrives_decoded(sign: str) -> None:
    password = f"s3cr{sign}hunter2"
    address = address_of(f"http://me:{_quoted(password)}@127.0.0.1:8123/hybrid")
    assert (address.user, address.password, address.port) == ("me", password, 8123)
    assert "hunter2" not in repr(address)
    assert address.shown == "http://127.0.0.1:8123"


@pytest.mark.parametrize(
    "url",
    [
        *(f"http://me:s3cr{sign}hunter2@127.0.0.1:8123/hybrid" for sign in "#/?["),
        "http://me:s3cr@127.0.0.1:43827:99999/hunter2",
        "http://127.0.0.1:99999/hybrid",
        "http://127.0.0.1:0/hybrid",
        "http://me:s3cr@h:8123/hybrid?password=hunter2",
        "http://me:s3cr@h:8123/hybrid#hunter2",
        "http://me:s3cr@/hybrid",
        "http://me:s3cr@127.0.0.1:8123/hunter2-x",
    ],
)
def test_a_url_that_cannot_be_read_says_so_and_shows_nothing_of_it(url: str) -> None:
    with pytest.raises(UsageError) as error:
        load_settings(environment={"CLICKHOUSE_URL": url}, file=Path("none.toml"))
    assert "CLICKHOUSE_URL" in str(error.value)
    assert not any(part in str(error.value) for part in ("s3cr", "hunter2", "43827"))


def test_signs_that_urls_forgive_are_forgiven() -> None:
    for sign in "@:%":
        assert address_of(f"http://me:s3cr{sign}hunter2@h/db").password == f"s3cr{sign}hunter2"
