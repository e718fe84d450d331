"""`run`: measure, analyse and report."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bench import api, cli
from bench.cli.arguments import TRUST, folder, jobs, names, percent, positive, qps, seconds

if TYPE_CHECKING:
    from bench.cli.arguments import Commands
    from bench.config import BenchConfig

QPS = "for the methods that use the anchor's codec; auto: a pilot chooses those of every method"


def add(commands: "Commands") -> None:
    run = commands.add_parser("run", help="measure, analyse and report (the default)")
    run.add_argument(
        "--config", type=Path, help="a file or the name of one that ships; default: mini"
    )
    run.add_argument("--protocol", help="that the run has to meet, see `list protocols`")
    run.add_argument("--tasks", type=names, help="of the config's, e.g. det,cls")
    run.add_argument("--methods", type=names, help="of the config's, e.g. bpg,jpeg")
    run.add_argument("--qps", type=qps, help=QPS)
    run.add_argument("--data-root", help="DIR, or det=DIR,cls=DIR")
    run.add_argument("--weights", help="FILE, or det=FILE,cls=FILE, or MODEL=FILE,MODEL=FILE")
    untrained = "untrained networks where the config names no weights: tries everything out"
    run.add_argument("--random-weights", action="store_true", help=untrained)
    run.add_argument("--out", type=folder, help="results folder; default: results/<config's name>")
    run.add_argument("--cache", type=folder, help="default: .cache beside the results folder")
    run.add_argument("--limit", type=positive, metavar="N", help="only the first N images")
    run.add_argument("--device", choices=api.DEVICES, default="auto", help="where networks run")
    run.add_argument("--jobs", type=jobs, help="parallel coders; default: all cores")
    run.add_argument("--backend", choices=api.BACKENDS, default="auto", help="where units run")
    run.add_argument(
        "--scheduler", metavar="ADDRESS", help="of a Dask cluster, with --backend dask"
    )
    run.add_argument(
        "--max-failures", type=percent, default=0.01, metavar="PERCENT", help="of images; default 1"
    )
    own = "codecs in processes of their own: a crash costs one image"
    run.add_argument("--isolate", action="store_true", help=own)
    call = "for one call of a codec, or of a model for each image; see docs/reliability.md"
    run.add_argument("--timeout", type=seconds, metavar="SECONDS", help=call)
    run.add_argument("--trust", type=Path, action="append", metavar="FILE", help=TRUST)
    run.add_argument("--set", action="append", metavar="KEY=VALUE", help="change a config value")
    run.add_argument("--dry-run", action="store_true", help="check everything, show the plan, stop")
    run.add_argument("--quiet", action="store_true", help="no progress, no table")


def main(a: argparse.Namespace) -> None:
    from bench.cli import tables
    from bench.progress import Progress

    name, config = api.described(a.config, a.protocol, a.set)
    job = api.planned(
        _chosen(config, a),
        out=a.out or Path("results", name),
        cache=a.cache,
        limit=a.limit,
        device=a.device,
        jobs=a.jobs,
        backend=a.backend,
        scheduler=a.scheduler,
        max_failures=a.max_failures,
        isolate=a.isolate,
        timeout=a.timeout,
        trust=a.trust or (),
        protocol=a.protocol,
    )
    if not a.quiet or a.dry_run:
        cli.err.print(tables.plan(job.experiments, job.protocol))
    _warn(job.untrained)
    if a.dry_run:
        for line in tables.expected(job.experiments):
            cli.err.print(line, markup=False)
        return
    results = api.measured(job, Progress(cli.err, a.quiet))
    for failure in results.failures:
        _warn(failure)
    if not a.quiet:
        cli.out.print(tables.of(results))
    _warn(job.untrained)
    _warn(tables.off_target(results.manifest))
    cli.err.print(tables.counts(results.manifest))
    cli.out.print(f"results in {job.out}: open {job.out / 'report.html'}", markup=False)


def _chosen(config: "BenchConfig", a: argparse.Namespace) -> "BenchConfig":
    from bench import config as configs

    models = {model.name for e in config.experiments for model in e.models}
    return configs.narrowed(
        config,
        tasks=a.tasks,
        methods=a.methods,
        qps=a.qps,
        data_root=configs.per_task("--data-root", a.data_root),
        weights=configs.per_task("--weights", a.weights, models),
        random_weights=a.random_weights,
    )


def _warn(text: str) -> None:
    if text:
        cli.err.print(f"warning: {text}", style="yellow", markup=False)
