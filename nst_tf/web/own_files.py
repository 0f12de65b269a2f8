"""Gives a visitor's files to that visitor's browser alone."""

from __future__ import annotations

import http.cookies
import json
import re
import secrets
import urllib.parse
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

_COOKIE = "nst_tf_browser"
_TOLD_IN = (b"application/json", b"text/html", b"text/event-stream")
_MOST_TOLD = 10_000  # Beyond it, folders that are deleted are forgotten.
_REFUSED = 403

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


class OwnFiles:
    """A browser gets, and may name, only files that the server has told this browser of.

    Every file is in a folder of its visitor or of its contents, two levels below `folder`. Which
    of them a browser knows is read from the answers to it. A cookie tells browsers apart.

    Args:
        app: the page, an ASGI application.
        folder: folder of uploads and results.
    """

    def __init__(self, app: Any, folder: Path) -> None:
        self._app = app
        self._known = re.compile(re.escape(str(folder)) + r"(?:/[^/\"\\]+){2}(?=/)")
        self._folder = str(folder)
        self._told: set[tuple[str, str]] = set()

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Serves a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        cookie = http.cookies.SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
        browser = cookie[_COOKIE].value if _COOKIE in cookie else ""
        named = [urllib.parse.unquote(f"{scope['path']}?{scope['query_string'].decode('latin-1')}")]
        if scope["method"] == "POST" and b"multipart/" not in headers.get(b"content-type", b""):
            body = await _read(receive)
            receive = _again(body, receive)
            named += _texts(body)
        if not all(self._may_name(browser, text) for text in named):
            await send({"type": "http.response.start", "status": _REFUSED, "headers": []})
            await send({"type": "http.response.body", "body": b"This file is not yours."})
            return
        await self._app(scope, receive, self._listening(browser, send))

    def _may_name(self, browser: str, text: str) -> bool:
        if self._folder not in text:
            return True
        if re.search(r"/\.{0,2}(/|$)", text.replace("://", ":")):  # A way around the folders.
            return False
        found = self._known.findall(text)
        whole = len(found) == text.count(self._folder)
        return whole and all((browser, each) in self._told for each in found)

    def _listening(self, browser: str, send: _Send) -> _Send:
        """Returns `send`, which remembers the folders that it tells a browser of."""
        new = "" if browser else secrets.token_urlsafe(24)
        telling = False

        async def listening(message: _Message) -> None:
            nonlocal telling
            if message["type"] == "http.response.start":
                kind = dict(message["headers"]).get(b"content-type", b"")
                telling = kind.startswith(_TOLD_IN)
                if new and telling:
                    given = f"{_COOKIE}={new}; Path=/; HttpOnly; SameSite=Strict"
                    message["headers"] = [*message["headers"], (b"set-cookie", given.encode())]
            elif telling:
                text = message.get("body", b"").decode(errors="replace")
                self._tell(browser or new, self._known.findall(text))
            await send(message)

        return listening

    def _tell(self, browser: str, folders: list[str]) -> None:
        if len(self._told) > _MOST_TOLD:
            self._told = {each for each in self._told if Path(each[1]).exists()}
        self._told.update((browser, each) for each in folders)


async def _read(receive: _Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _again(body: bytes, receive: _Receive) -> _Receive:
    """Returns `receive` as it was before the body was read."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> _Message:
        return waiting.pop() if waiting else await receive()

    return again


def _texts(body: bytes) -> Iterator[str]:
    """Yields every text in a body of JSON, with its escapes resolved."""
    try:
        values = [json.loads(body)]
    except ValueError:
        values = [body.decode(errors="replace")]
    while values:
        value = values.pop()
        if isinstance(value, str):
            yield urllib.parse.unquote(value)
        elif isinstance(value, dict):
            values += [*value, *value.values()]
        elif isinstance(value, list):
            values += value
