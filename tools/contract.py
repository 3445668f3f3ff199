"""Whether the messages still keep the last release's contract: each change, compatible or refused.

The last release's schemas and topics are kept in `docs/schemas/released.json` (`make release`
makes it). Two rules (docs/upgrades.md):

- an intent that the last release took is taken, and means the same;
- what we write is read by programs of the last release, and what that wrote is read by ours: only
  fields that a record may lack are added.

A change that is refused all the same stands with its reason in `docs/schemas/agreed.json`.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schema_changes import Change, changes_of  # beside this script

from schemas.base import Message
from schemas.events import DeferralState, ReplayRecord, StartRecord
from schemas.export import MESSAGES, WRITTEN_BY_OTHERS, json_schema
from schemas.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
RELEASED = ROOT / "docs/schemas/released.json"
AGREED = ROOT / "docs/schemas/agreed.json"
#: What lies in topics and headers beside the messages: of no interest to anybody but ourselves, and
#: read by the last release's workers all the same.
INTERNAL: tuple[type[Message], ...] = (DeferralState, ReplayRecord, StartRecord)


@dataclass(frozen=True)
class Verdict:
    """One change, whether it may be, and why."""

    change: Change
    is_refused: bool
    agreed: str | None = None

    def __str__(self) -> str:
        """Say it in one line."""
        word = "refused" if self.is_refused and self.agreed is None else "compatible"
        because = f" (agreed: {self.agreed})" if self.is_refused and self.agreed else ""
        return f"{word}: {self.change}{because}"


def contract() -> dict[str, Any]:
    """Give what is promised now: messages, internal records, topics with what they hold."""
    messages = {name: json_schema(name) for name in MESSAGES}
    internal = {
        model.__name__: model.model_json_schema(by_alias=False, mode="serialization")
        for model in INTERNAL
    }
    topics = {spec.name: spec.holds for spec in Settings().topics.specs()}
    return {"messages": {**messages, **internal}, "topics": topics}


def verdicts(
    last: Mapping[str, Any], now: Mapping[str, Any], agreed: Mapping[str, str]
) -> list[Verdict]:
    """Judge every difference between two contracts."""
    return [
        Verdict(change, is_refused, agreed.get(str(change)) if is_refused else None)
        for change, is_refused in _judged(last, now)
    ]


def _judged(last: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[Change, bool]]:
    for topic, holds in last["topics"].items():
        found = now["topics"].get(topic)
        if found != holds:
            what = f"holds {found}, no longer {holds}" if found else "is gone"
            yield Change(topic, f"the topic {what}"), True
    for topic in sorted(set(now["topics"]) - set(last["topics"])):
        yield Change(topic, "the topic is new; `hybrid topics ensure` makes it"), False
    for name, before in last["messages"].items():
        after = now["messages"].get(name)
        if after is None:
            yield Change(name, "the message is gone"), True
            continue
        for change in changes_of(name, before, after):
            yield change, change.kind.is_refused(written_by_others=name in WRITTEN_BY_OTHERS)
    for name in sorted(set(now["messages"]) - set(last["messages"])):
        yield Change(name, "the message is new"), False


def kept(version: str) -> str:
    """Write the contract as it is now as that of a release."""
    return json.dumps({"release": version, **contract()}, indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Check, or print what a release keeps; gives the exit status."""
    parser = argparse.ArgumentParser(description="the contract against the last release's")
    parser.add_argument("--keep", metavar="VERSION", help="print what is now as this release's")
    parser.add_argument("--against", type=Path, default=RELEASED, help="another kept contract")
    options = parser.parse_args()
    if options.keep:
        sys.stdout.write(kept(options.keep))
        return 0
    last = json.loads(options.against.read_text(encoding="utf-8"))
    found = verdicts(last, contract(), json.loads(AGREED.read_text(encoding="utf-8")))
    for one in found:
        print(one)
    refused = sum(one.is_refused and one.agreed is None for one in found)
    print(f"contract: {len(found)} changes since {last['release']}, {refused} refused")
    if refused:
        print(
            "mend them, or agree to one: its text and the reason in docs/schemas/agreed.json",
            file=sys.stderr,
        )
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
