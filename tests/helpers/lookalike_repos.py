"""The repositories behind a dataset preset of each family, as look-alikes."""

from __future__ import annotations

from datasets import ClassLabel, Features, List, Value

from tests.helpers.lookalikes import (
    FEW,
    IMAGE,
    ROWS,
    STRING,
    Lookalike,
    answer_of,
    caption,
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
    "caltech101": classes(
        "mteb/Caltech101",
        _TRAIN_TEST,
        ("accordion", "background_google", "crocodile_head", "Faces_easy", "wild_cat", "yin_yang"),
        sha="011e51e5fb01f0c820824734edb7a539ab8e6650",
    ),
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
    "vqav2": (
        captioned(
            "merve/vqav2-small",
            ("validation",),
            {"question": STRING, "multiple_choice_answer": STRING},
            lambda n: {"question": "What colour is the shape?", "multiple_choice_answer": answer_of(n)},
        ),
    ),
    "squad_v2": (squad("rajpurkar/squad_v2", "squad_v2"),),
    "gqa": gqa("lmms-lab-encoder/GQA"),
    "refcoco": (refcoco("lmms-lab-encoder/RefCOCO", "val", "test", "testA", "testB"),),
}

_SENTIMENT = Features({"sentence": STRING, "label": ClassLabel(names=["negative", "positive"]), "idx": Value("int32")})

TEXT_CLASSES = {
    "sst2": (
        Lookalike(
            "nyu-mll/glue",
            {"train": ROWS, "validation": FEW, "test": FEW},
            _SENTIMENT,
            # The labels of the test split are secret: -1.
            lambda n: {"sentence": caption(n), "label": n % 2 if n < ROWS + FEW else -1, "idx": n},
            "sst2",
        ),
        texts("nyu-mll/glue", ("train",), ("unacceptable", "acceptable"), ("sentence", "label"), config="cola"),
    ),
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
