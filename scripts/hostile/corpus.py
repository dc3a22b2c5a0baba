"""The corpus of command lines, each with what has to become of it: tests of their own say in which words."""

from __future__ import annotations

from dataclasses import dataclass

from scripts.hostile.checkpoints import GOOD, HARMLESS, SPOILED
from scripts.hostile.files import ENCODER


@dataclass(frozen=True)
class Case:
    """A command line.

    Attributes:
        words: of the command line, as a shell splits them; `files.NAMES` says what words with a $ stand for.
        code: the exit code.
        rows: checkpoints that are scored and printed; None where nothing is ranked.
        closed: it needs a user whom permissions stop.
    """

    words: str
    code: int = 1
    rows: int | None = None
    closed: bool = False


QUICK = f"-e {ENCODER} --estimator emms --layer last --format tsv"
RANK = f"rank {QUICK} -c {GOOD}"
EVALUATED = "validate --ranking ranking.json --truth truth.csv"


def cases(before: str, texts: str, after: str = "", code: int = 1, rows: int | None = None) -> tuple[Case, ...]:
    """Make a command line of each part of a text between bars."""
    return tuple(Case(f"{before}{text.strip()}{after}", code, rows) for text in texts.split("|"))


DATASETS = (
    *cases(
        f"{RANK} --dataset '",
        """utf16.csv | latin1.csv | twice.csv | unclosed.csv | ragged.csv | steering.csv | bytes.csv | header.csv
        | key.csv | two.csv | four.csv | one_class.csv | same.csv | distinct.csv | unlabelled.csv | file
        | data.xyz | empty.csv | empty.tsv | empty.json | empty.jsonl | empty.parquet | broken.jsonl | deep.json
        | list.json | cut.parquet | flipped.parquet | readme | tagged | script | a[1] | two files | cut pictures
        | line break | colons | bytes | one class | no class | nothing | loop | ends | nowhere/at/all
        | ./nowhere.csv | /dev/null | ~nobodys/data | | $STEERING | $LONG | $BYTES | $TOKEN | a b/c d
        | org/absent | demo_glosse | good.csv@v1 | emms-demo/wordnet-glosses@v1 | emms-demo/absent
        | labels_nan.parquet | labels_times.parquet | labels_null.parquet | labels_lists.parquet | blank.parquet
        | no_texts.parquet | no_pictures.parquet | null_pictures.parquet | many.parquet | boxes_outside.parquet
        | boxes_nan.parquet | boxes_three.parquet | boxes_flat.parquet | boxes_huge.parquet
        | answers_none.parquet | answers_absent.parquet | described without files | described outside
        | described blank | described by nothing""",
        "'",
    ),
    *cases(
        f"{RANK} --dataset ",
        """semicolon.csv | missing.csv | mixed | labels_infinite.parquet | labels_large.parquet | answers_far.parquet
        | answers_uneven.parquet""",
        code=0,
        rows=1,
    ),
    *cases(f"{RANK} --dataset ", "pictures | described | 'described in part'", rows=0),
    Case(f"{RANK} --dataset closed.csv", closed=True),
    Case(f"{RANK} --dataset 'closed class'", closed=True),
)
SETTINGS = (
    *cases(
        f"{RANK} --dataset good.csv ",
        """--config absent | --split absent | --split '' | --task absent | --task '' | --task image-classification
        | --text-column absent | --text-column '' | --text-column label --label-column label | --label-column $STEERING
        | --image-column text | --column text | --column =text | --column absent=text | --folds 41 | --folds 100000000
        | --folds 1 | --seed 99999999999999999999 | --max-samples 1 | --max-samples 3 | --prompt x | --estimator absent
        | --estimator '' | --layer absent | --device absent | --dtype float16 --device absent | --ray-address x
        | --flavor x | --engine jobs | --references first | --label-form spans | --box-format xyxy | --output x.xyz
        | --output '' | --output good.csv | --output pictures | --output good.csv/x.json | --output /dev/full/x.json
        | --output $LONG.json | --checkpoints-file empty.txt | --checkpoints-file comments.txt
        | --checkpoints-file latin1.txt | --checkpoints-file no_mark.txt | --checkpoints-file absent.txt
        | --checkpoints-file . | -e papr | -e '' | -e absent/encoder | -e $LONG | -e nothing | -e pictures
        | -e 'checkpoints/weights are nan' | -e 'checkpoints/weights are zero' | -e 'checkpoints/config is deep'
        | --trust-remote-code -e 'checkpoints/own code'""",
    ),
    *cases(
        f"{RANK} --dataset good.csv ",
        """--folds 0 | --folds 2.5 | --batch-size 0 | --max-samples -1 | --top 2 | --race --top 0 | --format xml
        | --dtype int8 | --absent | --$STEERING | $TOKEN | --dry-run --output x.json""",
        code=2,
    ),
    *cases(
        f"{RANK} --dataset good.csv ",
        """--seed -1 | --prompt '{} {0} {a}' | --batch-size 9999999 | --checkpoints-file mark.txt | --layer 99
        | --checkpoints-file utf16.txt | --output deeper/still/x.json""",
        code=0,
        rows=1,
    ),
    Case(f"{RANK} --dataset good.csv --dry-run", 0),
    Case("rank", 2),
)
CHECKPOINTS = (
    *(Case(f"{RANK} --dataset good.csv -c 'checkpoints/{name}'", 0, 2 if name in HARMLESS else 1) for name in SPOILED),
    *cases(
        f"{RANK} --dataset good.csv -c '",
        f"""absent/checkpoint | ./absent | nothing | good.csv | . | pictures | /dev/null | loop | emms-demo/absent
        | {GOOD}@v1 | emms-demo/vit-random | $LONG | ./$LONG | $STEERING | $BYTES | $TOKEN | a b c | ~nobodys/model
        | {GOOD}""",
        "'",
        code=0,
        rows=1,
    ),
    Case(f"{RANK} --dataset good.csv -c closed", 0, 1, closed=True),
    Case(f"rank {QUICK} --dataset good.csv -c absent/one -c absent/two", 1, 0),
    Case(f"{RANK} --dataset good.csv -c absent/one --strict", 1, 1),
)
SCORES = (
    *cases(
        "score ",
        """tiny.npz | tiny.npz --method emms_exact | huge.npz | wide.npz | nan.npz | texts.npz | complex.npz | flat.npz
        | short.npz | nobody.npz | one.npz | tiny_labels.npz | huge_labels.npz | no_labels.npz | four_axes.npz
        | no_encoders.npz | groups.npz | one_group.npz | codes.npz | other.npz | objects.npz | single.npy | text.npz
        | cut.npz | good.npz --folds 100000000 | good.npz --seed 99999999999999999999 | good.npz --method absent
        | good.npz --features-key absent | good.npz --table-key absent""",
    ),
    *cases("score ", "constant.npz | good.npz --seed -1", code=0),
    *cases("score ", "good.npz --folds 1 | absent.npz | pictures", code=2),
    Case("score closed.npz", closed=True),
)
EVALUATIONS = (
    *cases(
        "compare ",
        """absent.json | null.json | object.json | number.json | deep.json | bytes.json | bytes.parquet | good.parquet
        | no_rows.json | no_scores.json | unknown_estimator.json | many_parameters.json | negative_width.json
        | texts.json | newer.json | no_dataset.json | not_a_number.json | . | $STEERING""",
        " ranking.json",
    ),
    Case("compare ranking.json cut.json"),
    Case("compare all_failed.json ranking.json", 0),
    Case("compare closed.json ranking.json", closed=True),
    *cases(
        "validate --ranking ranking.json --truth ",
        """absent.csv | truth_latin1.csv | truth_large.json | truth_nan.csv | truth_header.csv | truth_one.csv
        | truth_wide.csv | truth_columns.csv | deep.json | list.json | data.xyz | .""",
    ),
    *cases("validate --truth truth.csv --ranking ", "all_failed.json | no_scores.json | many_parameters.json"),
    *cases(f"{EVALUATED} ", "--metric absent | --estimator absent | --plot x.xyz"),
    *cases(f"{EVALUATED} ", "--seed -1 | --resamples 0 | --resamples 1000000000", code=2),
    Case(f"{EVALUATED} --seed 9999999999999999999999", 0),
    Case("validate --ranking ranking.json --truth closed_truth.csv", closed=True),
)
OTHERS = (
    *cases(
        "",
        """card --ranking cut.json --repo-id a/b | card --ranking ranking.json --repo-id absent/checkpoint
        | search --task absent | search --task text-classification | search --task text-classification --max-params many
        | publish results --ranking ranking.json --repo-id a/b | pull results --repo-id a/b | cache rm absent
        | cache rm ''""",
    ),
    *cases(
        "",
        """card --ranking ranking.json | cache rm | cache prune --older-than soon | cache prune --max-size -5 | absent
        | $STEERING | $TOKEN""",
        code=2,
    ),
    Case("cache ls", 0),
)
COMMANDS = (*DATASETS, *SETTINGS, *CHECKPOINTS, *SCORES, *EVALUATIONS, *OTHERS)
