"""Names of one category in different data sets."""

ALIASES = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}
"""Pascal VOC's names → COCO's, where the two differ."""


def common_name(name: str) -> str:
    """By which categories are matched: COCO's name, whatever the case, `_` and `-` as spaces."""
    plain = " ".join(name.lower().replace("_", " ").replace("-", " ").split())
    return ALIASES.get(plain, plain)
