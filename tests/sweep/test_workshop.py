"""What a process keeps for its units."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bench.sweep import workshop
from bench.sweep.cache import Cache
from bench.sweep.workshop import Workshop

ROOM = 3
"""Pictures for which there is room."""


class Pictures:
    """Of 100 bytes each, all of the value of their number."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(workshop, "RECENT", 100 * ROOM + 99)
        self.shop = Workshop([], Cache(tmp_path), "cpu", 1)
        self.made: list[int] = []

    def asked(self, number: int) -> int:
        def make() -> workshop.Pixels:
            self.made.append(number)
            return np.full(100, number, np.uint8)

        return int(self.shop.recent(str(number), make)[0])


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pictures:
    return Pictures(tmp_path, monkeypatch)


def test_pictures_that_were_asked_for_last_are_not_made_again(pictures: Pictures) -> None:
    for number in (1, 2, 3, 1, 2, 3):
        assert pictures.asked(number) == number
    assert pictures.made == [1, 2, 3]
    pictures.asked(1)
    pictures.asked(4)  # 2 has waited longest, and goes
    pictures.made.clear()
    for number in (3, 1, 4, 2):
        pictures.asked(number)
    assert pictures.made == [2]


def test_a_picture_that_is_larger_than_the_room_is_not_kept(pictures: Pictures) -> None:
    pictures.asked(1)
    large = pictures.shop.recent("large", lambda: np.zeros(10_000, np.uint8))
    assert large.nbytes == 10_000
    pictures.asked(1)
    pictures.asked(1)
    assert pictures.made == [1, 1]


def test_threads_get_what_they_asked_for(pictures: Pictures) -> None:
    numbers = np.random.default_rng(0).integers(0, 8, 2000).tolist()
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(pictures.asked, numbers)) == numbers
    pictures.made.clear()
    for number in range(ROOM):
        pictures.asked(100 + number)
    for number in range(ROOM):
        pictures.asked(100 + number)
    assert pictures.made == [100, 101, 102]
