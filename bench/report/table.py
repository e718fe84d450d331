"""A table before it is written: cells, footnotes and the names of its rows."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Cell:
    """A cell's text, with the marks of its footnotes and whether it is a clear win or loss."""

    text: str
    marks: str = ""
    verdict: str = ""
    """better or worse where the whole interval is on one side of zero, else empty."""
    best: bool = False
    """Whether it saves more bits than the others of its row and the anchor."""


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header. `names` counts the leading columns that name the row."""

    key: str
    caption: str
    header: list[str]
    rows: list[list[Cell]]
    names: int
    notes: list[tuple[str, str]] = field(default_factory=list)
    by_method: bool = False
    """Whether the columns beyond the names are methods."""

    def group(self, row: list[Cell]) -> str:
        """What heads a group of rows: all of a row's names but the last."""
        named = zip(self.header, row[: self.names - 1], strict=False)
        return " · ".join(f"anchor {c.text}" if h == "Anchor" else c.text for h, c in named)
