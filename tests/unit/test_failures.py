"""Reading what providers answer."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.deciding.failures import (
    FACETS,
    MAX_RETRY_AFTER_MS,
    HttpAnswer,
    classify_http,
    parse_retry_after,
    text_of,
)
from schemas.vocabulary import ErrorClass, FailureKind
from tests.builders import NOW


@pytest.mark.parametrize(
    ("status", "code", "kind", "error_class"),
    [
        (429, "rate_limit_exceeded", FailureKind.RATE_LIMIT, ErrorClass.RATE_LIMIT),
        (429, "insufficient_quota", FailureKind.QUOTA, ErrorClass.AUTH),
        (401, "invalid_api_key", FailureKind.AUTH, ErrorClass.AUTH),
        (403, "", FailureKind.REFUSED, ErrorClass.AUTH),
        (404, "DeploymentNotFound", FailureKind.DEPLOYMENT_NOT_FOUND, ErrorClass.AUTH),
        (400, "", FailureKind.BAD_REQUEST, ErrorClass.VALIDATION),
        (422, "", FailureKind.BAD_REQUEST, ErrorClass.VALIDATION),
        (400, "context_length_exceeded", FailureKind.CONTEXT_LENGTH, ErrorClass.VALIDATION),
        (400, "content_filter", FailureKind.CONTENT_FILTER, ErrorClass.VALIDATION),
        (408, "", FailureKind.SERVER_ERROR, ErrorClass.UNKNOWN),
        (409, "", FailureKind.SERVER_ERROR, ErrorClass.UNKNOWN),
        (500, "", FailureKind.SERVER_ERROR, ErrorClass.UNKNOWN),
        (529, "", FailureKind.SERVER_ERROR, ErrorClass.UNKNOWN),
    ],
)
def test_an_error_answer_has_its_kind(
    status: int, code: str, kind: FailureKind, error_class: ErrorClass
) -> None:
    failure = classify_http(HttpAnswer(status, {}, code), now=NOW)
    assert (failure.kind, failure.error_class, failure.http_status) == (kind, error_class, status)


def test_of_several_codes_inside_a_200_the_first_counts() -> None:
    codes = {
        "invalid_request_error": FailureKind.BAD_REQUEST,
        "authentication_error": FailureKind.AUTH,
        "not_found_error": FailureKind.DEPLOYMENT_NOT_FOUND,
    }
    for order in permutations(codes):
        answer = HttpAnswer(200, {}, order[0], order[1:])
        assert classify_http(answer, now=NOW).kind is codes[order[0]]


def test_every_kind_says_what_to_do() -> None:
    assert set(FACETS) == set(FailureKind)
    assert all(facets[3] for facets in FACETS.values())


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2_000),
        ({"retry-after": "0.5"}, 500),
        ({"retry-after-ms": "250", "retry-after": "9"}, 250),
        ({"retry-after": format_datetime(NOW + timedelta(seconds=30))}, 30_000),
        ({"retry-after": format_datetime(NOW - timedelta(seconds=30))}, 0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, MAX_RETRY_AFTER_MS),
        ({"retry-after": "1e12"}, MAX_RETRY_AFTER_MS),
        ({"retry-after-ms": "x", "retry-after": "1"}, 1_000),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], wanted: int | None) -> None:
    assert parse_retry_after(headers, now=NOW) == wanted


@given(st.text(), st.text())
def test_no_header_breaks_the_reader(ms: str, seconds: str) -> None:
    found = parse_retry_after({"retry-after-ms": ms, "retry-after": seconds}, now=datetime.now(UTC))
    assert found is None or 0 <= found <= MAX_RETRY_AFTER_MS


def test_a_code_is_cut_to_what_is_safe() -> None:
    assert text_of("bad code: <secret> " + "x" * 100).startswith("badcode:secretx")
    assert len(text_of("x" * 1000)) == 64
