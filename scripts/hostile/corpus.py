"""The corpus of command lines, each with what has to become of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scripts.hostile.checkpoints import GOOD, HARMLESS, SPOILED
from scripts.hostile.files import ENCODER


@dataclass(frozen=True)
class Case:
    """A command line.

    Attributes:
        words: of the command line, as a shell splits them; `files.NAMES` says what words with a $ stand for.
        says: pattern of what is printed: the class of message.
        code: the exit code.
        rows: checkpoints that are scored and printed; None where nothing is ranked.
        stdin: what the command reads.
        closed: it needs a user whom permissions stop.
    """

    words: str
    says: str = ""
    code: int = 1
    rows: int | None = None
    stdin: bytes = b""
    closed: bool = False


QUICK = f"-e {ENCODER} --estimator emms --layer last --format tsv"
RANK = f"rank {QUICK} -c {GOOD}"


def _rank(words: str, says: str = "", **expected: Any) -> Case:
    return Case(f"{RANK} {words}", says, **expected)


def _ranked(words: str, says: str = "") -> Case:
    return Case(f"{RANK} {words}", says, 0, 1)


def _data(name: str, says: str, **expected: Any) -> Case:
    return Case(f"{RANK} --dataset '{name}'", says, **expected)


def _spoiled(name: str) -> Case:
    rows, says = (2, "") if name in HARMLESS else (1, f"checkpoints/{name}: failed: ")
    return Case(f"{RANK} --dataset good.csv -c 'checkpoints/{name}'", says, 0, rows)


DATASETS = (
    _data("utf16.csv", "cannot be read"),
    _data("latin1.csv", "cannot be read"),
    _data("semicolon.csv", "columns text = text", code=0, rows=1),
    _data("twice.csv", "no task fits the columns"),
    _data("unclosed.csv", "cannot be read"),
    _data("ragged.csv", "cannot be read.*line 42"),
    _data("steering.csv", r"\\x1b\[31m\\u202ey"),
    _data("bytes.csv", "cannot be read"),
    _data("header.csv", "has no rows"),
    _data("key.csv", "looks like a row number or a key"),
    _data("increasing.csv", "may be a row number"),
    _data("missing.csv", "", code=0, rows=1),
    _data("two.csv", "no class has two rows"),
    _data("four.csv", "4 rows cannot fill 5 folds"),
    _data("one_class.csv", "has the same label"),
    _data("same.csv", "1 different inputs? cannot fill 5 folds"),
    _data("distinct.csv", "holds 40 different values in 40 rows"),
    _data("unlabelled.csv", "no label in column 'label'"),
    _data("file", "not of a known format"),
    _data("data.xyz", "not of a known format"),
    *(_data(f"empty.{suffix}", r"is empty \(0 bytes\)") for suffix in ("csv", "tsv", "json", "jsonl", "parquet")),
    _data("broken.jsonl", "cannot be read"),
    _data("deep.json", "cannot be read"),
    _data("list.json", "no task fits the columns"),
    _data("cut.parquet", "^Error: .*cannot be read"),
    _data("flipped.parquet", "cannot be read"),
    _data("mixed", "not read: data.csv", code=0, rows=1),
    _data("readme", "cannot be read: .*README.md"),
    _data("tagged", "cannot be read: .*README.md"),
    _data("script", "no data file|loading script"),
    _data("a[1]", r"holds '\['"),
    _data("two files", "cannot be read"),
    _data("pictures", "image-classification", code=1, rows=0),
    _data("cut pictures", "cannot be read|left out"),
    _data("line break", "holds a line break"),
    _data("colons", "holds a line break, '::'"),
    _data("bytes", "bytes that are no UTF-8"),
    _data("one class", "the images have no labels"),
    _data("no class", "the images have no labels"),
    _data("nothing", "no data file"),
    _data("loop", "no preset is named|cannot be read"),
    _data("ends", "no preset is named|cannot be read"),
    _data("nowhere/at/all", "there is no file or folder"),
    _data("./nowhere.csv", "there is no file or folder"),
    _data("/dev/null", "cannot be read|no data file"),
    _data("~nobodys/data", "cannot be read"),
    _data("", "neither a folder nor a Hub id"),
    _data("$STEERING", "neither a folder nor a Hub id"),
    _data("$LONG", "File name too long"),
    _data("$BYTES", "neither a folder nor a Hub id"),
    _data("$TOKEN", "is not"),
    _data("a b/c d", "neither a folder nor a Hub id"),
    _data("org/absent", "HF_HUB_OFFLINE is set"),
    _data("demo_glosse", "did you mean demo_glosses"),
    _data("good.csv@v1", "has no revisions"),
    _data("emms-demo/wordnet-glosses@v1", "has no revisions"),
    _data("emms-demo/absent", "not part of the embedded demo"),
    _data("labels_infinite.parquet", "not finite|labels are numbers", code=0, rows=1),
    _data("labels_nan.parquet", "no label in column 'label'"),
    _data("labels_large.parquet", "labels are numbers", code=0, rows=1),
    _data("labels_times.parquet", "no task fits"),
    _data("labels_null.parquet", "no task fits"),
    _data("labels_lists.parquet", "no label in column 'label'"),
    _data("blank.parquet", "the text is empty"),
    _data("no_texts.parquet", "cannot be decoded"),
    _data("no_pictures.parquet", "cannot be decoded"),
    _data("null_pictures.parquet", "no task fits"),
    _data("many.parquet", "no task fits"),
    _data("boxes_outside.parquet", "outside its image"),
    _data("boxes_nan.parquet", "not finite"),
    _data("boxes_three.parquet", "a box is four numbers"),
    _data("boxes_flat.parquet", "the columns fit several tasks"),
    _data("boxes_huge.parquet", "outside its image"),
    _data("answers_none.parquet", "no task fits"),
    *(_data(f"answers_{name}.parquet", "", code=0, rows=1) for name in ("far", "uneven")),
    _data("answers_absent.parquet", ""),
    _data("described", "image-to-text", rows=0),
    _data("described in part", "not in metadata.csv are left out: 3 of 12", rows=0),
    _data("described without files", "cannot be read"),
    _data("described outside", "cannot be read"),
    _data("described blank", "no text in column 'caption'"),
    _data("described by nothing", r"metadata.csv is empty \(0 bytes\)"),
    _data("closed.csv", "Permission denied", closed=True),
    _data("closed class", "Permission denied", closed=True),
)
SETTINGS = (
    *(
        _rank(f"--dataset good.csv {words}", says)
        for words, says in (
            ("--config absent", "has no configurations"),
            ("--split absent", "--split takes one of: train"),
            ("--split ''", "split is ''"),
            ("--task absent", "is not supported"),
            ("--task ''", "task is ''"),
            ("--task image-classification", "no column for the"),
            ("--text-column absent", "there is no column 'absent'; it has: text"),
            ("--text-column ''", "--text-column is empty"),
            ("--text-column label --label-column label", ""),
            ("--label-column $STEERING", "there is no column"),
            ("--image-column text", "no task fits|has no image column|holds string"),
            ("--column text", "names no role"),
            ("--column =text", "names no role"),
            ("--column absent=text", "no task fits"),
            ("--folds 41", "cannot fill 41 folds"),
            ("--folds 100000000", "cannot fill"),
            ("--folds 1", "two folds or more"),
            ("--seed 99999999999999999999", "seed is 9{20}"),
            ("--max-samples 1", "max_samples is 1"),
            ("--max-samples 3", "cannot fill|no class has two rows"),
            ("--prompt x", "has no {}"),
            ("--estimator absent", "unknown estimator"),
            ("--estimator ''", "estimators is"),
            ("--layer absent", "unknown layer"),
            ("--device absent", "unknown device"),
            ("--dtype float16 --device absent", "unknown device"),
            ("--ray-address x", "--engine ray"),
            ("--flavor x", "--engine jobs"),
            ("--engine jobs", "--results-repo"),
            ("--references first", "a row has one label"),
            ("--label-form spans", "no span of a text"),
            ("--box-format xyxy", "is no number"),
            ("--output x.xyz", "'.xyz' is not the suffix"),
            ("--output ''", "is not the suffix"),
            ("--output good.csv", "would overwrite"),
            ("--output pictures", "is not the suffix|is a folder"),
            ("--output good.csv/x.json", "cannot be written"),
            ("--output /dev/full/x.json", "cannot be written"),
            ("--output $LONG.json", "cannot be written: File name too long"),
            ("--checkpoints-file empty.txt", "names no checkpoint"),
            ("--checkpoints-file comments.txt", "names no checkpoint"),
            ("--checkpoints-file -", "names no checkpoint"),
            ("--checkpoints-file latin1.txt", "not a text in UTF-8"),
            ("--checkpoints-file no_mark.txt", "not a text in UTF-8"),
            ("--checkpoints-file absent.txt", "No such file"),
            ("--checkpoints-file .", "Is a directory"),
            ("-e papr", "did you mean --encoder paper"),
            ("-e ''", "encoders is"),
            ("-e absent/encoder", "a label encoder cannot be used"),
            ("-e $LONG", "a label encoder cannot be used"),
            ("-e nothing", "holds no files"),
            ("-e pictures", "has no config.json"),
            ("-e 'checkpoints/weights are nan'", "NaN or infinite label embeddings"),
            ("-e 'checkpoints/weights are zero'", "the same embedding for all"),
            ("-e 'checkpoints/config is deep'", "config.json"),
            ("--trust-remote-code -e 'checkpoints/own code'", "own|code"),
        )
    ),
    *(
        _rank(f"--dataset good.csv {words}", says, code=2)
        for words, says in (
            ("--folds 0", "not in the range"),
            ("--folds 2.5", "not a valid integer"),
            ("--batch-size 0", "not in the range"),
            ("--max-samples -1", "not in the range"),
            ("--top 2", "goes with --race"),
            ("--race --top 0", "not in the range"),
            ("--format xml", "is not one of"),
            ("--dtype int8", "is not one of"),
            ("--absent", "No such option"),
            ("--$STEERING", "No such option"),
            ("$TOKEN", "unexpected extra argument"),
            ("--dry-run --output x.json", "makes no ranking"),
        )
    ),
    *(
        _ranked(f"--dataset good.csv {words}")
        for words in ("--seed -1", "--prompt '{} {0} {a}'", "--batch-size 9999999")
    ),
    *(_ranked(f"--dataset good.csv --checkpoints-file {name}") for name in ("mark.txt", "utf16.txt")),
    _ranked("--dataset good.csv --layer 99", "no layer 99"),
    _ranked("--dataset good.csv --output deeper/still/x.json", "Results: deeper/still/x.json"),
    _rank("--dataset good.csv --dry-run", "finished earlier", code=0),
    Case("rank", "Missing option", 2),
)
CHECKPOINTS = (
    *map(_spoiled, SPOILED),
    *(
        _ranked(f"--dataset good.csv -c '{name}'", says)
        for name, says in (
            ("absent/checkpoint", "HF_HUB_OFFLINE is set"),
            ("./absent", "there is no file or folder"),
            ("nothing", "holds no files"),
            ("good.csv", "config.json"),
            (".", "has no config.json"),
            ("pictures", "has no config.json"),
            ("/dev/null", "config.json|cannot be read"),
            ("loop", "HF_HUB_OFFLINE is set|cannot be read"),
            ("emms-demo/absent", "not part of the embedded demo"),
            (f"{GOOD}@v1", "has no revisions"),
            ("emms-demo/vit-random", "reads images, not texts"),
            ("$LONG", "File name too long"),
            ("./$LONG", "File name too long|there is no file"),
            ("$STEERING", "neither a folder nor a Hub id"),
            ("$BYTES", "neither a folder nor a Hub id"),
            ("$TOKEN", "failed"),
            ("a b c", "neither a folder nor a Hub id"),
            ("~nobodys/model", "cannot be read"),
            (GOOD, "named twice"),
        )
    ),
    Case(f"{RANK} --dataset good.csv -c closed", "Permission denied", 0, 1, closed=True),
    Case(f"rank {QUICK} --dataset good.csv -c absent/one -c absent/two", "no checkpoint could be scored", 1, 0),
    _rank("--dataset good.csv -c absent/one --strict", "--strict: a checkpoint failed", rows=1),
)
SCORES = (
    *(
        Case(f"score {name} {words}", says)
        for name, words, says in (
            ("tiny.npz", "", "too small for float64"),
            ("tiny.npz", "--method emms_exact", "too small for float64"),
            ("huge.npz", "", "too large for float64"),
            ("wide.npz", "", "too large for float32"),
            ("nan.npz", "", "NaN or Inf"),
            ("texts.npz", "", "must hold real numbers"),
            ("complex.npz", "", "must hold real numbers"),
            ("flat.npz", "", "must be 2-D"),
            ("short.npz", "", "features has 50 rows"),
            ("nobody.npz", "", "must be 2-D with at least a row"),
            ("one.npz", "", "does not vary"),
            ("tiny_labels.npz", "", "does not vary"),
            ("huge_labels.npz", "", "too large"),
            ("no_labels.npz", "", "does not vary"),
            ("four_axes.npz", "", "it must be"),
            ("no_encoders.npz", "", "it must be"),
            ("groups.npz", "", "groups has 30 entries"),
            ("one_group.npz", "", "one fold"),
            ("codes.npz", "", "codes reach from 0 to 59"),
            ("other.npz", "", "has no array 'features'"),
            ("objects.npz", "", "cannot read"),
            ("single.npy", "", "one array without a name"),
            ("text.npz", "", "no .npz archive"),
            ("cut.npz", "", "cannot read"),
            ("good.npz", "--folds 100000000", "from 2 to 1000"),
            ("good.npz", "--seed 99999999999999999999", "64 bits"),
            ("good.npz", "--method absent", "unknown method"),
            ("good.npz", "--features-key absent", "has no array 'absent'"),
            ("good.npz", "--table-key absent", "has no array"),
        )
    ),
    Case("score constant.npz", "the same in every row", 0),
    Case("score good.npz --seed -1", "score", 0),
    Case("score good.npz --folds 1", "not in the range", 2),
    Case("score absent.npz", "does not exist", 2),
    Case("score pictures", "is a directory", 2),
    Case("score closed.npz", "Permission denied", closed=True),
)
EVALUATIONS = (
    *(
        Case(f"compare {first} {second}", says)
        for first, second, says in (
            ("absent.json", "ranking.json", "cannot read absent.json"),
            ("ranking.json", "cut.json", "cut.json: this is not a ranking"),
            ("null.json", "ranking.json", "null.json: this is not a ranking"),
            ("object.json", "ranking.json", "the field .* is missing"),
            ("number.json", "ranking.json", "should be an object"),
            ("deep.json", "ranking.json", "this is not a ranking"),
            ("bytes.json", "ranking.json", "it is not JSON"),
            ("bytes.parquet", "ranking.json", "missing or damaged"),
            ("good.parquet", "ranking.json", "hf_emms has not written it"),
            ("no_rows.json", "ranking.json", "rows is empty"),
            ("no_scores.json", "ranking.json", "neither a score"),
            ("unknown_estimator.json", "ranking.json", "neither a score of unknown"),
            ("many_parameters.json", "ranking.json", "should be at most"),
            ("negative_width.json", "ranking.json", "should be at least"),
            ("texts.json", "ranking.json", "details.r2 should be a number"),
            ("newer.json", "ranking.json", "schema version 99"),
            ("no_dataset.json", "ranking.json", "the field dataset is missing"),
            ("not_a_number.json", "ranking.json", "it is not JSON"),
            (".", "ranking.json", "Is a directory"),
            ("$STEERING", "ranking.json", "cannot read"),
        )
    ),
    Case("compare all_failed.json ranking.json", "both rankings have scored 0", 0),
    Case("compare closed.json ranking.json", "Permission denied", closed=True),
    *(
        Case(f"validate --ranking {ranking} --truth {truth} {words}", says)
        for ranking, truth, words, says in (
            ("ranking.json", "absent.csv", "", "cannot read absent.csv"),
            ("ranking.json", "truth_latin1.csv", "", "cannot be read as csv"),
            ("ranking.json", "truth_large.json", "", "no column with numbers"),
            ("ranking.json", "truth_nan.csv", "", "no column with numbers"),
            ("ranking.json", "truth_header.csv", "", "has no rows"),
            ("ranking.json", "truth_one.csv", "", "share 1 checkpoint"),
            ("ranking.json", "truth_wide.csv", "", "cannot be read as csv"),
            ("ranking.json", "truth_columns.csv", "", "no column with checkpoints"),
            ("ranking.json", "deep.json", "", "cannot be read as json"),
            ("ranking.json", "list.json", "", "holds no table"),
            ("ranking.json", "data.xyz", "", "'.xyz'"),
            ("ranking.json", ".", "", "suffix"),
            ("ranking.json", "truth.csv", "--metric absent", "no column 'absent'"),
            ("ranking.json", "truth.csv", "--estimator absent", "no ranking has the estimator"),
            ("ranking.json", "truth.csv", "--plot x.xyz", "'.xyz'"),
            ("all_failed.json", "truth.csv", "", "share 0 checkpoints"),
            ("no_scores.json", "truth.csv", "", "neither a score"),
            ("many_parameters.json", "truth.csv", "", "should be at most"),
        )
    ),
    Case("validate --ranking ranking.json --truth truth.csv --seed -1", "not in the range", 2),
    Case("validate --ranking ranking.json --truth truth.csv --resamples 0", "not in the range", 2),
    Case("validate --ranking ranking.json --truth truth.csv --resamples 1000000000", "not in the range", 2),
    Case("validate --ranking ranking.json --truth truth.csv --seed 9999999999999999999999", "", 0),
    Case("validate --ranking ranking.json --truth closed_truth.csv", "Permission denied", closed=True),
)
OTHERS = (
    Case("card --ranking cut.json --repo-id a/b", "this is not a ranking"),
    Case("card --ranking ranking.json --repo-id absent/checkpoint", "has no checkpoint"),
    Case("card --ranking ranking.json", "Pass one of", 2),
    Case("search --task absent", "is not supported"),
    Case("search --task text-classification", "the Hub cannot be searched"),
    Case("search --task text-classification --max-params many", "is no number"),
    Case("publish results --ranking ranking.json --repo-id a/b", "HF_HUB_OFFLINE is set"),
    Case("pull results --repo-id a/b", "HF_HUB_OFFLINE is set"),
    Case("cache rm absent", "holds nothing for 'absent'"),
    Case("cache rm ''", "holds nothing"),
    Case("cache rm", "name checkpoints or digests", 2),
    Case("cache prune --older-than soon", "is no duration", 2),
    Case("cache prune --max-size -5", "is no size", 2),
    Case("cache ls", "", 0),
    Case("absent", "No such command", 2),
    Case("$STEERING", "No such command", 2),
    Case("$TOKEN", "No such command", 2),
)
COMMANDS = (*DATASETS, *SETTINGS, *CHECKPOINTS, *SCORES, *EVALUATIONS, *OTHERS)
