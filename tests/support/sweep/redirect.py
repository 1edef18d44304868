"""Every client's requests go to the loopback server, whatever host their URL names.

Below the URL: the client builds and signs its request as ever. The address it was meant for travels
in a header. No certificates are read, and boto's data once: that is where the time would go.
"""

from __future__ import annotations

import contextlib
import importlib
import socket
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3  # type: ignore[import-untyped]
import botocore.httpsession  # type: ignore[import-untyped]
import botocore.loaders  # type: ignore[import-untyped]
import botocore.session  # type: ignore[import-untyped]
import google.genai._api_client

from support.sweep.server import ORIGIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

    from support.sweep.server import Loopback

    Closer = Callable[[], None]

HTTPX = ("httpx", "httpx2")


def _rewrite(request: Any, host: str) -> None:
    request.headers[ORIGIN] = f"{request.url.scheme}://{request.headers['host']}"
    address, port = host.split(":")
    request.url = request.url.copy_with(scheme="http", host=address, port=int(port))


def _httpx(patch: pytest.MonkeyPatch, name: str, host: str) -> Closer:
    module = importlib.import_module(name)
    shared = module.HTTPTransport()
    send = module.HTTPTransport.handle_request

    def handle(self: Any, request: Any) -> Any:
        _rewrite(request, host)
        return send(shared, request)

    async def ahandle(self: Any, request: Any) -> Any:
        # A connection of an event loop's own would have to be closed in that loop.
        url, headers = request.url, request.headers
        plain = module.Request(request.method, url, headers=headers, content=await request.aread())
        _rewrite(plain, host)
        answer = send(shared, plain)
        content = answer.read()
        answer.close()
        return module.Response(answer.status_code, headers=answer.headers, content=content)

    patch.setattr(module.HTTPTransport, "handle_request", handle)
    patch.setattr(module.AsyncHTTPTransport, "handle_async_request", ahandle)
    return shared.close  # type: ignore[no-any-return]


def _botocore(patch: pytest.MonkeyPatch, host: str) -> Closer:
    # botocore turns urllib3's TCP_NODELAY off: 40 ms a request.
    nodelay = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
    shared = botocore.httpsession.URLLib3Session(socket_options=nodelay)
    loader = botocore.loaders.create_loader()
    send = botocore.httpsession.URLLib3Session.send

    def elsewhere(self: Any, request: Any) -> Any:
        at = urlsplit(request.url)
        request.headers[ORIGIN] = f"{at.scheme}://{at.netloc}"
        request.url = at._replace(scheme="http", netloc=host).geturl()
        return send(shared, request)

    patch.setattr(botocore.httpsession.URLLib3Session, "send", elsewhere)
    patch.setattr(botocore.session, "create_loader", lambda search_path_string=None: loader)
    patch.setattr(boto3, "DEFAULT_SESSION", None)
    return shared.close  # type: ignore[no-any-return]


@contextlib.contextmanager
def redirected(patch: pytest.MonkeyPatch, server: Loopback) -> Iterator[None]:
    """Send everything to `server`; `patch` undoes it."""
    # Nobody speaks TLS here, and each client would read the certificates anew: 20 ms.
    for name in ("load_verify_locations", "load_default_certs", "set_default_verify_paths"):
        patch.setattr(ssl.SSLContext, name, lambda *args, **options: None)
    with contextlib.ExitStack() as shared:
        for name in HTTPX:
            shared.callback(_httpx(patch, name, server.host))
        shared.callback(_botocore(patch, server.host))
        patch.setattr(google.genai._api_client, "has_aiohttp", False)  # then it takes httpx
        yield
