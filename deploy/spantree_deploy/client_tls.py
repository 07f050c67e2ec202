"""Whom the commands trust over https, and what they show of themselves."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from spantree_deploy.settings import Settings
from spantree_exporter.errors import SpantreeError

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


def client_context(settings: Settings, url: str, own: Sequence[Path | None] = ()) -> ssl.SSLContext | None:
    """What `url` is asked with; None where it is not https. Raises SpantreeError for files that cannot be used.

    `own` are the certificates of this machine's servers. One that listens on the loopback is known by that very
    certificate, whatever names are in it and whoever signed it.
    """
    if urlsplit(url).scheme != "https":
        return None
    pinned = [str(path) for path in own if path is not None] if urlsplit(url).hostname in LOOPBACK else []
    try:
        if settings.ca is not None:
            context = ssl.create_default_context(cafile=str(settings.ca))
        elif pinned and _is_readable(pinned):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            # The certificate itself is enough, without the authority above it.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            for path in pinned:
                context.load_verify_locations(path)
        else:
            context = ssl.create_default_context()
    except OSError as error:
        raise SpantreeError(
            f"SPANTREE_CA is {settings.ca}, which cannot be used ({error.strerror or error}): wanted PEM, the "
            "certificate of the authority that signed the server's"
        ) from error
    if settings.client_certificate is not None:
        try:
            context.load_cert_chain(settings.client_certificate, settings.client_key, password=lambda: b"")
        except OSError as error:
            raise SpantreeError(
                f"SPANTREE_CLIENT_CERTIFICATE is {settings.client_certificate}, which cannot be used "
                f"({error.strerror or error}): wanted PEM, with its key there or in SPANTREE_CLIENT_KEY"
            ) from error
    return context


def untrusted(error: BaseException) -> str | None:
    """What is wrong with the certificate of a server, where that is what `error` is about."""
    for one in (error, getattr(error, "reason", None)):
        if isinstance(one, ssl.SSLCertVerificationError):
            return one.verify_message
    return None


def _is_readable(paths: Sequence[str]) -> bool:
    try:
        for path in paths:
            with open(path, "rb"):  # noqa: PTH123
                pass
    except OSError:
        return False
    return True
