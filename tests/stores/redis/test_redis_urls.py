"""Bad input is one clear error at construction, and no password is ever shown."""

from __future__ import annotations

import pickle
import re
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.doubles import answer, lines
from support.fleet import within
from support.redis_server import Server, shared
from support.servers import free_port

from llmemo import ConfigurationError, LLMCache, RedisStore
from llmemo.stores.redis.location import Location, location_of
from llmemo.stores.schemes import REDIS_SCHEMES as SCHEMES

SECRET = "pa55w0rd-of-the-test"
USER = f"user:{SECRET}@"

BAD_URLS = {
    # None, and other kinds of things.
    "": "scheme",
    "redis": "scheme",
    "redis:": "scheme",
    f"redis:/{USER}host": "scheme",
    f"http://{USER}host": "redis://",
    f"redis-sentinel://{USER}host/service": "redis\\+sentinel://",
    f"unix://{USER}host": "redis://",
    # Hosts.
    "redis://": "host",
    f"redis://{USER}": "host",
    f"redis://{USER}:6379": "host",
    f"redis://{USER}a,b": "several hosts",
    f"redis://{USER}a b": "host",
    f"redis://{USER}[::1": "host",
    f"redis://{USER}::1": "host",
    # Ports.
    f"redis://{USER}host:": "1 to 65535",
    f"redis://{USER}host:0": "1 to 65535",
    f"redis://{USER}host:65536": "1 to 65535",
    f"redis://{USER}host:-1": "1 to 65535",
    f"redis://{USER}host:6379.0": "1 to 65535",
    f"redis://{USER}host:abc": "1 to 65535",
    f"redis://{USER}host:٣": "1 to 65535",
    # Databases.
    f"redis://{USER}host/x": "database",
    f"redis://{USER}host/-1": "database",
    f"redis://{USER}host/1/2": "database",
    f"redis://{USER}host/1.0": "database",
    f"redis://{USER}host/٣": "database",
    f"redis://{USER}host/9999999999": "database",
    # A "#", "/" or "?" of a password that is not percent-encoded.
    f"redis://user:#{SECRET}@host": "%23",
    f"redis://user:{SECRET}#@host": "%23",
    f"redis://{USER}host/0#x": "%23",
    f"redis://user:/{SECRET}@host": "percent-encoded",
    f"redis://user:{SECRET}/@host": "percent-encoded",
    f"redis://user:?{SECRET}@host": "percent-encoded",
    f"redis://user:{SECRET}?@host": "percent-encoded",
    f"redis://user:{SECRET}%zz@host": "percent-encoded",
    f"redis://user:{SECRET}%ff@host": "UTF-8",
    # TLS.
    f"redis://{USER}host?ssl_cert_reqs=none": "rediss://",
    f"rediss://{USER}host?ssl_cert_reqs=maybe": "required or none",
    f"rediss://{USER}host?ssl_check_hostname=maybe": "true or false",
    f"rediss://{USER}host?ssl_ca_certs=/no/such/file": "file",
    f"rediss://{USER}host?ssl_ca_certs=": "file",
    f"rediss://{USER}host?password={SECRET}": "ssl_ca_certs",
    f"rediss://{USER}host?{SECRET}": "ssl_ca_certs",
    # Sentinels.
    f"redis+sentinel://{USER}host": "service",
    f"redis+sentinel://{USER}host/": "service",
    f"redis+sentinel://{USER}host/service/x": "database",
    f"redis+sentinel://{USER}a,,b/service": "host",
    f"redis+sentinel://{USER}a:0,b/service": "1 to 65535",
    # Control characters.
    f"redis://{USER}ho\nst": "host",
    f"redis://{USER}ho\x00st": "host",
}


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_url_that_names_no_server_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match=BAD_URLS[url]) as error:
        RedisStore(url)
    shown = "".join(map(str, [error.value, error.value.__cause__, error.value.__context__]))
    assert SECRET not in shown
    assert "\n" not in str(error.value)
    if not url.startswith(("redis:", "http")):
        return
    with pytest.raises(ConfigurationError):
        LLMCache(url)


@pytest.mark.parametrize("url", [None, 7, b"redis://host", ["redis://host"]])
def test_a_url_is_a_text(url: Any) -> None:
    with pytest.raises(ConfigurationError, match="redis://"):
        RedisStore(url)


@pytest.mark.parametrize(
    "prefix",
    ["", "a{b", "a}b", "{a}", "a\nb", "\x00", "x" * 257, "é" * 129, "\udc80", 7, None, b"a"],
)
def test_a_prefix_that_cannot_be_is_refused(prefix: Any) -> None:
    with pytest.raises(ConfigurationError, match="prefix"):
        RedisStore("redis://host", prefix=prefix)


@pytest.mark.parametrize("replicas", [-1, 1.5, "1", None, True])
def test_replicas_are_a_whole_number(replicas: Any) -> None:
    with pytest.raises(ConfigurationError, match="replicas"):
        RedisStore("redis://host", replicas=replicas)


@pytest.mark.parametrize("prefix", ["a*b", "a?[b]", "a\\b", "a-b^c", "日本", "a:b c"])
def test_any_other_prefix_is_served_and_cleared_alone(prefix: str, redis_url: str) -> None:
    with (
        LLMCache(RedisStore(redis_url, prefix=prefix)) as cache,
        LLMCache(RedisStore(redis_url, prefix="axb")) as other,
    ):
        for each in (cache, other):
            each.update("p", "m", answer("p"))
            each.update("q", "m", answer("q"))
        assert cache.invalidate(llm_string="m") == 2
        assert other.lookup("p", "m") == answer("p")
        cache.update("p", "m", answer("p"))
        cache.clear()
        assert cache.lookup("p", "m") is None
        cache.update("p", "m", answer("p"))
        assert (cache.stats().errors, other.stats().errors) == ({}, {})


words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
hosts = st.from_regex(r"[a-z][a-z0-9.-]{0,20}", fullmatch=True) | st.sampled_from(
    ["127.0.0.1", "::1", "fe80::1%eth0", "[::1]"]
)
ports = st.none() | st.integers(1, 65_535)


@given(
    st.sampled_from([s for s in SCHEMES if "sentinel" not in s]),
    st.none() | words,
    st.none() | words,
    hosts,
    ports,
    st.none() | st.integers(0, 100),
)
def test_what_is_quoted_is_found_again(
    scheme: str,
    user: str | None,
    password: str | None,
    host: str,
    port: int | None,
    base: int | None,
) -> None:
    bare = host.strip("[]")
    quoted = [quote(part or "", safe="") for part in (user, password)]
    credentials = f"{quoted[0]}:{quoted[1]}@" if password else f"{quoted[0]}@" if user else ""
    shown = f"[{bare}]" if ":" in bare else bare
    url = f"{scheme}://{credentials}{shown}{'' if port is None else f':{port}'}"
    url += "" if base is None else f"/{base}"
    found = location_of(url)
    assert found.hosts == ((bare, port or 6379),)
    assert (found.username, found.password) == (user, password)
    assert found.database == (base or 0)
    assert (found.tls is not None) == scheme.endswith("ss" if "redis" in scheme else "ys")
    # What is shown can be parsed again, and differs by user name and password alone.
    again = location_of(found.shown)
    assert (again.hosts, again.database) == (found.hosts, found.database)
    assert again.username is again.password is None


@given(st.text(max_size=40), st.sampled_from(["", *(f"{s}://" for s in SCHEMES)]))
def test_any_text_is_a_location_or_one_error(text: str, scheme: str) -> None:
    try:
        found: Location | str = location_of(scheme + text)
    except ConfigurationError as error:
        found = str(error)
    if isinstance(found, str):
        assert "allowed is" in found
    else:
        assert found.hosts
        assert all(host and 1 <= port <= 65_535 for host, port in found.hosts)


@given(words.filter(lambda it: len(it) > 3), st.sampled_from("/?#@:%&= {}[]\n"))
def test_no_password_is_shown_whatever_is_wrong(word: str, odd: str) -> None:
    secret = f"sEcReT{SECRET}"
    url = f"redis://u:{secret}{odd}{word}@host:99999/x"
    with pytest.raises(ConfigurationError) as error:
        RedisStore(url)
    assert secret not in str(error.value)


def expect_no_secret(cache: LLMCache, caplog: pytest.LogCaptureFixture) -> None:
    store = cache._tiers.executor.store  # type: ignore[union-attr]
    told = [repr(cache), str(cache), repr(store), repr(cache.stats()), caplog.text]
    told += [repr(record.args) for record in caplog.records]
    told += [repr(vars(record)) for record in caplog.records]
    assert not [one for one in told if SECRET in one]
    with pytest.raises(ConfigurationError) as error:
        pickle.dumps(cache)
    assert SECRET not in str(error.value)


def test_a_wrong_password_is_said_once_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    with Server(password="another") as server:
        url = f"redis://:{SECRET}@127.0.0.1:{server.port}"
        with LLMCache(url, store_timeout=1.0) as cache:
            for n in range(8):
                assert cache.lookup(f"p{n}", "m") is None
                cache.update(f"p{n}", "m", answer(f"p{n}"))
            assert len([line for line in lines(caplog) if "password" in line]) <= 2
            expect_no_secret(cache, caplog)


def test_a_refused_connection_does_not_show_the_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    url = f"redis://:{SECRET}@127.0.0.1:{free_port()}"
    with LLMCache(url, store_timeout=0.2) as cache:
        for n in range(8):
            assert cache.lookup(f"p{n}", "m") is None
            cache.update(f"p{n}", "m", answer(f"p{n}"))
        expect_no_secret(cache, caplog)
        cache.close(0.1)
    assert cache.stats().errors


@pytest.mark.parametrize("password", ["p@ss:w/o?r#d %41é日", "%", "a b", "{}", "'\"\\"])
def test_a_percent_encoded_password_is_that_of_the_server(password: str) -> None:
    with Server() as server:
        with server.ask() as ask:
            ask("ACL", "SETUSER", "ü@:/", "on", f">{password}", "~*", "&*", "+@all")
        user = quote("ü@:/", safe="")
        url = f"redis://{user}:{quote(password, safe='')}@127.0.0.1:{server.port}/3"
        with LLMCache(url) as cache:
            cache.update("p", "m", answer("p"))
            assert cache.stats().errors == {}
            assert password not in re.sub(r"https?://", "", repr(cache)) or len(password) < 3


def test_a_password_that_is_changed_is_refused_and_comes_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Server() as server, server.ask() as ask:
        ask("ACL", "SETUSER", "u", "on", f">{SECRET}", "~*", "&*", "+@all")
        url = f"redis://u:{SECRET}@127.0.0.1:{server.port}"
        with LLMCache(url, max_bytes=0, store_timeout=1.0) as cache:
            cache.update("p", "m", answer("p"))
            ask("ACL", "SETUSER", "u", "resetpass", ">another")
            ask("CLIENT", "KILL", "USER", "u")
            assert cache.lookup("p", "m") is None
            expect_no_secret(cache, caplog)
            ask("ACL", "SETUSER", "u", "resetpass", f">{SECRET}")
            within(5, lambda: cache.lookup("p", "m") == answer("p"))


def test_a_database_that_there_is_not_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with LLMCache(f"redis://127.0.0.1:{shared().port}/9999", store_timeout=1.0) as cache:
        assert cache.lookup("p", "m") is None
        cache.update("p", "m", answer("p"))
        assert cache.close(0.5) in (0, 1)
    assert cache.stats().errors
    assert any("database" in line or "DB index" in line for line in lines(caplog)), lines(caplog)
