"""The console's page of settings: of a secret only that it is set."""

from typing import Any

from pydantic import SecretStr

from hybrid.console.pages.checks import shown_setting
from hybrid.secret_files import SECRETS
from schemas.settings import Settings

WORD = "s3cret-words-here"


def test_no_secret_is_shown_nor_who_logs_in_at_an_address() -> None:
    changes: dict[str, Any] = {name: SecretStr(WORD) for name in SECRETS}
    changes |= {
        "kafka_sasl_oauth_token_command": f"get-token --password {WORD}",
        "openai_base_url": f"http://user:{WORD}@host/v1",
        "azure_openai_endpoint": f"https://user:{WORD}@host",
        "hybrid_simulator": f"http://user:{WORD}@host",
        "provider_keys": {"EU_KEY": SecretStr(WORD)},
    }
    settings = Settings().model_copy(update=changes)
    shown = {name: shown_setting(name, getattr(settings, name)) for name in Settings.model_fields}
    assert not any(WORD in one for one in shown.values())
    assert {shown[name] for name in SECRETS} == {"set"}
    assert shown["openai_base_url"] == "http://host/v1"
    assert shown["hybrid_retry_delays"] == "1.0,2.0,5.0"
    assert shown["routes"] == "not set"
