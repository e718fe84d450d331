"""A real Dask cluster of two processes: the same bytes, and workers that die or do not fit."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench import config as configs
from bench.cli import main
from bench.errors import BenchError, ConfigError
from bench.sweep import cluster, versions, workshop
from bench.sweep.cache import Cache
from bench.sweep.execute import Run
from bench.sweep.plan import plan

dask = pytest.importorskip("dask", reason="the extra `dask` is not installed")
distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
psutil = pytest.importorskip("psutil", reason="comes with the extra `dask`")


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Left to itself it would give up a worker that is not back after 0.1 s (usually 15 s)."""
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": 0.1}),
        cluster.local(2, "cpu") as there,
    ):
        yield there.scheduler_address


def run(config: Path, pictures: Path, out: Path, *more: str) -> int:
    words = ["--config", config, "--data-root", pictures, "--out", out, "--cache", f"{out}-cache"]
    words += ["--quiet", "--device", "cpu", "--set", "analysis.resamples=20", *more]
    return main(list(map(str, words)))


def measured(out: Path) -> dict[str, bytes]:
    """Every table, but for what took how long."""
    found = [*out.rglob("*.parquet"), *out.glob("*.csv")]
    return {
        p.relative_to(out).as_posix(): p.read_bytes() for p in found if p.name != "costs.parquet"
    }


def test_cluster_and_threads_give_the_same_bytes(
    config: Path, pictures: Path, tmp_path: Path, scheduler: str
) -> None:
    assert run(config, pictures, tmp_path / "threads") == 0
    assert (
        run(config, pictures, tmp_path / "dask", "--backend", "dask", "--scheduler", scheduler) == 0
    )
    assert measured(tmp_path / "threads") == measured(tmp_path / "dask")


def test_a_worker_killed_in_mid_run_changes_nothing(
    config: Path, pictures: Path, tmp_path: Path
) -> None:
    assert run(config, pictures, tmp_path / "threads") == 0
    killed = []

    def kill_one() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not killed:
            if sum(1 for _ in (tmp_path / "dask-cache").glob("??/*")) > 30:
                workers = [
                    p.pid
                    for p in psutil.Process().children(recursive=True)
                    if "spawn_main" in " ".join(p.cmdline())
                ]
                os.kill(workers[0], signal.SIGKILL)
                killed.append(workers[0])
            time.sleep(0.01)

    killer = threading.Thread(target=kill_one)
    killer.start()
    code = run(config, pictures, tmp_path / "dask", "--backend", "dask", "--jobs", "2")
    killer.join()
    assert (code, len(killed)) == (0, 1)
    assert measured(tmp_path / "threads") == measured(tmp_path / "dask")


def fatal_at_five(n: int) -> int:
    if n == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return n


def test_an_item_that_kills_its_workers_costs_that_item(scheduler: str) -> None:
    with distributed.Client(scheduler) as client:
        there = cluster.Cluster(client)
        found = there.stream(fatal_at_five, range(3, 9), lambda n: -n)
        assert sorted(found) == [-5, 3, 4, 6, 7, 8]
        assert there.alone(fatal_at_five, 4) == 4


@pytest.fixture
def planned(config: Path, pictures: Path) -> tuple[configs.BenchConfig, list]:
    described = configs.narrowed(configs.load(config), data_root={"": str(pictures)})
    return described, plan(described, torch.device("cpu"), None)


def test_what_workers_without_the_cache_folder_measured_is_kept(
    planned: tuple[configs.BenchConfig, list], tmp_path: Path, scheduler: str
) -> None:
    config, experiments = planned
    cache = Cache(tmp_path / "cache")
    counts = []
    for _ in range(2):
        with workshop.opened(config, experiments, torch.device("cpu"), None, cache, 2) as setup:
            # A mark that no folder has: as on a machine that has another folder of that name.
            alone = replace(setup, mark="of another machine")
            with cluster.opened(scheduler, 2, alone) as there:
                run = Run(alone, experiments, there, lambda *_: lambda *_: None, 0.0)
                views = [v for result in run.clean(0) for v in result.views]
                for _ in run.points([views]):
                    pass
                counts.append(run.counts)
    n, points = len(experiments[0].dataset.samples), len(experiments[0].points)
    assert counts[0].computed["coded"] == n * points
    assert counts[1].computed["coded"] == 0
    assert counts[1].cached["coded"] == n * points
    assert counts[1].computed["predicted"] == 0


def test_a_worker_with_another_version_is_refused_before_any_work(
    planned: tuple[configs.BenchConfig, list], tmp_path: Path, scheduler: str
) -> None:
    config, experiments = planned
    cache = Cache(tmp_path / "cache")
    with workshop.opened(config, experiments, torch.device("cpu"), None, cache, 2) as setup:
        other = replace(setup, mark="x", versions=setup.versions | {"torch": "1.0", "spam": "2"})
        with pytest.raises(BenchError) as refused, cluster.opened(scheduler, 2, other):
            pass
    said = str(refused.value)
    assert f"torch: {versions.here()['torch']} here, 1.0 there" in said
    assert "spam: not installed here, 2 there" in said
    assert "Dask worker tcp://" in said


def test_a_worker_with_other_data_is_refused(
    planned: tuple[configs.BenchConfig, list], tmp_path: Path, scheduler: str
) -> None:
    config, experiments = planned
    cache = Cache(tmp_path / "cache")
    with workshop.opened(config, experiments, torch.device("cpu"), None, cache, 2) as setup:
        other = replace(setup, mark="y", data=("another hash",))
        with (
            pytest.raises(BenchError, match="other images or annotations on this worker"),
            cluster.opened(scheduler, 2, other),
        ):
            pass


SCHEDULER = """
import time
from distributed import LocalCluster

if __name__ == "__main__":
    there = LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None, processes=False,
        protocol="tcp", host="127.0.0.1",
    )
    print(there.scheduler_address, flush=True)
    time.sleep(600)
"""


def test_a_scheduler_that_falls_silent_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is frozen, so that its connections stay."""
    monkeypatch.setattr(cluster, "SILENT", 2.0)
    process = subprocess.Popen([sys.executable, "-c", SCHEDULER], stdout=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().strip()
        with distributed.Client(address, timeout=15) as client:
            found = cluster.Cluster(client).stream(abs, range(50), lambda n: -n)
            next(found)
            process.send_signal(signal.SIGSTOP)
            with pytest.raises(BenchError, match="scheduler has not answered for 2 s"):
                list(found)
    finally:
        process.kill()
        process.wait()


def test_a_scheduler_that_does_not_answer_is_refused(
    config: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "ANSWER", 1.0)
    with (
        pytest.raises(ConfigError, match=r"--scheduler tcp://127.0.0.1:9: no scheduler"),
        cluster.opened("tcp://127.0.0.1:9", 1, None),
    ):
        pass
    assert not (tmp_path / "out").exists()


def test_versions_agree_with_themselves() -> None:
    assert versions.differences(versions.here()) == ""
    assert Counter(versions.here())["rabench"]
