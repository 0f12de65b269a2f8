"""A reverse proxy that serves a page under a path, as a web server in front of it does."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

_OF_ONE_CONNECTION = {"connection", "transfer-encoding"}


@contextlib.contextmanager
def serving(address: str, path: str) -> Iterator[str]:
    """Serves a page under a path, and gives the address; other paths are not found.

    Args:
        address: address of the page.
        path: the path, such as `/paint`, which the page itself is not asked for.
    """
    transport = httpx.AsyncHTTPTransport()  # A client would keep the cookies of all visitors.

    async def forward(request: Request) -> Response:
        ask = httpx.Request(
            request.method,
            f"{address}/{request.path_params['rest']}?{request.url.query}",
            headers=request.headers.raw,  # With the host that the browser asked.
            content=request.stream(),
        )
        answer = await transport.handle_async_request(ask)
        headers = {
            name: value for name, value in answer.headers.items() if name not in _OF_ONE_CONNECTION
        }
        return StreamingResponse(
            answer.aiter_raw(),
            answer.status_code,
            headers,
            background=BackgroundTask(answer.aclose),
        )

    methods = ["GET", "HEAD", "POST", "PUT", "DELETE"]
    app = Starlette(routes=[Route(path + "/{rest:path}", forward, methods=methods)])
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}{path}"
    server.should_exit = server.force_exit = True
    thread.join(10)
