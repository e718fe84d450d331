"""The cache: what is damaged is found out, and nothing but its own files is touched."""

import hashlib
import os
import random
import shutil
import stat
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from bench.cli import main
from bench.errors import BenchError, ConfigError
from bench.sweep import cache as caches
from bench.sweep.cache import MARK, PARTIAL, Cache, Carried, Known, MissingError, key

ENTRY = {"data": np.arange(200, dtype=np.uint8), "psnr": np.array(31.5)}


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    made = Cache(tmp_path / "cache")
    made.prepare()
    return made


def stored(cache: Cache, name: str = "a") -> tuple[str, Path]:
    under = key("test", name=name)
    cache.put(under, ENTRY)
    return under, cache.folder / under[:2] / under[2:]


def test_what_was_put_is_got_and_nothing_else_lies_there(cache: Cache) -> None:
    under, path = stored(cache)
    got = cache.get(under)
    assert got is not None
    assert got.keys() == ENTRY.keys()
    assert all(np.array_equal(got[k], ENTRY[k]) for k in ENTRY)
    assert cache.get(key("test", name="b")) is None
    assert {p for p in cache.folder.rglob("*") if p.is_file()} == {path, cache.folder / MARK}


def test_a_key_is_the_hash_of_all_parts_whatever_their_order() -> None:
    text = f'["test",{caches.FORMAT},{{"name":"a","qp":37}}]'
    assert key("test", name="a", qp=37) == hashlib.sha256(text.encode()).hexdigest()
    assert key("test", qp=37, name="a") == key("test", name="a", qp=37)


def test_any_damage_is_found_out(cache: Cache) -> None:
    under, path = stored(cache)
    whole, draw = path.read_bytes(), random.Random(0)
    for trial in range(200):
        data = bytearray(whole)
        at = draw.randrange(len(data))
        match trial % 4:
            case 0:
                data[at] ^= 1 << draw.randrange(8)
            case 1:
                del data[at:]
            case 2:
                data[at:] = bytes(len(data) - at)
                data[-1] ^= data == whole
            case 3:
                data += bytes(draw.randrange(1, 50))
        path.write_bytes(data)
        with pytest.warns(UserWarning, match=r"is damaged \(its checksum is wrong\) .* made anew"):
            assert cache.get(under) is None


def test_an_entry_that_is_none_says_what_it_lacks(cache: Cache) -> None:
    under, path = stored(cache)
    body = bytes.fromhex(under) + b"no safetensors"
    path.write_bytes(hashlib.sha256(body).digest() + body)
    with pytest.warns(UserWarning, match=r"is damaged \(Error while deserializing"):
        assert cache.get(under) is None


@pytest.mark.parametrize("lies", ["C", "F", "every second"])
def test_an_array_is_got_as_it_was_however_it_lies_in_memory(cache: Cache, lies: str) -> None:
    whole = np.arange(24, dtype=np.float32).reshape(4, 6)
    array = whole[:, ::2] if lies == "every second" else np.array(whole, order=lies)
    cache.put(under := key("test", lies=lies), {"array": array})
    got = cache.get(under)
    assert got is not None
    np.testing.assert_array_equal(got["array"], array)


def test_an_entry_under_another_key_is_found_out(cache: Cache) -> None:
    under, path = stored(cache)
    other, elsewhere = stored(cache, "b")
    elsewhere.write_bytes(path.read_bytes())
    with pytest.warns(UserWarning, match=r"is damaged \(it belongs to another key\)"):
        assert cache.get(other) is None
    assert cache.get(under) is not None


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_entry_that_cannot_be_read_is_made_anew(cache: Cache) -> None:
    under, path = stored(cache)
    path.chmod(0)
    with pytest.warns(UserWarning, match="made anew"):
        assert cache.get(under) is None
    path.chmod(stat.S_IRUSR)


def test_a_full_disk_is_a_sentence_and_leaves_nothing_half_written(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(BenchError) as caught:
        stored(cache)
    assert str(caught.value) == (
        f"cache {cache.folder}: cannot be written (No space left on device). What was measured "
        "until then is kept; make room or name another folder with --cache, and run the same "
        "command again"
    )
    assert [p.name for p in cache.folder.rglob("*") if p.is_file()] == [MARK]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("file", "Not a directory"),
        ("file/below", "Not a directory"),
        ("x" * 300, "File name too long"),
        ("a\0b", "embedded null byte"),
    ],
)
def test_a_cache_that_cannot_be_written_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        ConfigError, match=f"--cache .*cannot be written .*{reason}.*another folder"
    ):
        Cache(tmp_path / name).prepare()


def test_folders_that_were_deleted_meanwhile_are_made_again(cache: Cache) -> None:
    shutil.rmtree(cache.folder)
    under, _ = stored(cache)
    assert cache.get(under) is not None


def half_written(cache: Cache, host: str, process: int) -> Path:
    path = cache.folder / PARTIAL / f"{host}-{process}-0123abcd"
    path.write_text("x")
    return path


GONE = 2**22 + 1
"""More than any process's number."""


def test_verify_size_and_prune(cache: Cache, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [stored(cache, str(i))[1] for i in range(5)]
    for i, path in enumerate(paths):
        os.utime(path, (i, i))
    mine = paths[0].parent / "mine.txt"
    mine.write_text("a file of somebody else")
    half = half_written(cache, caches._host(), GONE)
    size = paths[0].stat().st_size

    assert caches.examine(cache.folder, read=True) == caches.Found(5, 5 * size, [], [half])
    assert main(["cache", "verify", str(cache.folder)]) == 0
    assert "5 entries" in capsys.readouterr().out
    paths[3].write_bytes(b"damaged")
    assert main(["cache", "verify", str(cache.folder)]) == 2
    assert str(paths[3]) in capsys.readouterr().out.replace("\n", "")
    assert main(["cache", "size", str(cache.folder)]) == 0
    assert paths[3].exists()
    assert caches.examine(cache.folder, read=False).damaged == []
    assert caches.prune(cache.folder) == (2, len("damaged") + len("x"))
    assert not paths[3].exists()
    assert not half.exists()
    assert all(p.exists() for i, p in enumerate(paths) if i != 3)
    # The first to be written go first.
    assert main(["cache", "prune", str(cache.folder), "--keep", str(2 * size / 1e9)]) == 0
    assert [p.exists() for p in paths] == [False, False, True, False, True]
    assert mine.exists()
    assert caches.prune(cache.folder, keep=2 * size) == (0, 0)
    assert caches.prune(cache.folder, keep=2 * size - 1) == (1, size)


def test_what_another_program_prunes_meanwhile_is_not_counted(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, path = stored(cache)
    size = path.stat().st_size
    damaged = [path, path.with_name("gone")]
    monkeypatch.setattr(caches, "examine", lambda *_, **__: caches.Found(2, 0, damaged, []))
    assert caches.prune(cache.folder) == (1, size)


def test_an_entry_that_another_program_prunes_while_it_is_looked_at_is_not_damaged(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, path = stored(cache)
    stat = Path.stat

    def pruned_after(self: Path, **options: bool) -> os.stat_result:
        found = stat(self, **options)
        if self == path:
            path.unlink()
        return found

    monkeypatch.setattr(Path, "stat", pruned_after)
    assert caches.examine(cache.folder, read=True).damaged == []
    assert not path.exists()
    assert caches.prune(cache.folder, keep=0) == (0, 0)


@pytest.mark.parametrize("action", ["verify", "prune", "size"])
def test_a_folder_that_is_no_cache_is_refused(
    tmp_path: Path, action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = tmp_path / "ab" / ("0" * 62)
    entry.parent.mkdir()
    entry.write_text("x")
    assert main(["cache", action, str(tmp_path)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"no cache of this program (there is no {MARK} in it); by default it is .cache" in said
    assert entry.exists()


def test_what_killed_processes_left_half_written_goes(cache: Cache) -> None:
    _, path = stored(cache)
    own, dead = (half_written(cache, caches._host(), p) for p in (os.getpid(), GONE))
    elsewhere = half_written(cache, "0" * 8, GONE)
    mine = cache.folder / PARTIAL / "0 mine.txt"
    mine.write_text("a file of somebody else")
    # Named by another host, and gone when it is looked at: it has got its final name meanwhile.
    (cache.folder / PARTIAL / f"{'1' * 8}-7-0123abcd").symlink_to("nowhere")
    cache.prepare()
    assert not dead.exists()
    assert own.exists()
    assert elsewhere.exists()
    long_ago = time.time() - 2 * caches.ABANDONED
    os.utime(elsewhere, (long_ago, long_ago))
    caches.prune(cache.folder)
    assert not elsewhere.exists()
    assert own.exists()
    assert mine.exists()
    assert path.exists()


def test_what_is_carried_goes_with_the_thread_that_put_it() -> None:
    carried, key = Carried(), "ab" * 32
    carried.put(key, entry := {"a": np.arange(3)})
    assert carried.get(key) is entry
    elsewhere = []
    thread = threading.Thread(target=lambda: elsewhere.append(carried.get(key)))
    thread.start()
    thread.join()
    assert elsewhere == [None]
    assert list(carried.taken()) == [key]
    assert carried.get(key) is None
    assert carried.taken() == {}


def test_a_known_cache_says_what_is_missing(tmp_path: Path) -> None:
    key = "cd" * 32
    with pytest.raises(MissingError, match=key):
        Known(tmp_path).get(key)
    Cache(tmp_path).put(key, {"a": np.arange(3)})
    assert Known(tmp_path).get(key)["a"].tolist() == [0, 1, 2]


def test_a_mark_is_seen_in_its_own_folder_alone(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "one")
    cache.prepare()
    with cache.marked() as mark:
        assert (tmp_path / "one" / PARTIAL / mark).is_file()
    assert not (tmp_path / "one" / PARTIAL / mark).exists()


def test_what_an_older_format_cached_is_not_taken(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The format is part of every key, so nothing is misread, nor taken for damage."""
    monkeypatch.setattr(caches, "FORMAT", caches.FORMAT - 1)
    stored(cache)
    monkeypatch.undo()
    assert cache.get(key("test", name="a")) is None
    assert caches.examine(cache.folder, read=True).damaged == []
