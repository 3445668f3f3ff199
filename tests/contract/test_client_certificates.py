"""A provider that wants to see a certificate: shown, renewed, and what is said of wrong files."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from agents.clock import ManualClock
from agents.providers.errors import ExecutionError
from agents.providers.requests import ChatRequest, Provider
from hybrid.config import load_settings
from hybrid.errors import UsageError
from hybrid.providing import build_providers
from schemas.vocabulary import FailureKind, LogEvent
from tests.builders import NOW
from tests.contract.test_answers import chat

REQUEST = ChatRequest([{"role": "user", "content": "hi"}], "attempt-1")


@dataclass
class Strict:
    """A vendor behind TLS that talks only to whom its authority has certified."""

    folder: Path
    authority: trustme.CA = field(default_factory=trustme.CA)
    shown: list[str] = field(default_factory=list)

    def issue(self, name: str, *, by: trustme.CA | None = None) -> tuple[Path, Path]:
        """Write a certificate and its key, over those there are."""
        certificate = (by or self.authority).issue_cert(f"{name}.test", common_name=name)
        files = self.folder / "client.pem", self.folder / "client-key.pem"
        files[0].write_bytes(b"".join(one.bytes() for one in certificate.cert_chain_pems))
        certificate.private_key_pem.write_to_path(str(files[1]))
        return files

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
        subject = writer.get_extra_info("peercert")["subject"]
        self.shown += [one for ((name, one),) in subject if name == "commonName"]
        writer.write(chat())
        await writer.drain()
        writer.close()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert("127.0.0.1").configure_cert(context)
        self.authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        self.authority.cert_pem.write_to_path(str(self.folder / "ca.pem"))
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=context)
        try:
            yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        finally:
            server.close()


def a_provider(
    vendor: Strict, address: str, table: str, clock: ManualClock, log: Callable[..., None]
) -> Provider:
    file = vendor.folder / "hybrid.toml"
    file.write_text(
        f'[[providers]]\nname = "v"\nkind = "openai-compatible"\nbase_url = "{address}"\n'
        f'model = "m"\nca_file = "{vendor.folder / "ca.pem"}"\n{table}\n'
    )
    settings = load_settings(environment={}, file=file)
    return build_providers(settings, clock, log)["v"]


def ask(
    vendor: Strict, table: str, *between: Callable[[], object], logged: list[str] | None = None
) -> None:
    """Call once, and once more after each of what comes between."""
    clock = ManualClock(NOW)

    def log(event: LogEvent, /, *, level: str = "info", **_: object) -> None:
        assert level in {"info", "warning"}
        if logged is not None:
            logged.append(event.value)

    async def calls() -> None:
        async with vendor.listening() as address:
            provider = a_provider(vendor, address, table, clock, log)
            try:
                await provider.complete(REQUEST)
                for act in between:
                    act()
                    clock.advance(11)
                    await provider.complete(REQUEST)
            finally:
                await provider.close()

    asyncio.run(calls())


def table_of(certificate: Path, key: Path | None) -> str:
    return f'client_certificate = "{certificate}"' + (f'\nclient_key = "{key}"' if key else "")


def test_a_certificate_is_shown_from_two_files_or_one(tmp_path: Path) -> None:
    vendor = Strict(tmp_path)
    certificate, key = vendor.issue("worker-1")
    ask(vendor, table_of(certificate, key))
    certificate.write_bytes(key.read_bytes() + certificate.read_bytes())
    ask(vendor, table_of(certificate, None))
    assert vendor.shown == ["worker-1", "worker-1"]


def test_without_a_certificate_that_it_knows_there_is_no_connection(tmp_path: Path) -> None:
    vendor = Strict(tmp_path)
    with pytest.raises(ExecutionError) as caught:
        ask(vendor, "")
    assert caught.value.failure.kind is FailureKind.CONNECTION
    certificate, key = vendor.issue("stranger", by=trustme.CA())
    with pytest.raises(ExecutionError):
        ask(vendor, table_of(certificate, key))
    assert vendor.shown == []


def test_a_renewed_certificate_is_shown_without_a_restart(tmp_path: Path) -> None:
    vendor = Strict(tmp_path)
    certificate, key = vendor.issue("old")
    logged: list[str] = []
    ask(vendor, table_of(certificate, key), lambda: vendor.issue("new"), logged=logged)
    assert (vendor.shown[0], vendor.shown[-1]) == ("old", "new")
    assert logged.count("key_renewed") == 1


def test_half_a_renewal_leaves_the_certificate_that_works(tmp_path: Path) -> None:
    vendor = Strict(tmp_path)
    certificate, key = vendor.issue("old")
    before = key.read_bytes()

    def half() -> None:
        vendor.issue("new")
        key.write_bytes(before)

    logged: list[str] = []
    ask(vendor, table_of(certificate, key), half, half, key.unlink, logged=logged)
    assert set(vendor.shown) == {"old"}
    assert logged.count("key_unreadable") == 1


@pytest.mark.parametrize("wrong", ["missing", "no key", "mismatch", "encrypted", "no certificate"])
def test_files_that_cannot_be_used_are_one_sentence_at_start(tmp_path: Path, wrong: str) -> None:
    vendor = Strict(tmp_path)
    certificate, key = vendor.issue("worker-1")
    match wrong:
        case "missing":
            certificate.unlink()
        case "no key":
            key.unlink()
        case "mismatch":
            trustme.CA().issue_cert("other").private_key_pem.write_to_path(str(key))
        case "encrypted":
            private = load_pem_private_key(key.read_bytes(), None)
            secret = BestAvailableEncryption(b"hunter2")
            key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret))
        case _:
            certificate.write_text("nothing\n")
    with pytest.raises(UsageError) as caught:
        ask(vendor, table_of(certificate, key))
    said = str(caught.value)
    assert said.startswith(f"provider v: client_certificate = {certificate} with client_key")
    assert "cannot be used" in said
    assert "\n" not in said


def test_a_key_without_its_certificate_is_refused(tmp_path: Path) -> None:
    vendor = Strict(tmp_path)
    with pytest.raises(UsageError, match="client_certificate is needed too"):
        ask(vendor, 'client_key = "k.pem"')
