"""A server's certificate: read from its files, and read again when they change, while connections go on.

Each handshake takes the context that is good at that moment, so a new certificate meets only new connections. Files
that cannot be used (half-written, a key of another certificate, out of date) leave the one that is in use, which is
said once a minute until they can be.
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal, NoReturn, TypeAlias, get_args

from spantree_exporter.errors import ConfigError

log = logging.getLogger(__name__)

Alpn: TypeAlias = Literal["http/1.1", "h2"]
"""What is spoken inside (RFC 7301): HTTP/1.1, or the HTTP/2 of gRPC."""
INTERVAL_S: Final = 2.0
_LOG_INTERVAL_S: Final = 60.0
# A chain is some kilobytes, all authorities of the web a quarter of a megabyte.
_MOST_BYTES: Final = 2**20
_DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. `key` may be the same file as `certificate`; with `client_ca` clients show a certificate of it."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def __str__(self) -> str:
        named = [self.certificate, self.key, self.client_ca]
        return ", ".join(str(one) for one in dict.fromkeys(named) if one is not None)


def tls_files(
    certificate: Path | None, key: Path | None, client_ca: Path | None, prefix: str = "SPANTREE_TLS"
) -> TlsFiles | None:
    """The files that three settings name, None where TLS is not wanted. Raises ConfigError for half of it."""
    if certificate is None:
        alone = [name for name, path in (("KEY", key), ("CLIENT_CA", client_ca)) if path is not None]
        if alone:
            raise ConfigError([f"{prefix}_{name} is set, and {prefix}_CERTIFICATE is not; give both" for name in alone])
        return None
    return TlsFiles(certificate, key or certificate, client_ca)


@dataclass(frozen=True, slots=True)
class _Loaded:
    contexts: Mapping[str, ssl.SSLContext]
    not_before: datetime
    not_after: datetime
    digest: bytes


class _Unusable(Exception):
    """Why files cannot be used, as a sentence."""


class ServerTls:
    """What a server's ports shake hands with. Any thread may use it."""

    def __init__(self, files: TlsFiles) -> None:
        """Raises ConfigError for files that cannot be used; one that is out of date can, and is complained about."""
        self.files = files
        self._stop = threading.Event()
        self._logged_at_s = float("-inf")
        self._thread = threading.Thread(target=self._run, name="spantree-tls", daemon=True)
        try:
            self._loaded = _load(files, _content(files))
        except _Unusable as error:
            raise ConfigError([str(error)]) from error
        self.problem: str | None = _fault_of_time(files, self._loaded)
        """Why what is in the files now is not what is in use, or not good; None: all is well."""

    def start(self) -> None:
        """Begin to look at the files."""
        self._thread.start()

    def stop(self) -> None:
        """End. Idempotent."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def context(self, alpn: Alpn) -> ssl.SSLContext:
        """For the next handshake."""
        return self._loaded.contexts[alpn]

    @property
    def not_after(self) -> datetime:
        """When the certificate that is in use ends."""
        return self._loaded.not_after

    @property
    def days_left(self) -> float:
        """Until then; below 0 once it is over."""
        return (self.not_after - datetime.now(UTC)).total_seconds() / _DAY_S

    def look(self) -> None:
        """Take what the files hold now, if it is something else and can be used; `problem` tells."""
        try:
            content = _content(self.files)
            digest = sha256(content).digest()
            if digest != self._loaded.digest:
                loaded = _load(self.files, content)
                if fault := _fault_of_time(self.files, loaded):
                    raise _Unusable(fault)
                self._loaded = loaded
                log.info("a new certificate of %s is in use, good until %s", self.files, _day(loaded.not_after))
            self.problem = _fault_of_time(self.files, self._loaded)
        except _Unusable as error:
            self.problem = f"{error}; the certificate of before stays in use, good until {_day(self.not_after)}"
        if self.problem is not None and time.monotonic() - self._logged_at_s >= _LOG_INTERVAL_S:
            self._logged_at_s = time.monotonic()
            log.warning("%s", self.problem)

    def _run(self) -> None:
        while True:
            self.look()
            if self._stop.wait(INTERVAL_S):
                return


def _content(files: TlsFiles) -> bytes:
    paths = [files.certificate, files.key, *([files.client_ca] if files.client_ca else [])]
    return b"\0".join(_read(path) for path in paths)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    except OSError as error:
        raise _Unusable(f"{path} cannot be read ({error.strerror}): wanted a PEM file for TLS") from error


def _load(files: TlsFiles, content: bytes) -> _Loaded:
    not_before, not_after = _times(files.certificate, content.partition(b"\0")[0])
    contexts = {alpn: _context(files, alpn) for alpn in get_args(Alpn)}
    return _Loaded(contexts, not_before, not_after, sha256(content).digest())


def _context(files: TlsFiles, alpn: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A client could ask for handshake after handshake within one connection.
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols([alpn])
    try:
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
    except (OSError, ValueError) as error:
        raise _Unusable(
            f"the key in {files.key} and the certificate in {files.certificate} cannot be used ({_reason(error)}): "
            "wanted PEM, the key without a password and of that certificate"
        ) from error
    if files.client_ca is not None:
        try:
            context.load_verify_locations(files.client_ca)
        except (OSError, ValueError) as error:
            raise _Unusable(
                f"{files.client_ca} cannot be used ({_reason(error)}): wanted the certificates of clients' authorities"
            ) from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _no_password() -> NoReturn:
    # Without this OpenSSL would ask for it on the terminal.
    raise ValueError("the key has a password")


def _times(path: Path, pem: bytes) -> tuple[datetime, datetime]:
    # Not loaded by a server without TLS.
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise _Unusable(f"{path} holds no certificate that can be read: wanted PEM, the server's own first") from error
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc


def _fault_of_time(files: TlsFiles, loaded: _Loaded) -> str | None:
    now = datetime.now(UTC)
    if loaded.not_after <= now:
        return f"the certificate in {files.certificate} is out of date since {_day(loaded.not_after)}: give a new one"
    if loaded.not_before > now:
        return f"the certificate in {files.certificate} is good from {_day(loaded.not_before)} on, not yet"
    return None


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)
