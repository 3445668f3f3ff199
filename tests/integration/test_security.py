"""Somebody else's cluster: every way to prove who one is, and what is said when that fails."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.forking import ForkedChild
from tests.integration.driving import eventually
from tests.integration.forked import Forked
from tests.integration.secure_kafka import PASSWORD, USER, SecureKafka
from tests.integration.test_commands import hybrid

pytestmark = pytest.mark.integration

Variables = dict[str, str]


def login(secure: SecureKafka, mechanism: str) -> Variables:
    if mechanism == "OAUTHBEARER":
        return {
            "KAFKA_SASL_MECHANISM": mechanism,
            "KAFKA_SASL_OAUTH_TOKEN_FILE": str(secure.token_file),
        }
    return {
        "KAFKA_SASL_MECHANISM": mechanism,
        "KAFKA_SASL_USERNAME": USER,
        "KAFKA_SASL_PASSWORD": PASSWORD,
    }


def way(secure: SecureKafka, protocol: str, mechanism: str = "") -> Variables:
    """The variables of one cell of the matrix."""
    found = {
        "KAFKA_BOOTSTRAP_SERVERS": secure.at(protocol),
        "KAFKA_SECURITY_PROTOCOL": protocol,
        # Each cell has topics of its own.
        "HYBRID_TOPIC_PREFIX": f"{protocol}.{mechanism or 'none'}".lower(),
        "HYBRID_PARTITIONS": "2",
    }
    if protocol in {"SSL", "SASL_SSL"}:
        found["KAFKA_SSL_CAFILE"] = str(secure.ca_file)
    if protocol == "SSL":
        found |= {
            "KAFKA_SSL_CERTFILE": str(secure.cert_file),
            "KAFKA_SSL_KEYFILE": str(secure.key_file),
        }
    return {**found, **(login(secure, mechanism) if mechanism else {})}


def intent(name: str) -> str:
    return json.dumps(
        {"intent_id": name, "type": "message_generation", "user_id": "u", "data": {"x": 1}}
    )


MATRIX = [
    ("PLAINTEXT", ""),
    ("SSL", ""),
    *(
        (protocol, mechanism)
        for protocol in ("SASL_PLAINTEXT", "SASL_SSL")
        for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
    ),
]


@pytest.mark.parametrize(("protocol", "mechanism"), MATRIX)
def test_commands_work_however_the_cluster_is_secured(
    secure: SecureKafka, protocol: str, mechanism: str
) -> None:
    variables = way(secure, protocol, mechanism)
    made = hybrid("topics", "ensure", environment=variables)
    assert (made.returncode, made.stderr) == (0, "")
    sent = hybrid("publish", "-", environment=variables, given=intent("i-1") + "\n")
    assert (sent.returncode, sent.stdout.strip()) == (0, "published 1")
    assert hybrid("dlq", "list", environment=variables).returncode == 0


@pytest.mark.parametrize(
    ("protocol", "mechanism"),
    [("SSL", ""), ("SASL_SSL", "SCRAM-SHA-512"), ("SASL_SSL", "OAUTHBEARER")],
)
def test_a_worker_works_on_a_secured_cluster(
    secure: SecureKafka, simulator: str, protocol: str, mechanism: str, tmp_path: Path
) -> None:
    variables = way(secure, protocol, mechanism)
    variables["HYBRID_TOPIC_PREFIX"] += ".worker"
    assert hybrid("topics", "ensure", environment=variables).returncode == 0
    child = ForkedChild(
        "worker",
        "worker",
        log_file=tmp_path / "worker.log",
        environment={
            **variables,
            "OPENAI_API_KEY": "simulated",
            "OPENAI_BASE_URL": f"{simulator}/v1",
            "HYBRID_METRICS_PORT": "0",
        },
    )
    try:
        sent = hybrid("publish", "-", environment=variables, given=intent("i-1") + "\n")
        assert sent.returncode == 0

        def results() -> list[dict[str, Any]]:
            assert child.exit_status() is None, child.tail(5)
            lines = hybrid("results", environment=variables).stdout.splitlines()
            return [json.loads(line) for line in lines]

        found = eventually(results, bool, within_s=45)
        assert [one["intent_id"] for one in found] == ["i-1"]
    finally:
        child.stop(within_s=20)
    assert child.exit_status() == 0


def wrong(secure: SecureKafka) -> dict[str, tuple[Variables, str]]:
    """What is set up wrong → the variables, and what the sentence must say."""
    scram = way(secure, "SASL_SSL", "SCRAM-SHA-512")
    mutual = way(secure, "SSL")
    plain = way(secure, "PLAINTEXT")
    none = secure.folder / "none.pem"
    none.write_text("no certificate\n")
    http = {"KAFKA_BOOTSTRAP_SERVERS": "http://127.0.0.1:9092"}
    return {
        "password": ({**scram, "KAFKA_SASL_PASSWORD": "hunter2"}, "refused the login of alice"),
        "authority": (
            {**scram, "KAFKA_SSL_CAFILE": str(secure.other_ca_file)},
            "unable to get local issuer certificate",
        ),
        "expired": (
            {**mutual, "KAFKA_BOOTSTRAP_SERVERS": secure.at("EXPIRED")},
            "certificate has expired",
        ),
        "host name": (
            {**mutual, "KAFKA_BOOTSTRAP_SERVERS": secure.at("ELSEWHERE")},
            "not valid for '127.0.0.1'",
        ),
        "no client certificate": (
            {**mutual, "KAFKA_SSL_CERTFILE": "", "KAFKA_SSL_KEYFILE": ""},
            "KAFKA_SSL_CERTFILE",
        ),
        "CA that is none": ({**scram, "KAFKA_SSL_CAFILE": str(none)}, "must hold PEM certificates"),
        "certificate that is none": (
            {**mutual, "KAFKA_SSL_CERTFILE": str(none)},
            "must hold a PEM certificate and its own key",
        ),
        "plain at TLS": (
            {**plain, "KAFKA_BOOTSTRAP_SERVERS": secure.at("SASL_SSL")},
            "speaks TLS: set KAFKA_SECURITY_PROTOCOL",
        ),
        "plain at SASL": (
            {**plain, "KAFKA_BOOTSTRAP_SERVERS": secure.at("SASL_PLAINTEXT")},
            "it seems to want a login",
        ),
        "TLS at plain": (
            {**scram, "KAFKA_BOOTSTRAP_SERVERS": secure.at("PLAINTEXT")},
            "set KAFKA_SECURITY_PROTOCOL to SASL_PLAINTEXT",
        ),
        "SASL at plain": (
            {
                **way(secure, "SASL_PLAINTEXT", "PLAIN"),
                "KAFKA_BOOTSTRAP_SERVERS": secure.at("PLAINTEXT"),
            },
            "takes no logins",
        ),
        "no mechanism": (
            {**plain, "KAFKA_SECURITY_PROTOCOL": "SASL_SSL"},
            "needs KAFKA_SASL_MECHANISM",
        ),
        "mechanism without SASL": (
            {**plain, "KAFKA_SASL_MECHANISM": "PLAIN"},
            "is not used with KAFKA_SECURITY_PROTOCOL = PLAINTEXT",
        ),
        "unknown mechanism": ({**scram, "KAFKA_SASL_MECHANISM": "FOO"}, "KAFKA_SASL_MECHANISM"),
        "no user": (
            {**scram, "KAFKA_SASL_USERNAME": ""},
            "needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD",
        ),
        "no token": (
            {**way(secure, "SASL_SSL", "OAUTHBEARER"), "KAFKA_SASL_OAUTH_TOKEN_FILE": ""},
            "KAFKA_SASL_OAUTH_TOKEN_FILE",
        ),
        "a URL": ({**plain, **http}, "not host:port"),
        "a port that is none": (
            {**plain, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:99999"},
            "a port that is none",
        ),
        "nobody there": (
            {**plain, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"},
            "no Kafka broker answers at 127.0.0.1:1",
        ),
        "three copies on one broker": (
            {**plain, "HYBRID_REPLICATION_FACTOR": "3", "HYBRID_TOPIC_PREFIX": "three"},
            "set HYBRID_REPLICATION_FACTOR to at most the number of brokers",
        ),
    }


WRONG = (
    "password", "authority", "expired", "host name", "no client certificate", "CA that is none",
    "certificate that is none", "plain at TLS", "plain at SASL", "TLS at plain", "SASL at plain",
    "no mechanism", "mechanism without SASL", "unknown mechanism", "no user", "no token", "a URL",
    "a port that is none", "nobody there", "three copies on one broker",
)  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_set_up_wrong_is_one_sentence(secure: SecureKafka, what: str) -> None:
    variables, sentence = wrong(secure)[what]
    done = hybrid("topics", "ensure", environment=variables)
    assert done.returncode in {1, 2}
    assert done.stderr.count("\n") == 1, done.stderr
    assert sentence in done.stderr
    assert "hunter2" not in done.stderr
    assert PASSWORD not in done.stderr


@pytest.mark.parametrize("process", ["worker", "recorder"])
@pytest.mark.parametrize(
    "what", ["password", "authority", "plain at TLS", "TLS at plain", "nobody there"]
)
def test_a_process_that_cannot_connect_says_why_and_nothing_else(
    secure: SecureKafka, process: str, what: str, tmp_path: Path
) -> None:
    variables, sentence = wrong(secure)[what]
    more = {
        "OPENAI_API_KEY": "x",
        "CLICKHOUSE_URL": "http://127.0.0.1:9/x",
        "HYBRID_METRICS_PORT": "0",
        "HYBRID_LOG_FORMAT": "json",
    }
    done = Forked(process, environment={**variables, **more}, folder=tmp_path)
    assert done.wait() == 2, done.said()
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.said()
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize("written", ["{0},", " {0} ", "{0}, {0}"])
def test_a_list_of_brokers_is_taken_as_people_write_it(secure: SecureKafka, written: str) -> None:
    variables = way(secure, "PLAINTEXT")
    variables["KAFKA_BOOTSTRAP_SERVERS"] = written.format(secure.at("PLAINTEXT"))
    variables["HYBRID_TOPIC_PREFIX"] = "team.a_b"
    assert hybrid("topics", "ensure", environment=variables).returncode == 0


def test_an_http_server_is_named_as_one(simulator: str) -> None:
    address = simulator.removeprefix("http://")
    done = hybrid("topics", "ensure", environment={"KAFKA_BOOTSTRAP_SERVERS": address})
    assert done.returncode == 2
    assert "is an HTTP server" in done.stderr


def test_a_token_is_asked_of_a_command(secure: SecureKafka) -> None:
    variables = way(secure, "SASL_SSL", "OAUTHBEARER")
    del variables["KAFKA_SASL_OAUTH_TOKEN_FILE"]
    reads = f"import pathlib; print(pathlib.Path({str(secure.token_file)!r}).read_text())"
    variables["KAFKA_SASL_OAUTH_TOKEN_COMMAND"] = f'{sys.executable} -c "{reads}"'
    assert hybrid("topics", "ensure", environment=variables).returncode == 0
    variables["KAFKA_SASL_OAUTH_TOKEN_COMMAND"] = f"{sys.executable} -c 1/0"
    done = hybrid("topics", "ensure", environment=variables)
    assert done.returncode == 2
    assert "KAFKA_SASL_OAUTH_TOKEN_COMMAND ended with status 1" in done.stderr
