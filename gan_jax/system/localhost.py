"""A web server for this machine alone: it listens on 127.0.0.1, answers its own pages only, and knows no other paths."""

import http.server
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from gan_jax.types import UserError

HOSTS = ("localhost", "127.0.0.1")  # also behind a forwarded port, which may have another number
LONGEST = 10_000  # bytes of a question


class Reply(NamedTuple):
    """What the server answers."""

    content: bytes
    kind: str = "application/json"
    status: int = 200


def as_json(value: Mapping[str, Any], status: int = 200) -> Reply:
    return Reply(json.dumps(value).encode(), status=status)


class Server(http.server.ThreadingHTTPServer):
    """Serves `get(path)` and `post(path, question)`, which return a Reply, or None for a path that there is not.

    Questions are objects of JSON. Refused are requests by another name than HOSTS (a foreign name that leads here), from
    pages of another origin, of another type than JSON, and of more than LONGEST bytes. `port` 0 takes a free one. Raises
    UserError where the port is taken.
    """

    daemon_threads = True

    def __init__(
        self,
        port: int,
        get: Callable[[str], Reply | None],
        post: Callable[[str, Mapping[str, Any]], Reply | None],
        policy: str,
    ):
        self.get, self.post, self.policy = get, post, policy
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise UserError(f"--port {port}: {error.strerror or error}; name another, or 0 for a free one") from error

    @property
    def address(self) -> str:
        return f"http://localhost:{self.server_address[1]}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of an answer is no error."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    server_version, sys_version = "gan-jax", ""
    timeout = 60

    def do_GET(self) -> None:
        if self._refused():
            return
        self._send(self.server.get(urlsplit(self.path).path) or Reply(b"not found", "text/plain", 404))

    def do_POST(self) -> None:
        if self._refused():
            return
        try:
            length = int(self.headers.get("Content-Length", "0"))
        except ValueError:
            length = -1
        if self.headers.get_content_type() != "application/json" or not 0 < length <= LONGEST:
            self.close_connection = True  # what was sent is left unread
            return self._send(Reply(b"an object of JSON is expected", "text/plain", 400))
        try:
            question = json.loads(self.rfile.read(length))
            if not isinstance(question, dict):
                raise TypeError("no object")
            reply = self.server.post(urlsplit(self.path).path, question)
        except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError) as error:
            reply = Reply(f"not understood: {error!r}".encode(), "text/plain", 400)
        self._send(reply or Reply(b"not found", "text/plain", 404))

    def _refused(self) -> bool:
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        try:
            foreign = urlsplit(f"//{host}").hostname not in HOSTS or origin not in (None, f"http://{host}")
        except ValueError:  # no host at all
            foreign = True
        fetched = {name: self.headers.get(f"Sec-Fetch-{name}", "") for name in ("Site", "Mode", "Dest")}
        # A link to the page may be followed from anywhere; nothing of it can be read there.
        opened = (self.command, self.path, fetched["Mode"], fetched["Dest"]) == ("GET", "/", "navigate", "document")
        if foreign or (fetched["Site"] not in ("", "none", "same-origin") and not opened):
            self.close_connection = True
            self._send(Reply(b"this server answers its own page only", "text/plain", 403))
            return True
        return False

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        headers = {
            "Content-Type": reply.kind,
            "Content-Length": str(len(reply.content)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": self.server.policy,
            "Referrer-Policy": "no-referrer",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed of requests."""
