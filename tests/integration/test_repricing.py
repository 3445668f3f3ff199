"""Prices as the user looks them up, and calls priced anew and back."""

import http.server
import json
import threading
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from schemas.attempt import ProviderAttempt
from schemas.rows import attempt_row
from schemas.settings import Settings
from streams.store.clickhouse import ClickHouse
from tests.builders import NOW
from tests.chaos.running import RunningStack
from tests.integration.databases import address_of
from tests.integration.test_commands import hybrid

pytestmark = pytest.mark.integration


def a_row(tokens: int, *, price_id: str = "") -> dict[str, Any]:
    """A call of a model that has no public price."""
    return attempt_row(
        ProviderAttempt.model_validate(
            {
                "attempt_id": str(uuid.uuid4()),
                "execution_id": str(uuid.uuid4()),
                "intent_id": f"i-{tokens}",
                "status": "finished",
                "provider": "openai",
                "requested_model": "house-model",
                "outcome": "success",
                "uncached_input_tokens": tokens,
                "usage_source": "provider",
                "price_id": price_id,
                "used_result": True,
                "started_at": NOW,
                "finished_at": NOW,
            }
        )
    )[1]


@pytest.fixture
def priced(
    stack: RunningStack, database: Settings, store: ClickHouse, tmp_path: Path
) -> tuple[ClickHouse, dict[str, str]]:
    """A database with 3 calls of a model without a price, and a file that has one."""
    rows = [a_row(1000 * number) for number in (1, 2, 3)]
    store.insert("provider_attempts", rows, token=uuid.uuid4().hex)
    file = tmp_path / "hybrid.toml"
    file.write_text('[[prices]]\nmodel = "house-*"\ninput = 2\noutput = 4\n')
    url = address_of(database)
    return store, {**stack.stack.environment(), "CLICKHOUSE_URL": url, "HYBRID_CONFIG": str(file)}


def total(store: ClickHouse) -> tuple[Any, int]:
    _, rows = store.rows(
        "SELECT toString(sum(a.cost_usd)), count() FROM provider_attempts AS a FINAL"
    )
    return rows[0][0], int(rows[0][1])


def prompts_cost(store: ClickHouse) -> Any:
    _, rows = store.rows("SELECT toString(sum(input_cost_usd)) FROM provider_attempts FINAL")
    return rows[0][0]


def test_calls_are_priced_anew_once_seen_and_back_again(
    priced: tuple[ClickHouse, dict[str, str]],
) -> None:
    """6,000 tokens at $2 a million = $0.012."""
    store, environment = priced
    done = hybrid("costs", "reprice", "--dry-run", "--format", "json", environment=environment)
    assert json.loads(done.stdout) == [
        {"provider": "openai", "model": "house-model", "calls": 3, "before_usd": None,
         "after_usd": "0.012", "difference_usd": "0.012"}
    ]  # fmt: skip
    assert total(store) == (None, 3), "a dry run changes nothing"
    refused = hybrid("costs", "reprice", environment=environment)
    assert refused.returncode == 2
    assert "say --yes" in refused.stderr
    done = hybrid("costs", "reprice", "--yes", environment=environment)
    assert done.returncode == 0, done.stderr
    assert "3 calls priced anew" in done.stdout
    assert (Decimal(total(store)[0]), total(store)[1]) == (Decimal("0.012"), 3)
    assert Decimal(prompts_cost(store)) == Decimal("0.012"), "the prompts' part of it"
    again = hybrid("costs", "reprice", "--dry-run", "--format", "json", environment=environment)
    assert json.loads(again.stdout) == []
    done = hybrid("costs", "reprice", "--undo", "--yes", environment=environment)
    assert "3 calls have their first price again" in done.stdout
    assert total(store) == (None, 3)
    assert prompts_cost(store) is None


def test_a_call_of_a_cheap_tier_is_priced_anew_as_such(
    priced: tuple[ClickHouse, dict[str, str]],
) -> None:
    """1,000 tokens of each of three calls, at $2 a million, $0.20 in flex, and half of $2."""
    store, environment = priced
    store.command("TRUNCATE TABLE provider_attempts")
    for price_id in ("own:*:x:standard:2020-01-01", "own:*:x:flex:2020-01-01", "contract:a:b*0.5"):
        store.insert("provider_attempts", [a_row(1000, price_id=price_id)], token=price_id)
    file = Path(environment["HYBRID_CONFIG"])
    file.write_text(
        file.read_text()
        + '[[prices]]\nmodel = "house-*"\ntier = "flex"\ninput = 0.2\noutput = 0.4\n'
    )
    done = hybrid("costs", "reprice", "--yes", environment=environment)
    assert done.returncode == 0, done.stderr
    _, rows = store.rows("SELECT toString(cost_usd) FROM provider_attempts FINAL ORDER BY cost_usd")
    assert [cost for (cost,) in rows] == ["0.0002", "0.001", "0.002"]


def test_prices_say_what_applies_and_why(priced: tuple[ClickHouse, dict[str, str]]) -> None:
    _, environment = priced
    done = hybrid(
        "costs", "prices", "--model", "house-model", "--model", "gpt-3.5-turbo", "--model", "x-1",
        "--format", "json", environment=environment,
    )  # fmt: skip
    rows = {(one["provider"], one["model"]): one for one in json.loads(done.stdout)}
    own = rows["openai", "house-model"]
    assert (own["input_usd"], own["output_usd"]) == ("2", "4")
    assert own["price"].startswith("own:*:house-*")
    flat = rows["openai", "gpt-3.5-turbo"]
    assert (flat["input_usd"], flat["price"]) == ("2", "contract:openai:gpt-3.5-turbo")
    assert rows["azure", "x-1"]["input_usd"] is None
    assert rows["azure", "x-1"]["source"] == "not known: its calls cost NULL, not 0"
    assert own["source"] == "your [[prices]] since 1970-01-01 for house-* at any provider"
    assert flat["source"].startswith("flat price of the original")


def test_prices_are_told_for_a_tier_and_for_long_prompts(
    priced: tuple[ClickHouse, dict[str, str]],
) -> None:
    _, environment = priced
    long = "above_tokens = 200000\nabove_input = 4\nabove_cached_input = 1\nabove_output = 12\n"
    flex = (
        '[[prices]]\nmodel = "house-*"\ntier = "flex"\ninput = 1\ncached_input = 0.5\noutput = 2\n'
    )
    file = Path(environment["HYBRID_CONFIG"])
    file.write_text(f"{file.read_text()}{long}{flex}")

    def told(*options: str) -> list[str | None]:
        done = hybrid(
            "costs", "prices", "--model", "house-model", *options, "--format", "json",
            environment=environment,
        )  # fmt: skip
        row = json.loads(done.stdout)[0]
        return [row[f"{name}_usd"] for name in ("input", "cached", "output", "reasoning")]

    assert told() == ["2", "2", "4", "4"]
    assert told("--prompt-tokens", "300000") == ["4", "1", "12", "12"]
    assert told("--tier", "flex") == ["1", "0.5", "2", "2"]
    assert told("--tier", "priority") == [None] * 4
    refused = hybrid("costs", "prices", "--tier", "Very Fast", environment=environment)
    assert refused.returncode == 2
    assert "--tier Very Fast: write a tier as providers name it" in refused.stderr


def test_an_export_is_held_against_the_record_and_a_month_is_forecast(
    priced: tuple[ClickHouse, dict[str, str]], tmp_path: Path
) -> None:
    _, environment = priced
    hybrid("costs", "reprice", "--yes", environment=environment)
    export = tmp_path / "usage.csv"
    export.write_text("date,model,requests,cost\n2026-01-31,house-model,4,0.020\n")
    done = hybrid("costs", "reconcile", str(export), "--format", "json", environment=environment)
    (row,) = json.loads(done.stdout)
    assert (row["theirs_usd"], row["ours_usd"], row["gap_usd"]) == ("0.02", "0.012", "0.008")
    assert row["why"] == "they count 4 calls, we 3"
    export.write_text("date,model,cost,currency\n2026-01-31,house-model,0.010,EUR\n")
    refused = hybrid("costs", "reconcile", str(export), environment=environment)
    assert (refused.returncode, "in EUR" in refused.stderr) == (1, True)
    done = hybrid("costs", "reconcile", str(export), "--rate", "EUR=1.2", "--format", "json",
                  environment=environment)  # fmt: skip
    assert json.loads(done.stdout)[0]["theirs_usd"] == "0.012"
    refused = hybrid("costs", "reconcile", str(export), "--rate", "EUR", environment=environment)
    assert (refused.returncode, "such as EUR=1.08" in refused.stderr) == (2, True)
    export.write_text("nothing\n")
    refused = hybrid("costs", "reconcile", str(export), environment=environment)
    assert (refused.returncode, "Traceback" in refused.stderr) == (1, False)
    done = hybrid("costs", "forecast", "--format", "json", environment=environment)
    assert done.returncode == 0, done.stderr


def test_a_newer_list_is_fetched_from_a_file_or_an_address(tmp_path: Path) -> None:
    from tests.unit.test_prices import NEWER

    source, target = tmp_path / "published.json", tmp_path / "list.json"
    source.write_text(json.dumps(NEWER))
    environment = {"HYBRID_PRICE_LIST": str(target)}
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Files, directory=tmp_path)
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for address in (str(source), f"http://127.0.0.1:{server.server_port}/published.json"):
            target.unlink(missing_ok=True)
            done = hybrid("costs", "prices", "update", address, environment=environment)
            assert done.returncode == 0, done.stderr
            today = f"{datetime.now(UTC):%Y-%m-%d}"
            assert done.stdout.startswith(f"list genai-prices@{today}, its newest price is ")
            told = hybrid(
                "costs",
                "prices",
                "--model",
                "gpt-4o-mini",
                "--format",
                "json",
                environment=environment,
            )
            row = json.loads(told.stdout)[0]
            assert (row["input_usd"], row["price"]) == (
                "3",
                f"genai-prices@{today}:openai:gpt-4o-mini",
            )
        refused = hybrid(
            "costs",
            "prices",
            "update",
            f"http://127.0.0.1:{server.server_port}/no",
            environment=environment,
        )
        server.shutdown()
    assert (refused.returncode, "Traceback" in refused.stderr) == (1, False)
    before = target.read_text()
    source.write_text("[]")
    refused = hybrid("costs", "prices", "update", str(source), environment=environment)
    assert (refused.returncode, target.read_text()) == (1, before)
    assert "it names no models" in refused.stderr
    assert hybrid("costs", "prices", "update", str(source)).returncode == 2
    target.write_text("{")
    refused = hybrid("costs", "prices", environment=environment)
    assert (refused.returncode, "write it with" in refused.stderr) == (2, True)


class Files(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, and says nothing about it."""

    def log_message(self, *_: object) -> None:
        pass
