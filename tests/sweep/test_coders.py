"""The threads that code: results in order, and nothing that a unit needs stays behind in them."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.sweep.cache import Cache, Carried, Known
from bench.sweep.watchdog import Watchdog
from bench.sweep.workshop import Workshop


@pytest.fixture
def shop() -> Iterator[Workshop]:
    made = Workshop([], Carried(), "cpu", coders=3)
    yield made
    made.close()


def test_results_are_in_the_order_of_the_pictures(shop: Workshop) -> None:
    def late(i: int) -> int:
        time.sleep(0.002 * (10 - i))
        return i

    assert shop.coded(late, range(10)) == list(range(10))


def test_no_more_threads_code_than_there_are_coders(shop: Workshop) -> None:
    at_once, most, lock = 0, 0, threading.Lock()

    def counted(_: int) -> str:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.005)
        with lock:
            at_once -= 1
        return threading.current_thread().name

    units = [threading.Thread(target=shop.coded, args=(counted, range(8))) for _ in range(4)]
    for unit in units:
        unit.start()
    for unit in units:
        unit.join()
    assert most == 3


def test_what_coders_put_into_a_carried_cache_goes_with_the_unit(shop: Workshop) -> None:
    def put(i: int) -> None:
        shop.cache.put(str(i), {"data": np.array([i])})

    shop.coded(put, range(20))
    assert isinstance(shop.cache, Carried)
    assert {k: int(v["data"][0]) for k, v in shop.cache.taken().items()} == {
        str(i): i for i in range(20)
    }
    assert shop.coded(lambda _: shop.cache.get("3"), range(6)) == [None] * 6  # nothing stayed


def test_coders_know_which_picture_their_unit_is_about(shop: Workshop) -> None:
    watchdog = Watchdog(1.0, None)
    with watchdog.looking_at("0/7"):
        seen = shop.coded(lambda _: watchdog.call("encode").picture, range(3))
    assert seen == ["0/7"] * 3
    assert shop.coded(lambda _: watchdog.call("encode").picture, range(3)) == [None] * 3


def test_an_error_of_one_picture_ends_the_unit_and_not_the_coders(shop: Workshop) -> None:
    def failing(i: int) -> int:
        if i == 2:
            raise ValueError("two")
        return i

    with pytest.raises(ValueError, match="two"):
        shop.coded(failing, range(40))
    assert shop.coded(failing, [0, 1]) == [0, 1]


def test_what_is_known_is_read_without_them(shop: Workshop, tmp_path: Path) -> None:
    known = shop.with_cache(Known(Cache(tmp_path).folder))
    here = threading.current_thread().name
    assert known.coded(lambda _: threading.current_thread().name, range(3)) == [here] * 3
