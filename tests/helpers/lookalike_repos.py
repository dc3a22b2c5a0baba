"""The repositories behind a dataset preset of each family, as look-alikes."""

from __future__ import annotations

from datasets import ClassLabel, Features, List, Value

from tests.helpers.lookalikes import (
    IMAGE,
    STRING,
    Lookalike,
    captioned,
    captions,
    cauldron,
    classes,
    gqa,
    image,
    refcoco,
    sizes,
    squad,
    texts,
)

_TRAIN_TEST = ("train", "test")
_ALL_THREE = ("train", "validation", "test")
_VOC = ("aeroplane", "bicycle", "bird", "boat", "bottle", "bus")

IMAGE_CLASSES = {
    "cifar10": classes(
        "uoft-cs/cifar10", _TRAIN_TEST, ("airplane", "bird", "cat", "ship"), image_column="img", config="plain_text"
    ),
    "voc2007": Lookalike(
        "mteb/VOC2007",
        sizes(*_TRAIN_TEST),
        Features({"image": IMAGE, "classes": List(ClassLabel(names=list(_VOC)))}),
        lambda n: {"image": image(n), "classes": [n % 6] if n % 3 else sorted({n % 6, (n + 2) % 6})},
        sha="96d47458fb2f40713997b0ea271688c02bac840b",
    ),
}

_COCO_2017 = captioned(
    "AKCIT/coco2017-captioning",
    ("train", "validation"),
    {"captions": List(STRING)},
    lambda n: {"captions": captions(n)},
)
CAPTIONS = {
    "coco_captions": Lookalike(
        "jxie/coco_captions",
        sizes(*_ALL_THREE),
        Features({"image": IMAGE, "filename": STRING, "cocoid": Value("int64"), "caption": STRING}),
        # One row per caption, those of a picture apart from each other.
        lambda n: {
            "image": image(n % 15),
            "filename": f"{n % 15}.jpg",
            "cocoid": n % 15,
            "caption": captions(n % 15)[n // 15],
        },
    ),
    "flickr8k": captioned(
        "jxie/flickr8k",
        _ALL_THREE,
        {f"caption_{place}": STRING for place in range(5)},
        lambda n: {f"caption_{place}": text for place, text in enumerate(captions(n))},
    ),
}

QUESTIONS = {
    "clevr": (cauldron("clevr", "\nProvide a short and direct response."),),
    "squad_v2": (squad("rajpurkar/squad_v2", "squad_v2"),),
    "gqa": gqa("lmms-lab-encoder/GQA"),
    "refcoco": (refcoco("lmms-lab-encoder/RefCOCO", "val", "test", "testA", "testB"),),
}

TEXT_CLASSES = {
    "trec": (
        texts(
            "CogComp/trec",
            _TRAIN_TEST,
            ("ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM"),
            ("text", "coarse_label"),
            ref="refs/convert/parquet",
        ),
    ),
}

REPOS: dict[str, tuple[Lookalike, ...]] = {
    **{name: (lookalike,) for name, lookalike in {**IMAGE_CLASSES, **CAPTIONS}.items()},
    **QUESTIONS,
    **TEXT_CLASSES,
}
"""The look-alikes of presets: one of each family."""

FALLBACKS: dict[str, tuple[Lookalike, ...]] = {
    "coco_captions": (_COCO_2017,),
}
"""The repository that stands in for each preset whose own is gone."""
