"""Certificates in a store: its delays and refusals lose no verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from llmemo.codec.envelope import Envelope
from llmemo.semantic.certificate import Certificate, Verdict
from llmemo.semantic.certificate_bytes import dumps
from llmemo.semantic.certification import Certification
from llmemo.semantic.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Callable


PLAIN = Envelope(None, is_needed=False)


def certified(rule: Rule, certification: Certification) -> None:
    for _ in range(rule.checks_needed()):
        certification.add(right(certification))
    assert certification.certificate.threshold is not None


def right(certification: Certification) -> Verdict:
    return Verdict(0.99, False, False, certification.certificate.epoch)


def wrong(certification: Certification) -> Verdict:
    certificate = certification.certificate
    return Verdict(0.99, True, certificate.threshold is not None, certificate.epoch)


class Late:
    """A store that confirms changes of states when it is told to; it has `state`."""

    def __init__(self) -> None:
        self.state_now: bytes | None = None
        self.waiting: list[Callable[[], None]] = []
        self.is_full = False

        class Store:
            vectors = object()

        self.store = Store()

    async def state(self, *_: Any) -> Any:
        class Known:
            state = self.state_now

        return Known

    def amend_soon(self, name: bytes, change: Any, when_done: Any) -> None:
        def do() -> None:
            if self.is_full:
                when_done(None)
                return
            self.state_now = change(self.state_now)
            when_done(self.state_now)

        self.waiting.append(do)

    def catch_up(self) -> None:
        for do in self.waiting:
            do()
        self.waiting.clear()


@pytest.mark.anyio
async def test_verdicts_that_a_full_store_refused_come_with_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("llmemo.semantic.certification.PAUSE", 0.0)
    rule, store = Rule(0.1, 0.9), Late()
    durable: Any = store
    one, other = (
        Certification(rule, b"name", durable, PLAIN),
        Certification(rule, b"name", durable, PLAIN),
    )
    certified(rule, one)
    store.catch_up()
    budget: Any = object()
    store.is_full = True
    while one.certificate.threshold is not None:
        one.add(wrong(one))
        store.catch_up()
        await one.refresh(None, budget)  # type: ignore[arg-type]
    await other.refresh(None, budget)  # type: ignore[arg-type]
    assert other.certificate.threshold is not None
    store.is_full = False
    one.add(wrong(one))
    store.catch_up()
    await other.refresh(None, budget)  # type: ignore[arg-type]
    assert other.certificate == one.certificate
    assert other.certificate.resets == 1


@pytest.mark.anyio
async def test_a_look_at_the_store_undoes_no_verdict_on_its_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("llmemo.semantic.certification.PAUSE", 0.0)
    rule, store = Rule(0.1, 0.9), Late()
    durable: Any = store
    one = Certification(rule, b"name", durable, PLAIN)
    certified(rule, one)
    store.catch_up()
    while one.certificate.threshold is not None:
        one.add(wrong(one))
    await one.refresh(None, object())  # type: ignore[arg-type]
    assert one.certificate.threshold is None
    store.catch_up()
    assert one.certificate.resets == 1


def test_verdicts_from_before_a_calibration_count_no_more() -> None:
    rule = Rule(0.1, 0.9)
    certification = Certification(rule, b"name", None, PLAIN)
    late = right(certification)
    certification.replace(certification.certificate)
    certification.add(late)
    assert certification.certificate.checks == 0


KEYS = ["0" * 64, "1" * 64]


def sealed(key: str | list[str] | None) -> Envelope:
    return Envelope(key, is_needed=True)


def of(store: Late, envelope: Envelope, name: bytes = b"name") -> Certification:
    durable: Any = store
    return Certification(Rule(0.1, 0.9), name, durable, envelope)


async def looked(certification: Certification) -> float | None:
    await certification.refresh(None, object())  # type: ignore[arg-type]
    return certification.certificate.threshold


@pytest.fixture
def encrypted() -> Late:
    """A store with a certificate that a process with a key has made."""
    store = Late()
    one = of(store, sealed(KEYS[0]))
    certified(Rule(0.1, 0.9), one)
    store.catch_up()
    return store


@pytest.mark.anyio
async def test_a_certificate_is_sealed_where_there_is_a_key(encrypted: Late) -> None:
    assert encrypted.state_now is not None
    assert encrypted.state_now.startswith(b"llme")
    assert await looked(of(encrypted, sealed(KEYS[0]))) == 0.96
    # With several keys the newest encrypts; any opens.
    assert await looked(of(encrypted, sealed([KEYS[1], KEYS[0]]))) == 0.96


@pytest.mark.anyio
async def test_a_certificate_that_is_not_authentic_certifies_nothing(encrypted: Late) -> None:
    rule, name = Rule(0.1, 0.9), b"name"
    good = Certificate.of_sample(rule, [(0.99, False)] * 500)
    own = sealed(KEYS[0])
    assert encrypted.state_now is not None
    for forged in (
        dumps(good),
        sealed(KEYS[1]).seal_state(dumps(good), name),
        own.seal_state(dumps(good), b"another name"),
        own.seal_question(dumps(good), name),
        encrypted.state_now[:-1] + b"\0",
    ):
        encrypted.state_now = forged
        certification = of(encrypted, own)
        assert await looked(certification) is None
        # It begins again, in its place.
        certified(rule, certification)
        encrypted.catch_up()
        assert await looked(of(encrypted, own)) == 0.96


@pytest.mark.anyio
async def test_a_process_without_the_key_leaves_the_certificate(encrypted: Late) -> None:
    before = encrypted.state_now
    other = of(encrypted, sealed(None))
    assert await looked(other) is None
    certified(Rule(0.1, 0.9), other)
    encrypted.catch_up()
    assert encrypted.state_now == before
    # Its own checks certify for itself.
    assert other.certificate.threshold == 0.96
