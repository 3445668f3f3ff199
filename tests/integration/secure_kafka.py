"""A broker that speaks only to those who prove who they are: TLS, client certificates, SASL.

It is not the product's stack: other listeners, its own authority, Kafka's default settings.
"""

import base64
import datetime as dt
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization

from hybrid.stack.kafka import EmbeddedKafka
from hybrid.stack.process import free_port

__all__ = ["PASSWORD", "RESTRICTED", "USER", "SecureKafka", "secure_kafka"]

USER, PASSWORD = "alice", "pa55w#rd"
#: May do what is granted, and nothing else.
RESTRICTED = "bob"
LISTENERS = ("PLAINTEXT", "SSL", "SASL_SSL", "SASL_PLAINTEXT", "EXPIRED", "ELSEWHERE")
LOGIN = "org.apache.kafka.common.security"


class SecureKafka:
    """Addresses by listener, and the files that a client needs; also of one that others started."""

    def __init__(self, folder: Path, ports: Mapping[str, int]) -> None:
        self.folder = folder
        self.ports = dict(ports)
        self.ca_file = folder / "ca.pem"
        self.other_ca_file = folder / "other-ca.pem"
        self.cert_file, self.key_file = folder / "client.pem", folder / "client.key"
        self.token_file = folder / "token"

    def write_files(self) -> trustme.CA:
        """Write what a client needs; gives the authority that the broker's certificates are of."""
        authority, other = trustme.CA(), trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca_file))
        other.cert_pem.write_to_path(str(self.other_ca_file))
        client = authority.issue_cert("client@example.org")
        client.cert_chain_pems[0].write_to_path(str(self.cert_file))
        client.private_key_pem.write_to_path(str(self.key_file))
        self.write_token("alice")
        return authority

    def at(self, listener: str) -> str:
        return f"127.0.0.1:{self.ports[listener]}"

    def write_token(self, subject: str) -> None:
        """An unsecured JWS, which Kafka takes where nothing else is configured."""
        now = int(dt.datetime.now(dt.UTC).timestamp())
        claims = {"sub": subject, "iat": now, "exp": now + 3600}
        parts = (json.dumps(one).encode() for one in ({"alg": "none"}, claims))
        encoded = (base64.urlsafe_b64encode(one).decode().rstrip("=") for one in parts)
        self.token_file.write_text(".".join(encoded) + ".")

    def properties(self, authority: trustme.CA) -> str:
        protocols = {name: name for name in LISTENERS} | {"EXPIRED": "SSL", "ELSEWHERE": "SSL"}
        mapped = ",".join(f"{name}:{kind}" for name, kind in protocols.items())
        listeners = ",".join(f"{name}://{self.at(name)}" for name in LISTENERS)
        controller = f"CONTROLLER://127.0.0.1:{free_port()}"
        past = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
        lines = [
            "",
            f"listeners={listeners},{controller}",
            f"advertised.listeners={listeners}",
            f"listener.security.protocol.map=CONTROLLER:PLAINTEXT,{mapped}",
            f"controller.quorum.bootstrap.servers={controller.removeprefix('CONTROLLER://')}",
            "inter.broker.listener.name=PLAINTEXT",
            *self._key_store("", authority.issue_cert("127.0.0.1", "localhost")),
            *self._key_store(
                "listener.name.expired.", authority.issue_cert("127.0.0.1", not_after=past)
            ),
            *self._key_store("listener.name.elsewhere.", authority.issue_cert("elsewhere.example")),
            "ssl.truststore.type=PEM",
            f"ssl.truststore.certificates={_one_line(self.ca_file.read_bytes())}",
            "listener.name.ssl.ssl.client.auth=required",
            # Nothing is granted to anybody but those who may do everything.
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            f"super.users=User:{USER};User:ANONYMOUS",
            f"ssl.principal.mapping.rules=RULE:^.*$/{USER}/",
            "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
        ]
        for listener in ("sasl_ssl", "sasl_plaintext"):
            name = f"listener.name.{listener}"
            lines += [
                (
                    f"{name}.plain.sasl.jaas.config={LOGIN}.plain.PlainLoginModule required "
                    f'user_{USER}="{PASSWORD}" user_{RESTRICTED}="{PASSWORD}";'
                ),
                f"{name}.scram-sha-256.sasl.jaas.config={LOGIN}.scram.ScramLoginModule required;",
                f"{name}.scram-sha-512.sasl.jaas.config={LOGIN}.scram.ScramLoginModule required;",
                (
                    f"{name}.oauthbearer.sasl.jaas.config={LOGIN}.oauthbearer.OAuthBearerLoginModule "
                    'required unsecuredLoginStringClaim_sub="broker";'
                ),
            ]
        return "\n".join(lines) + "\n"

    @staticmethod
    def _key_store(prefix: str, leaf: trustme.LeafCert) -> list[str]:
        key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
        pkcs8 = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        chain = b"".join(one.bytes() for one in leaf.cert_chain_pems)
        return [
            f"{prefix}ssl.keystore.type=PEM",
            f"{prefix}ssl.keystore.certificate.chain={_one_line(chain)}",
            f"{prefix}ssl.keystore.key={_one_line(pkcs8)}",
        ]


def _one_line(pem: bytes) -> str:
    return pem.decode().strip().replace("\n", "\\n")


@contextmanager
def secure_kafka(folder: Path) -> Iterator[SecureKafka]:
    """Run the broker until the block ends."""
    secure = SecureKafka(folder, {name: free_port() for name in LISTENERS})
    controller = free_port()
    text = secure.properties(secure.write_files())
    kafka = EmbeddedKafka(
        folder / "kafka",
        port=secure.ports["PLAINTEXT"],
        controller_port=controller,
        properties=text,
        format_arguments=[
            "--standalone",
            *(
                argument
                for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
                for argument in (
                    "--add-scram",
                    f'{mechanism}=[name="{USER}",password="{PASSWORD}"]',
                )
            ),
        ],
    )
    try:
        kafka.start()
        yield secure
    finally:
        kafka.stop()
