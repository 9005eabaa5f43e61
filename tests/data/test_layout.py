"""The shapes in which sets of images are published: which of them train, which are held out, and their classes."""

from __future__ import annotations

import pytest

from tokbench.data.arranged import Arranged, arranged
from tokbench.data.labels import in_order
from tokbench.data.listing import Listing
from tokbench.data.tree import split_name
from tokbench.errors import TokbenchError

# name: (paths; {"train": (how many, classes seen), "eval": ...}). ``*N`` is N images.
LAYOUTS: dict[str, tuple[list[str], int, int, list[str]]] = {
    "COCO": (["train2017/*6", "val2017/*2", "test2017/*3"], 6, 2, []),
    "COCO below images": (["images/train2017/*6", "images/val2017/*2", "annotations/*0"], 6, 2, []),
    "YOLO": (["images/train/*6", "images/val/*2"], 6, 2, []),
    "data/images/train/class": (["data/images/train/a1/*3", "data/images/train/b/*3", "data/images/val/b/*2"], 6, 2,
                                ["a1", "b"]),
    "upper case": (["Train/cat/*3", "Train/dog/*1", "VAL/cat/*2"], 4, 2, ["cat", "dog"]),
    "Tiny-ImageNet": (["train/n01/images/*3", "train/n02/images/*3", "val/images/*2", "test/images/*4"], 6, 2,
                      ["n01", "n02"]),
    "ImageNet": (["ILSVRC/Data/CLS-LOC/train/n01/*2", "ILSVRC/Data/CLS-LOC/train/n02/*2", "ILSVRC/Data/CLS-LOC/val/*3",
                  "ILSVRC/Data/CLS-LOC/test/*1"], 4, 3, ["n01", "n02"]),
    "ImageNet as torchvision has it": (["train/n01/*2", "train/n02/*2", "val/n01/*1", "val/n02/*1"], 4, 2,
                                       ["n01", "n02"]),
    "OpenImages": (["train_0/*2", "train_1/*2", "train_f/*1", "validation/*2", "test/*1"], 5, 2, []),
    "valid and test": (["train/cat/*2", "train/eel/*1", "test/cat/*3", "valid/eel/*1"], 3, 1, ["cat", "eel"]),
    "dev": (["train/cat/*2", "train/eel/*1", "dev/cat/*1"], 3, 1, ["cat", "eel"]),
    "Roboflow": (["train/images/*4", "valid/images/*2", "test/images/*1"], 4, 2, []),
    "masks beside the images": (["train/images/*4", "train/masks/*4", "val/images/*2", "val/masks/*2"], 4, 2, []),
    "ADE20K": (["A/images/training/*4", "A/images/validation/*2", "A/annotations/training/*4",
                "A/annotations/validation/*2"], 4, 2, []),
    "Cityscapes": (["leftImg8bit/train/ulm/*2", "leftImg8bit/train/jena/*1", "leftImg8bit/val/ulm/*1",
                    "gtFine/train/ulm/*2", "gtFine/val/ulm/*1"], 3, 1, ["jena", "ulm"]),
    "Kaggle's cats and dogs": (["training_set/training_set/cats/*3", "training_set/training_set/dogs/*3",
                                "test_set/test_set/cats/*1", "test_set/test_set/dogs/*1"], 6, 2, ["cats", "dogs"]),
    "dogs vs cats": (["train/*5", "test1/*2"], 5, 2, []),
    "Intel's scenes": (["seg_train/seg_train/sea/*3", "seg_train/seg_train/ice/*2", "seg_test/seg_test/sea/*1",
                        "seg_pred/seg_pred/*4"], 5, 1, ["ice", "sea"]),
    "cars": (["cars_train/cars_train/*4", "cars_test/cars_test/*2"], 4, 2, []),
    "GTSRB": (["GTSRB/Final_Training/Images/00000/*2", "GTSRB/Final_Training/Images/00001/*2",
               "GTSRB/Final_Test/Images/*3"], 4, 3, ["00000", "00001"]),
    "DIV2K": (["DIV2K_train_HR/*4", "DIV2K_valid_HR/*2"], 4, 2, []),
    "DIV2K with its small images": (["DIV2K_train_HR/*4", "DIV2K_valid_HR/*2", "DIV2K_train_LR_bicubic/X2/*4",
                                     "DIV2K_valid_LR_bicubic/X2/*2"], 4, 2, []),
    "LSUN": (["bedroom_train/*3", "bedroom_val/*1", "tower_train/*2", "tower_val/*1"], 5, 2, ["bedroom", "tower"]),
    "MVTec": (["cup/train/good/*3", "cup/test/cut/*1", "cup/ground_truth/cut/*1", "nut/train/good/*2",
               "nut/test/good/*1"], 5, 2, ["cup", "nut"]),
    "Places": (["train/a/abbey/*2", "train/b/bakery/shop/*1", "val/*2"], 3, 2, ["abbey", "bakery/shop"]),
    "CIFAR": (["train/airplane/*2", "train/bird/*2", "test/bird/*1"], 4, 1, ["airplane", "bird"]),
    "trainval": (["trainval/*4", "test/*2"], 4, 2, []),
    "both sides": (["trainA/*2", "trainB/*2", "testA/*1", "testB/*1"], 4, 2, []),
    "numbers": (["train/2/*1", "train/10/*1", "train/0/*1", "val/10/*1"], 3, 1, ["0", "2", "10"]),
}  # fmt: skip

# The same where one image in ten is held out: all classes.
WHOLE = {
    "classes": (["cat/*3", "dog/x/*3"], ["cat", "dog"]),
    "PetImages": (["PetImages/Cat/*3", "PetImages/Dog/*3"], ["Cat", "Dog"]),
    "railway": (["car/*3", "train/*3", "bullet_train/*3"], ["bullet_train", "car", "train"]),
    "no partners": (["cat/*2", "bullet_train/*2", "crash_test/*2"], ["bullet_train", "cat", "crash_test"]),
    "stations": (["train_station/*2", "test_tube/*2"], ["test_tube", "train_station"]),
    "CelebA": (["img_align_celeba/*5"], []),
    "one class": (["cat/*5"], ["cat"]),
    "FFHQ": (["00000/00001*0", "00000/00001", "01000/01234", "69000/69999"], []),
    "img2dataset": (["00000/000000000", "00000/000000001", "00001/000010000"], []),
    "StyleGAN": (["00000/img00000000", "00001/img00001000"], []),
    "Market": (["0002/0002_c1s1_000451_03", "0007/0007_c2s3_071052_01"], ["0002", "0007"]),
    "VOC": (["VOCdevkit/VOC2012/JPEGImages/*5", "VOCdevkit/VOC2012/SegmentationClass/*2",
             "VOCdevkit/VOC2012/SegmentationObject/*2"], []),
    "Stanford dogs": (["Images/n1-pug/*2", "Images/n2-chow/*2", "Annotation/*0"], ["n1-pug", "n2-chow"]),
    "letters": (["A/*2", "B/*2"], ["A", "B"]),
    "masks are a class of their own": (["masks/*2", "hats/*2"], ["hats", "masks"]),
}  # fmt: skip


def listing(patterns: list[str]) -> Listing:
    found = Listing()
    for pattern in patterns:
        folder, star, count = pattern.partition("*")
        for path in [f"{folder}pic_{k}x.jpg" for k in range(int(count))] if star else [f"{pattern}.png"]:
            found.sort_out(path, 10, 1)
    found.files.sort(key=lambda file: file.path)
    return found


def arrange(patterns: list[str], split: str) -> Arranged:
    return arranged({"": listing(patterns)}, split, "folder:X", lambda key, path: "")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", LAYOUTS)
def test_published_splits(name: str) -> None:
    patterns, train, held_out, classes = LAYOUTS[name]
    for split, count in (("train", train), ("eval", held_out)):
        found = arrange(patterns, split)
        assert (len(found.positions), found.classes) == (count, classes), split
        assert all((file.path + "/").count("mask") == 0 for file in found.files)


def test_a_flat_split_has_no_labels_and_keeps_the_others_classes() -> None:
    found = arrange(LAYOUTS["ImageNet"][0], "eval")
    assert set(found.labels) == {-1} and found.classes == ["n01", "n02"]
    assert sorted(set(arrange(LAYOUTS["ImageNet"][0], "train").labels)) == [0, 1]


@pytest.mark.parametrize("name", WHOLE)
def test_without_splits(name: str) -> None:
    patterns, classes = WHOLE[name]
    train, held_out = (arrange(patterns, split) for split in ("train", "eval"))
    assert train.classes == classes and not set(train.positions) & set(held_out.positions)
    assert len(train.positions) + len(held_out.positions) == len(train.files)
    assert (set(train.labels) == {-1}) == (not classes)


def test_several_years_of_coco_are_refused_by_name() -> None:
    for patterns in (["train2014/*2", "train2017/*2", "val2014/*1", "val2017/*1"], ["train2017/*2", "val2014/*1"]):
        with pytest.raises(TokbenchError, match=r"train2017/, val2014/.*years.*train=PATH,eval=PATH"):
            arrange(patterns, "train")
    found = arrange(["train2017/*2", "val2017/*1", "test2015/*3"], "eval")
    assert found.base == "val2017/"


def test_held_out_pictures_alone() -> None:
    assert arrange(["val/*2", "test/*3"], "eval").base == "val/"
    with pytest.raises(TokbenchError, match="no train sub-folder beside val/"):
        arrange(["val/*2", "test/*3"], "train")


def test_splits_that_are_not_taken_for_splits_are_said() -> None:
    for where, names in (("b/", ("train", "val")), ("b/c/", ("Train2", "test"))):
        (note,) = arrange(["a/*4", *(f"{where}{name}/*3" for name in names)], "train").notes
        assert note.startswith(f"{where} holds splits") and "train=PATH,eval=PATH" in note
    (note,) = arranged({"eval": listing(["train/*3", "val/*2"])}, "eval", "folder:X", lambda key, path: "").notes
    assert note.startswith("./ holds splits")
    assert not any(arrange(patterns, "train").notes for patterns, _ in WHOLE.values() if "VOCdevkit" not in patterns[0])


def test_left_out_masks_are_said() -> None:
    (note,) = arrange(["train/images/*4", "train/masks/*3", "val/images/*2"], "train").notes
    assert "left out" in note and ": 3, such as" in note and "train/masks/pic_0x.jpg" in note


@pytest.mark.parametrize(
    "name, said",
    [("train", True), ("Training", True), ("train-00", True), ("val_images", True), ("test-dev2017", True),
     ("trains", False), ("training_wheels", False), ("latest", False), ("contest", False), ("values", False),
     ("traina", False), ("validity", False), ("device", False)],
)  # fmt: skip
def test_names_of_splits(name: str, said: bool) -> None:
    assert (split_name(name) is not None) == said


def test_classes_that_are_numbers_are_in_their_order() -> None:
    assert in_order(["10", "2", "1"]) == ["1", "2", "10"]
    assert in_order(["10", "2", "a"]) == ["10", "2", "a"]
