"""What was read of a file is found again by its blob, and whatever is wrong with the cache is never an error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.parse_cache import VARIABLE, ParseCache, folder

BLOB, OTHER = "a" * 40, "b" * 40


def files_of(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_what_was_put_is_found_by_the_same_schemas_only(tmp_path: Path) -> None:
    ParseCache(tmp_path, "1" * 64).put(BLOB, b"rows")
    assert ParseCache(tmp_path, "1" * 64).get(BLOB) == b"rows"
    assert ParseCache(tmp_path, "1" * 64).get(OTHER) is None
    assert ParseCache(tmp_path, "2" * 64).get(BLOB) is None


@pytest.mark.parametrize("damage", [b"", b"x", b"x" * 100, None])
def test_a_damaged_file_counts_as_not_there(tmp_path: Path, damage: bytes | None) -> None:
    cache = ParseCache(tmp_path, "1" * 64)
    cache.put(BLOB, b"rows")
    [file] = files_of(tmp_path)
    file.write_bytes(file.read_bytes()[:-1] if damage is None else damage)
    assert cache.get(BLOB) is None
    cache.put(BLOB, b"rows")
    assert cache.get(BLOB) == b"rows"


def test_what_was_kept_of_one_blob_is_not_taken_for_another(tmp_path: Path) -> None:
    cache = ParseCache(tmp_path, "1" * 64)
    cache.put(BLOB, b"rows")
    [file] = files_of(tmp_path)
    file.rename(file.with_name(OTHER))
    assert cache.get(OTHER) is None


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = ParseCache(tmp_path / "file", "1" * 64)
    cache.put(BLOB, b"rows")
    assert cache.get(BLOB) is None


def test_without_a_folder_nothing_is_kept() -> None:
    cache = ParseCache(None, "1" * 64)
    cache.put(BLOB, b"rows")
    assert cache.get(BLOB) is None


def test_what_is_old_goes_when_new_schemas_come(tmp_path: Path) -> None:
    ParseCache(tmp_path, "1" * 64).put(BLOB, b"old")
    [file] = files_of(tmp_path)
    os.utime(file, (0, 0))
    ParseCache(tmp_path, "2" * 64).put(OTHER, b"new")
    assert [path.name for path in files_of(tmp_path)] == [OTHER]
    assert len(list(tmp_path.iterdir())) == 1


def test_nothing_is_readable_for_others(tmp_path: Path) -> None:
    ParseCache(tmp_path / "cache", "1" * 64).put(BLOB, b"rows")
    [file] = files_of(tmp_path)
    assert file.stat().st_mode & 0o077 == 0
    assert file.parent.stat().st_mode & 0o077 == 0


def test_where_the_folder_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/somewhere")
    assert folder() == Path("/somewhere")
    monkeypatch.setenv(VARIABLE, "")
    assert folder() is None
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert folder() == Path("/cache/reconcile")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/ana")
    assert folder() == Path("/home/ana/.cache/reconcile")
