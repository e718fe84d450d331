"""A results folder: what a run measured, read back without the code that measured it."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bench.results import manifest as manifests
from bench.results.files import ResultsError, check_columns, parse_table, read_bytes
from bench.results.folder import complete
from bench.results.manifest import CHANGED, Experiment, Manifest, Model
from bench.results.names import IMAGES, MANIFEST, point_name, statistics_path
from bench.results.rows import IMAGE_KINDS, LATER


@dataclass(frozen=True)
class Results:
    """A results folder, its manifest and its rates. Statistics are read on demand."""

    root: Path
    manifest: Manifest
    images: pd.DataFrame
    """A row per image × view × method × QP, columns those of `rows.ImageRow`; NaN in a column that
    an older version did not write."""

    def surviving(self, experiment: Experiment, model: Model) -> NDArray[np.bool_]:
        """(n_images,) whether the image has a result at every point of (dataset, model).

        One failure anywhere leaves an image out of all points, so that they rest on the same ones.
        """
        alive = np.ones(experiment.n_images, bool)
        for failure in self.manifest.failures:
            if failure.dataset == experiment.dataset and failure.model in (None, model.name):
                alive[failure.index] = False
        return alive

    def rates(
        self, experiment: Experiment, model: Model, method: str, qp: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(n_images,) bits and (n_images,) pixels, NaN where an image has none.

        Raises ResultsError if an image that did not fail has no row.
        """
        bits, width, height = (
            self.of_images(column, experiment, model, method, qp)
            for column in ("bits", "width", "height")
        )
        pixels = width * height
        usable = (bits > 0) & (pixels > 0) & np.isfinite(bits) & np.isfinite(pixels)
        missing = self.surviving(experiment, model) & ~usable
        if missing.any():
            names = [experiment.images[i] for i in np.flatnonzero(missing)[:3]]
            raise ResultsError(
                f"{self.root / IMAGES}: no bits or no size for {missing.sum()} images of "
                f"{experiment.dataset} (view {model.coded_view}, {method}, {point_name(qp)}), e.g. "
                f"{', '.join(names)}, and the manifest lists no failure for them; run it again "
                "with the same arguments to finish it"
            )
        return bits, pixels

    def of_images(
        self, column: str, experiment: Experiment, model: Model, method: str, qp: int
    ) -> NDArray[np.float64]:
        """(n_images,) numbers of images.parquet at an operating point, NaN where there are none."""
        values = np.full(experiment.n_images, np.nan)
        rows = self._by_point.get((experiment.dataset, model.coded_view, method, qp))
        if rows is not None:
            values[self.images["index"].to_numpy()[rows]] = self.images[column].to_numpy()[rows]
        return values

    def statistics(
        self, experiment: Experiment, model: Model, method: str, qp: int | None
    ) -> pa.Table:
        """The statistics table of an operating point.

        Raises ResultsError if there is none, or if it holds a NaN or an image that is none of the
        data set's.
        """
        path = statistics_path(
            self.root, experiment.task, experiment.dataset, model.name, method, qp
        )
        table = _read_table(self.root, path, self.manifest)
        _check_statistics(path, table, experiment)
        return table

    @cached_property
    def _by_point(self) -> dict[tuple[str, str, str, int], NDArray[np.int64]]:
        columns = ("dataset", "view", "method", "qp")
        groups: dict[tuple[str, str, str, int], list[int]] = {}
        keys = zip(*(self.images[name].tolist() for name in columns), strict=True)
        for row, key in enumerate(keys):
            groups.setdefault(key, []).append(row)
        return {key: np.array(rows, np.int64) for key, rows in groups.items()}


def load(root: Path) -> Results:
    """Read a results folder.

    Raises ResultsError, naming the file and the field, for a folder that is missing, unfinished,
    damaged, of another schema, or at odds with itself.
    """
    complete(root)
    manifest = manifests.read(root / MANIFEST)
    path = root / IMAGES
    table = _read_table(root, path, manifest)
    kinds = {n: k for n, k in IMAGE_KINDS.items() if n in table.column_names or n not in LATER}
    check_columns(path, table, kinds)
    images = table.select(list(kinds)).to_pandas().reindex(columns=list(IMAGE_KINDS))
    check_images(path, images, manifest)
    return Results(root, manifest, images)


def check_images(path: Path, images: pd.DataFrame, manifest: Manifest) -> None:
    key = ["dataset", "view", "method", "qp", "index"]
    if images.duplicated(key).any():
        row = images.loc[images.duplicated(key), key].iloc[0].to_dict()
        raise ResultsError(f"{path}: two rows for {row}")
    for experiment in manifest.experiments:
        rows = images[images["dataset"] == experiment.dataset]
        if rows.empty:
            continue
        index = rows["index"].to_numpy()
        inside = (index >= 0) & (index < experiment.n_images)
        names = np.array(experiment.images, object)
        agree = inside & (names[np.where(inside, index, 0)] == rows["image"].to_numpy())
        if not agree.all():
            row = rows.loc[~agree, ["image", "index"]].iloc[0].to_dict()
            raise ResultsError(
                f"{path}: image {row['image']!r} stands at index {row['index']} of "
                f"{experiment.dataset}, the manifest says otherwise"
            )


def _check_statistics(path: Path, table: pa.Table, experiment: Experiment) -> None:
    check_columns(path, table, {"image": "integer"})
    image = table["image"].to_numpy()
    if len(image) and not (image.min() >= 0 and image.max() < experiment.n_images):
        raise ResultsError(
            f"{path}: column image runs from {image.min()} to {image.max()}, "
            f"{experiment.dataset} has images 0 to {experiment.n_images - 1}"
        )
    for field in table.schema:
        if pa.types.is_floating(field.type):
            # Null is no value; a NaN is one that no run writes, as a NaN prediction is a failure.
            finite = pc.fill_null(pc.is_finite(table[field.name]), True).to_numpy()
            broken = np.flatnonzero(~finite)
            if len(broken):
                name = experiment.images[int(image[broken[0]])]
                raise ResultsError(
                    f"{path}: column {field.name} is NaN or infinite in {len(broken)} rows, first "
                    f"for image {name}; run it again with the same arguments to measure it again"
                )


def _read_table(root: Path, path: Path, manifest: Manifest) -> pa.Table:
    data = read_bytes(path)
    if manifest.files is not None:
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else ""
        digest = manifest.files.get(name)
        if digest != hashlib.sha256(data).hexdigest():
            raise ResultsError(f"{path}: {CHANGED}")
    return parse_table(path, data)
