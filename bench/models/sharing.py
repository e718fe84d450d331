"""What a network computes for its prediction, used again for its training loss.

A detector's loss is that of each picture by itself, its prediction is made of a batch; backbone,
neck and dense heads compute the same maps for both. So they are run once, on the batch, and stand
in for themselves while the loss of each picture is computed.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import Tensor

P = TypeVar("P")

Part = tuple[Any, str]
"""A module, and the name of its method that maps a batch to maps with N first."""


def with_losses(
    predict: Callable[[], Sequence[P]], loss: Callable[[int], float], parts: list[Part]
) -> list[tuple[P, float]]:
    """What `predict` says of each picture of a batch, and its `loss`, in which the parts give what
    they gave for the batch. A part that was not called once, or answered with anything else than
    maps of the whole batch, is run again."""
    answers: list[list[Any]] = [[] for _ in parts]
    with _replaced(parts, [_recording(p, a) for p, a in zip(parts, answers, strict=True)]):
        found = predict()
    shared = [
        (part, answer[0])
        for part, answer in zip(parts, answers, strict=True)
        if len(answer) == 1 and _is_of(answer[0], len(found))
    ]
    results = []
    for i, prediction in enumerate(found):
        given = [_giving(_cut(answer, i)) for _, answer in shared]
        with _replaced([part for part, _ in shared], given):
            results.append((prediction, loss(i)))
    return results


def _recording(part: Part, answers: list[Any]) -> Callable[..., Any]:
    method = getattr(*part)

    def record(*args: Any, **kwargs: Any) -> Any:
        answers.append(method(*args, **kwargs))
        return answers[-1]

    return record


def _giving(answer: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: answer


@contextmanager
def _replaced(parts: list[Part], methods: list[Callable[..., Any]]) -> Iterator[None]:
    for (owner, name), method in zip(parts, methods, strict=True):
        setattr(owner, name, method)
    try:
        yield
    finally:
        for owner, name in parts:
            delattr(owner, name)  # what the class has shows again


def _is_of(answer: Any, n: int) -> bool:
    if isinstance(answer, Tensor):
        return answer.dim() > 1 and len(answer) == n
    if isinstance(answer, dict):
        return all(_is_of(a, n) for a in answer.values())
    return isinstance(answer, list | tuple) and all(a is None or _is_of(a, n) for a in answer)


def _cut(answer: Any, i: int) -> Any:
    if isinstance(answer, Tensor):
        return answer[i : i + 1]
    if isinstance(answer, dict):
        return {key: _cut(a, i) for key, a in answer.items()}
    return None if answer is None else type(answer)(_cut(a, i) for a in answer)
