"""ImageNet-style classification sets."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from bench.datasets import ilsvrc, imagenet
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
    assert [int(s.target.label) for s in data.samples] == [986, 0]
    assert data.samples[0].target.label.shape == ()
    assert data.samples[0].target.label.dtype == "int64"
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
    assert [int(s.target.label) for s in data.samples] == [0, 1, 1]
    assert data.categories == {0: "cat's eye", 1: "zebra"}
    assert data.notes == [
        "entries of class folders that are not images, left out: 1 (zebra/notes.txt)"
    ]


def test_class_folders_by_wnid_have_the_standard_indices(tmp_path: Path) -> None:
    for wnid in ("n01440764", "n02123045", "n15075141"):
        picture(tmp_path / wnid / "a.png")
    data = load(tmp_path)
    assert [int(s.target.label) for s in data.samples] == [0, 281, 999]
    assert data.categories == {0: "n01440764", 281: "n02123045", 999: "n15075141"}
    assert data.n_classes == 1000


def test_the_thousand_wnids_are_timms_and_sorted() -> None:
    from timm.data import ImageNetInfo

    assert ilsvrc.wnids() == sorted(ilsvrc.wnids()) == ImageNetInfo().label_names()


@pytest.mark.parametrize("name", ["n00000001", "cat"])
def test_folders_beside_the_thousand_are_refused(tmp_path: Path, name: str) -> None:
    picture(tmp_path / "n01440764" / "a.png")
    picture(tmp_path / name / "b.png")
    with pytest.raises(DataError, match=rf"but {name} is not among the 1000.*labels\.csv"):
        load(tmp_path)


def test_labels_number_as_many_classes_as_there_are_folders(tmp_path: Path) -> None:
    picture(tmp_path / "cat" / "a.png")
    (tmp_path / "dog").mkdir()
    assert load(tmp_path).n_classes == 2
    (tmp_path / "csv").mkdir()
    text = "file,class_index\na.png,4\n"
    assert load(with_csv(tmp_path / "csv", text, ["a.png"])).n_classes is None


def classes(root: Path, *names: str) -> Path:
    for name in names:
        picture(root / name / "a.png")
    return root


NUMBERED = "class folders are named by numbers, which are taken as class indices"


@pytest.mark.parametrize(
    ("names", "n_classes"),
    [
        ([str(i) for i in range(12)], 12),
        ([f"{i:02d}" for i in range(12)], 12),
        (["00", "1", "002", "03"], 4),
        (["0"], 1),
        (["2", "10", "9"], None),
        (["0", "1", "3"], None),
        (["999", "1000"], None),
    ],
)
def test_class_folders_named_by_numbers(
    tmp_path: Path, names: list[str], n_classes: int | None
) -> None:
    data = load(classes(tmp_path, *names))
    in_order = sorted(names, key=int)
    assert [s.name for s in data.samples] == [f"{name}/a.png" for name in in_order]
    assert [int(s.target.label) for s in data.samples] == [int(name) for name in in_order]
    assert data.categories == {int(name): name for name in in_order}
    assert data.n_classes == n_classes
    assert data.notes == [NUMBERED]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1", "2", "3"], r"numbered from 1 to 3, but class indices count from 0.*labels\.csv"),
        (["1"], "numbered from 1 to 1"),
        (["01", "02"], "numbered from 1 to 2"),
        (["0", "1", "cat"], r"2 of 3 class folders are named by numbers, but cat is no whole"),
        (["0", "-1"], "but -1 is no whole number"),
        (["0", "1.0", "2.5"], "but 1.0, 2.5 are no whole number"),
        (["0", "+1"], r"but \+1 is no whole number"),
        (["٠", "١"], "but ٠, ١ are no whole number"),
        (["1", "01", "0"], "class folders 01, 1 are the same number"),
        (["0", "9" * 30], "an index is at most 2147483647"),
        (["Dog", "cat", "dog"], "'Dog', 'dog' differ in case or blanks only"),
        (["dog ", "dog"], "differ in case or blanks only"),
        (["caf\u00e9", "cafe\u0301"], "differ in case or blanks only"),
    ],
)
def test_class_folders_of_more_than_one_numbering(
    tmp_path: Path, names: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load(classes(tmp_path, *names))


@pytest.mark.parametrize(
    ("names", "noted"),
    [
        (["ant", "bee", "cow"], False),
        (["class 01", "class 02", "class 10"], False),
        (["class 1", "class 10", "class 2"], True),
        (["Zebra", "ant"], True),
    ],
)
def test_an_order_that_may_surprise_is_said(tmp_path: Path, names: list[str], noted: bool) -> None:
    data = load(classes(tmp_path, *names))
    assert data.categories == dict(enumerate(names))
    assert data.n_classes == len(names)
    assert len(data.notes) == noted
    assert all("in the order of their names as texts" in note for note in data.notes)


def test_linked_class_folders(tmp_path: Path) -> None:
    root = classes(tmp_path / "set", "bee")
    classes(tmp_path / "store", "a")
    (root / "ant").symlink_to(tmp_path / "store" / "a")
    (root / "loop").symlink_to(root)
    data = load(root)
    assert data.categories == {0: "ant", 1: "bee"}
    assert data.n_classes == 2
    assert data.notes == ["links to folders that are taken already: 1 (loop)"]
    (root / "wasp").symlink_to(root / "bee")
    with pytest.raises(DataError, match="class folders bee, wasp are the same folder"):
        load(root)


@pytest.mark.parametrize("name", ["gone", "bee/gone.png"])
def test_links_that_lead_nowhere(tmp_path: Path, name: str) -> None:
    classes(tmp_path, "bee")
    (tmp_path / name).symlink_to(tmp_path / "nothing")
    with pytest.raises(DataError, match=f"{name}: the link leads nowhere"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["cat/._a.png", "__MACOSX/a.png", ".x/a.png", "cat/Thumbs.db"])
def test_what_systems_leave_behind_is_no_class_and_no_image(tmp_path: Path, name: str) -> None:
    classes(tmp_path, "cat", "dog")
    picture(tmp_path / name) if name.endswith("png") else (tmp_path / name).touch()
    data = load(tmp_path)
    assert data.categories == {0: "cat", 1: "dog"}
    assert len(data.samples) == 2
    assert data.notes == []


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ("file;class_index\na.png;4\nb, c.png;7\n", 1),
        ("file\tclass_index\na.png\t4\nb, c.png\t7\n", 1),
        (' File , Class_Index\na.png, 4 \n"b, c.png",007\n', 1),
        ('\ufeff"file","class_index"\r\n"a.png","4"\r\n\r\n"b, c.png","7"\r\n,\r\n', 0),
        ('\n\nfile,class_index\n\na.png,4\n  \n"b, c.png",7\n\n', 0),
        ('file,class_index\na.png,4.0\n"b, c.png",7.\n', 1),
        ('file,class_index\n./a.png,4\n"x/../b, c.png",7\n', 1),
        ('file,class_index\n../images/a.png,4\n"b, c.png",7\n', 1),
        ('class_index,other,file\n4,,a.png\n7,x,"b, c.png"\n', 0),
        ('file,class_index\ra.png,4\r"b, c.png",7\r', 0),
    ],
)
def test_ways_to_write_labels_csv(tmp_path: Path, text: str, notes: int) -> None:
    data = load(with_csv(tmp_path, text, ["a.png", "b, c.png"]))
    assert [(s.name, int(s.target.label)) for s in data.samples] == [
        ("a.png", 4), ("b, c.png", 7)
    ]  # fmt: skip
    assert len(data.notes) == notes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,class_index\na.png,+3\n", r"line 2: class_index '\+3'"),
        ("file,class_index\na.png,٣\n", "line 2: class_index '٣'"),
        ("file,class_index\na.png,3.5\n", r"line 2: class_index '3\.5'"),
        ("file,class_index\na.png,1e3\n", "line 2: class_index '1e3'"),
        ("file,class_index\na.png,1_0\n", "line 2: class_index '1_0'"),
        ("file,class_index\na.png,nan\n", "line 2: class_index 'nan'"),
        (f"file,class_index\na.png,{10**30}\n", "class_index '10+': an integer from 0 to 2147"),
        (f"file,class_index\na.png,{'9' * 5000}\n", "an integer from 0 to 2147483647"),
        ("file,class_index\nx,a.png,3\n", "line 2: 3 fields, but 2 columns"),
        ("file,class_index,name\na.png,3\n", "line 2: 2 fields, but 3 columns"),
        ('file,class_index\n"a.png,3\nb.png,4\n', r"line 3: .*double quote not closed"),
        ('file,class_index,name\na.png,3,"x\nb.png,4,y"\n', r"line 3: 'x\\nb.*quote not closed"),
        ('file,class_index\n"a"b.png,3\n', r"line 2: .*double quote"),
        ("file,class_index\na\0.png,3\n", r"line 2: 'a\\x00\.png': .*control"),
        ("file,class_index,File\na.png,3,b.png\n", "more than one column 'file'"),
        ("file,class_index,class_index\na.png,3,4\n", "more than one column 'class_index'"),
        ("file;label\na.png;3\n", "no column 'file'; it has: file;label"),
        (
            "file,class_index\n../a.png,3\n",
            r"line 2: the file name '\.\./a\.png' leaves the folder",
        ),
        ("file,class_index\n/etc/passwd,3\n", "line 2: the file name '/etc/passwd' leaves"),
        ("file,class_index\na.png,3\n./a.png,3\n", r"line 3: 'a\.png' is listed twice"),
    ],
)
def test_labels_csv_that_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(with_csv(tmp_path, text, ["a.png"]))


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_labels_csv_in_another_encoding(tmp_path: Path, encoding: str) -> None:
    with_csv(tmp_path, "", ["a.png"])
    text = "file,class_index,name\na.png,3,é\n"
    (tmp_path / "labels.csv").write_bytes(text.encode(encoding))
    with pytest.raises(DataError, match=r"labels\.csv: it is .*; save it as UTF-8"):
        load(tmp_path)


def test_labels_csv_that_is_no_file(tmp_path: Path) -> None:
    classes(tmp_path, "images", "cat")
    (tmp_path / "labels.csv").symlink_to(tmp_path / "gone.csv")
    with pytest.raises(DataError, match=r"labels\.csv: cannot be read"):
        load(tmp_path)
    (tmp_path / "labels.csv").unlink()
    (tmp_path / "labels.csv").mkdir()
    with pytest.raises(DataError, match=r"labels\.csv: cannot be read"):
        load(tmp_path)


def devkit(root: Path, truth: list[int]) -> Path:
    """A kit of three classes and an inner node, numbered in another order than the wnids'."""
    data = root / "ILSVRC2012_devkit_t12" / "data"
    data.mkdir(parents=True)
    fields = ["ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children"]
    rows = [
        (1, "n02123045", "tabby, tabby cat", "a cat", 0, []),
        (2, "n15075141", "toilet tissue", "paper", 0, []),
        (3, "n01440764", "tench, Tinca tinca", "a fish", 0, []),
        (4, "n00001740", "entity", "a thing", 3, [1, 2, 3]),
    ]
    synsets = np.array(rows, dtype=[(name, object) for name in fields])
    scipy.io.savemat(data / "meta.mat", {"synsets": synsets.reshape(-1, 1)})
    text = "".join(f"{number}\n" for number in truth)
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text(text)
    return root


def test_devkit_agrees_with_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import imagenet as reference

    truth = [2, 3, 3, 1, 2]
    root = devkit(tmp_path / "set", truth)
    for number in (1, 2, 3, 4, 5):
        picture(root / "val" / f"ILSVRC2012_val_{number:08d}.JPEG")
    with tarfile.open(tmp_path / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as archive:
        archive.add(root / "ILSVRC2012_devkit_t12", "ILSVRC2012_devkit_t12")
    monkeypatch.setattr(reference, "_verify_archive", lambda *_: None)
    reference.parse_devkit_archive(tmp_path)
    names, val_wnids = reference.load_meta_file(tmp_path)

    data = load(root)
    order = sorted(names)
    assert [int(s.target.label) for s in data.samples] == [order.index(w) for w in val_wnids]
    assert data.categories == {i: names[wnid][0] for i, wnid in enumerate(order)}
    assert (data.notes, data.n_classes) == ([], 3)


def test_devkit_with_a_part_of_the_images_in_folders(tmp_path: Path) -> None:
    root = devkit(tmp_path, [1, 2, 3])
    picture(root / "images" / "some" / "ILSVRC2012_val_00000003.JPEG")
    picture(root / "images" / "more" / "ILSVRC2012_val_00000002.JPEG")
    data = load(root)
    assert [s.name for s in data.samples] == [
        "more/ILSVRC2012_val_00000002.JPEG", "some/ILSVRC2012_val_00000003.JPEG"
    ]  # fmt: skip
    assert [int(s.target.label) for s in data.samples] == [2, 0]
    assert data.notes == ["1 of the 3 validation images are not there"]
    picture(root / "images" / "more" / "ILSVRC2012_val_00000003.JPEG")
    with pytest.raises(DataError, match=r"some/ILSVRC.*3\.JPEG: the same image as .*more"):
        load(root)


def test_devkit_that_does_not_fit(tmp_path: Path) -> None:
    root = devkit(tmp_path / "a", [1, 9])
    with pytest.raises(DataError, match=r"ground_truth\.txt, line 2: class 9 is not in meta"):
        load(root)
    root = devkit(tmp_path / "b", [1])
    with pytest.raises(DataError, match=r"no images ILSVRC2012_val_\*\.JPEG in val/"):
        load(root)
    picture(root / "ILSVRC2012_val_00000007.JPEG")
    with pytest.raises(DataError, match=r"00000007\.JPEG: .* has 1 lines"):
        load(root)
    meta = root / "ILSVRC2012_devkit_t12" / "data" / "meta.mat"
    meta.write_bytes(b"nothing of MATLAB's")
    with pytest.raises(DataError, match=r"meta\.mat: cannot be read"):
        load(root)
    meta.unlink()
    with pytest.raises(DataError, match=r"meta\.mat: no such file"):
        load(root)


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
