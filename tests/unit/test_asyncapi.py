"""The AsyncAPI document leads to what there is, and says what each public field means."""

import pytest

from schemas.export import MESSAGES, asyncapi, json_schema
from schemas.settings import Settings

DOCUMENT = asyncapi(Settings().topics)


def test_each_topics_message_is_described_by_a_schema_that_is_exported() -> None:
    described = DOCUMENT["components"]["messages"]
    for name, channel in DOCUMENT["channels"].items():
        for message, reference in channel["messages"].items():
            assert reference == {"$ref": f"#/components/messages/{message}"}
            assert message in described, f"{name} holds {message}, which is described nowhere"
    files = {one["payload"]["$ref"] for one in described.values()}
    assert files == {f"./{name}.schema.json" for name in MESSAGES}


@pytest.mark.parametrize("name", ["WorkflowIntent", "WorkflowResult", "DeadLetter"])
def test_each_field_of_what_others_write_and_read_says_what_it_means(name: str) -> None:
    fields = json_schema(name)["properties"]
    of_its_type = {"metadata", "timings"} if name == "WorkflowResult" else set()
    silent = {one for one, about in fields.items() if "description" not in about}
    assert silent == of_its_type
