"""Every command line of the documentation ends with 0, on the data that its page describes and a stand-in Hub."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import msgspec
import pyarrow.parquet as pq
import pytest
from PIL.Image import Image

from hf_emms.cli.app import app
from hf_emms.presets import demo
from hf_emms.ranking import FineTuned, Ranking
from tests import ROOT
from tests.docs.pages import PAGES, fences
from tests.docs.test_commands import hf_emms_lines
from tests.helpers.command_line import CommandLine
from tests.helpers.sound import asr_model, encoded, sound_checkpoint, tone
from tests.helpers.tiny_checkpoints import reranker
from tests.helpers.tiny_vision_chats import vision_chat
from tests.helpers.tiny_writers import writer
from tests.hub import Hub, running_hub
from tests.hub.fixtures import client_environment, run_client

pytestmark = pytest.mark.slow

# The value that replaces each placeholder here.
STANDS_FOR = {
    "ORG/NAME": "lab/texts",
    "ORG/emms-results": "lab/emms-results",
    "ORG/emms-leaderboard": "lab/emms-leaderboard",
    "USER/emms": "ada/emms",
    "DIR": "results",
    "NAME": "demo_glosses",
    "COMMAND": "rank",
    "./FOLDER": "./my_images",
    "-": "ids.txt",
}
# Few rows do: a command that works is to be seen, not what it finds.
FEW = ("--max-samples", "60")
# Separate tests run these: the demo's tables, a server, Jobs, Ray, a package, the paper's candidates, fine-tuning,
# the whole Hub.
ELSEWHERE = re.compile(
    r"hf-emms (demo\b|leaderboard|recommend|rank --dataset (demo_\w+|NAME)$|.*--engine (jobs|ray)|.*--task gloss-topic"
    r"|.*(free-spoken-digit|speech_commands)"
    r"|.* --checkpoint paper-|.*--confirm \d|confirm|validate --ranking ranking.json$|COMMAND)"
)


def is_mention(words: list[str]) -> bool:
    """Whether a command is named in a sentence and not written out: what it cannot do without is missing."""
    command, rest = app, words[1:]
    while isinstance(command, click.Group) and rest and rest[0] in command.commands:
        command = command.commands[rest.pop(0)]
    if isinstance(command, click.Group):
        return not rest or rest == ["…"]
    if not rest:
        return any(one.required for one in command.params) or command.name in ("prune", "sweep")  # one of two
    return any(isinstance(one, click.Option) and one.required and not {*rest} & {*one.opts} for one in command.params)


def lines() -> dict[str, str]:
    """Command line → the page that has it."""
    found: dict[str, str] = {}
    for page in PAGES:
        for words in hf_emms_lines(page):
            line = " ".join(words)
            if not is_mention(words) and not ELSEWHERE.match(line):
                found.setdefault(line, page.stem)
    return found


LINES = lines()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running_hub(tmp_path_factory.mktemp("hub"), demo=True) as running:
        yield running


@pytest.fixture(scope="module")
def cli(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    home = tmp_path_factory.mktemp("home")
    token = hub.token(user="ada", orgs=["lab"])
    hub.paid.add("lab")  # it may have Spaces with a server
    running = CommandLine(client_environment(hub, home, HF_TOKEN=token), home)
    write_data(home)
    put_on_the_hub(hub, home)
    prepare(running, home)
    yield running
    running.close()


def write_data(home: Path) -> None:
    """The folders and files that the pages speak of."""
    import datasets

    def table(name: str) -> datasets.Dataset:
        return datasets.Dataset.from_parquet(str(parquet_of(name)), cache_dir=str(home / "arrow"))

    fashion = table("fashion-mnist").select(range(120))
    names = fashion.features["label"].names
    for number, row in enumerate(fashion):
        folder = home / "my_images" / names[row["label"]].replace("/", " ")
        folder.mkdir(parents=True, exist_ok=True)
        row["image"].save(folder / f"{number}.png")
    shutil.make_archive(str(home / "my_images"), "zip", home / "my_images")
    labels = [{"label": names[label]} for label in fashion["label"]]
    write_images(home / "my_photos", fashion["image"], labels, "image", "train.csv")
    ages = [{"age": label * 7 + 1.5} for label in fashion["label"]]
    write_images(home / "my_faces", fashion["image"], ages, "image", "ages.csv")
    captions = table("emoji-captions").select(range(80))
    pictures = next(name for name, type in captions.features.items() if isinstance(type, datasets.Image))
    texts = next(name for name, type in captions.features.items() if not isinstance(type, datasets.Image))
    said = [text if isinstance(text, str) else text[0] for text in captions[texts]]
    answers = [{"ask": "what is it?", "reply": text.split()[-1].strip(".")} for text in said]
    write_images(home / "my_captions", captions[pictures], [{"caption": text} for text in said])
    write_images(home / "my_questions", captions[pictures], answers)
    glosses = table("wordnet-glosses").select(range(120))
    classes = glosses.features["label"].names
    rows = [
        {"text": row["text"], "label": classes[row["label"]], "body": row["text"], "topic": classes[row["label"]]}
        for row in glosses
    ]
    write_csv(home / "my_texts.csv", rows)
    write_csv(home / "my_ratings.csv", [{"text": row["text"], "stars": len(row["text"]) / 10} for row in rows])
    chats = [{"prompt": row["topic"], "completion": row["text"]} for row in rows]
    (home / "my_rows.jsonl").write_text("\n".join(map(json.dumps, chats)))
    pairs = table("wordnet-preferences").select(range(60)).to_list()
    (home / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    write_chats(home / "my_chats", captions[pictures], said)
    reviews = [
        {"review": row["text"], "stars": 1 + n % 5, "customer": f"customer {n // 3}"} for n, row in enumerate(rows)
    ]
    write_csv(home / "my_reviews.csv", reviews)
    products = [{"label": row["label"], "product": f"sku-{n // 2}"} for n, row in enumerate(labels)]
    write_images(home / "my_products", fashion["image"], products)
    write_entities(home, [row["text"] for row in rows])
    write_sounds(home)
    write_search(home)
    words = [row["text"].split() for row in rows]
    questions = [
        {"question": f"what comes first, {n}?", "context": " ".join(one), "answers": one[0]}
        for n, one in enumerate(words)
    ]
    (home / "my_questions.json").write_text("\n".join(map(json.dumps, questions)))
    for folder, name in {"my_checkpoint": "regnet-random", "my_encoder": "encoder-minilm-albert"}.items():
        shutil.copytree(demo.folder_of(f"emms-demo/{name}"), home / folder)
    (home / "ids.txt").write_text("emms-demo/resnet-fashion\nemms-demo/vit-random\nemms-demo/regnet-random\n")
    (home / "sweep.yaml").write_text(
        "{datasets: [lab/texts], checkpoints: [lab/texts], encoders: demo, max_samples: 60}"
    )
    write_csv(home / "finetuned.csv", [{"checkpoint": f"emms-demo/{name}", "score": n} for n, name in TRUTH])


def write_chats(folder: Path, images: Iterable[Image], answers: list[str]) -> None:
    """Chats about one image each, in the columns of the page."""
    import datasets

    folder.mkdir()
    rows = []
    for image, answer in zip(images, answers, strict=True):
        said = ("user", "<image>What is it?"), ("assistant", answer)
        messages = [{"role": role, "content": text} for role, text in said]
        rows.append({"images": [image], "messages": messages})
    datasets.Dataset.from_list(rows).to_parquet(str(folder / "train.parquet"))


def write_entities(home: Path, texts: list[str]) -> None:
    """Texts whose first and last word are entities: as character spans, and as words with BIO tags."""
    spans, tagged = [], []
    for text in texts:
        words = text.split()
        text = " ".join(words)
        first = {"start": 0, "end": len(words[0]), "label": "PER"}
        last = {"start": len(text) - len(words[-1]), "end": len(text), "label": "LOC"}
        spans.append({"text": text, "entities": [first, last]})
        tagged.append({"words": words, "ner": ["B-PER", *["O"] * (len(words) - 2), "B-LOC"]})
    for name, rows in {"my_entities.jsonl": spans, "my_tagged.jsonl": tagged}.items():
        (home / name).write_text("\n".join(map(json.dumps, rows)))


def write_images(
    folder: Path,
    images: Iterable[Image],
    rows: list[dict[str, object]],
    column: str = "file_name",
    table: str = "metadata.csv",
) -> None:
    """Write images to a folder, with a table that describes each of them."""
    folder.mkdir()
    for number, image in enumerate(images):
        image.save(folder / f"{number}.png")
    write_csv(folder / table, [{column: f"{number}.png", **row} for number, row in enumerate(rows)])


SEARCH = demo.folder_of("emms-demo/wordnet-search")


def write_search(home: Path) -> None:
    """Queries and documents in a table, and in a folder as BEIR has it; and a folder of documents without queries."""
    assert SEARCH is not None
    corpus, queries, judged = (
        pq.read_table(next((SEARCH / name).glob("*.parquet"))).to_pylist() for name in ("corpus", "queries", "default")
    )
    folder = home / "beir_folder"
    (folder / "qrels").mkdir(parents=True)
    for name, rows in (("corpus", corpus), ("queries", queries)):
        lines = [json.dumps({"_id": row["_id"], "text": row["text"]}) for row in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    lines = [f"{row['query-id']}\t{row['corpus-id']}\t{row['score']}" for row in judged]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]))
    text_of = {row["_id"]: row["text"] for row in (*corpus, *queries)}
    pairs = [{"query": text_of[row["query-id"]], "passage": text_of[row["corpus-id"]]} for row in judged[:120]]
    write_csv(home / "my_queries.csv", pairs)
    (home / "my_documents").mkdir()
    for number in range(40):
        sentences = [f"{row['text'].capitalize()}." for row in queries[4 * number : 4 * number + 4]]
        (home / "my_documents" / f"{number}.md").write_text(" ".join(sentences))


def write_sounds(home: Path) -> None:
    """Write tones of two classes to folders and to a table, and calls with their transcripts."""
    pitches = {"dog": 300.0, "rain": 900.0}
    kinds, calls = [], []
    (home / "my_calls").mkdir()
    for number in range(40):
        kind = ("dog", "rain")[number % 2]
        sound = encoded(tone(pitches[kind] + number, seconds=0.4, seed=number))
        path = home / "my_sounds" / kind / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sound)
        kinds.append({"path": str(path.relative_to(home)), "kind": kind, "speaker": f"speaker {number % 10}"})
        (home / "my_calls" / f"{number}.wav").write_bytes(sound)
        said = f"{kind} {'once' if number % 3 else 'twice'}"
        calls.append({"file_name": f"{number}.wav", "transcript": said, "caller": f"caller {number % 10}"})
    write_csv(home / "my_sounds.csv", kinds)
    write_csv(home / "my_commands.csv", kinds)
    write_csv(home / "my_calls" / "metadata.csv", calls)


TRUTH = ((74.8, "bert-distilled"), (69.0, "albert-distilled"), (71.8, "electra-distilled"), (67.0, "bert-random"))


def write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


# Models that pages name, and demo checkpoints that replace them here.
MODELS = {
    "lab/texts": "bert-random",
    "timm/densenet121.tv_in1k": "resnet-drawings",
    "timm/resnet50.a1_in1k": "resnet-fashion",
    "microsoft/resnet-50": "resnet-distilled",
    "facebook/dinov2-small": "vit-random",
    "microsoft/git-base-vqav2": "blip-vqa",
    "google-bert/bert-base-uncased": "bert-distilled",
    "answerdotai/ModernBERT-base": "electra-distilled",
    "sentence-transformers/all-MiniLM-L6-v2": "encoder-minilm-static",
    "BAAI/bge-small-en-v1.5": "bert-masked-short",
}
# Families of the language models that pages name; tiny ones of the same family replace them here.
WRITERS = {"HuggingFaceTB/SmolLM2-135M": "llama", "Qwen/Qwen2.5-0.5B": "qwen2", "google/flan-t5-small": "t5"}
WRITERS["Qwen/Qwen3-0.6B-Base"] = "qwen2"
VISION_CHATS = {"HuggingFaceTB/SmolVLM-256M-Instruct": "idefics3", "OpenGVLab/InternVL3-1B-hf": "internvl"}
SOUND_FAMILIES = {
    "facebook/wav2vec2-base": "wav2vec2",
    "facebook/hubert-base-ls960": "hubert",
    "openai/whisper-tiny": "whisper",
    "facebook/wav2vec2-base-960h": "wav2vec2-layer-norm",
}
# Rerankers that pages name, likewise.
RERANKERS = {"cross-encoder/ms-marco-MiniLM-L6-v2": "bert", "BAAI/bge-reranker-base": "mpnet"}
# Of sound models, the ones that transcribe before they are fine-tuned.
TRANSCRIBE = ("openai/whisper-tiny", "facebook/wav2vec2-base-960h")


def put_on_the_hub(hub: Hub, home: Path) -> None:
    """The datasets and models of the Hub that the pages name."""
    folders = {id: demo.folder_of(f"emms-demo/{name}") for id, name in MODELS.items()}
    folders |= {id: writer(home / "writers", family) for id, family in WRITERS.items()}
    folders |= {id: vision_chat(home / "vision-chats", family) for id, family in VISION_CHATS.items()}
    folders |= {id: reranker(home / "rerankers", family) for id, family in RERANKERS.items()}
    for id, family in SOUND_FAMILIES.items():
        folders[id] = (asr_model if id in TRANSCRIBE else sound_checkpoint)(home / "sound-models", family)
    for id, folder in folders.items():
        assert folder is not None
        hub.store.put_files(id, {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()})
    hub.store.put_files("lab/texts", {"texts.csv": (home / "my_texts.csv").read_bytes()}, "dataset")
    assert SEARCH is not None
    files = {str(file.relative_to(SEARCH)): file.read_bytes() for file in SEARCH.rglob("*") if file.is_file()}
    hub.store.put_files("mteb/scifact", files, "dataset")
    content = io.BytesIO()
    pictures = pq.read_table(parquet_of("fashion-mnist"))
    columns = ["labels" if name == "label" else name for name in pictures.column_names]
    pq.write_table(pictures.rename_columns(columns).replace_schema_metadata(None), content)
    hub.store.put_files("AI-Lab-Makerere/beans", {"train.parquet": content.getvalue()}, "dataset")


def parquet_of(name: str) -> Path:
    """The one table of a dataset of the demo."""
    folder = demo.folder_of(f"emms-demo/{name}")
    assert folder is not None
    (file,) = folder.rglob("*.parquet")
    return file


def prepare(cli: CommandLine, home: Path) -> None:
    """What the pages have made before: rankings of a dataset of the Hub and of the demo, a results dataset, a Space."""
    demo_names = ("emms-demo/bert-distilled", "emms-demo/albert-distilled", "emms-demo/bert-random")
    for name, dataset, checkpoints in (
        ("lab.json", "lab/texts", ("lab/texts", "google-bert/bert-base-uncased")),
        ("demo.json", "demo_glosses", demo_names),
    ):
        named = [word for id in checkpoints for word in ("-c", id)]
        done = cli.run("rank", "--dataset", dataset, *named, *FEW, "-e", "demo", "-o", name)
        assert done.code == 0, done.err
    for line in (
        f"rank --dataset lab/texts -c lab/texts {' '.join(FEW)} -e demo",
        "publish results --yes --repo-id lab/emms-results --ranking lab.json --ranking demo.json",
        "publish space --yes --repo-id lab/emms-leaderboard --results lab/emms-results",
    ):
        done = cli.run(*line.split())
        assert done.code == 0, done.err
    (home / "results").mkdir(exist_ok=True)
    shutil.copy(home / "lab.json", home / "results" / "lab.json")
    shutil.copy(home / "demo.json", home / "ranking.part-1-of-1.json")
    shutil.copytree(home / "results", home / "emms-results")
    ranking = Ranking.load(home / "demo.json")
    measured = [
        msgspec.structs.replace(row, fine_tuned=FineTuned("accuracy", value=0.9 - row.rank / 10, validation=0.8))
        for row in ranking.rows
    ]
    msgspec.structs.replace(ranking, rows=tuple(measured)).save(home / "confirmed.json")


KEPT = {"validate": "demo.json", "read-the-table": "demo.json", "confirm": "confirmed.json"}


@pytest.mark.parametrize("line", LINES)
def test_the_command_runs(cli: CommandLine, line: str) -> None:
    shutil.copy(cli.folder / KEPT.get(LINES[line], "lab.json"), cli.folder / "ranking.json")
    words = [STANDS_FOR.get(word, word) for word in line.split()[1:] if word != "…"]
    words = [name for word in words for name in (map(str, cli.folder.glob(word)) if "*" in word else [word])]
    if words[0] in ("rank", "sweep") and "--max-samples" not in words:
        words += FEW
    if words[0] in ("publish", "card"):
        words.append("--yes")
    done = cli.run(*words)
    assert done.code == 0, f"{LINES[line]}: {done.err[-2000:]}"


# Setup code that runs before the Python code of a page.
GIVEN = {
    "rank-images": "",
    "sweep": "",
    "rank-texts": """
rows = list(csv.DictReader(open("my_texts.csv")))
texts, classes = [row["text"] for row in rows], [row["label"] for row in rows]
""",
    "validate": """
shutil.copy("demo.json", "ranking.json")
scores, truth = [1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0]
cars, food = {"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 2.0, "b": 1.0, "c": 3.0}
""",
}


@pytest.mark.parametrize("name", GIVEN)
def test_the_python_of_the_page_runs(cli: CommandLine, hub: Hub, name: str) -> None:
    blocks = fences(ROOT / "docs" / f"{name}.md", "python")
    assert blocks
    before = f"import csv, os, shutil, hf_emms\nos.chdir({str(cli.folder)!r})\n{GIVEN[name]}"
    run_client(hub, "\n".join([before, *blocks, 'print("true")']), cli.folder)
