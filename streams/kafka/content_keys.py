"""Tenants' key files, and the persons' keys that stand on the topic, for whoever reads content."""

import secrets
import stat
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

from aiokafka import ConsumerRecord

from agents.clock import Clock
from agents.log import Log
from schemas.settings import Settings
from schemas.vocabulary import LogEvent
from streams.kafka.ends import END_KEY
from streams.kafka.reading import read_topic
from streams.messages.key_ring import KeyFileError, KeyRing
from streams.messages.sealing import Vault

__all__ = ["empty_vault", "known_vault", "learn_all", "learnt", "open_to_others", "read_ring"]

#: Seconds after which a broker that could not be read is asked again.
AGAIN_S = 1.0


def read_ring(settings: Settings) -> KeyRing | None:
    """Read the key files; None where none are named. Raises KeyFileError."""
    if settings.hybrid_content_keys is None:
        return None
    folder = Path(settings.hybrid_content_keys)
    texts: dict[str, str] = {}
    try:
        for file in _files(folder):
            texts[unquote(file.name)] = file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        why = (
            error.strerror if isinstance(error, OSError) else "it is no text of letters and digits"
        )
        message = f"HYBRID_CONTENT_KEYS = {folder}: the key files cannot be read ({why})"
        raise KeyFileError(message) from None
    try:
        return KeyRing.of(texts)
    except KeyFileError as error:
        message = f"HYBRID_CONTENT_KEYS = {folder}: {error}"
        raise KeyFileError(message) from None


def open_to_others(settings: Settings) -> list[str]:
    """Name the key files that others than their owner may read or write; raises OSError."""
    folder = Path(settings.hybrid_content_keys or "")
    others = stat.S_IRWXG | stat.S_IRWXO
    return [file.name for file in _files(folder) if file.stat().st_mode & others]


def _files(folder: Path) -> list[Path]:
    """Give the key files; names that begin with a dot are a mount's own (Kubernetes: `..data`)."""
    return sorted(one for one in folder.iterdir() if one.is_file() and not one.name.startswith("."))


def empty_vault(settings: Settings) -> Vault:
    """Give a vault that has learnt no person's key yet; raises KeyFileError."""
    return Vault(settings.topics, read_ring(settings), chance=secrets.token_bytes)


async def known_vault(settings: Settings) -> Vault:
    """Give a vault that knows all keys that stand on the topic; where no files are named, none.

    Raises KeyFileError, and what reading a topic raises.
    """
    vault = empty_vault(settings)
    if vault.seals:
        async for record in read_topic(settings, settings.topics.keys, needed=True):
            with suppress(ValueError, OverflowError):  # somebody else's
                learnt(vault, record)
    return vault


async def learn_all(settings: Settings, vault: Vault, clock: Clock, log: Log) -> None:
    """Have a vault learn all keys that stand on the topic now; tries until it can."""
    topic = settings.topics.keys
    while True:
        try:
            async for record in read_topic(settings, topic):
                with suppress(ValueError, OverflowError):  # somebody else's
                    learnt(vault, record)
        except Exception as error:  # noqa: BLE001 - who waits for it would wait for ever, unheard
            log(LogEvent.FOLLOW_DELAYED, level="warning", topic=topic, error=type(error).__name__)
            await clock.sleep(AGAIN_S)
        else:
            return


def learnt(vault: Vault, record: ConsumerRecord) -> bool:
    """Have a vault take a record of the topic; gives whether a key that it knew is gone.

    Raises ValueError for what is none of ours.
    """
    if record.key is None or record.key == END_KEY:
        return False
    return vault.learn(record.key.decode(), record.value, partition=record.partition)
