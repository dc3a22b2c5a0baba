"""Features of real (tiny, random) checkpoints: what they are, how they are loaded, and in which batches."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hf_emms.features.feature_spec import ReadCounts, make_feature_spec
from hf_emms.inputs import IMAGE
from hf_emms.inputs.text import TextReader, text_reader
from tests.helpers.errors import raises_code
from tests.helpers.extracting import load, own_pixels, own_states, pictures, rows
from tests.helpers.notes import codes
from tests.helpers.tiny_checkpoints import TEXTS, VISION, build, repo_of

IMAGES = pictures()


@pytest.mark.parametrize("name", ["roberta", "t5"])
def test_text_features_are_the_mean_of_the_last_layer(name: str, zoo: Path) -> None:
    folder, texts = build(zoo, name), [text.title() for text in (*TEXTS[:3], "Cat")]
    expected = [own_states(folder, text)[1].mean(0) for text in texts]
    np.testing.assert_allclose(rows(load(folder, "text"), texts), torch.stack(expected), atol=1e-5)


def test_images_of_any_mode_are_read_as_rgb(zoo: Path) -> None:
    gray = Image.new("L", (40, 40), 255)
    features = rows(load(build(zoo, "vit")), [gray.convert(mode) for mode in ("RGB", "L", "RGBA", "P")])
    np.testing.assert_allclose(features[1:], features[:1].repeat(3, axis=0), atol=1e-5)


# --- fallback, dtypes, notes ------------------------------------------------------------------------------


def test_fallback_does_without_a_pooler_that_the_file_lacks(tmp_path: Path, zoo: Path) -> None:
    sizes = {**VISION, "image_size": [32, 32], "num_hidden_layers": 1}
    config = transformers.YolosConfig(num_detection_tokens=2, **sizes)
    model = transformers.YolosModel(config, add_pooling_layer=False).eval()
    model.save_pretrained(tmp_path)
    shutil.copy(build(zoo, "vit") / "preprocessor_config.json", tmp_path)
    extractor = load(tmp_path)
    assert codes(extractor.notes)[0] == "fallback-pooling"
    assert (extractor.spec.architecture.family, extractor.spec.code) == ("yolos", False)
    with torch.no_grad():
        expected = model(**own_pixels(tmp_path, IMAGES)).last_hidden_state.mean(1)
    np.testing.assert_allclose(rows(extractor, IMAGES), expected, atol=1e-5)
    assert extractor.spec.fingerprint == make_feature_spec(repo_of(tmp_path), IMAGE, "t").fingerprint


def test_half_precision_folders_are_computed_in_float32(zoo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(build(zoo, "bert"), tmp_path / "half")
    transformers.AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float16).save_pretrained(folder)
    full, half = load(build(zoo, "bert"), "text"), load(folder, "text")
    assert 0 < np.abs(rows(half, TEXTS) - rows(full, TEXTS)).max() < 5e-3
    np.testing.assert_allclose(rows(half, TEXTS), rows(half, TEXTS, 1), atol=1e-5)
    rough = load(folder, "text", dtype="bfloat16")  # on request
    assert 5e-3 < np.abs(rows(rough, TEXTS) - rows(full, TEXTS)).max() < 0.2
    assert half.spec.fingerprint != rough.spec.fingerprint


def test_texts_that_were_cut_are_counted(zoo: Path) -> None:
    extractor = load(build(zoo, "roberta"), "text")
    long = "the cat " * 100
    features = rows(extractor, [long, "cat", long + "sits"])
    np.testing.assert_array_equal(features[0], features[2])
    # 40 positions, the first of which follows the padding id (1).
    assert codes(extractor.notes) == ["texts-truncated"]
    counts = extractor.info().counts
    assert (counts.truncated_share, counts.unknown_share, counts.documents_per_second) == (0.6667, 0, None)
    assert msgspec.structs.astuple(counts) == (3, 2 * 38 + 3, 0, 2, 38, *[0] * 9)


def test_counts_of_several_inputs_add_up_and_lengths_are_the_largest() -> None:
    counts = ReadCounts(*range(1, 15))
    counts.add(ReadCounts(*[8] * 14))
    assert msgspec.structs.astuple(counts) == (9, 10, 11, 12, 8, 14, 8, 16, 9, 18, 11, 20, 21, 14)


def test_a_tokenizer_without_a_sensible_limit_reads_512_tokens(zoo: Path) -> None:
    extractor = load(build(zoo, "t5"), "text")
    tokenizer = extractor._reader._reader.tokenizer
    for limit, length in ((0, 512), (1, 1), (999_999, 999_999), (1_000_000, 512)):
        tokenizer.model_max_length = limit
        assert text_reader(extractor.spec, extractor._model, tokenizer).max_length == length


@pytest.mark.parametrize(("name", "share"), [("bert", 0.3333), ("gpt2", 0.0)])
def test_tokens_that_a_tokenizer_does_not_know_are_counted(zoo: Path, name: str, share: float) -> None:
    extractor = load(build(zoo, name), "text")
    assert extractor.info().counts.unknown_share is None
    assert extractor._reader._reader.empty_id == {"bert": 1, "gpt2": 2}[name]  # of a text without tokens: <s>, </s>
    rows(extractor, ["щ щ щ", "the cat"])  # of bert's nine tokens four are [CLS] and [SEP]
    assert extractor.info().counts.unknown_share == share


def test_the_plan_is_known_without_torch_and_matches_the_extractor(zoo: Path) -> None:
    folder = build(zoo, "vit")
    program = (
        "import sys; from pathlib import Path; from hf_emms.hub import Repo; "
        "from hf_emms.features.feature_spec import make_feature_spec; from hf_emms.inputs import IMAGE; "
        f"folder = Path({str(folder)!r}); "
        "print(make_feature_spec(Repo('x', 'model', 'y', folder), IMAGE, 't').fingerprint); "
        "assert 'torch' not in sys.modules"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == load(folder).spec.fingerprint


@pytest.mark.parametrize(("name", "kind", "inputs"), [("vit", "image", IMAGES), ("gpt2", "text", TEXTS)])
def test_loading_and_reading_print_nothing(
    name: str, kind: str, inputs: list, zoo: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = build(zoo, name)
    capfd.readouterr()
    rows(load(folder, kind), inputs)
    assert capfd.readouterr() == ("", "")


# --- batching ---------------------------------------------------------------------------------------------


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=40),
    max_tokens=st.integers(1, 400),
    batch_size=st.none() | st.integers(1, 5),
    image_tokens=st.sampled_from([0, 20]),
    pads_to_limit=st.booleans(),
)
def test_texts_of_similar_lengths_fill_batches_the_longest_first(
    lengths: list[int], max_tokens: int, batch_size: int | None, image_tokens: int, pads_to_limit: bool
) -> None:
    reader = TextReader(None, 60, 0, 0, 100, pads_to_limit)
    batches = [*reader.batch_positions(lengths, max_tokens, batch_size, image_tokens=image_tokens)]
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    left = sorted(lengths, reverse=True)
    for batch in batches:
        taken, left = left[: len(batch)], left[len(batch) :]
        assert [lengths[i] for i in batch] == taken
        width = image_tokens + (60 if pads_to_limit else taken[0])
        fitting = min(len(left), max(1, max_tokens // width) - len(taken)) if batch_size is None else 0
        assert len(taken) * width <= max_tokens or len(taken) == 1
        assert batch_size is None or len(taken) <= batch_size
        if pads_to_limit:
            assert fitting == 0
        else:  # it ends where texts get shorter, once it has an eighth of the tokens
            assert taken[-1] >= 0.9 * taken[0] or len(taken) * width <= max_tokens / 8
            assert fitting == 0 or (left[0] < 0.9 * taken[0] and (len(taken) + 1) * width > max_tokens / 8)


class Counted(Sequence[Image.Image]):
    """Images that count how often they are decoded."""

    def __init__(self, images: Sequence[Image.Image]) -> None:
        self.images, self.decoded = images, 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> Any:
        self.decoded += 1
        return self.images[index]


def test_images_are_decoded_a_few_batches_ahead_and_no_further(zoo: Path) -> None:
    many = Counted(IMAGES * 10)
    batches = load(build(zoo, "vit")).batches(many, batch_size=5)
    next(batches)
    batches.close()
    assert 5 <= many.decoded <= 15


def test_an_error_while_decoding_reaches_the_caller_and_a_closed_extractor_raises(zoo: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    Image.new("RGB", (64, 64), "red").save(path)
    path.write_bytes(path.read_bytes()[:40])

    class Files(Counted):
        def __getitem__(self, index: Any) -> Any:
            return Image.open(self.images[index]).convert("RGB")

    extractor = load(build(zoo, "vit"))
    with pytest.raises(OSError, match=r"cut\.png|truncated|cannot identify"):
        rows(extractor, Files([path]))
    extractor.close()
    with raises_code("closed"):
        next(extractor.batches(IMAGES))
