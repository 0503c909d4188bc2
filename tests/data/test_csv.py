"""CSV data sets: columns of many tools, rows without a box, splits in files or in a column, and bad rows."""

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hf_detr.data.checks import check_dataset
from hf_detr.data.csv_columns import find_columns
from hf_detr.data.csv_rows import read_csv
from hf_detr.data.index import DetectionIndex
from hf_detr.data.loaders import load_csv
from hf_detr.data.splits import explicit_split, find_splits, load_index, read_table
from hf_detr.errors import DatasetError
from tests.formats import make_csv
from tests.synthetic import make_coco


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A CSV data set without trouble, for a test to spoil."""
    return make_csv(make_coco(tmp_path / "coco", images=4), tmp_path / "csv")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with two pictures of 128 x 96, for a test to write its own ``train.csv``."""
    folder = tmp_path / "photos"
    (folder / "images").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (128, 96)).save(folder / "images" / name)
    return folder


def load(folder: Path, text: str) -> DetectionIndex:
    (folder / "train.csv").write_text(text)
    return load_index(find_splits(folder)["train"])


# --- columns ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size_hw"),
    [
        ("filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,128,96,cat,32,24,96,48\n", (96, 128)),
        ("image_path,label,x1,y1,x2,y2\na.jpg,cat,32,24,96,48\n", (0, 0)),
        ("image,label,x,y,width,height\na.jpg,cat,32,24,64,24\n", (0, 0)),
        (
            "label_name,bbox_x,bbox_y,bbox_width,bbox_height,image_name,image_width,image_height\n"
            "cat,32,24,64,24,a.jpg,128,96\n",
            (96, 128),
        ),
        ("Image;Class Name;left;top;w;h;width;height\na.jpg;cat;32,0;24;64;24;128;96\n", (96, 128)),
        ("file\tcategory\tcx\tcy\tw\th\textra\na.jpg\tcat\t64\t36\t64\t24\tx\n", (0, 0)),
        ('file,class,x_center,y_center,width,height\n"a.jpg","cat",0.5,0.375,0.5,0.25\n', (96, 128)),
        ("ImageID,LabelName,XMin,XMax,YMin,YMax\na,cat,0.25,0.75,0.25,0.5\n", (96, 128)),
        ("a.jpg,32,24,96,48,cat\n", (0, 0)),
        ("\ufeffimages\\a.jpg,32,24,96,48,cat\n", (0, 0)),
    ],
    ids=[
        "tensorflow",
        "corners",
        "xywh",
        "makesense",
        "semicolons",
        "tabs",
        "fractions",
        "openimages",
        "retinanet",
        "bom",
    ],
)
def test_columns_of_many_tools(photos: Path, text: str, size_hw: tuple[int, int]) -> None:
    index = load(photos, text)
    assert index.boxes_xywh.tolist() == [[32, 24, 64, 24]]
    assert (index.class_names, index.category_ids) == (("cat",), ("cat",))
    assert tuple(index.sizes_hw[0]) == size_hw
    assert index.image_path(0).is_file()


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("image,label,class,x,y,w,h", "the columns 'label' and 'class' may both be the class"),
        ("image,file,label,x,y,w,h", "the columns 'image' and 'file' may both be the picture"),
        ("image,label,x,y", "no column for the box among 'image', 'label', 'x', 'y'"),
        ("x,y,w,h,text", "no column for the picture and the class among 'x', 'y', 'w', 'h', 'text'"),
        (
            "image,label,xmin,ymin,xmax,ymax,cx,cy,w,h",
            "the box may be in several columns: 'xmin', 'ymin', 'xmax', 'ymax' as left, top, right, bottom; 'cx', "
            "'cy', 'w', 'h' as centre x, centre y, width, height",
        ),
    ],
)
def test_columns_that_leave_a_question_are_named(photos: Path, header: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_columns(header.split(","))
    (photos / "train.csv").write_text(f"{header}\n")
    with pytest.raises(DatasetError, match=rf"no data set recognised[\s\S]*train\.csv: {message}\. Rename columns"):
        find_splits(photos)
    with pytest.raises(DatasetError, match=rf"train\.csv: {message}\. Rename columns so that"):
        find_splits(photos / "train.csv")


def test_what_the_columns_mean_is_said(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        load(photos, "image,label,x,y,w,h\na.jpg,cat,1,2,3,4\n")
    expected = "picture 'image', class 'label', box 'x', 'y', 'w', 'h' (left, top, width, height), in pixels"
    assert expected in caplog.text


def test_the_second_best_column_counts_only_without_a_better_one() -> None:
    columns = find_columns(["image_id", "file_name", "class_id", "class", "x", "y", "w", "h"])
    assert (columns.file, columns.label) == (1, 3)
    columns = find_columns(["image_id", "class_id", "x", "y", "w", "h"])
    assert (columns.file, columns.label) == (0, 1)


# --- rows ------------------------------------------------------------------------------------------------------------


def test_rows_without_a_box_are_pictures_without_objects(photos: Path) -> None:
    index = load(photos, "image,label,x,y,w,h\na.jpg,cat,1,2,3,4\nb.jpg,,,,,\n")
    assert len(index) == 2
    assert index.objects_per_image.tolist() == [1, 0]
    index = load(photos, "a.jpg,1,2,3,4,cat\nb.jpg,,,,,\n")
    assert index.objects_per_image.tolist() == [1, 0]


def test_area_and_crowds(photos: Path) -> None:
    index = load(photos, "image,label,x,y,w,h,area,iscrowd\na.jpg,cat,1,2,3,4,7.5,0\na.jpg,cat,1,2,30,40,,1\n")
    assert index.areas.tolist() == [7.5, 1200]
    assert index.is_crowd.tolist() == [False, True]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a.jpg,cat,1,2,3", "it has 5 columns"),
        ("a.jpg,cat,1,2,3,x", "the box is not four numbers"),
        ("a.jpg,cat,1,2,,4", "the box is not four numbers"),
        ("a.jpg,cat,1,2,nan,4", "the box has NaN or infinity"),
        ("a.jpg,,1,2,3,4", "it has a box and no class"),
        (",cat,1,2,3,4", "it names no picture"),
    ],
)
def test_bad_rows_are_named_by_their_line(photos: Path, row: str, reason: str) -> None:
    text = f"image,label,x,y,w,h\na.jpg,cat,1,2,3,4\n\n{row}\n"
    with pytest.raises(DatasetError, match=rf"label\.malformed[\s\S]*line 4: '{row}': {reason}"):
        load(photos, text)


def test_findings_name_the_line(table: Path) -> None:
    with (table / "train" / "_annotations.csv").open("a") as file:
        file.write("0000.jpg,128,96,red,100,10,160,30\nnowhere.jpg,128,96,red,1,1,9,9\n")
    lines = len((table / "train" / "_annotations.csv").read_text().splitlines())
    report = check_dataset(table, read_images=False)
    places = {finding.check: finding.examples[0] for finding in report.findings}
    assert places["box.outside"] == {
        "file": "0000.jpg",
        "line": lines - 1,
        "value": "[100, 10, 60, 20] in a picture of 128 x 96",
    }
    assert places["file.missing"]["file"] == "nowhere.jpg"


@given(st.text('ab.jpg,;"\n \t0123-e\0', max_size=80))
def test_no_content_raises_anything_else(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "train.csv"
    path.write_text("image,label,x,y,w,h\n" + text)
    try:
        content = read_csv(path)
    except DatasetError as error:
        assert "not CSV" in str(error)
    else:
        assert all(np.isfinite(row.box).all() for row in content.rows if row.box)


def test_files_that_are_no_table(photos: Path) -> None:
    (photos / "train.csv").write_text("\n\n")
    with pytest.raises(DatasetError, match=r"the file is empty\. Its first row names the columns:\n  filename,class"):
        find_splits(photos / "train.csv")
    (photos / "train.csv").write_bytes("image,label,x,y,w,h\nä.jpg,cat,1,2,3,4".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"not text in UTF-8: .* at byte 20"):
        find_splits(photos / "train.csv")


# --- splits ----------------------------------------------------------------------------------------------------------


def test_a_good_data_set_has_no_findings(table: Path) -> None:
    assert check_dataset(table).findings == ()
    index = load_index(find_splits(table)["valid"])
    assert index.class_names == ("blue", "green", "red")
    assert index.file_names[0] == "0000.jpg"


def test_a_column_says_the_split(photos: Path) -> None:
    (photos / "all.csv").write_text("split,image,label,x,y,w,h\nVal,a.jpg,cat,1,2,3,4\ntrain,b.jpg,dog,1,2,3,4\n")
    splits = find_splits(photos)
    assert {name: split.part for name, split in splits.items()} == {"train": "train", "valid": "Val"}
    valid = load_index(splits["valid"])
    assert (len(valid), valid.file_names[0], valid.class_names) == (1, "a.jpg", ("cat", "dog"))
    explicit = load_index(explicit_split("valid", photos / "images", photos / "all.csv"))
    assert explicit.file_names[0] == "a.jpg"
    (photos / "all.csv").write_text("set,image,label,x,y,w,h\nfold1,a.jpg,cat,1,2,3,4\n")
    with pytest.raises(DatasetError, match="that says the split has 'fold1'; it may have train, training, "):
        find_splits(photos / "all.csv")


@pytest.mark.parametrize("names", [("train.csv", "val.csv"), ("train_labels.csv", "annotations/labels-test.csv")])
def test_a_file_for_each_split(photos: Path, names: tuple[str, str]) -> None:
    (photos / "results.csv").write_text("epoch,loss\n1,2\n")
    (photos / "annotations").mkdir()
    for name, picture in zip(names, ("a.jpg", "b.jpg"), strict=True):
        (photos / name).write_text(f"image,label,x,y,w,h\n{picture},cat,1,2,3,4\n")
    splits = find_splits(photos)
    assert [split.annotations_path for split in splits.values()] == [photos / name for name in names]
    assert {split.images_dir for split in splits.values()} == {photos / "images"}


def test_rows_without_a_split_are_not_lost_silently(photos: Path) -> None:
    rows = "filename,class,xmin,ymin,xmax,ymax,split\na.jpg,cat,1,2,30,40,train\nb.jpg,cat,1,2,30,40,\n"
    (photos / "annotations.csv").write_text(rows)
    (finding,) = read_table(find_splits(photos)["train"]).findings
    assert finding.check == "label.malformed"
    assert finding.examples == ({"line": 3, "value": "'b.jpg': it does not say its split"},)


def test_a_split_that_cannot_be_read_is_not_left_out(table: Path, photos: Path) -> None:
    _, _, rows = (table / "train/_annotations.csv").read_text().partition("\n")
    (table / "train/_annotations.csv").write_text(f"a,b,c,d,e,f,g,h\n{rows}")
    with pytest.raises(DatasetError, match=r"train/_annotations.csv: no column for the picture and the class"):
        find_splits(table)
    (table / "valid/_annotations.csv").unlink()
    with pytest.raises(DatasetError, match=r"(?s)no data set recognised.*train/_annotations.csv: no column for"):
        find_splits(table)
    (photos / "train.csv").write_text("filename,class,xmin,ymin,xmax,ymax\na.jpg,cat,1,2,30,40\n")
    (photos / "train_log.csv").write_text("epoch,loss\n1,2\n")
    assert list(find_splits(photos)) == ["train"], "another table beside it is no trouble"


def test_a_second_format_in_the_folder_says_what_to_do(table: Path) -> None:
    make_coco(table, images=4)
    with pytest.raises(DatasetError, match=r"(?s)may be COCO or CSV:.*Move one of them away. Or name both yourself"):
        find_splits(table)


def test_two_files_of_one_split(photos: Path) -> None:
    for name in ("one.csv", "two.csv"):
        (photos / name).write_text("image,label,x,y,w,h\na.jpg,cat,1,2,3,4\n")
    with pytest.raises(DatasetError, match=r"two splits are called 'train':\n.*one\.csv.*\n.*two\.csv"):
        find_splits(photos)
    assert load_csv(photos / "two.csv").index.annotations_path == photos / "two.csv"


def test_classes_by_number_take_the_names_of_a_list(photos: Path) -> None:
    text = "image,class_id,x,y,w,h\na.jpg,10,1,2,3,4\na.jpg,9,1,2,3,4\n"
    assert load(photos, text).class_names == ("9", "10")
    (photos / "classes.txt").write_text("cat\ndog\n")
    index = load(photos, "image,class_id,x,y,w,h\na.jpg,1,1,2,3,4\n")
    assert (index.class_names, index.class_ids.tolist()) == (("cat", "dog"), [1])
    with pytest.raises(DatasetError, match=r"label\.unknown_class[\s\S]*line 2: '10'[\s\S]*has: cat, dog"):
        load(photos, text)
