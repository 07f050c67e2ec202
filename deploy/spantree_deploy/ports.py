"""Taking the ports that the servers listen on, before anything else is started, all faults at once."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Sequence
from typing import Final

from spantree_deploy.settings import Settings
from spantree_exporter.errors import ConfigError
from spantree_exporter.setting_fields import variable

_BACKLOG: Final = 128
_SHOWN: Final = 80
# Nobody is to wait for longer, for a person's convenience alone.
_LOOK_S: Final = 1.0

OTLP_PORTS: Final = ("otlp_http_port", "otlp_grpc_port")


def listen(
    host: str, port: int, field: str, host_option: str = "--host or SPANTREE_HOST", option: str | None = None
) -> socket.socket:
    """A listening socket. Raises ConfigError naming the port and what changes it: `option`, else the setting's."""
    option = option or f"--{field.replace('_', '-')} or {variable(field)}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        # No name of a host at all: a part of it is empty or too long, or no text.
        reason = error.strerror if isinstance(error, OSError) else "it is no name of a host"
        raise ConfigError(
            [f'"{host[:_SHOWN]}" is no address to listen on ({reason}); choose one of this machine with {host_option}']
        ) from error
    listener = socket.socket(family, kind, protocol)
    try:
        # Connections of an earlier run that linger in TIME_WAIT do not keep the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # The port is only ours once we listen.
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        match error.errno:
            case errno.EADDRINUSE:
                fault = f"port {port} on {host} is in use by another program; stop it, or choose another with {option}"
            case errno.EACCES:
                fault = f"port {port} on {host} needs rights that this account has not; choose another with {option}"
            case errno.EADDRNOTAVAIL:
                fault = f"{host} is no address of this machine; choose one with {host_option}"
            case _:
                fault = f"cannot listen on port {port} of {host} ({error.strerror}); choose another with {option}"
        raise ConfigError([fault]) from error
    return listener


def refusal(host: str, port: int) -> str | None:
    """Why nothing can be sent to a port, None where something listens there."""
    try:
        socket.create_connection((host, port), timeout=_LOOK_S).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def listen_for_api(settings: Settings) -> socket.socket:
    """The API's listener. Raises ConfigError."""
    host_option = "--host or SPANTREE_HOST" if settings.api_host is None else "SPANTREE_API_HOST"
    return listen(settings.api_listens_on, settings.api_port, "api_port", host_option)


def check_otlp_ports(settings: Settings) -> list[str]:
    """What is wrong with the collector's two ports; it takes them itself a moment later."""
    return _faults(settings.host, [(field, getattr(settings, field)) for field in OTLP_PORTS])


def take_ports(settings: Settings) -> socket.socket:
    """The API's listener, once all three ports are seen to be free. Raises ConfigError with every fault at once."""
    faults = check_otlp_ports(settings)
    try:
        listener = listen_for_api(settings)
    except ConfigError as error:
        faults += error.faults
    else:
        if not faults:
            return listener
        listener.close()
    raise ConfigError(list(dict.fromkeys(faults)))


def _faults(host: str, ports: Sequence[tuple[str, int]]) -> list[str]:
    found: list[str] = []
    for field, port in ports:
        try:
            with contextlib.closing(listen(host, port, field)):
                pass
        except ConfigError as error:
            found += error.faults
    return found
