"""Tables that units bring in any order, kept in one file until they are put in order."""

from collections import defaultdict
from collections.abc import Hashable
from pathlib import Path
from types import TracebackType

import pyarrow as pa

from bench.atomic import named


class Spill:
    """Append-only; what is remembered of a table is where it lies. Raises OSError, which names the
    file."""

    def __init__(self, file: Path) -> None:
        self._path = file
        self._file = file.open("w+b")
        self._pieces: defaultdict[Hashable, list[tuple[int, int, int]]] = defaultdict(list)

    def __enter__(self) -> "Spill":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            with named(self._path):
                self._file.close()
        finally:
            self._path.unlink()

    def add(self, name: Hashable, start: int, table: pa.Table) -> None:
        """A piece of the table `name`, which begins with the sample `start`."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        data = sink.getvalue()
        with named(self._path):
            at = self._file.seek(0, 2)
            self._file.write(data)
        self._pieces[name].append((start, at, data.size))

    def table(self, name: Hashable) -> pa.Table:
        """All pieces by their samples, as if they had come in order."""
        tables = []
        for _, at, size in sorted(self._pieces[name]):
            with named(self._path):
                self._file.seek(at)
                data = self._file.read(size)
            tables.append(pa.ipc.open_stream(data).read_all())
        return pa.concat_tables(tables, promote_options="default").combine_chunks()
