"""The command line: run (the default) and the commands around it, by name."""

import argparse
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.boundary import FAILED, answered, prepared
from bench.errors import BenchError, ConfigError

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from bench.sweep.plan import Experiment

DEFAULT_CONFIG = Path(__file__).parent.parent / "configs" / "mini.yaml"
MOST_JOBS = 256


def _console(stderr: bool) -> Console:
    """Tables keep their width when written to a file."""
    console = Console(stderr=stderr, highlight=False, soft_wrap=True)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=140)


err, out = _console(True), _console(False)


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _integers(text: str) -> list[int]:
    try:
        return [int(part) for part in _names(text)]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list like 37,40,43") from None


def _percent(text: str) -> float:
    try:
        value = float(text.rstrip("%"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage like 1") from None
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text} is outside 0…100 percent")
    return value / 100


def _effect(text: str) -> float:
    try:
        value = abs(float(text.rstrip("%")))
    except ValueError:
        value = 0.0
    if not 0 < value < 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a BD-rate like 5, in percent")
    return value


def _positive(text: str, most: int = 10**9) -> int:
    if not re.fullmatch("[0-9]{1,10}", text) or not 1 <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {most:,}")
    return int(text)


def _jobs(text: str) -> int:
    return _positive(text, MOST_JOBS)


def _folder(text: str) -> Path:
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a folder")
    return Path(text)


def _gigabytes(text: str) -> int:
    try:
        value = float(text.lower().removesuffix("gb"))
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of gigabytes like 20")
    return int(value * 1e9)


def parser() -> argparse.ArgumentParser:
    main = argparse.ArgumentParser(
        prog="run_bench.py",
        description="Rate–accuracy benchmarking for image coding for machines.",
        epilog="Without a command it runs; `run_bench.py run --help` lists its options.",
    )
    commands = main.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="measure, analyse and report (the default)")
    run.add_argument(
        "--config", type=Path, default=DEFAULT_CONFIG, help="default: the built-in set"
    )
    run.add_argument("--tasks", type=_names, help="of the config's, e.g. det,cls")
    run.add_argument("--methods", type=_names, help="of the config's, e.g. bpg,jpeg")
    run.add_argument("--qps", type=_integers, help="for the methods that use the anchor's codec")
    run.add_argument("--data-root", help="DIR, or det=DIR,cls=DIR")
    run.add_argument("--weights", help="FILE, or det=FILE,cls=FILE, or MODEL=FILE,MODEL=FILE")
    run.add_argument(
        "--random-weights",
        action="store_true",
        help="untrained networks where the config names no weights: tries everything out",
    )
    run.add_argument("--out", type=_folder, help="results folder; default: results/<config's name>")
    run.add_argument("--cache", type=_folder, help="default: .cache beside the results folder")
    run.add_argument("--limit", type=_positive, metavar="N", help="only the first N images")
    run.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    run.add_argument("--jobs", type=_jobs, help="parallel coders; default: all cores")
    run.add_argument("--backend", choices=["threading", "loky"], default="threading")
    run.add_argument(
        "--max-failures",
        type=_percent,
        default=0.01,
        metavar="PERCENT",
        help="of images; default 1",
    )
    run.add_argument("--set", action="append", metavar="KEY=VALUE", help="change a config value")
    run.add_argument("--dry-run", action="store_true", help="check everything, show the plan, stop")
    run.add_argument("--quiet", action="store_true")

    commands.add_parser("doctor", help="what is installed, what works, what mends the rest")

    report = commands.add_parser("report", help="redo tables, figures and report.html")
    report.add_argument("results", type=Path)

    compare = commands.add_parser(
        "compare", help="judge a run against a baseline: 0 fine, 1 worse, 2 not comparable"
    )
    compare.add_argument("baseline", type=Path, help="made by `baseline`, or a results folder")
    compare.add_argument("results", type=Path)
    compare.add_argument(
        "--threshold",
        type=_percent,
        default=0.01,
        metavar="PERCENT",
        help="of rate at equal accuracy that is let pass; default 1",
    )
    compare.add_argument("--format", choices=["text", "markdown", "json", "junit"], default="text")

    baseline = commands.add_parser("baseline", help="keep a run to compare later ones with")
    baseline.add_argument("results", type=Path)
    baseline.add_argument("file", type=Path, help="NAME.json; Parquet files come beside it")

    power = commands.add_parser("power", help="how many images it takes to tell a BD-rate from 0")
    power.add_argument("results", type=Path)
    power.add_argument(
        "--effect", type=_effect, default=5.0, metavar="PERCENT", help="BD-rate; default 5"
    )
    power.add_argument(
        "--power",
        type=_percent,
        default=0.8,
        metavar="PERCENT",
        help="of studies that are to find it; default 80",
    )

    train = commands.add_parser("train", help="train what is compared")
    train.add_argument("what", choices=["npp", "qa-npp", "proxy", "controls", "task"])
    train.add_argument("--config", type=Path, required=True)
    train.add_argument("--out", type=_folder, required=True)
    train.add_argument("--set", action="append", metavar="KEY=VALUE", help="change a config value")
    train.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    train.add_argument("--resume", action="store_true")

    what = commands.add_parser("list", help="what there is to choose from")
    what.add_argument("what", choices=["codecs", "preprocessors", "models", "datasets", "methods"])
    what.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="whose methods to list")

    codec = commands.add_parser("codec", help="use a codec by hand")
    codec.add_argument("action", choices=["encode", "decode", "info"])
    codec.add_argument("input", type=Path)
    codec.add_argument("output", type=Path, nargs="?")
    codec.add_argument("--codec", default="bpg")
    codec.add_argument("--qp", type=int)
    codec.add_argument(
        "--option",
        action="append",
        metavar="KEY=VALUE",
        help="of the codec, e.g. pixel_format=4:4:4",
    )
    codec.add_argument(
        "--background",
        choices=["white", "black", "gray"],
        help="put transparent pictures on it; default: keep the alpha plane",
    )

    cache = commands.add_parser("cache", help="look after a cache of measurements")
    cache.add_argument("action", choices=["verify", "prune", "size"])
    cache.add_argument("folder", type=_folder, help="by default .cache beside the results folder")
    cache.add_argument(
        "--keep",
        type=_gigabytes,
        metavar="GB",
        help="prune: delete what was written first until this is left; default: the damaged only",
    )

    dataset = commands.add_parser("dataset", help="say what is wrong with a data set")
    dataset.add_argument("action", choices=["check"])
    dataset.add_argument("root", type=Path)
    dataset.add_argument(
        "--format", choices=["coco", "imagenet", "voc", "folder"], help="default: by its files"
    )
    dataset.add_argument(
        "--option",
        action="append",
        metavar="KEY=VALUE",
        help="of the format, e.g. images=val2017 or split=val",
    )
    dataset.add_argument("--deep", action="store_true", help="decode every image to its end")
    return main


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 2 refused or failed (the reason is on stderr), 130 interrupted; of
    `compare` 1 if anything is worse, 2 if anything could not be compared."""
    # OpenMP's threads spin while they wait, and when anything else wants the cores (our own coding
    # threads do) every step of a network then takes tens of times longer.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # What mmdetection says of its own use of torch is not for the user of this suite.
    warnings.filterwarnings("ignore", category=FutureWarning, module="mmdet|mmengine|mmcv")
    warnings.filterwarnings("ignore", message="torch.meshgrid")
    # joblib's, where a run is refused while units of work are still in flight.
    warnings.filterwarnings("ignore", message=".*have been (successfully executed|cancelled)")
    words = list(sys.argv[1:] if argv is None else argv)
    commands: dict[str, Callable[[argparse.Namespace], int | None]] = {
        "run": _run,
        "report": _report,
        "compare": _compare,
        "baseline": _baseline,
        "power": _power,
        "train": _train,
        "list": _list,
        "doctor": _doctor,
        "codec": _codec,
        "cache": _cache,
        "dataset": _dataset,
    }
    if not words or (words[0] not in commands and words[0] not in ("-h", "--help")):
        words.insert(0, "run")
    arguments = parser().parse_args(words)
    prepared()
    return answered(lambda: commands[arguments.command](arguments), err)


def _device(name: str) -> "torch.device":
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: torch finds no CUDA device here; use cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _run(a: argparse.Namespace) -> None:
    from joblib import cpu_count

    from bench import config as configs
    from bench import report
    from bench.analysis import analyse
    from bench.progress import Progress
    from bench.results import folder as folders
    from bench.sweep import execute, plan, run, workshop
    from bench.sweep.cache import Cache
    from bench.sweep.workers import Workers

    loaded = configs.load(a.config, a.set)
    config = configs.narrowed(
        loaded,
        tasks=a.tasks,
        methods=a.methods,
        qps=a.qps,
        data_root=configs.per_task("--data-root", a.data_root),
        weights=configs.per_task(
            "--weights", a.weights, {m.name for e in loaded.experiments for m in e.models}
        ),
        random_weights=a.random_weights,
    )
    device = _device(a.device)
    out_folder = a.out or Path("results") / a.config.stem
    named = out_folder if out_folder.name not in ("", "..") else out_folder.resolve()
    cache = Cache(a.cache or named.parent / ".cache")
    folders.check(out_folder, cache.folder)
    data = [e.dataset for e in config.experiments]
    folders.require_outside(out_folder, [(d.format, d.root) for d in data if d.root])
    experiments = plan.plan(config, device, a.limit)
    if not a.quiet or a.dry_run:
        _print_plan(experiments)
    untrained = plan.random_weights(experiments)
    if untrained:
        err.print(f"warning: {plan.UNTRAINED} {', '.join(untrained)}", style="yellow", markup=False)
    if a.dry_run:
        _print_cost(experiments, a.jobs or cpu_count())
        return
    with Progress(err, a.quiet) as progress, folders.writing(out_folder, cache.folder) as place:
        setup = workshop.opened(config, experiments, device, a.limit, cache)
        workers = Workers(a.jobs or cpu_count(), a.backend)
        measure = execute.Run(setup, experiments, workers, progress.start, a.max_failures)
        name = place.root.name
        manifest = run.run(config, measure, device, place.work, name, progress.say)
        progress.say("analysing and drawing")
        try:
            _, bd = analyse(place.work)
            report.write(place.work)
        except Exception:
            place.publish()  # what was measured, whatever became of its figures
            raise
        place.publish()
    for failure in manifest["failures"]:
        point = f"{failure['method']} at QP {failure['qp']}" if failure["method"] else "as it is"
        who = f"{failure['model']}, " if failure["model"] else ""
        err.print(
            f"warning: {failure['dataset']}: {failure['image']} is left out everywhere "
            f"({who}{point}: {failure['stage']}: {failure['error']})",
            style="yellow",
            markup=False,
        )
    if not a.quiet:
        _print_bd(bd, config.analysis.interpolation)
    if untrained:
        err.print(f"warning: {plan.UNTRAINED} {', '.join(untrained)}", style="yellow", markup=False)
    computed, cached = manifest["computed"], manifest["cached"]
    err.print(
        f"coded {computed.get('coded', 0)} pictures ({cached.get('coded', 0)} more from the cache),"
        f" predicted {computed.get('predicted', 0)} ({cached.get('predicted', 0)} more); "
        f"{', '.join(f'{k} {v:.0f} s' for k, v in manifest['timings'].items())}"
    )
    out.print(f"results in {out_folder}: open {out_folder / 'report.html'}", markup=False)


def _print_plan(experiments: "list[Experiment]") -> None:
    table = Table("data set", "images", "models", "methods and QPs", "to code", "to predict")
    for e in experiments:
        n, points = len(e.dataset.samples), len(e.points)
        grid = "\n".join(
            f"{m}{' (anchor)' if m == e.config.anchor else ''}: {', '.join(map(str, qps))}"
            for m, qps in e.grid().items()
        )
        names = "\n".join(f"{m.spec.name} ({m.view.split(':')[0]} view)" for m in e.models)
        table.add_row(
            escape(e.dataset.name),
            str(n),
            escape(names),
            escape(grid),
            str(n * points * len(e.views)),
            str(n * (points + 1) * len(e.models)),
        )
    err.print(table)


def _print_cost(experiments: "list[Experiment]", jobs: int) -> None:
    """Builds every network, and codes and predicts the first picture."""
    from bench.sweep import cost

    table = Table("data set", "what", "takes", "in all")
    total = 0.0
    for e in experiments:
        for what, each, times in cost.estimate(e, jobs):
            table.add_row(
                escape(e.dataset.name),
                escape(what),
                f"{each:.2f} s",
                f"× {times} = {each * times:.0f} s",
            )
            total += each * times
    err.print(table)
    err.print(
        f"about {total / 60:.0f} minutes if nothing is in the cache, by the first picture of each "
        "data set",
        markup=False,
    )


def _print_bd(bd: "pd.DataFrame", interpolation: str) -> None:
    table = Table("data set", "model", "metric", "method", "BD-rate", "95 % interval")
    for row in bd[bd["interpolation"] == interpolation].itertuples():
        ok = row.status == "ok"
        withheld = row.ci_low != row.ci_low
        interval = row.reason if withheld else f"{row.ci_low:+.1f} … {row.ci_high:+.1f} %"
        table.add_row(
            escape(row.dataset),
            escape(row.model),
            row.metric,
            escape(f"{row.method} vs {row.anchor}"),
            f"{row.bd_rate:+.1f} %" if ok else "undefined",
            escape(interval if ok else row.reason),
        )
    out.print(table)


def _report(a: argparse.Namespace) -> None:
    from bench import report
    from bench.analysis import analyse
    from bench.analysis.results import load
    from bench.results import folder as folders

    load(a.results)  # refuses what is no results folder before anything is written there
    with folders.updating(a.results) as place:
        analyse(place.work)
        written = report.write(place.work)
        place.publish()
    for path in written:
        out.print(str(a.results / path.relative_to(place.work)), markup=False)


def _compare(a: argparse.Namespace) -> int:
    from bench.analysis.compare import compare
    from bench.report.verdicts import render

    comparison = compare(a.baseline, a.results, 100 * a.threshold)
    sys.stdout.write(render(comparison, a.format))
    return comparison.exit_code


def _baseline(a: argparse.Namespace) -> None:
    from bench.analysis import baseline

    for path in baseline.write(a.results, a.file):
        out.print(str(path), markup=False)


def _power(a: argparse.Namespace) -> None:
    from bench.analysis.curves import measure
    from bench.analysis.power import power_table
    from bench.analysis.results import load

    if not 0 < a.power < 1:
        raise ConfigError(f"--power {100 * a.power:g}: between 0 and 100 percent is expected")
    results = load(a.results)
    analysis = results.manifest.analysis
    measurements = [
        measure(results, experiment, model)
        for experiment in results.manifest.experiments
        for model in experiment.models
    ]
    table = Table(
        "data set", "model", "metric", "method", "images", "tells from 0", f"for {a.effect:g} %"
    )
    rows = power_table(measurements, analysis.policy, analysis.interpolation, a.effect, a.power)
    for row in rows:
        table.add_row(
            escape(row.dataset),
            escape(row.model),
            row.metric,
            escape(f"{row.method} vs {row.anchor}"),
            str(row.n_images),
            escape(row.reason) if row.detectable is None else f"{row.detectable:.1f} %",
            "" if row.images_needed is None else f"{row.images_needed:,} images",
        )
    out.print(table)
    out.print(
        f"tells from 0: the smallest BD-rate that {100 * a.power:g} % of sets of so many images "
        f"would tell from 0 (their 95 % interval excludes it); for {a.effect:g} %: images it would "
        "take. The spread of the resamples is taken to fall with the root of the number of images.",
        markup=False,
    )


def _train(a: argparse.Namespace) -> None:
    from bench import config as configs
    from bench.training import controls, learned_proxy, loop, npp, task_model

    raw = configs.read(a.config, a.set)
    device = _device(a.device)
    with loop.claimed(a.out, a.resume):
        if a.what == "task":
            path = task_model.train(raw, a.out, device, a.resume)
        elif a.what == "proxy":
            path = learned_proxy.train(raw, a.out, device, a.resume, err)
        elif a.what == "controls":
            path = controls.choose(raw, a.out, device, err)
        else:
            path = npp.train(a.what, raw, a.out, device, a.resume, err)
    out.print(f"written: {path}", markup=False)


def _doctor(a: argparse.Namespace) -> None:
    # A backend of matplotlib that is named but not there would make libraries look broken.
    from bench import doctor
    from bench.analysis import plain_matplotlib  # noqa: F401

    findings = []
    for finding in doctor.examine():
        findings.append(finding)
        good = finding.state == doctor.USABLE
        style = "green" if good else "red" if finding.needed else "yellow"
        # Not wrapped: a command is to be copied.
        out.print(f"{finding.what}: {finding.state}", style=style, markup=False, end=" ")
        out.print(f"({finding.detail})", markup=False, soft_wrap=True)
        if finding.remedy:
            out.print(f"    to mend it: {finding.remedy}", markup=False, soft_wrap=True)
    broken = [f.what for f in findings if f.needed and f.state != doctor.USABLE]
    if broken:
        raise ConfigError(f"nothing can run before this is mended: {', '.join(broken)}")


def _list(a: argparse.Namespace) -> None:
    from bench import config as configs

    if a.what != "methods":
        _list_registered(a.what)
        return
    for e in configs.load(a.config).experiments:
        for name, method in e.methods.items():
            qps = method.qps or e.methods[e.anchor].qps or []
            anchor = "  (anchor)" if name == e.anchor else ""
            out.print(f"{e.task}  {name}  QP {', '.join(map(str, qps))}{anchor}", markup=False)


def _list_registered(what: str) -> None:
    """Built in or offered by an installed package; one that is broken does not hide the others."""
    from bench.codecs import CODECS
    from bench.codecs import make as codec
    from bench.codecs.base import says
    from bench.datasets import DATASETS
    from bench.datasets.base import options
    from bench.models import LIBRARIES
    from bench.preprocessors import PREPROCESSORS
    from bench.registry import Registry

    def codec_line(name: str) -> list[str]:
        return [f"{name}  QP {says(codec(name).qps)}"]

    def dataset_line(name: str) -> list[str]:
        has = options(name)
        return [name + (f"  options: {', '.join(has)}" if has else "")]

    def preprocessor_line(name: str) -> list[str]:
        PREPROCESSORS.get(name)
        return [name]

    def models_of(library: str) -> list[str]:
        return [f"{library}  {name}" for name in LIBRARIES.get(library).names()]

    listed: dict[str, tuple[Registry[Any], Callable[[str], list[str]]]] = {
        "codecs": (CODECS, codec_line),
        "datasets": (DATASETS, dataset_line),
        "preprocessors": (PREPROCESSORS, preprocessor_line),
        "models": (LIBRARIES, models_of),
    }
    registry, lines_of = listed[what]
    for name in registry.names():
        for clash in registry.clashes(name):
            err.print(f"warning: {clash}", style="yellow", markup=False, soft_wrap=True)
        package = registry.package(name)
        try:
            with warnings.catch_warnings(action="ignore"):
                lines = lines_of(name)
        except Exception as error:
            if not (package or isinstance(error, BenchError)):
                raise
            lines = [f"{name}  not usable here: {error}"]
        origin = f"  (from {package})" if package else ""
        for line in lines:
            out.print(line + origin, markup=False, soft_wrap=True)


def _codec(a: argparse.Namespace) -> None:
    from bench.codecs import files

    spec = files.spec(a.codec, a.option or [])
    if a.action == "info":
        out.print(files.info_text(a.input, spec), markup=False)
        return
    if a.output is None:
        raise ConfigError(f"codec {a.action} needs an output file after {a.input}")
    if a.action == "encode":
        line = files.encode_file(a.input, a.output, spec, a.qp, a.background)
    else:
        line = files.decode_file(a.input, a.output, spec, a.background)
    out.print(line, markup=False)


def _cache(a: argparse.Namespace) -> int:
    from bench.sweep import cache

    if a.action == "prune":
        deleted, freed = cache.prune(a.folder, a.keep)
        out.print(f"{deleted} files deleted, {freed / 1e6:.1f} MB freed", markup=False)
        return 0
    found = cache.examine(a.folder, read=a.action == "verify")
    out.print(f"{found.entries} entries, {found.n_bytes / 1e6:.1f} MB", markup=False)
    if found.abandoned:
        out.print(f"{len(found.abandoned)} half-written by runs that were killed", markup=False)
    if a.action == "size":
        return 0
    for path in found.damaged[:SHOWN]:
        out.print(f"damaged: {path}", markup=False, soft_wrap=True)
    out.print(
        f"{len(found.damaged)} damaged"
        + ("; `cache prune` deletes them, and runs make them anew" if found.damaged else ""),
        markup=False,
    )
    return FAILED if found.damaged else 0


SHOWN = 5
"""Examples of each kind of fault."""


def _dataset(a: argparse.Namespace) -> int:
    from bench.datasets import check
    from bench.progress import Progress

    options = dict(part.partition("=")[::2] for part in a.option or [])
    format = a.format or check.guess(a.root)
    with Progress(err, quiet=False) as progress:
        findings = check.check(a.root, format, options, a.deep, progress.start)
    table = Table("", escape(f"{a.root}"), show_header=True)
    table.add_row("format", format + ("" if a.format else " (by its files)"))
    for name, value in findings.facts.items():
        table.add_row(escape(name), escape(value))
    out.print(table)
    for title, style, kinds in (
        ("fault", "red", findings.faults),
        ("remark", "yellow", findings.remarks),
    ):
        for kind, cases in kinds.items():
            if cases:
                out.print(f"{title}: {kind}: {len(cases)}", style=style, markup=False)
            shown = len(cases) if kind == "notes" else SHOWN
            for case in cases[:shown]:
                out.print(f"    {case}", markup=False, soft_wrap=True)
            if len(cases) > shown:
                out.print(f"    … and {len(cases) - shown} more", markup=False)
    n = sum(map(len, findings.faults.values()))
    looked = "every image was decoded" if a.deep else "headers and ends; --deep decodes every image"
    out.print(f"{n} faults ({looked})", markup=False, soft_wrap=True)
    return FAILED if n else 0
