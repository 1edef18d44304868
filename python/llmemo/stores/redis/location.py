"""Where a server is, as a URL says it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote

from llmemo.errors import ConfigurationError
from llmemo.stores.schemes import REDIS_SCHEMES

if TYPE_CHECKING:
    from collections.abc import Mapping

PORT, SENTINEL_PORT = 6379, 26379
DATABASES_MAX = 2**31 - 1

FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
"""Options of TLS that name a file."""

ENCODED = "a user and a password whose special characters are percent-encoded"

FLAGS = {"true": True, "false": False, "1": True, "0": False}
CHECKS = ("required", "none")

HOST = re.compile(
    r"(\[[0-9A-Fa-f:.]+(?:%[\w.~-]+)?\]|[^:\[\]\s\x00-\x20\x7f]+)(?::([^:]*))?", re.ASCII
)

FORM = "redis://[user:password@]host[:port][/database]"
SENTINEL_FORM = "redis+sentinel://[user:password@]host[:port][,host[:port]…]/service[/database]"


@dataclass(frozen=True)
class Location:
    """A URL, taken apart. Its `repr` shows no password."""

    scheme: str
    hosts: tuple[tuple[str, int], ...]
    """Of the server, of any node of a cluster, or of the sentinels."""
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    service: str | None = None
    """What sentinels call the master; None if there are none."""
    tls: Mapping[str, str | bool] | None = None
    """Options of `redis.asyncio.SSLConnection`; None for a connection in plaintext."""

    @property
    def shown(self) -> str:
        """The URL without a password; nor a user name, which may be one by mistake."""
        hosts = ",".join(f"[{h}]:{p}" if ":" in h else f"{h}:{p}" for h, p in self.hosts)
        service = f"/{quote(self.service, safe='')}" if self.service else ""
        return f"{self.scheme}://{hosts}{service}/{self.database}"


def location_of(url: object) -> Location:
    """Take a URL apart.

    Raises:
        ConfigurationError: It names no server. The message never holds the URL, which may have a
            password.
    """
    if not isinstance(url, str):
        raise _wrong(f"is of type {type(url).__name__}", f'a str: "{FORM}"')
    scheme, is_url, rest = url.partition("://")
    scheme = scheme.lower()
    if not is_url or scheme not in REDIS_SCHEMES:
        known = ", ".join(f"{name}://" for name in REDIS_SCHEMES)
        raise _wrong("has none of the schemes that are known", known)
    rest, _, query = rest.partition("?")
    rest, _, fragment = rest.partition("#")
    if fragment or "#" in query:
        raise _wrong("has a fragment (#…)", 'a "#" in a password written as %23')
    authority, _, path = rest.partition("/")
    if "@" in path or ("@" in query and not query.startswith("ssl_")):
        raise _wrong('has an "@" after its host', f"{ENCODED}, as %2F for /, %3F for ?, %40 for @")
    credentials, _, hosts = authority.rpartition("@")
    username, _, password = credentials.partition(":")
    has_sentinels = scheme.endswith("+sentinel")
    service, database = _path_of(path, has_service=has_sentinels)
    return Location(
        scheme,
        _hosts_of(hosts, has_several=has_sentinels),
        database,
        _unquoted(username) or None,
        _unquoted(password) or None,
        service,
        _tls_of(query, is_tls=scheme in ("rediss", "valkeys", "rediss+sentinel")),
    )


def _unquoted(text: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise _wrong('has a "%" without two digits', f"{ENCODED}, as %25 for %")
    try:
        found: str | None = unquote(text, errors="strict")
        text.encode()
    except UnicodeError:
        # Not as the cause: it would show the password.
        found = None
    if found is None:
        raise _wrong("has what is no UTF-8", ENCODED)
    return found


def _wrong(what: str, allowed: str) -> ConfigurationError:
    return ConfigurationError(f"the URL of the Redis server {what}: allowed is {allowed}")


def _path_of(path: str, *, has_service: bool) -> tuple[str | None, int]:
    """Name of the service, and number of the database."""
    parts = path.rstrip("/").split("/") if path else []
    service = None
    if has_service:
        if not parts or not parts[0]:
            raise _wrong("names no service for the sentinels to find", SENTINEL_FORM)
        service = _unquoted(parts.pop(0))
    if len(parts) > 1 or not re.fullmatch(r"[0-9]*", parts[0] if parts else ""):
        raise _wrong("has a database that is no number", f"0, 1, …, as in {FORM}")
    database = int(parts[0]) if parts and parts[0] else 0
    if database > DATABASES_MAX:
        raise _wrong(f"has a database above {DATABASES_MAX}", "0 to 15, unless it is configured")
    return service, database


def _hosts_of(text: str, *, has_several: bool) -> tuple[tuple[str, int], ...]:
    if "," in text and not has_several:
        raise _wrong("has several hosts", f"one, or {SENTINEL_FORM}")
    default = SENTINEL_PORT if has_several else PORT
    return tuple(_host_of(one, default) for one in text.split(","))


def _host_of(text: str, default: int) -> tuple[str, int]:
    found = HOST.fullmatch(text)
    if found is None:
        raise _wrong("has no host", FORM)
    port = found[2]
    if port is None:
        return found[1].strip("[]"), default
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65_535:
        raise _wrong("has a port that is none", "1 to 65535")
    return found[1].strip("[]"), int(port)


def _tls_of(query: str, *, is_tls: bool) -> dict[str, str | bool] | None:
    """Options of TLS, as redis-py names them.

    Raises:
        ConfigurationError: Others, or none that could work.
    """
    given = parse_qsl(query, keep_blank_values=True)
    names = (*FILES, "ssl_check_hostname", "ssl_cert_reqs")
    options: dict[str, str | bool] = {}
    for name, value in given:
        if name not in names:
            # It is not shown: it may be a part of a password.
            raise _wrong("has an option that is unknown", ", ".join(names))
        if name == "ssl_check_hostname":
            if value.lower() not in FLAGS:
                raise _wrong(f"has a {name} that is neither", "true or false")
            options[name] = FLAGS[value.lower()]
        elif name == "ssl_cert_reqs":
            if value not in CHECKS:
                raise _wrong(f"has a {name} that is neither", " or ".join(CHECKS))
            options[name] = value
        else:
            if not Path(value).is_file():
                raise _wrong(f"has a {name} that is no file here", "the path of one")
            options[name] = value
    if options and not is_tls:
        raise _wrong("has options of TLS, and is without TLS", "rediss://…")
    if not is_tls:
        return None
    # Unlike redis-py before 6, which took any name on a certificate.
    return {"ssl_check_hostname": options.get("ssl_cert_reqs") != "none", **options}
