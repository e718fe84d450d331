"""Files changed at random: a data set is read or refused with a sentence, quickly, nothing else."""

import copy
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.datasets import coco, imagenet, voc
from bench.datasets.base import Dataset
from bench.datasets.check import check
from bench.errors import DataError

EXTREMES: list[Any] = [
    None, True, False, 0, 1, -1, 1.0, 0.5, 2**63, 10**30, 10**400, 1e308, -1e308, float("nan"),
    float("inf"), "", "0", "1", "false", "x", "\ud800", "a\0b", "../x.png", "/etc/passwd", ".",
    "a" * 5000, [], {}, [1], {"a": 1}, [[[]]], [None] * 4, ["1"] * 4, [1e308] * 4, [0, 0, 0, 0],
    [-5, -5, 1e9, 1e9], "٣", "²",
]  # fmt: skip
QUICK = 5.0
"""Seconds for one damaged set of three small images."""


def pictures(folder: Path, suffix: str) -> None:
    folder.mkdir(parents=True)
    for i in range(3):
        noise = np.random.default_rng(i).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{i}.{suffix}")


def outcome(load: Callable[[Path], Dataset], root: Path, format: str) -> Dataset | None:
    """The data set, or None where it was refused; `check` agrees."""
    started = time.monotonic()
    found = check(root, format, {}, False, lambda what, n: lambda steps: None)
    lines = [f"{kind}: {case}" for kind, cases in found.faults.items() for case in cases]
    data, refusal = None, ""
    try:
        data = load(root)
    except DataError as error:
        refusal = str(error)
    assert data is not None or lines, f"load refuses, check does not: {refusal}"
    refusal.encode()
    said = [f"{kind}: {case}" for kind, cases in found.remarks.items() for case in cases]
    "\n".join(lines + said + list(found.facts.values())).encode()
    assert time.monotonic() - started < QUICK
    if data is not None:
        sound(data)
        for note in data.notes:
            kind = note.split(": ")[0]
            assert any(note in line or line.startswith(f"{kind}:") for line in said), note
    return data


def sound(data: Dataset) -> None:
    """What a data set may hold at all."""
    names = [s.name for s in data.samples]
    assert len(set(names)) == len(names)
    for sample in data.samples:
        assert not sample.name.startswith("/")
        assert ".." not in sample.name.split("/")
        sample.name.encode()
        for key, value in sample.target.to_arrays().items():
            assert np.isfinite(value.astype(np.float64)).all(), key
        labels = np.atleast_1d(sample.target.labels if data.task == "det" else sample.target.label)
        assert set(labels.tolist()) <= set(data.categories)
    if data.task == "det":
        assert any((~s.target.iscrowd).any() for s in data.samples)
    "".join([*data.categories.values(), *data.notes]).encode()


# COCO


def valid() -> dict[str, Any]:
    return {
        "info": {"year": 2017},
        "images": [
            {"id": i, "file_name": f"{i}.png", "height": 20, "width": 30} for i in range(3)
        ],
        "categories": [
            {"id": 1, "name": "dog", "supercategory": "animal"},
            {"id": 2, "name": "car", "supercategory": "vehicle"},
        ],
        "annotations": [
            {"id": i + 1, "image_id": i, "category_id": 1 + i % 2, "bbox": [1, 2, 9.5, 8],
             "area": 76.0, "iscrowd": 0}
            for i in range(3)
        ],
    }  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a document."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    found = [(value, key) for key in keys]
    for key in keys:
        if isinstance(value[key], dict | list):
            found += places(value[key])
    return found


def damage(document: dict[str, Any], rng: random.Random) -> None:
    container, key = rng.choice(places(document))
    kind = rng.randrange(5)
    if kind == 0:
        del container[key]
    elif kind == 1 and isinstance(container, list):
        container.append(copy.deepcopy(container[key]))
    elif kind == 2:
        other, place = rng.choice(places(document))
        container[key] = copy.deepcopy(other[place])
    elif kind == 3 and isinstance(container, dict):
        container[rng.choice(["id", "name", "bbox", "ignore", "file_name"])] = rng.choice(EXTREMES)
    else:
        container[key] = rng.choice(EXTREMES)


def test_damaged_coco(tmp_path: Path) -> None:
    pictures(tmp_path / "images", "png")
    read = refused = 0
    for seed in range(250):
        rng = random.Random(seed)
        document = valid()
        for _ in range(rng.randint(1, 3)):
            if places(document):
                damage(document, rng)
        (tmp_path / "instances.json").write_text(json.dumps(document))
        data = outcome(coco.load, tmp_path, "coco")
        read, refused = read + (data is not None), refused + (data is None)
    assert read > 20  # or nothing was tried but refusals
    assert refused > 60


# VOC

XML = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<annotation><filename>{i}.jpg</filename><size>'
    "<width>30</width><height>20</height><depth>3</depth></size><object><name>dog</name>"
    "<difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>20</xmax><ymax>9.5</ymax>"
    "</bndbox></object><object><name>cat</name><truncated>1</truncated><bndbox><xmin>3</xmin>"
    "<ymin>2</ymin><xmax>20</xmax><ymax>9</ymax></bndbox></object></annotation>"
)


def damaged_text(text: str, rng: random.Random) -> bytes:
    tokens = [">1<", ">30<", ">dog<", ">0<", "<object>", "</object>", "<bndbox>", "UTF-8", "<name>"]
    worse = [str(v) for v in EXTREMES if v is not None and str(v).isprintable()] + [
        "nan", "1e400", "gb2312", "utf-16", "ansi", "hex", "<x>", "&lt;", "&no;", "1_0",
    ]  # fmt: skip
    for _ in range(rng.randint(1, 2)):
        token, new = rng.choice(tokens), rng.choice(worse)
        if token.startswith(">"):
            new = f">{new}<"
        at = rng.choice([i for i in range(len(text)) if text.startswith(token, i)] or [0])
        text = text[:at] + new + text[at + len(token) :]
    return text.encode()


def flipped(content: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(damaged))
        how = rng.randrange(3)
        if how == 0:
            damaged[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            del damaged[at : at + rng.randint(1, 20)]
        else:
            damaged[at:at] = rng.choice([b"\0", b"\xff", b'"', b"<", b"\n", b"1e9", b"-"])
        if not damaged:
            break
    return bytes(damaged)


def test_damaged_voc(tmp_path: Path) -> None:
    pictures(tmp_path / "JPEGImages", "jpg")
    (tmp_path / "Annotations").mkdir()
    for i in range(3):
        (tmp_path / "Annotations" / f"{i}.xml").write_text(XML.format(i=i))
    read = refused = 0
    for seed in range(250):
        rng = random.Random(seed)
        content = damaged_text(XML, rng) if seed % 2 else flipped(XML.encode(), rng)
        (tmp_path / "Annotations" / "1.xml").write_bytes(content)
        data = outcome(voc.load, tmp_path, "voc")
        read, refused = read + (data is not None), refused + (data is None)
    assert read > 10
    assert refused > 60


def test_damaged_lists_of_voc(tmp_path: Path) -> None:
    pictures(tmp_path / "JPEGImages", "jpg")
    (tmp_path / "Annotations").mkdir()
    for i in range(3):
        (tmp_path / "Annotations" / f"{i}.xml").write_text(XML.format(i=i))
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    for seed in range(100):
        content = flipped(b"0\n1 -1\r\n2  0\n", random.Random(seed))
        (tmp_path / "ImageSets" / "Main" / "test.txt").write_bytes(content)
        outcome(voc.load, tmp_path, "voc")


# labels.csv and JSON, byte by byte


def test_damaged_labels(tmp_path: Path) -> None:
    pictures(tmp_path / "images", "png")
    rows = 'file,wnid,class_index,name\n0.png,n01440764,0,"a, b"\n1.png,,3.0,x\n2.png,,7,y\n'
    read = refused = 0
    for seed in range(250):
        (tmp_path / "labels.csv").write_bytes(flipped(rows.encode(), random.Random(seed)))
        data = outcome(imagenet.load, tmp_path, "imagenet")
        read, refused = read + (data is not None), refused + (data is None)
    assert read > 10
    assert refused > 60


def test_damaged_bytes_of_coco(tmp_path: Path) -> None:
    pictures(tmp_path / "images", "png")
    for seed in range(150):
        content = flipped(json.dumps(valid()).encode(), random.Random(seed))
        (tmp_path / "instances.json").write_bytes(content)
        outcome(coco.load, tmp_path, "coco")


@pytest.mark.parametrize(
    "content",
    [
        b'{"images":' + b"[" * 100_000,
        b"[" * 900 + b"]" * 900,
        b'{"images": [' + b'{"a":' * 50_000,
        b'{"images": [], "annotations": [], "categories": [{"id": ' + b"9" * 5000 + b"}]}",
        b'{"images": [], "annotations": [], "categories": [{"id": 1e999}]}',
        b'{"images": [], "images": [], "annotations": [], "categories": []}',
        b'{"images": [{"id": 1, "id": 2}], "annotations": [], "categories": []}',
        b"\xff\xfe{\0}\0",
        b"\xef\xbb\xbf",
        b"\0" * 100,
        b"",
        b"NaN",
    ],
)
def test_hostile_json(tmp_path: Path, content: bytes) -> None:
    pictures(tmp_path / "images", "png")
    (tmp_path / "instances.json").write_bytes(content)
    assert outcome(coco.load, tmp_path, "coco") is None


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY l0 "lol">{}]><annotation><object><name>&l9;</name>'
)


@pytest.mark.parametrize(
    "content",
    [
        BOMB.format(
            "".join(f'<!ENTITY l{i + 1} "{f"&l{i};" * 10}">' for i in range(9))
        ) + "</object></annotation>",
        '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><annotation><object><name>&e;</name>'
        "</object></annotation>",
        "<annotation>" + "<a>" * 100_000 + "</a>" * 100_000 + "</annotation>",
        "<a>" * 100_000,
        '<?xml version="1.0" encoding="unicode_escape"?><annotation>\\ud800</annotation>',
        '<annotation xmlns="urn:x"><object/></annotation>',
        "<html><annotation/></html>",
        "",
    ],
    ids=range(8),
)  # fmt: skip
def test_hostile_xml(tmp_path: Path, content: str) -> None:
    pictures(tmp_path / "JPEGImages", "jpg")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "1.xml").write_text(content)
    assert outcome(voc.load, tmp_path, "voc") is None
