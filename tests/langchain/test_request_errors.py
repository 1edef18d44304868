"""Which errors of a model call say that the provider refuses the request."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

import pytest

from llmemo.errors import CacheMiss
from llmemo.langchain.request_errors import refuses_request


def named(name: str, base: type[BaseException] = Exception, **attributes: Any) -> BaseException:
    error: BaseException = type(name, (base,), attributes)("told")
    return error


class Response:
    def __init__(self, status_code: int) -> None:
        self.status_code = status_code


class Hostile(Exception):  # noqa: N818 (it is none of ours)
    @property
    def body(self) -> object:
        raise RuntimeError


@pytest.mark.parametrize(
    "error",
    [
        ValueError("content policy"),
        named("BadRequestError", status_code=400, code="content_filter"),
        named("BadRequestError", body={"error": {"type": "invalid_request_error"}}),
        named("HTTPStatusError", response=Response(422)),
        named("InvalidArgument", code=HTTPStatus.BAD_REQUEST),
        named("ClientError", response={"ResponseMetadata": {"HTTPStatusCode": 400}}),
        named("LengthFinishReasonError"),
        Hostile(),
    ],
)
def test_what_refuses_a_request(error: BaseException) -> None:
    assert refuses_request(error)


@pytest.mark.parametrize(
    "error",
    [
        asyncio.CancelledError(),
        KeyboardInterrupt(),
        GeneratorExit(),
        TimeoutError(),
        asyncio.TimeoutError(),
        ConnectionResetError(),
        OSError("no route"),
        CacheMiss("none"),
        named("APITimeoutError"),
        named("RemoteProtocolError"),
        named("ThrottlingException", response={"ResponseMetadata": {"HTTPStatusCode": 400}}),
        named("Busy", base=type("APIConnectionError", (Exception,), {})),
        named("APIError", body={"error": {"type": "overloaded_error"}}),
        named("APIError", type="server_error"),
        *(named("Failed", status_code=status) for status in (401, 404, 408, 409, 429, 500, 503)),
        named("Failed", response=Response(502)),
        named("Failed", code=HTTPStatus.GATEWAY_TIMEOUT),
    ],
)
def test_what_says_nothing_of_a_request(error: BaseException) -> None:
    assert not refuses_request(error)
