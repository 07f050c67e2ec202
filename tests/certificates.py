"""Certificates made for a test: an authority, and files as a server or a client has them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from spantree_exporter.tls.certificate import TlsFiles


@dataclass(frozen=True)
class Authority:
    """Whoever trusts `pem` trusts what it signs."""

    authority: trustme.CA
    pem: Path

    @staticmethod
    def made(directory: Path, name: str = "authority") -> Authority:
        """A new one, whose certificate is in `directory`."""
        authority = trustme.CA(organization_name=f"spantree's tests, {name}")
        pem = directory / f"{name}.pem"
        authority.cert_pem.write_to_path(pem)
        return Authority(authority, pem)

    def issue(
        self,
        directory: Path,
        name: str = "server",
        *hosts: str,
        days: float = 30,
        key: trustme.KeyType = trustme.KeyType.ECDSA,
    ) -> TlsFiles:
        """A certificate for `hosts`, 127.0.0.1 and localhost by default; each file is replaced at once, not both."""
        issued = self.authority.issue_cert(
            *(hosts or ("127.0.0.1", "localhost")),
            common_name=name,
            not_before=datetime.now(UTC) - timedelta(days=60),
            not_after=datetime.now(UTC) + timedelta(days=days),
            key_type=key,
        )
        files = TlsFiles(directory / f"{name}.crt", directory / f"{name}.key")
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        for path, content in ((files.certificate, chain), (files.key, issued.private_key_pem.bytes())):
            new = path.with_suffix(".new")
            new.write_bytes(content)
            new.replace(path)
        return files

    def client_context(self, client: TlsFiles | None = None, alpn: str | None = None) -> ssl.SSLContext:
        """What a client that trusts it shakes hands with, showing `client`."""
        context = ssl.create_default_context(cafile=str(self.pem))
        if client is not None:
            context.load_cert_chain(client.certificate, client.key)
        if alpn is not None:
            context.set_alpn_protocols([alpn])
        return context
