"""ImageNet-style classification sets."""

from pathlib import Path

import pytest
from PIL import Image

from bench.datasets import imagenet
from bench.datasets.base import DATASETS
from bench.datasets.imagenet import load
from bench.errors import DataError

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "imagenet_dev"


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 8), (200, 30, 30)).save(path)


def with_csv(root: Path, text: str, files: list[str]) -> Path:
    for file in files:
        picture(root / "images" / file)
    (root / "images").mkdir(parents=True, exist_ok=True)
    (root / "labels.csv").write_text(text, encoding="utf-8")
    return root


def test_labels_csv(tmp_path: Path) -> None:
    text = (
        "file,wnid,class_index,name\n"
        "lady's_slipper.png,n12057211,986,\"yellow lady's slipper, orchid\"\n"
        "sub/a b.png,n01440764,0,tench\n"
    )
    root = with_csv(tmp_path / "toy", text, ["lady's_slipper.png", "sub/a b.png"])
    data = DATASETS.get("imagenet")(root)
    assert (data.name, data.task, data.notes) == ("toy", "cls", [])
    assert [s.name for s in data.samples] == ["lady's_slipper.png", "sub/a b.png"]
    assert [int(s.target["label"]) for s in data.samples] == [986, 0]
    assert data.samples[0].target["label"].shape == ()
    assert data.samples[0].target["label"].dtype == "int64"
    assert data.categories == {0: "tench", 986: "yellow lady's slipper, orchid"}
    assert data.samples[1].load().shape == (8, 12, 3)


def test_wnid_and_name_are_optional_and_other_columns_are_ignored(tmp_path: Path) -> None:
    text = "\ufeffclass_index,split,file\n4,val,a.png\n"
    data = load(with_csv(tmp_path, text, ["a.png"]), name="given")
    assert data.name == "given"
    assert data.categories == {4: "4"}


def test_indices_out_of_wnid_order_are_noted(tmp_path: Path) -> None:
    text = "file,wnid,class_index\na.png,n02000000,1\nb.png,n01000000,2\n"
    data = load(with_csv(tmp_path, text, ["a.png", "b.png"]))
    assert len(data.notes) == 1
    assert "not the standard" in data.notes[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"no column 'file'; it has: none"),
        ("file,label\na.png,3\n", r"no column 'class_index'; it has: file, label"),
        ("file,class_index\n", "no rows"),
        ("file,class_index\na.png,dog\n", r"line 2: class_index 'dog': an integer"),
        ("file,class_index\na.png,-1\n", r"line 2: class_index '-1'"),
        ("file,class_index\na.png\n", r"line 2: class_index ''"),
        ("file,class_index\n,3\n", r"line 2: no file name"),
        ("file,class_index\na.png,1\na.png,2\n", r"'a\.png' is listed twice"),
        (
            "file,wnid,class_index\na.png,n01440764,1\nb.png,n02000000,1\n",
            "class 1 is both n01440764 and n02000000",
        ),
        ("file,class_index\nb.png,1\n", r"1 of 1 images are missing: b\.png"),
    ],
)
def test_labels_that_do_not_fit(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(with_csv(tmp_path, text, ["a.png"]))


def test_folder_per_class(tmp_path: Path) -> None:
    for file in ("zebra/2.png", "zebra/1.JPG", "cat's eye/3.png"):
        picture(tmp_path / file)
    (tmp_path / "zebra" / "notes.txt").touch()
    (tmp_path / ".cache").mkdir()
    (tmp_path / "README.md").touch()
    data = load(tmp_path)
    assert [s.name for s in data.samples] == ["cat's eye/3.png", "zebra/1.JPG", "zebra/2.png"]
    assert [int(s.target["label"]) for s in data.samples] == [0, 1, 1]
    assert data.categories == {0: "cat's eye", 1: "zebra"}
    assert data.notes == ["1 entries of the class folders are not images and were left out"]


def test_a_subset_of_wnids_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "n01440764" / "a.png")
    picture(tmp_path / "n02123045" / "b.png")
    with pytest.raises(DataError, match=r"2 of 2 class folders.*wrong class indices.*labels\.csv"):
        load(tmp_path)


def test_a_thousand_other_wnids_are_refused_and_the_right_ones_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timm = pytest.importorskip("timm")
    listed = Path(timm.__file__).parent / "data" / "_info" / "imagenet_synsets.txt"
    wnids = listed.read_text().split()
    for wnid in wnids:
        (tmp_path / wnid).mkdir()
    picture(tmp_path / "n15075141" / "a.png")
    assert int(load(tmp_path).samples[0].target["label"]) == 999
    (tmp_path / wnids[3]).rename(tmp_path / "n00000001")
    with pytest.raises(DataError, match="not the 1000 of ILSVRC 2012"):
        load(tmp_path)


def test_layout_errors_say_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent: no such folder; expected labels\.csv"):
        load(tmp_path / "absent")
    with pytest.raises(DataError, match=r"no labels\.csv and no class folders; expected"):
        load(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match=r"no labels\.csv and no class folders"):
        load(tmp_path)
    (tmp_path / "cats").mkdir()
    with pytest.raises(DataError, match="no images in the 2 class folders"):
        load(tmp_path)
    (tmp_path / "images").rmdir()
    (tmp_path / "labels.csv").write_text("file,class_index\na.png,0\n")
    with pytest.raises(DataError, match="images: no such folder"):
        load(tmp_path)


def test_hash_follows_names_and_labels(tmp_path: Path) -> None:
    texts = ["file,class_index\na.png,1\n", "file,class_index,name\na.png,1,x\n",
             "file,class_index\na.png,2\n"]  # fmt: skip
    one, same, other = (
        load(with_csv(tmp_path / str(i), text, ["a.png"])).annotations_sha256
        for i, text in enumerate(texts)
    )
    assert one == same != other


@pytest.mark.skipif(
    not REAL.is_dir(), reason="needs shared/data/imagenet_dev beside the repository"
)
def test_real_subset() -> None:
    data = load(REAL)
    assert len(data.samples) == 250
    assert data.notes == []
    assert imagenet.WNID.match(data.samples[0].name)
    assert data.samples[0].load().shape[2] == 3
