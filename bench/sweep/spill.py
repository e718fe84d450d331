"""Tables that units bring in any order, kept in one file until they are put in order."""

from collections import defaultdict
from collections.abc import Hashable
from pathlib import Path
from types import TracebackType

import pyarrow as pa


class Spill:
    """Append-only; what is remembered of a table is where it lies."""

    def __init__(self, file: Path) -> None:
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
        path = Path(self._file.name)
        self._file.close()
        path.unlink()

    def add(self, name: Hashable, start: int, table: pa.Table) -> None:
        """A piece of the table `name`, which begins with the sample `start`."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        data = sink.getvalue()
        at = self._file.seek(0, 2)
        self._file.write(data)
        self._pieces[name].append((start, at, data.size))

    def table(self, name: Hashable) -> pa.Table:
        """All pieces by their samples, as if they had come in order."""
        tables = []
        for _, at, size in sorted(self._pieces[name]):
            self._file.seek(at)
            tables.append(pa.ipc.open_stream(self._file.read(size)).read_all())
        return pa.concat_tables(tables, promote_options="default").combine_chunks()
