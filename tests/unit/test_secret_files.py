"""Secrets in files, which variables that end in _FILE name."""

from pathlib import Path

import pytest

from hybrid.config import load_settings
from hybrid.errors import UsageError
from hybrid.secret_files import SECRETS
from hybrid.stack.environment import StackOptions, stack_environment
from schemas.settings import Settings

VALUES = {
    "clickhouse_url": "https://u:secret-p@host:8443/d",
    "hybrid_alert_webhook": "https://h/x",
    "hybrid_console_token": "secret-of-16-signs",
}


def test_every_secret_of_the_configuration_may_be_in_a_file(tmp_path: Path) -> None:
    assert {"kafka_sasl_password", "clickhouse_url", "openai_api_key"} <= set(SECRETS)
    environment = {}
    for name in SECRETS:
        (tmp_path / name).write_text(VALUES.get(name, "secret-é 1") + "\n")
        environment[f"{name.upper()}_FILE"] = str(tmp_path / name)
    settings = load_settings(environment=environment, file=tmp_path / "none.toml")
    for name in SECRETS:
        value = getattr(settings, name)
        if "api_key" in name:  # read where it is used, so that a new one is seen
            assert settings.secret_files[name.upper()] == str(tmp_path / name)
        else:
            assert value.get_secret_value() == VALUES.get(name, "secret-é 1")
    assert "secret-" not in repr(settings)


def test_hybrid_toml_may_name_the_file_and_the_environment_wins(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("from-a-file\n")
    toml = tmp_path / "hybrid.toml"
    toml.write_text(f'kafka_sasl_password_file = "{tmp_path / "password"}"\n')

    def password(**environment: str) -> str:
        found = load_settings(environment=environment, file=toml).kafka_sasl_password
        return found.get_secret_value() if found else ""

    assert password() == "from-a-file"
    assert password(KAFKA_SASL_PASSWORD="given") == "given"
    (tmp_path / "other").write_text("other")
    assert password(KAFKA_SASL_PASSWORD_FILE=str(tmp_path / "other")) == "other"
    toml.write_text('kafka_sasl_password = "plain"\n')
    assert password(KAFKA_SASL_PASSWORD_FILE=str(tmp_path / "other")) == "other"


@pytest.mark.parametrize(
    ("text", "environment", "said"),
    [
        ("", {"CLICKHOUSE_URL_FILE": "nowhere"}, "CLICKHOUSE_URL_FILE = nowhere cannot be read"),
        ("", {"CLICKHOUSE_URL": "http://h/d", "CLICKHOUSE_URL_FILE": "x"}, "are both set"),
        ('clickhouse_url = "http://h/d"\nclickhouse_url_file = "x"', {}, "are both set"),
        ("", {"CLICKHOUSE_URL_FILE": "empty"}, "CLICKHOUSE_URL_FILE = empty is empty"),
        ("", {"CLICKHOUSE_URL_FILE": "wrong"}, r"CLICKHOUSE_URL = \(not shown\): must look like"),
        ("secret_files = {}", {}, "names that are not settings: secret_files"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, environment: dict[str, str], said: str
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "wrong").write_text("secret-thing\n")
    (tmp_path / "hybrid.toml").write_text(text)
    with pytest.raises(UsageError, match=said) as caught:
        load_settings(environment=environment)
    assert "secret-thing" not in str(caught.value)


def test_a_stack_without_real_providers_reads_no_key_files(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(f"{name}_FILE", "a")

    def made(*, real: bool) -> dict[str, str]:
        options = StackOptions(real_providers=real)
        return stack_environment(options, kafka="k:1", clickhouse="http://c", simulator="http://s")

    assert made(real=False)["OPENAI_API_KEY_FILE"] == ""
    assert "OPENAI_API_KEY" not in made(real=True)
    assert Settings().secret_files == {}
