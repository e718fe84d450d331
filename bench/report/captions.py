"""What a paper writes below a figure, as LaTeX: `\\caption` and `\\label`."""

from bench.analysis.bdrate import GOOD_OVERLAP
from bench.report.curve_figures import Panel, drawable, has_intervals, told_apart
from bench.report.latex import engine_remark, paragraph
from bench.report.results import Curves, Results
from bench.report.text import interpolation_label, metric_inside, metric_label
from bench.results.pictures import KeptPicture

LITTLE = f"†: the curves share less than {100 * GOOD_OVERLAP:.0f} % of their range of accuracy."
PAIRED = "Intervals in brackets are of 95 %, paired over images."


def caption(results: Results, stem: str, sentences: list[str]) -> str:
    """The file beside a figure, to be read with `\\input` inside a float. Empty sentences and
    repeated ones are left out."""
    if results.random_weights:
        sentences = [*sentences, results.random_weights]
    text = " ".join(dict.fromkeys(filter(None, sentences)))
    lines = [*engine_remark([text]), rf"\caption{{{paragraph(text)}}}", rf"\label{{fig:{stem}}}"]
    return "\n".join(lines) + "\n"


def of_curves(results: Results, curves: Curves, legend: list[str]) -> list[str]:
    """`legend` are the entries of the figure's legend."""
    view = results.view(curves.dataset, curves.model)
    first = next(p for points in curves.methods.values() for p in points)
    return [
        f"{metric_label(curves.metric)} of {curves.model} on {curves.dataset} "
        f"({first.n_images} images{f', view {view}' if view else ''}) against rate.",
        _bd_rates(results, curves.anchor, legend),
        *_marks(results, [Panel(curves, results.accepted(curves))]),
    ]


def of_panels(results: Results, panels: list[Panel]) -> list[str]:
    metrics = dict.fromkeys(metric_label(p.curves.metric) for p in panels)
    return [
        f"{_listed(list(metrics))} against rate, of each model on its data set.",
        *_marks(results, panels),
    ]


def of_forest(results: Results, texts: list[str]) -> list[str]:
    """`texts` are the numbers that stand beside the intervals."""
    within = results.manifest.analysis.within
    return [
        "Bits at equal accuracy in percent of the anchor's; negative saves bits. Left: over all "
        "accuracies that both curves reach (BD-rate). Right: over accuracies "
        f"{within[0]:g} to {within[-1]:g} % below the uncompressed score.",
        f"{interpolation_label(results.interpolation)} interpolation.",
        "Lines are 95 % intervals, paired over images." if any("[" in t for t in texts) else "",
        f"Hollow, {LITTLE}" if any("†" in t for t in texts) else "",
    ]


def of_pictures(pictures: list[KeptPicture]) -> list[str]:
    first = pictures[0]
    words = {"median": "nearest to the median change", "worst": "the worst change"}
    rules = " and ".join(f"{p.image} ({words[p.rule]})" for p in pictures)
    return [
        f"Pictures of {first.dataset} as {first.model} sees them: the original, "
        f"{first.anchor.method} and {first.method.method} at about equal bits: {rules} of "
        f"{metric_inside(first.metric)} from one to the other.",
        "Outlined in orange is what is labelled wrongly."
        if any(mark.outline for p in pictures for mark in (*p.anchor.marks, *p.method.marks))
        else "Solid boxes are detections, right in green and wrong in orange; dashed ones are "
        "objects that were missed."
        if any(mark.box for p in pictures for mark in p.original.marks)
        else "",
        "Right: what the preprocessor removed, four times enlarged around gray."
        if any(p.removed for p in pictures)
        else "",
    ]


def of_savings(results: Results, curves: Curves) -> list[str]:
    return [
        f"Bits at equal accuracy in percent of those of {curves.anchor}, of {curves.model} on "
        f"{curves.dataset}, over the accuracy ({metric_inside(curves.metric)}), which is also "
        "given in percent of the uncompressed score. Negative saves bits.",
        "Bands and bars are 95 % intervals of the comparison, paired over images; a point is "
        "missing where a curve does not reach the accuracy.",
        f"{interpolation_label(results.interpolation)} interpolation.",
    ]


def of_bars(results: Results, texts: list[str]) -> list[str]:
    return [
        "BD-rate in percent against each run's own anchor; negative saves bits.",
        f"{interpolation_label(results.interpolation)} interpolation.",
        "Lines are 95 % intervals, paired over images." if any("[" in t for t in texts) else "",
        f"Hatched, {LITTLE}" if any("†" in t for t in texts) else "",
    ]


def _bd_rates(results: Results, anchor: str, legend: list[str]) -> str:
    if not any("%" in entry or "undefined" in entry for entry in legend):
        return ""
    parts = [
        f"In the legend: BD-rate against {anchor} "
        f"({interpolation_label(results.interpolation)} interpolation); negative saves bits."
    ]
    parts += [PAIRED] if any("[" in entry for entry in legend) else []
    parts += [LITTLE] if any("†" in entry for entry in legend) else []
    return " ".join(parts)


def _marks(results: Results, panels: list[Panel]) -> list[str]:
    """What is drawn besides lines."""
    points = [p for c in panels for own in c.curves.methods.values() for p in drawable(own)]
    within = results.manifest.analysis.within
    return [
        "Bands are the 95 % interval of each point by itself; methods are compared on the same "
        "images, so that bands may overlap where the paired difference is clear."
        if any(has_intervals(panel.curves) for panel in panels)
        else "",
        "Hollow: points that BD-rates leave out or average into the line."
        if any(p.change and not p.published for p in points)
        else "",
        "Hollow all along: published curves, without intervals."
        if any(p.published for p in points)
        else "",
        "Dashed: the uncompressed images." if any(p.curves.clean for p in panels) else "",
        f"Shaded: {within[0]:g} to {within[-1]:g} % worse than uncompressed."
        if any(panel.shaded for panel in panels)
        else "",
        "Grey: methods that are best at no rate, or not among the first of those that are."
        if any(len(told_apart(p.curves)) < len(p.curves.methods) for p in panels)
        else "",
    ]


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
