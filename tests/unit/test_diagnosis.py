"""What `spantree doctor` asks of servers, and whom it shows what."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from spantree_deploy.doctor.checks import _asked
from spantree_deploy.settings import Settings

TOKEN: Final = ("authorization", "Bearer spt_x")


class Elsewhere(BaseHTTPRequestHandler):
    """Leads from / to /elsewhere, and notes who comes there with what."""

    came: Final[list[str | None]] = []

    def do_GET(self) -> None:
        """Lead on, or answer."""
        if self.path == "/":
            self.send_response(302)
            self.send_header("location", "/elsewhere")
        else:
            self.came.append(self.headers["authorization"])
            self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def test_a_token_is_shown_to_nobody_whom_an_answer_leads_to() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        assert _asked(Settings(), url, past_proxies=True) == (200, "")
        assert _asked(Settings(), url, past_proxies=True, headers=[TOKEN]) == (302, "")
        server.shutdown()
    assert Elsewhere.came == [None]
