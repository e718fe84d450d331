"""A short run of perf/bpg_fuzz.py, in this process."""

import warnings

import pytest

from bench.codecs.bpg import picture
from perf import bpg_fuzz


def test_damaged_files_give_a_picture_or_a_bpg_error() -> None:
    """Any other exception goes through `outcome`; so would a picture of another size."""
    results = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", picture.BpgWarning)
        results = [bpg_fuzz.outcome(bpg_fuzz.damaged(number)) for number in range(1500)]
    # it would prove nothing if all were refused at the first byte
    assert results.count("picture") > 150
    assert len(set(results)) > 15


def test_the_good_files_are_good() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", picture.BpgWarning)
        for number, data in enumerate(bpg_fuzz.good_files()):
            assert bpg_fuzz.outcome(data) == "picture", number


@pytest.mark.parametrize("number", [0, 1, 17, 400])
def test_a_damaged_file_can_be_made_again(number: int) -> None:
    assert bpg_fuzz.damaged(number) == bpg_fuzz.damaged(number)
    assert len(bpg_fuzz.damaged(number)) <= bpg_fuzz.LARGEST
