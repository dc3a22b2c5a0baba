"""Define the settings of a ranking, each once.

`Options` consists of five parts: reading data, computing features, scoring, training and running. Each field is a
setting. Its name is the argument of `hf_emms.rank`, and its `Setting` lists the places that use it. Flags with their
help, sweep files, command lines of jobs and cards, cache keys and the recorded settings are derived from it.
"""

from __future__ import annotations

import dataclasses
import operator
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, MISSING, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

from hf_emms.errors import EmmsError
from hf_emms.formatting import parse_bytes, parse_count, parse_duration
from hf_emms.options.calls import unknown_argument
from hf_emms.texts import setting_ref

if TYPE_CHECKING:
    import datasets

Group = Literal["Data", "Checkpoints", "Labels", "Scoring", "Confirm", "Running", "Output", "Safety"]
ConfirmUse = Literal["flag", "kept", "never"]
References = Literal["mean", "first", "all"]
Sampling = Literal["balanced", "proportional"]
LabelForm = Literal["text", "numbers", "both", "spans", "flags", "ids"]
# Forms of lists of zeros and ones in label cells.
CLASS_FORMS = ("flags", "ids")

# Layers by name: the default of the architecture; the mean over hidden layers; the first, middle and last hidden layer.
LAST, MEAN, SPREAD = "last", "mean", "spread"

# More than the 1,500 rows that a stable order needs, but few enough for an afternoon on one machine.
DEFAULT_MAX_SAMPLES = 5000
# Documents of a corpus: enough for a hard search, few enough to embed in minutes.
DEFAULT_CORPUS_SIZE = 10_000
DEFAULT_ESTIMATORS = ("emms_knn", "emms", "logme", "knn")
DEFAULT_ENCODERS = "base"

# Columns with their own flag, --NAME-column, and its help. Use --column for other columns of a task.
COLUMN_FLAGS = {
    "image": "Column with the images [default: inferred].",
    "audio": "Column with the sounds [default: inferred].",
    "text": "Column with the texts or captions [default: inferred].",
    "label": "Column with the classes or values [default: inferred].",
    "question": "Column with the questions, or a field of a column: texts.user [default: inferred].",
    "answer": "Column with the answers [default: inferred].",
    "context": "Column with the contexts of questions [default: inferred].",
    "expression": "Column with the referring expressions of boxes [default: inferred].",
    "box": "Column with the boxes [default: inferred].",
}


@dataclass(frozen=True)
class Setting:
    """A setting: its allowed values, and the interfaces and records that use it."""

    default: Any  # `MISSING` if it has none
    help: str
    group: Group  # heading in the help
    # Whether cache keys contain its value. False if it does not change results, or if keys contain what it refers to,
    # such as a commit.
    in_key: bool = True
    everyday: bool = False  # among the settings that the help lists first
    recorded: bool = False  # a ranking records it among its settings
    compared: bool = True  # scores are comparable only if the setting is equal
    in_sweep: bool = True  # a flag of ``hf-emms sweep``, for all datasets
    confirm: ConfirmUse = "never"  # "flag" of ``hf-emms confirm``, or "kept" from the ranking that is confirmed
    job: bool = True  # also for the same command on another machine
    flag_name: str = ""  # by default the name, with hyphens
    short: str = ""  # one-letter flag
    metavar: str | None = None
    choices: tuple[str, ...] = ()  # besides the default
    minimum: int | None = None
    zero_is_none: bool = False  # None is allowed besides numbers; it is 0 on the command line
    empty: bool = False  # a text may be empty

    @property
    def flag(self) -> str:
        """The flag that changes the setting. If the setting is on by default, the flag turns it off."""
        return self.flag_name if self.default is not True else f"--no-{self.flag_name[2:]}"


def setting(default: Any, help: str, group: Group, **details: Any) -> Any:
    """Define a field of a part of `Options`. The arguments are the fields of `Setting`."""
    metadata = {"setting": Setting(default, help, group, **details)}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


def fine_tuning(default: Any, help: str, **details: Any) -> Any:
    """Define a field of `TrainingOptions`: a setting of fine-tuning. The arguments are those of `setting`."""
    return setting(default, help, "Confirm", in_sweep=False, in_key=False, **{"confirm": "flag", **details})


def _seed() -> Any:
    return setting(
        0,
        "Seed of the sample and of the folds.",
        "Scoring",
        minimum=0,
        recorded=True,
        confirm="kept",
    )


class OptionsPart:
    """The base class of a group of settings, which checks their values."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            _check_value(name, value)

    def in_keys(self) -> dict[str, Any]:
        """Return name → value, as JSON stores it, of the settings in cache keys."""
        return {name: _as_json(value) for name, value in vars(self).items() if SETTINGS[name].in_key}


@dataclass(frozen=True)
class SampleOptions(OptionsPart):
    """The settings of reading a dataset: rows, columns and labels."""

    dataset: str | datasets.Dataset = setting(
        MISSING,
        "Preset, Hub dataset id, folder or file.",
        "Data",
        metavar="NAME",
        everyday=True,
        in_sweep=False,
        in_key=False,
    )
    _: KW_ONLY
    task: str | None = setting(None, "The Hub's task id [default: inferred].", "Data", metavar="ID", everyday=True)
    config: str | None = setting(None, "Dataset configuration.", "Data", metavar="NAME", in_sweep=False, in_key=False)
    split: str | None = setting(
        None, "Dataset split.", "Data", metavar="NAME", everyday=True, in_sweep=False, in_key=False
    )
    columns: Mapping[str, str] = setting(
        {},
        "Column for any role of a task, as ROLE=COLUMN.",
        "Data",
        flag_name="--column",
        metavar="ROLE=NAME",
        in_sweep=False,
    )
    max_samples: int | None = setting(
        DEFAULT_MAX_SAMPLES,
        f"Maximum number of rows; 0 for all [default: {DEFAULT_MAX_SAMPLES}].",
        "Data",
        metavar="N",
        minimum=2,
        zero_is_none=True,
        everyday=True,
        recorded=True,
    )
    corpus_size: int | None = setting(
        DEFAULT_CORPUS_SIZE,
        f"Maximum number of documents in the corpus; 0 for all [default: {DEFAULT_CORPUS_SIZE}].",
        "Data",
        metavar="N",
        minimum=2,
        zero_is_none=True,
        recorded=True,
        confirm="kept",
    )
    sampling: Sampling | None = setting(
        None, "Sampling of rows.", "Data", choices=("balanced", "proportional"), recorded=True, in_sweep=False
    )
    references: References = setting(
        "mean",
        "How to use several captions, answers or classes per input.",
        "Labels",
        choices=("mean", "first", "all"),
        recorded=True,
        in_sweep=False,
    )
    label_template: str | None = setting(
        None,
        "Template of label texts, e.g. 'a photo of a {}'.",
        "Labels",
        metavar="TEXT",
        recorded=True,
        in_sweep=False,
    )
    label_form: LabelForm | None = setting(
        None,
        "Form of the labels of boxes, values, answers and lists of 0 and 1 [default: by task and data].",
        "Labels",
        choices=("text", "numbers", "both", "spans", *CLASS_FORMS),
        recorded=True,
        confirm="kept",
        in_sweep=False,
    )
    label_separator: str | None = setting(
        None,
        "Character between several classes in a text, e.g. '|' [default: a text is one class].",
        "Labels",
        metavar="CHARACTER",
        recorded=True,
        confirm="kept",
        in_sweep=False,
    )
    box_format: str | None = setting(
        None,
        "Format of boxes, in pixels or relative to the image [default: xywh].",
        "Labels",
        choices=("xywh", "xyxy", "cxcywh"),
        recorded=True,
        confirm="kept",
        in_sweep=False,
    )
    group_column: str | None = setting(
        None,
        "Column of groups (speakers, patients, documents), which are never divided between folds or splits.",
        "Data",
        metavar="NAME",
        recorded=True,
        confirm="kept",
        in_sweep=False,
    )
    streaming: bool = setting(
        False,
        "Stream the dataset instead of downloading it.",
        "Data",
        flag_name="--stream",
        confirm="flag",
        in_key=False,
    )
    seed: int = _seed()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label_template is not None and "{}" not in self.label_template:
            raise EmmsError(
                "invalid-value",
                f"the label template {self.label_template!r} has no {{}} for the class",
                setting_ref("label_template", "a photo of a {}"),
            )


@dataclass(frozen=True)
class FeatureOptions(OptionsPart):
    """The checkpoints, label encoders and layers that compute features."""

    checkpoints: tuple[str, ...] = setting(
        (),
        "Checkpoint to rank; repeat for several.",
        "Checkpoints",
        flag_name="--checkpoint",
        short="-c",
        metavar="ID|DIR",
        everyday=True,
        in_key=False,
    )
    _: KW_ONLY
    max_params: str | None = setting(
        None,
        "Maximum number of parameters of default checkpoints, or of those to recommend: 100M, 1.5B.",
        "Checkpoints",
        metavar="N",
        in_key=False,
    )
    encoders: tuple[str, ...] = setting(
        (),
        "Label encoders: paper, base, demo or ids.",
        "Labels",
        flag_name="--encoder",
        short="-e",
        metavar="SET|ID",
        everyday=True,
        in_key=False,
    )
    layers: tuple[str, ...] = setting(
        (),
        f"Hidden layer of the features; repeat for several: the best counts [default: {SPREAD}].",
        "Checkpoints",
        flag_name="--layer",
        metavar="spread|last|mean|N",
        recorded=True,
    )
    query_prompt: str | None = setting(
        None,
        "Prefix of queries [default: each checkpoint's own].",
        "Checkpoints",
        metavar="TEXT",
        recorded=True,
        confirm="kept",
        empty=True,
    )
    document_prompt: str | None = setting(
        None,
        "Prefix of documents [default: each checkpoint's own].",
        "Checkpoints",
        metavar="TEXT",
        recorded=True,
        confirm="kept",
        empty=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_params is not None:
            parse_count(self.max_params)
            if self.checkpoints:
                problem = setting_ref("max_params") + " limits the default checkpoints, but checkpoints are named"
                raise EmmsError("settings-exclude-each-other", problem, "leave one of them out")

    @property
    def read_layers(self) -> tuple[str, ...]:
        """The layers to read: the user's, or the last with two earlier ones."""
        return self.layers or (SPREAD,)


@dataclass(frozen=True, kw_only=True)
class ScoringOptions(OptionsPart):
    """The settings of scoring features and comparing scores."""

    estimators: tuple[str, ...] = setting(
        DEFAULT_ESTIMATORS,
        f"Estimator; repeat for several: the first orders the rows [default: {', '.join(DEFAULT_ESTIMATORS)}].",
        "Scoring",
        flag_name="--estimator",
        metavar="NAME",
    )
    seed: int = _seed()
    folds: int = setting(5, "Number of folds of the held-out score.", "Scoring", minimum=1, recorded=True)
    dimensions: bool = setting(
        False, "Also score searches with embeddings that are truncated to 256, 128 and 64 dimensions.", "Scoring"
    )


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(OptionsPart):
    """Which checkpoints are fine-tuned, how, and where the best model is saved."""

    seed: int = _seed()
    confirm: int | None = fine_tuning(
        None,
        "Then fine-tune the best N checkpoints, and report their scores.",
        metavar="N",
        minimum=1,
        everyday=True,
        confirm="never",
    )
    method: str | None = fine_tuning(
        None,
        "Weights to train: all, a LoRA adapter (requires the extra lora) or the head [default: full].",
        choices=("full", "lora", "head"),
    )
    budget: str | None = fine_tuning(
        None,
        "Fine-tune with few rows and epochs; a larger budget may have another best checkpoint.",
        choices=("quick",),
    )
    epochs: int | None = fine_tuning(None, "Maximum number of epochs per run [default: by task].", minimum=1)
    steps: int | None = fine_tuning(None, "Optimizer steps per run, instead of epochs.", minimum=1)
    learning_rates: tuple[str, ...] = fine_tuning(
        (),
        "Peak learning rate; repeat for several, which are compared on validation rows [default: two, by model size].",
        flag_name="--learning-rate",
        metavar="RATE",
    )
    seeds: int | None = fine_tuning(None, "Runs per checkpoint at its best learning rate [default: 1].", minimum=1)
    confirm_samples: int | None = fine_tuning(
        None, "Maximum number of rows for fine-tuning [default: all].", metavar="N", minimum=20
    )
    time_limit: str | None = fine_tuning(
        None, "Time limit of fine-tuning, e.g. 90m or 2h; finished runs count.", metavar="TIME"
    )
    save_model: str | None = fine_tuning(
        None, "Save the best fine-tuned model in this folder.", metavar="DIR", job=False
    )
    push_model_to: str | None = fine_tuning(
        None, "Upload the best fine-tuned model with its card; a new repository is private.", metavar="ORG/NAME"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        changed = [name for name, value in vars(self).items() if name != "seed" and value != SETTINGS[name].default]
        if changed and self.confirm is None:
            raise EmmsError(
                "setting-without-effect",
                setting_ref(changed[0]) + " is for fine-tuning, which is off",
                setting_ref("confirm", ...),
            )
        if self.epochs and self.steps:
            hint = "leave " + setting_ref("epochs") + " or " + setting_ref("steps") + " out"
            raise EmmsError("settings-exclude-each-other", "epochs and steps exclude each other", hint)
        for rate in self.learning_rates:
            if not _is_rate(rate):
                hint = setting_ref("learning_rates", "1e-4")
                raise EmmsError("invalid-value", f"the learning rate {rate!r} is not a number between 0 and 1", hint)
        if self.time_limit:
            parse_duration(self.time_limit)


@dataclass(frozen=True, kw_only=True)
class RunOptions(OptionsPart):
    """The settings of running checkpoints: device, caches and permissions."""

    # Cache keys contain the chosen device instead of "auto".
    device: str = setting(
        "auto",
        "Device: cpu, cuda or mps.",
        "Running",
        everyday=True,
        recorded=True,
        compared=False,
        confirm="flag",
        in_key=False,
    )
    # Cache keys contain it as part of the `FeatureSpec`.
    dtype: str = setting(
        "auto",
        "Precision of the checkpoints.",
        "Running",
        choices=("auto", "float32", "bfloat16", "float16"),
        recorded=True,
        in_key=False,
    )
    batch_size: int | None = setting(
        None,
        "Inputs per batch [default: chosen automatically].",
        "Running",
        metavar="N",
        minimum=1,
        confirm="flag",
        in_key=False,
    )
    stall_limit: int = setting(
        120,
        "Seconds without progress after which a checkpoint, or reading the dataset, is stopped.",
        "Running",
        metavar="SECONDS",
        minimum=1,
        confirm="flag",
        in_key=False,
    )
    workers: int | None = setting(
        None,
        "Processes that run checkpoints at once on this machine [default: one per GPU].",
        "Running",
        metavar="N",
        minimum=1,
        in_key=False,
    )
    gpus_per_checkpoint: str | None = setting(
        None,
        "GPUs of Ray per checkpoint, e.g. 0.5 [default: 1 if the cluster has GPUs].",
        "Running",
        metavar="N",
        in_key=False,
    )
    part: str | None = setting(
        None,
        "Run only the I-th of N parts of the checkpoints; hf-emms merge joins the files.",
        "Running",
        metavar="I/N",
        in_key=False,
    )
    delete_downloads: bool = setting(
        False, "Delete each checkpoint that this run downloaded when it is finished.", "Running", in_key=False
    )
    read_memory: str | None = setting(
        None,
        "Maximum memory to read the dataset: 500MB, 8GB [default: half of the free memory].",
        "Running",
        metavar="SIZE",
        confirm="flag",
        in_key=False,
    )
    resume: bool = setting(True, "Use rows that an earlier run finished.", "Running", confirm="flag", in_key=False)
    cache: bool = setting(True, "Read and write the cache.", "Running", confirm="flag", in_key=False)
    allow_pickle: bool = setting(
        False,
        "Unpickle weights that contain more than tensors (can run code).",
        "Safety",
        confirm="flag",
        in_key=False,
    )
    trust_remote_code: bool = setting(False, "Run code from checkpoint repositories.", "Safety", confirm="flag")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.read_memory is not None:
            parse_bytes(self.read_memory)
        if self.part is not None:
            number, _, count = self.part.partition("/")
            if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
                raise EmmsError("invalid-value", f"the part {self.part!r} is not I/N", setting_ref("part", "1/8"))
        if self.gpus_per_checkpoint is not None and not _is_share(self.gpus_per_checkpoint):
            problem = f"gpus_per_checkpoint is {self.gpus_per_checkpoint}; it must be a number from 0 to 1"
            raise EmmsError("invalid-value", problem, setting_ref("gpus_per_checkpoint", 0.5))

    @property
    def share(self) -> tuple[int, int]:
        """The number of the part, from 1, and the number of parts; (1, 1) for the whole."""
        number, _, count = (self.part or "1/1").partition("/")
        return int(number), int(count)

    @property
    def part_suffix(self) -> str:
        """The end of the name of a part's file, before its suffix; empty for the whole."""
        number, count = self.share
        return f".part-{number}-of-{count}" if self.part is not None else ""


@dataclass(frozen=True)
class Options:
    """All settings of a ranking, by part. The arguments of `hf_emms.rank` explain them.

    Pass each function the part that it needs.
    """

    sample: SampleOptions
    features: FeatureOptions
    scoring: ScoringOptions
    training: TrainingOptions
    running: RunOptions

    @classmethod
    def of(cls, dataset: Any, **arguments: Any) -> Self:
        """Return options from a user's arguments. A name may replace a list, and None means the default.

        For some settings 0 means None. ``text_column`` and so on are added to the columns.

        Raises:
            EmmsError: An argument is unknown, or a value is invalid.
        """
        by_role = {name: arguments.pop(name) for name in [*arguments] if name not in SETTINGS}
        for name in by_role:
            if not name.endswith("_column"):
                raise unknown_argument(name, [*SETTINGS, *(f"{role}_column" for role in COLUMN_FLAGS), "progress"])
        if by_role:
            columns = {name.removesuffix("_column"): column for name, column in by_role.items()}
            arguments["columns"] = {**(arguments.get("columns") or {}), **columns}
        if dataset is None:
            raise EmmsError("setting-missing", "dataset is None", "name a preset, a Hub dataset, a folder or a file")
        for name, value in arguments.items():
            setting = SETTINGS[name]
            if isinstance(setting.default, tuple):
                arguments[name] = setting.default if value is None else _names(name, value)
            elif name == "columns" and isinstance(value, Mapping | None):
                arguments[name] = {role: column for role, column in (value or {}).items() if column is not None}
            elif name == "device":
                arguments[name] = device_text(value)
            elif name == "dtype":
                arguments[name] = _torch_text(value)
            elif name in ("max_params", "gpus_per_checkpoint") and isinstance(value, int | float):
                arguments[name] = str(value)
            elif setting.minimum is not None and hasattr(value, "__index__") and not isinstance(value, bool):
                arguments[name] = operator.index(value) or (None if setting.zero_is_none else 0)
        return cls._of_values({**arguments, "dataset": _as_text(dataset)})

    @classmethod
    def _of_values(cls, values: Mapping[str, Any]) -> Self:
        fields = [(part, [item.name for item in dataclasses.fields(part)]) for part in _PARTS]
        return cls(*(part(**{name: values[name] for name in names if name in values}) for part, names in fields))

    def replaced(self, **values: Any) -> Self:
        """Return the options with other values of some settings."""
        return self._of_values({**self.values, **values})

    @property
    def values(self) -> dict[str, Any]:
        """Name → value of all settings."""
        parts = (self.sample, self.features, self.scoring, self.training, self.running)
        return {name: value for part in parts for name, value in vars(part).items()}

    def recorded(self) -> dict[str, Any]:
        """Return name → value, as JSON stores it, of the settings that a ranking records."""
        return {name: _as_json(value) for name, value in self.values.items() if SETTINGS[name].recorded}

    def changed(self) -> dict[str, Any]:
        """Return name → value of the settings that differ from their defaults."""
        # Comparing an array as the dataset would not return a bool.
        return {
            name: value
            for name, value in self.values.items()
            if SETTINGS[name].default is MISSING or value != SETTINGS[name].default
        }

    def to_argv(self) -> list[str]:
        """Return the words after ``hf-emms rank`` that make the same ranking on another machine."""
        return [word for flag in to_flags(self.changed()) for word in flag if word is not None]


_PARTS: tuple[type[Any], ...] = (SampleOptions, FeatureOptions, ScoringOptions, TrainingOptions, RunOptions)


SETTINGS: Mapping[str, Setting] = {
    item.name: dataclasses.replace(
        item.metadata["setting"],
        flag_name=item.metadata["setting"].flag_name or f"--{item.name.replace('_', '-')}",
    )
    for part in _PARTS
    for item in dataclasses.fields(part)
}
"""Name → setting, in the order of the fields of the parts of `Options`."""


def to_flags(values: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Yield the flags of ``hf-emms rank`` for settings, each with its value; None for a flag without a value.

    Settings without a value and settings of one machine are omitted.
    """
    for name, value in values.items():
        setting = SETTINGS[name]
        if not setting.job:
            continue
        if name == "columns":
            for role, column in sorted(value.items()):
                yield (f"--{role}-column", column) if role in COLUMN_FLAGS else (setting.flag_name, f"{role}={column}")
        elif isinstance(value, tuple | list):
            yield from ((setting.flag_name, str(item)) for item in value)
        elif isinstance(value, bool):
            if value != setting.default:
                yield setting.flag, None
        elif value is not None or setting.zero_is_none:
            yield setting.flag_name, str(value or 0 if setting.zero_is_none else value)


def settings_of(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings among the `locals()` of a call."""
    return {name: value for name, value in call.items() if name in SETTINGS}


_LAYERS = setting_ref("layers", SPREAD, LAST, MEAN) + " or a number"


def layer_names(names: str | int | Iterable[str | int]) -> tuple[str, ...]:
    """Return distinct layers in the spelling of keys and tables: "spread", "last", "mean" and whole numbers."""
    return tuple(dict.fromkeys(_layer_name(str(layer).strip()) for layer in several("layers", names)))


def _layer_name(name: str) -> str:
    if name in (SPREAD, LAST, MEAN):
        return name
    try:
        return str(int(name))
    except ValueError:
        raise EmmsError("unknown-layer", f"unknown layer {name!r}", _LAYERS) from None


def several(name: str, value: Any) -> tuple[Any, ...]:
    """Return the values of an argument that accepts one or several names.

    Raises:
        EmmsError: A value is a model in memory.
    """
    is_iterable = isinstance(value, Iterable) and not isinstance(value, str)
    values = (value,) if not is_iterable or hasattr(value, "save_pretrained") else tuple(value)
    for item in values:
        if hasattr(item, "save_pretrained"):
            hint = 'save it, and name the folder: model.save_pretrained("FOLDER"), ' + setting_ref(name, "./FOLDER")
            raise EmmsError("wrong-type", f"{name} is a {type(item).__name__} in memory; it must be names", hint)
    return values


def device_text(device: Any) -> Any:
    """Return a device as its name, also if it is a number as in transformers, or a `torch.device`."""
    if isinstance(device, int) and not isinstance(device, bool):
        return f"cuda:{device}" if device >= 0 else "cpu"
    return _torch_text(device)


def _torch_text(value: Any) -> Any:
    return str(value).removeprefix("torch.") if type(value).__module__ == "torch" else value


def _names(setting_name: str, value: Any) -> tuple[Any, ...]:
    names = several(setting_name, value)
    if not names:  # an empty list does not mean the default
        raise EmmsError(
            "setting-empty",
            f"{setting_name} is an empty list",
            "name at least one, or leave it out: " + setting_ref(setting_name),
        )
    return layer_names(names) if setting_name == "layers" else tuple(map(_as_text, names))


def _as_text(value: Any) -> Any:
    """Return a path or float as text, and other values unchanged."""
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value) if isinstance(value, float) else value


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value


def _check_value(name: str, value: Any) -> None:
    setting = SETTINGS[name]
    if name == "dataset" or (value is None and (setting.default is None or setting.zero_is_none)):
        return
    if setting.choices:
        if value != setting.default and value not in setting.choices:
            raise EmmsError("invalid-value", f"{name} is {value!r}", setting_ref(name, *setting.choices))
        return
    is_right_type, expected = _type_of(setting)
    if not is_right_type(value):
        raise EmmsError("wrong-type", f"{name} is {value!r}; it must be {expected}", setting_ref(name))
    if setting.minimum is not None and not setting.minimum <= value < 2**63:
        raise EmmsError(
            "invalid-value",
            f"{name} is {value}",
            setting_ref(name) + f" is a number from {setting.minimum} on, below 2**63",
        )


def _type_of(setting: Setting) -> tuple[Callable[[Any], bool], str]:
    """Return the check of a setting's type and a description of the type, from the default and the minimum."""
    default = setting.default
    if isinstance(default, bool):
        return lambda value: isinstance(value, bool), "True or False"
    if isinstance(default, tuple):
        return lambda value: isinstance(value, tuple) and all(map(_is_name, value)), "non-empty names"
    if isinstance(default, dict):
        return _is_mapping_of_names, "a column for each role"
    if setting.minimum is not None:
        return lambda value: isinstance(value, int) and not isinstance(value, bool), "a whole number"
    if setting.empty:
        return lambda value: isinstance(value, str), "a text"
    return _is_name, "a non-empty text"


def _is_rate(text: str) -> bool:
    try:
        return 0 < float(text) < 1
    except ValueError:
        return False


def _is_share(text: str) -> bool:
    return re.fullmatch(r"0(\.\d+)?|1(\.0+)?", text) is not None


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_mapping_of_names(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_name, (*value, *value.values())))
