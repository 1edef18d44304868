"""Where a report is written: whole or not at all, and for its user alone."""

from __future__ import annotations

import os
import signal
import stat
import sys
from pathlib import Path

import pytest
from support.doubles import FakeStore, answer

from llmemo import CacheClosedError, ConfigurationError, LLMCache
from llmemo.report import write
from llmemo.report.contents import Contents, contents_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes of files")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_is_for_its_user_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = LLMCache().report(tmp_path / "report.html")
    finally:
        os.umask(before)
    assert path == tmp_path / "report.html"
    assert mode(path) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.touch()
    LLMCache().report(path)
    path.chmod(0o644)
    LLMCache().report(path)
    assert mode(path) == 0o644
    assert path.read_text("utf-8").startswith("<!DOCTYPE html>")


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    other, link = tmp_path / "other.html", tmp_path / "report.html"
    before = LLMCache().report(other).read_bytes()
    link.symlink_to(other)
    LLMCache(max_entries=77).report(link)
    assert not link.is_symlink()
    assert mode(link) == 0o600
    assert other.read_bytes() == before != link.read_bytes()


@pytest.mark.parametrize("is_link", [False, True])
@pytest.mark.parametrize("content", [b"notes", b"<!DOCTYPE html>\n<title>mine</title>"])
def test_a_file_that_is_no_report_stays(tmp_path: Path, content: bytes, is_link: bool) -> None:
    path = file = tmp_path / "mine"
    file.write_bytes(content)
    if is_link:
        path = tmp_path / "link"
        path.symlink_to(file)
    with pytest.raises(ConfigurationError, match="no report of llmemo.*give another name"):
        LLMCache().report(path)
    assert file.read_bytes() == content
    assert path.is_symlink() is is_link


@pytest.mark.parametrize("is_used", [False, True])
@pytest.mark.parametrize("end", ["", "-wal", "-lock"])
def test_a_caches_own_file_stays_also_before_it_is_there(
    tmp_path: Path, end: str, is_used: bool
) -> None:
    path = tmp_path / "over.db"
    with LLMCache(path) as cache:
        if is_used:
            cache.update("q", "m", answer("q"))
        with pytest.raises(ConfigurationError, match="give another name"):
            cache.report(f"{path}{end}")
        cache.update("p", "m", answer("p"))
    with LLMCache(path) as cache:
        assert cache.lookup("p", "m") is not None
        assert cache.lookup("q", "m") is not None or not is_used


def test_a_file_of_two_stores_and_of_another_cache(tmp_path: Path) -> None:
    with LLMCache(tmp_path / "other.db") as other:
        other.update("q", "m", answer("q"))
        with LLMCache([tmp_path / "near.db", FakeStore()]) as cache:
            for name in ("near.db", "other.db"):
                with pytest.raises(ConfigurationError, match="give another name"):
                    cache.report(tmp_path / name)


def test_a_file_that_comes_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"

    def slow(*given: object, **named: object) -> Contents:
        path.write_text("mine")
        return contents_of(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(write, "contents_of", slow)
    with pytest.raises(ConfigurationError, match="no report of llmemo"):
        LLMCache().report(path)
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


def test_a_relative_path_and_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert LLMCache().report("a.html") == tmp_path / "a.html"
    assert LLMCache().report("~/b.html") == tmp_path / "b.html"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("", "give the name of a file"),
        ("a\0b", "give the name of a file"),
        (b"report.html", "give a str or a Path"),
        (None, "give a str or a Path"),
        ("folder", "is a folder"),
        ("folder/", "is a folder"),
        ("missing/report.html", "there is no folder"),
        ("/dev/null", "is a device"),
    ],
)
def test_a_path_that_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: object, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigurationError, match=says):
        LLMCache().report(path)  # type: ignore[arg-type]
    assert [it.name for it in tmp_path.iterdir()] == ["folder"]


def test_a_folder_that_takes_no_files() -> None:
    if not Path("/proc/self").exists():
        pytest.skip("no /proc, the folder that refuses even root")
    with pytest.raises(OSError, match="/proc"):
        LLMCache().report("/proc/report.html")


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = LLMCache().report(tmp_path / "report.html")
    before = path.read_bytes()
    cache = LLMCache()
    cache.update("q", "m", answer("q"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            cache.report(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_texts_is_yes_or_no(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="texts"):
        LLMCache().report(tmp_path / "a.html", texts="yes")  # type: ignore[arg-type]


def test_a_closed_cache_has_no_report(tmp_path: Path) -> None:
    cache = LLMCache()
    cache.close()
    with pytest.raises(CacheClosedError, match="before `close`"):
        cache.report(tmp_path / "a.html")
    assert list(tmp_path.iterdir()) == []
