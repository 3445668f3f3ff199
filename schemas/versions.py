"""The version of the records that we write, in a header of each; pure.

A reader ignores fields that it does not know, so that most changes need no new version. One that
makes a reader of the last version misunderstand a record raises it (docs/upgrades.md).
"""

from schemas.base import Headers

__all__ = ["RECORD_VERSION", "VERSION_HEADER", "NewerRecordError", "require_known"]

#: On every record that we write beside intents, which are their publishers'.
VERSION_HEADER = "hybrid-version"
#: Raised only when a reader of the version before would misunderstand what it reads.
RECORD_VERSION = 1


class NewerRecordError(Exception):
    """Raised where a record of a later version must not be passed over; says what to do."""


def require_known(topic: str, partition: int, offset: int, headers: Headers) -> None:
    """Refuse a record of a later version than ours; raises NewerRecordError.

    One without a version is of before there were any; what is no number is somebody else's.
    """
    stated = next((value for name, value in headers if name == VERSION_HEADER), b"")
    if not (stated.isdigit() and len(stated) < 10) or int(stated) <= RECORD_VERSION:  # noqa: PLR2004
        return
    message = (
        f"{topic} has a record of version {int(stated)} (partition {partition}, offset {offset}), "
        f"and this program reads versions up to {RECORD_VERSION}: a later one of Hybrid "
        "Orchestrator wrote it; run that one"
    )
    raise NewerRecordError(message)
