"""The repository behind each dataset preset, as a look-alike."""

from __future__ import annotations

from dataclasses import replace

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
    "fgvc_aircraft": classes(
        "mteb/FGVCAircraft",
        _TRAIN_TEST,
        ("707-320", "737-700", "A380", "Cessna 172", "DC-3", "F/A-18"),
        "variant",
        more={"family": (STRING, lambda n: "Boeing 737"), "manufacturer": (STRING, lambda n: "Boeing")},
        sha="3ae0e4e94e37c610c26df758ec3255fa90d80e67",
    ),
    "caltech101": classes(
        "mteb/Caltech101",
        _TRAIN_TEST,
        ("accordion", "background_google", "crocodile_head", "Faces_easy", "wild_cat", "yin_yang"),
        sha="011e51e5fb01f0c820824734edb7a539ab8e6650",
    ),
    "stanford_cars": classes(
        "mteb/StanfordCars",
        _TRAIN_TEST,
        ("AM General Hummer SUV 2000", "BMW M3 Coupe 2012", "Ford GT Coupe 2006", "Volvo 240 Sedan 1993"),
        sha="09ffe9bc7864d3f1e851529e5c4b7e05601a04fb",
    ),
    "cifar10": classes(
        "uoft-cs/cifar10", _TRAIN_TEST, ("airplane", "bird", "cat", "ship"), image_column="img", config="plain_text"
    ),
    "cifar100": classes(
        "uoft-cs/cifar100",
        _TRAIN_TEST,
        ("apple", "aquarium_fish", "lawn_mower", "maple_tree", "pickup_truck"),
        "fine_label",
        image_column="img",
        more={"coarse_label": (ClassLabel(names=["fish", "fruit_and_vegetables"]), lambda n: n % 2)},
        config="cifar100",
    ),
    "dtd": classes("tanganke/dtd", _TRAIN_TEST, ("banded", "chequered", "polka-dotted", "zigzagged")),
    "flowers102": classes(
        "dpdl-benchmark/oxford_flowers102",
        _ALL_THREE,
        ("alpine sea holly", "bird of paradise", "black-eyed susan", "sword lily"),
    ),
    "food101": classes("ethz/food101", ("train", "validation"), ("apple_pie", "french_fries", "pho", "waffles")),
    "oxford_pets": classes(
        "timm/oxford-iiit-pet",
        _TRAIN_TEST,
        ("abyssinian", "american_bulldog", "shiba_inu", "yorkshire_terrier"),
        more={
            "image_id": (STRING, lambda n: f"pet_{n}"),
            "label_cat_dog": (ClassLabel(names=["cat", "dog"]), lambda n: n % 2),
        },
    ),
    "sun397": classes("tanganke/sun397", _TRAIN_TEST, ("abbey", "airport_terminal", "bow_window indoor", "zen_garden")),
    "voc2007": Lookalike(
        "mteb/VOC2007",
        sizes(*_TRAIN_TEST),
        Features({"image": IMAGE, "classes": List(ClassLabel(names=list(_VOC)))}),
        lambda n: {"image": image(n), "classes": [n % 6] if n % 3 else sorted({n % 6, (n + 2) % 6})},
        sha="96d47458fb2f40713997b0ea271688c02bac840b",
    ),
    "beans": classes(
        "AI-Lab-Makerere/beans",
        _ALL_THREE,
        ("angular_leaf_spot", "bean_rust", "healthy"),
        "labels",
        more={"image_file_path": (STRING, lambda n: f"/train/{n}.jpg")},
    ),
    "fashion_mnist": classes(
        "zalando-datasets/fashion_mnist",
        _TRAIN_TEST,
        ("T - shirt / top", "Trouser", "Ankle boot"),
        mode="L",
        config="fashion_mnist",
    ),
}

_COCO_2017 = captioned(
    "AKCIT/coco2017-captioning",
    ("train", "validation"),
    {"captions": List(STRING)},
    lambda n: {"captions": captions(n)},
)
_COCO_VAL = captioned(
    "lmms-lab-encoder/COCO-Caption2017",
    ("val",),
    {"question_id": STRING, "question": STRING, "answer": List(STRING), "id": Value("int64")},
    lambda n: {"question_id": str(n), "question": "Provide a caption.", "answer": captions(n), "id": n},
)
_FLICKR30K = captioned(
    "lmms-lab-encoder/flickr30k", ("test",), {"caption": List(STRING)}, lambda n: {"caption": captions(n)}
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
    "coco_captions_2017": _COCO_2017,
    "coco_captions_val": _COCO_VAL,
    "flickr8k": captioned(
        "jxie/flickr8k",
        _ALL_THREE,
        {f"caption_{place}": STRING for place in range(5)},
        lambda n: {f"caption_{place}": text for place, text in enumerate(captions(n))},
    ),
    "flickr30k": captioned(
        "AnyModal/flickr30k",
        _TRAIN_TEST,
        {"alt_text": List(STRING), "filename": STRING},
        lambda n: {"alt_text": captions(n), "filename": f"{n}.jpg"},
    ),
    "rsicd": captioned(
        "arampacha/rsicd",
        ("train", "valid", "test"),
        {"filename": STRING, "captions": List(STRING)},
        lambda n: {"filename": f"airport_{n}.jpg", "captions": captions(n)},
    ),
}

QUESTIONS = {
    "coco_qa": (cauldron("cocoqa", "\nGive a very brief answer."),),
    "clevr": (cauldron("clevr", "\nProvide a short and direct response."),),
    "vqav2": (
        captioned(
            "merve/vqav2-small",
            ("validation",),
            {"question": STRING, "multiple_choice_answer": STRING},
            lambda n: {"question": "What colour is the shape?", "multiple_choice_answer": answer_of(n)},
        ),
    ),
    "squad": (squad("rajpurkar/squad", "plain_text", unanswerable=False),),
    "squad_v2": (squad("rajpurkar/squad_v2", "squad_v2", unanswerable=True),),
    "refcoco": (refcoco("lmms-lab-encoder/RefCOCO", "val", "test", "testA", "testB"),),
    "refcocoplus": (refcoco("lmms-lab-encoder/RefCOCOplus", "val", "testA", "testB"),),
    "refcocog": (refcoco("lmms-lab-encoder/RefCOCOg", "val", "test"),),
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
    "ag_news": (
        texts("fancyzhx/ag_news", _TRAIN_TEST, ("World", "Sports", "Business", "Sci/Tech"), ("text", "label")),
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
    "emotion": (
        texts("dair-ai/emotion", _ALL_THREE, ("sadness", "joy", "love"), ("text", "label"), config="split"),
        texts("dair-ai/emotion", ("train",), ("sadness", "joy", "love"), ("text", "label"), config="unsplit"),
    ),
    "imdb": (
        Lookalike(
            "stanfordnlp/imdb",
            sizes(*_TRAIN_TEST, "unsupervised"),
            Features({"text": STRING, "label": ClassLabel(names=["neg", "pos"])}),
            # Nobody has read the reviews of the split "unsupervised": -1.
            lambda n: {"text": caption(n), "label": n % 2 if n < ROWS + FEW else -1},
            "plain_text",
        ),
    ),
}

REPOS: dict[str, tuple[Lookalike, ...]] = {
    **{name: (one,) for name, one in {**IMAGE_CLASSES, **CAPTIONS}.items()},
    **QUESTIONS,
    **TEXT_CLASSES,
}
"""The look-alikes of each preset that names a repository."""

_MOVED = ("coco_captions_val", "refcoco", "refcocoplus", "refcocog")
FALLBACKS: dict[str, tuple[Lookalike, ...]] = {
    "coco_captions": (_COCO_2017,),
    "flickr30k": (_FLICKR30K,),
    **{
        name: tuple(replace(one, id=one.id.replace("lmms-lab-encoder/", "lmms-lab/")) for one in REPOS[name])
        for name in _MOVED
    },
}
"""The repository that stands in for each preset whose own is gone."""
