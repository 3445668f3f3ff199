"""The AsyncAPI document leads to what there is, and says what each public field means."""

import jsonschema
import pytest

from agents.task import Completed
from schemas.export import ENVELOPE, MESSAGES, asyncapi, json_schema
from schemas.settings import Settings
from streams.lanes.outcome_records import outcome_records
from streams.lanes.verdicts import internal
from streams.messages.identity import identify
from tests.builders import NOW, a_result, a_task, an_incoming

TOPICS = Settings().topics
DOCUMENT = asyncapi(TOPICS)


def test_each_topics_message_is_described_by_a_schema_that_is_exported() -> None:
    described = DOCUMENT["components"]["messages"]
    for name, channel in DOCUMENT["channels"].items():
        for message, reference in channel["messages"].items():
            assert reference == {"$ref": f"#/components/messages/{message}"}
            assert message in described, f"{name} holds {message}, which is described nowhere"
    files = {one["payload"]["$ref"] for name, one in described.items() if name != ENVELOPE}
    assert files == {f"./{name}.schema.json" for name in MESSAGES}


@pytest.mark.parametrize("name", ["WorkflowIntent", "WorkflowResult", "DeadLetter"])
def test_each_field_of_what_others_write_and_read_says_what_it_means(name: str) -> None:
    fields = json_schema(name)["properties"]
    of_its_type = {"metadata", "timings"} if name == "WorkflowResult" else set()
    silent = {one for one, about in fields.items() if "description" not in about}
    assert silent == of_its_type


def test_the_headers_that_outcomes_have_are_all_described() -> None:
    """An intent that came as a CloudEvent, with a trace, in a result and in a dead letter."""
    envelope = {"specversion": "1.0", "id": "e", "source": "/s", "type": "t", "subject": "u"}
    jsonschema.validate(
        envelope | {"data": {}}, DOCUMENT["components"]["messages"][ENVELOPE]["payload"]
    )
    headers = tuple((f"ce_{name}", text.encode()) for name, text in envelope.items())
    trace = (("traceparent", f"00-{'a' * 32}-{'b' * 16}-01".encode()), ("tracestate", b"a=1"))
    incoming = an_incoming(b'{"data": {}}', headers=(*headers, *trace))
    who = identify(incoming, max_bytes=1000).who
    for outcome, name in (
        (Completed(a_result(a_task()), None), "WorkflowResult"),
        (internal("Defect"), "DeadLetter"),
    ):
        record = outcome_records(
            TOPICS, incoming, who, outcome, lane=0, outcome_id="o", worker="w", group="g", now=NOW
        ).records[0]
        described = DOCUMENT["components"]["messages"][name]["headers"]["properties"]
        assert {one for one, _ in record.headers} | {"content-type"} == {*described, "content-type"}
