"""Packages that are installed badly are named, and stop nothing else."""

from pathlib import Path

import pytest

from bench.errors import ConfigError
from bench.models.base import LIBRARIES
from bench.registry import existing_file, packages

ABOUT = b"Metadata-Version: 2.1\nName: odd-package\nVersion: 3.1\n"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """A package `odd-package` with these entry points, code and metadata."""

    def install(entries: bytes, code: str = "", about: bytes | None = ABOUT) -> None:
        info = tmp_path / "odd_package-3.1.dist-info"
        info.mkdir()
        (info / "entry_points.txt").write_bytes(b"[bench.models]\n" + entries)
        if about is not None:
            (info / "METADATA").write_bytes(about)
        (tmp_path / "odd_package.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(__import__("sys").modules, "odd_package", raising=False)

    return install


@pytest.mark.parametrize("entries", [b"odd\n", b"odd = odd_package:\xe9\n", b"=\n\xff"])
def test_entry_points_that_cannot_be_read(install, entries: bytes) -> None:  # type: ignore[no-untyped-def]
    before = LIBRARIES.names()
    install(entries)
    said = "odd-package has entry points that cannot be read.*install it again, or uninstall it"
    with pytest.warns(UserWarning, match=said):
        assert LIBRARIES.names() == before
    # Once is enough.
    assert LIBRARIES.get("mini").load
    with pytest.raises(ConfigError, match="unknown model library 'o"):
        LIBRARIES.get("odd")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise RuntimeError('no licence')", "cannot be loaded.*RuntimeError: no licence"),
        ("import sys; sys.exit(3)", "cannot be loaded.*SystemExit: 3"),
        ("odd = 5", "cannot be loaded.*AttributeError"),
        (
            "class L:\n  def __getattr__(self, n): raise OSError('gone')\nLIBRARY = L()",
            "OSError: g",
        ),
        ("LIBRARY = 5", "is not a model library: odd_package:LIBRARY has no load"),
    ],
)
def test_code_that_offers_no_library(install, code: str, said: str) -> None:  # type: ignore[no-untyped-def]
    install(b"odd = odd_package:LIBRARY\n", code)
    assert packages()["odd-package"] == "3.1"
    assert LIBRARIES.package("odd") == "odd-package 3.1"
    with pytest.raises(ConfigError, match=rf"of the installed package odd-package 3\.1.*{said}"):
        LIBRARIES.get("odd")
    assert LIBRARIES.get("mini").load


@pytest.mark.parametrize("about", [None, b"", b"Name: \xff\xfe\n"])
def test_a_package_without_a_readable_name(install, about: bytes | None) -> None:  # type: ignore[no-untyped-def]
    install(b"odd = odd_package:LIBRARY\n", "LIBRARY = 5", about)
    assert all(isinstance(text, str) for item in packages().items() for text in item)
    with pytest.raises(ConfigError, match=r"of the installed package .*is not a model library"):
        LIBRARIES.get("odd")


@pytest.mark.parametrize("name", ["", ".", "x" * 5000, "a\0b", "\ud800", "no/such/file"])
def test_names_that_no_file_has(name: str) -> None:
    assert existing_file(name) is None


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert existing_file(str(tmp_path)) is None
    assert existing_file(str(tmp_path / "file")) == tmp_path / "file"
