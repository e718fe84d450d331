"""How names and numbers are written for people, the same in figures, tables and the page."""

import re

MINUS = "\N{MINUS SIGN}"
NOTHING = "–"

_METRICS = {
    "top1": "Top-1 accuracy",
    "top5": "Top-5 accuracy",
    "cross-entropy": "Cross-entropy (nats)",
    "loss": "Detector's own loss",
    "mask-mAP": "Mask mAP",
    "mask-AP50": "Mask AP50",
    "mask-AP75": "Mask AP75",
    "mask-AP-small": "Mask AP, small",
    "mask-AP-medium": "Mask AP, medium",
    "mask-AP-large": "Mask AP, large",
    "mask-AR100": "Mask AR@100",
    "AP-small": "AP, small",
    "AP-medium": "AP, medium",
    "AP-large": "AP, large",
    "AR100": "AR@100",
    "ECE": "Calibration error",
    "pixel-accuracy": "Pixel accuracy",
    "pixel-cross-entropy": "Cross-entropy per pixel (nats)",
    "agreement": "Top-1 agreement with clean",
    "divergence": "Divergence from clean (nats)",
    "agreement-mAP": "mAP agreement with clean",
    "agreement-AP50": "AP50 agreement with clean",
    "agreement-mask-mAP": "Mask mAP agreement with clean",
    "agreement-mask-AP50": "Mask AP50 agreement with clean",
    "agreement-mIoU": "mIoU agreement with clean",
    "agreement-pixels": "Pixel agreement with clean",
}
_INTERPOLATIONS = {"pchip": "PCHIP", "akima": "Akima"}


def printable(text: str) -> str:
    """Without what steers a terminal, ends a line, or is no text in XML: a blank for each."""
    return re.sub("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]", " ", text)


def one_line(text: str) -> str:
    """For a cell of a table: without line breaks, without blanks that no format shows."""
    return re.sub(r"\s+", " ", printable(text))


def metric_label(metric: str) -> str:
    """For an axis or a column: "top1" → "Top-1 accuracy"; mAP and AP50 are written so already."""
    return _METRICS.get(metric, metric)


def metric_inside(metric: str) -> str:
    """`metric_label` within a sentence: "top-1 accuracy", but "AP50"."""
    label = metric_label(metric)
    return label[0].lower() + label[1:] if label[1:2].islower() else label


def interpolation_label(interpolation: str) -> str:
    return _INTERPOLATIONS.get(interpolation, interpolation)


def number(value: float | None, digits: int) -> str:
    """Fixed digits, a typographic minus, no minus before zero, – for no value."""
    if value is None:
        return NOTHING
    text = f"{abs(value):.{digits}f}"
    negative = value < 0 and float(text) != 0
    return (MINUS if negative else "") + text


def percent(value: float) -> str:
    """A signed percentage without its sign %: "−12.3", "+85.0", "0.0"."""
    return signed(value, 1)


def signed(value: float, digits: int) -> str:
    """As `number`, with a plus before what is above zero."""
    text = number(value, digits)
    return text if text.startswith(MINUS) or float(text) == 0 else f"+{text}"


def with_interval(value: str, low: str, high: str) -> str:
    """ "−12.3 [−15.0, −9.1]", or the value alone where an end of the interval is not known."""
    return value if NOTHING in (low, high) else f"{value} [{low}, {high}]"


def letters(index: int) -> str:
    """0 → a, 25 → z, 26 → aa: marks of footnotes."""
    text = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        text = chr(ord("a") + rest) + text
    return text
