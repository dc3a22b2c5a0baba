"""The settings of a ranking, each defined once.

They come in five parts: what is read, which features are made, how they are scored, how is trained, where it runs.
`Options` is the sum of them. A field is a setting: its name is the argument of `hf_emms.rank`, and its `Setting` says
where it appears. Flags and their help, sweep files, command lines of jobs and cards, cache keys and the settings
that a ranking records are made from it.
"""

from __future__ import annotations

import dataclasses
import difflib
import operator
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, MISSING, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from hf_emms.errors import EmmsError, parse_duration, setting_ref, setting_refs

if TYPE_CHECKING:
    import datasets

Group = Literal["Data", "Checkpoints", "Labels", "Scoring", "Confirm", "Running", "Output", "Safety"]
SweepUse = Literal["flag", "dataset", "whole", "never"]
ConfirmUse = Literal["flag", "kept", "never"]
References = Literal["mean", "first", "all", "majority", "one-per-image"]
Sampling = Literal["balanced", "proportional"]
LabelForm = Literal["text", "numbers", "both", "spans"]
P = TypeVar("P", bound="OptionsPart")

# Layers by name: what the table of architectures says; the average over hidden layers; the first and the middle hidden
# layer in addition to the last.
LAST, MEAN, SPREAD = "last", "mean", "spread"

# Enough rows for a steady order (1,500 already are), few enough for an afternoon on one machine.
DEFAULT_MAX_SAMPLES = 5000
# Documents that queries search: enough to be hard, few enough to embed in minutes.
DEFAULT_CORPUS_SIZE = 10_000
DEFAULT_ESTIMATORS = ("emms_knn", "emms", "logme", "knn")
DEFAULT_RACE = 3
DEFAULT_ENCODERS = "base"
# The largest seed that NumPy accepts, plus 1, and the most seeds per checkpoint in fine-tuning.
_MAX_SEED, _MAX_SEEDS = 2**32, 1_000
# Folder of rankings that are pulled from a results dataset, or that a sweep makes.
DEFAULT_RESULTS = "emms-results"

# Columns with a flag of their own, --NAME-column, and its help. Other columns of a task are named by --column.
COLUMN_FLAGS = {
    "image": "Column with the images [default: inferred].",
    "audio": "Column with the sounds [default: inferred].",
    "text": "Column with the texts or captions [default: inferred].",
    "label": "Column with the classes or values [default: inferred].",
    "question": "Column with the questions; texts.user is a field of a column [default: inferred].",
    "answer": "Column with the answers [default: inferred].",
    "context": "Column with the texts that questions are about [default: inferred].",
    "expression": "Column with the expressions that refer to boxes [default: inferred].",
    "box": "Column with the boxes [default: inferred].",
}


@dataclass(frozen=True)
class Setting:
    """Where a setting appears, and what it allows."""

    default: Any  # `MISSING` if it has none
    help: str
    group: Group  # heading in the help
    # Whether cache keys hold its value; False where it changes no result, and where they hold what it stands for, such
    # as a commit.
    in_key: bool = True
    everyday: bool = False  # among the settings that the help lists first
    recorded: bool = False  # a ranking records it among its settings
    compared: bool = True  # recorded scores can only be compared where it is the same
    # In a sweep: a "flag" for all datasets, which a dataset may override; only for a "dataset"; a flag for the "whole".
    sweep: SweepUse = "flag"
    confirm: ConfirmUse = "never"  # "flag" of ``hf-emms confirm``, or "kept" from the ranking that is confirmed
    job: bool = True  # a command that does the same on another machine has it
    flag_name: str = ""  # by default the name, with hyphens
    short: str = ""  # one-letter flag
    metavar: str | None = None
    choices: tuple[str, ...] = ()  # besides the default
    minimum: int | None = None
    zero_is_none: bool = False  # None is allowed besides numbers; it is 0 on the command line
    empty: bool = False  # a text may be empty

    @property
    def flag(self) -> str:
        """The flag that changes it; of a setting that is on by default, the flag that turns it off."""
        return self.flag_name if self.default is not True else f"--no-{self.flag_name[2:]}"


def setting(default: Any, help: str, group: Group, **details: Any) -> Any:
    """Return a field of a part of `Options`; the arguments are those of `Setting`."""
    metadata = {"setting": Setting(default, help, group, **details)}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


def fine_tuning(default: Any, help: str, **details: Any) -> Any:
    """Return a field of `TrainingOptions`, which a `Recipe` is made from."""
    return setting(default, help, "Confirm", sweep="never", in_key=False, **{"confirm": "flag", **details})


def _seed() -> Any:
    return setting(
        0,
        "Seed of the sample and of the folds.",
        "Scoring",
        minimum=-(2**63),
        recorded=True,
        confirm="kept",
    )


class OptionsPart:
    """The settings of a ranking that a kind of work needs; each value is checked when it is made."""

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):  # type: ignore[arg-type]  # every part is a dataclass
            _check_value(item.name, getattr(self, item.name))

    def in_keys(self) -> dict[str, Any]:
        """Return name → value, as JSON holds it, of the settings that results are cached under."""
        names = [item.name for item in dataclasses.fields(self)]  # type: ignore[arg-type]
        return {name: _as_json(getattr(self, name)) for name in names if SETTINGS[name].in_key}


@dataclass(frozen=True)
class SampleOptions(OptionsPart):
    """The settings of reading a dataset: its rows, columns and labels."""

    dataset: str | datasets.Dataset = setting(
        MISSING,
        "Preset, Hub dataset id, folder or file.",
        "Data",
        metavar="NAME",
        everyday=True,
        sweep="dataset",
        in_key=False,
    )
    _: KW_ONLY
    task: str | None = setting(None, "The Hub's task id [default: inferred].", "Data", metavar="ID", everyday=True)
    config: str | None = setting(None, "Dataset configuration.", "Data", metavar="NAME", sweep="dataset", in_key=False)
    split: str | None = setting(
        None, "Dataset split.", "Data", metavar="NAME", everyday=True, sweep="dataset", in_key=False
    )
    columns: Mapping[str, str] = setting(
        {}, "Any column of a task, as ROLE=COLUMN.", "Data", flag_name="--column", metavar="ROLE=NAME", sweep="dataset"
    )
    max_samples: int | None = setting(
        DEFAULT_MAX_SAMPLES,
        f"Rows to use; 0 for all [default: {DEFAULT_MAX_SAMPLES}].",
        "Data",
        metavar="N",
        minimum=2,
        zero_is_none=True,
        everyday=True,
        recorded=True,
    )
    corpus_size: int | None = setting(
        DEFAULT_CORPUS_SIZE,
        f"Documents that queries search, the relevant ones among them; 0 for all [default: {DEFAULT_CORPUS_SIZE}].",
        "Data",
        metavar="N",
        minimum=2,
        zero_is_none=True,
        recorded=True,
        confirm="kept",
    )
    sampling: Sampling | None = setting(
        None, "How rows are drawn.", "Data", choices=("balanced", "proportional"), recorded=True, sweep="dataset"
    )
    references: References = setting(
        "mean",
        "Which captions, answers or classes of one input count.",
        "Labels",
        choices=("mean", "first", "all", "majority", "one-per-image"),
        recorded=True,
        sweep="dataset",
    )
    prompt: str | None = setting(
        None,
        "Template of label texts, e.g. 'a photo of a {}'.",
        "Labels",
        metavar="TEXT",
        recorded=True,
        sweep="dataset",
    )
    label_form: LabelForm | None = setting(
        None,
        "F-labels of boxes, values and answers [default: by task and data].",
        "Labels",
        choices=("text", "numbers", "both", "spans"),
        recorded=True,
        sweep="dataset",
    )
    box_format: str | None = setting(
        None,
        "How boxes are written, in pixels or as parts of the image [default: xywh].",
        "Labels",
        choices=("xywh", "xyxy", "cxcywh"),
        recorded=True,
        confirm="kept",
        sweep="dataset",
    )
    group_column: str | None = setting(
        None,
        "Column of speakers, patients or documents: rows of one are never on both sides of a split.",
        "Data",
        metavar="NAME",
        recorded=True,
        confirm="kept",
        sweep="dataset",
    )
    streaming: bool = setting(
        False,
        "Stream the dataset instead of downloading all of it.",
        "Data",
        flag_name="--stream",
        confirm="flag",
        in_key=False,
    )
    seed: int = _seed()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prompt is not None and "{}" not in self.prompt:
            raise EmmsError(
                f"the prompt {self.prompt!r} has no {{}} for the class", setting_ref("prompt", "a photo of a {}")
            )


@dataclass(frozen=True)
class FeatureOptions(OptionsPart):
    """Which checkpoints and label encoders turn inputs and labels into features, and at which layers."""

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
        f"Hidden layer to take features from; repeat for several: each checkpoint's best counts [default: {SPREAD}].",
        "Checkpoints",
        flag_name="--layer",
        metavar="spread|last|mean|N",
        recorded=True,
    )
    query_prompt: str | None = setting(
        None,
        "What queries start with [default: as each checkpoint says].",
        "Checkpoints",
        metavar="TEXT",
        recorded=True,
        confirm="kept",
        empty=True,
    )
    document_prompt: str | None = setting(
        None,
        "What documents start with [default: as each checkpoint says].",
        "Checkpoints",
        metavar="TEXT",
        recorded=True,
        confirm="kept",
        empty=True,
    )

    @property
    def read_layers(self) -> tuple[str, ...]:
        """The layers that are read: those asked for, or the last with two earlier ones."""
        return self.layers or (SPREAD,)


@dataclass(frozen=True, kw_only=True)
class ScoringOptions(OptionsPart):
    """The settings of scoring features, and of comparing scores."""

    race: int | None = setting(
        None,
        "Stop early the checkpoints that cannot be among the best.",
        "Scoring",
        minimum=1,
        everyday=True,
        recorded=True,
        compared=False,
        sweep="never",
        in_key=False,
    )
    estimators: tuple[str, ...] = setting(
        DEFAULT_ESTIMATORS,
        f"The first one orders the rows [default: {', '.join(DEFAULT_ESTIMATORS)}].",
        "Scoring",
        flag_name="--estimator",
        metavar="NAME",
    )
    seed: int = _seed()
    folds: int = setting(5, "Number of folds of the held-out score.", "Scoring", minimum=1, recorded=True)
    results: str | None = setting(
        None,
        "Results dataset or folder of rankings: adds the column mean_rank_elsewhere, a control.",
        "Scoring",
        metavar="REPO|DIR",
        recorded=True,
        compared=False,
        sweep="dataset",
        in_key=False,
    )


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(OptionsPart):
    """Which checkpoints are fine-tuned, how, and where the best model goes."""

    seed: int = _seed()
    confirm: int | None = fine_tuning(
        None,
        "Then fine-tune the best N, and report what that measured.",
        metavar="N",
        minimum=1,
        everyday=True,
        confirm="never",
    )
    method: str | None = fine_tuning(
        None,
        "What is trained: all weights, a LoRA adapter (needs the extra lora), the head alone; for similarity a "
        "cross-encoder instead of a bi-encoder [default: full].",
        choices=("full", "lora", "head", "cross-encoder"),
    )
    budget: str | None = fine_tuning(
        None,
        "A quick fine-tuning with few rows and epochs; the best at this budget may not be the best at yours.",
        choices=("quick",),
    )
    epochs: int | None = fine_tuning(None, "Maximum epochs of a run [default: by task].", minimum=1)
    steps: int | None = fine_tuning(None, "Optimizer steps of a run, instead of epochs.", minimum=1)
    learning_rates: tuple[str, ...] = fine_tuning(
        (),
        "Peak learning rate; repeat for several: validation rows choose one [default: two, by model size].",
        flag_name="--learning-rate",
        metavar="RATE",
    )
    seeds: int | None = fine_tuning(None, "Runs of each checkpoint at its best rate [default: 1].", minimum=1)
    confirm_samples: int | None = fine_tuning(
        None, "Maximum rows for fine-tuning [default: all].", metavar="N", minimum=20
    )
    time_limit: str | None = fine_tuning(
        None, "Time limit of fine-tuning, e.g. 90m or 2h; finished runs count.", metavar="TIME"
    )
    save_model: str | None = fine_tuning(
        None, "Keep the best fine-tuned model in this folder.", metavar="DIR", job=False
    )
    keep_adapter: bool = fine_tuning(False, "Save the LoRA adapter alone, not merged into the model.")
    push_to_hub: str | None = fine_tuning(
        None, "Upload the best fine-tuned model with its card; a new repository is private.", metavar="ORG/NAME"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [item.name for item in dataclasses.fields(TrainingOptions) if item.name != "seed"]
        changed = [name for name in names if getattr(self, name) != SETTINGS[name].default]
        if changed and self.confirm is None:
            raise EmmsError(
                setting_ref(changed[0]) + " is for fine-tuning, which was not asked for", setting_ref("confirm", ...)
            )
        if self.confirm is not None:
            self._check_fine_tuning()

    def _check_fine_tuning(self) -> None:
        """Refuse settings that contradict each other, seeds that NumPy does not accept, and invalid rates and times."""
        seeds = self.seeds or 1
        if self.epochs and self.steps:
            hint = "leave " + setting_ref("epochs") + " or " + setting_ref("steps") + " out"
            raise EmmsError("both epochs and steps are given", hint)
        if seeds > _MAX_SEEDS:
            hint = setting_ref("seeds", 3) + f", {_MAX_SEEDS} at most"
            raise EmmsError(f"{seeds:,} runs of each checkpoint are too many", hint)
        if not 0 <= self.seed <= _MAX_SEED - seeds:
            refs = setting_refs(setting_ref("seed", self.seed), setting_ref("seeds", seeds))
            raise EmmsError(f"fine-tuning takes seeds from 0 to {_MAX_SEED - 1:,}: " + refs, setting_ref("seed", 0))
        for rate in self.learning_rates:
            if not _is_rate(rate):
                hint = setting_ref("learning_rates", "1e-4")
                raise EmmsError(f"the learning rate {rate!r} is not a number between 0 and 1", hint)
        if self.time_limit:
            parse_duration(self.time_limit)
        if self.keep_adapter and self.method != "lora":
            hint = setting_ref("method", "lora") + ", or leave " + setting_ref("keep_adapter") + " out"
            raise EmmsError("no adapter is trained that could be kept", hint)
        if self.keep_adapter and not (self.save_model or self.push_to_hub):
            problem = setting_ref("keep_adapter") + " is for a model that is saved"
            raise EmmsError(problem, setting_ref("save_model", ...))


@dataclass(frozen=True, kw_only=True)
class RunOptions(OptionsPart):
    """The settings of running checkpoints: device, engine, caches and permissions."""

    # Results are cached under what "auto" stands for.
    device: str = setting(
        "auto",
        "cpu, cuda, mps.",
        "Running",
        everyday=True,
        recorded=True,
        compared=False,
        confirm="flag",
        in_key=False,
    )
    # As part of how a checkpoint's features are made, it is in their keys.
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
        "Inputs in a batch [default: chosen by hf-emms].",
        "Running",
        metavar="N",
        minimum=1,
        confirm="flag",
        in_key=False,
    )
    stall_limit: int = setting(
        120,
        "Seconds without progress after which a checkpoint is stopped.",
        "Running",
        metavar="SECONDS",
        minimum=1,
        confirm="flag",
        in_key=False,
    )
    resume: bool = setting(True, "Use rows that an earlier run finished.", "Running", confirm="flag", in_key=False)
    cache: bool = setting(True, "Read and write the cache.", "Running", confirm="flag", in_key=False)
    allow_pickle: bool = setting(
        False,
        "Unpickle weights that hold more than tensors (can run code).",
        "Safety",
        confirm="flag",
        in_key=False,
    )
    trust_remote_code: bool = setting(False, "Run code from checkpoint repositories.", "Safety", confirm="flag")
    engine: str = setting(
        "local",
        "Where checkpoints run: this process, a Ray cluster (needs the extra ray), a Hugging Face Job.",
        "Running",
        choices=("local", "ray", "jobs"),
        sweep="whole",
        confirm="flag",
        job=False,
        in_key=False,
    )
    ray_address: str | None = setting(
        None,
        "A running Ray cluster, HOST:PORT or auto [default: RAY_ADDRESS, else one on this machine for this run].",
        "Running",
        metavar="ADDRESS",
        sweep="whole",
        confirm="flag",
        job=False,
        in_key=False,
    )


# Fields of the last base come first.
@dataclass(frozen=True)
class Options(RunOptions, TrainingOptions, ScoringOptions, FeatureOptions, SampleOptions):
    """All settings of a ranking: the sum of its parts. The arguments of `hf_emms.rank` explain them.

    A function takes the part that it needs: `sample`, `features`, `scoring`, `training` or `running`.

    Raises:
        EmmsError: a value that is not allowed.
    """

    @classmethod
    def of(cls, dataset: Any, **arguments: Any) -> Self:
        """Return options from the arguments of users, where a name may stand for a list, and None for the default."""
        for name, value in arguments.items():
            setting = SETTINGS[name]
            if isinstance(setting.default, tuple):
                arguments[name] = setting.default if value is None else _names(name, value)
            elif name == "columns" and isinstance(value, Mapping | None):
                arguments[name] = {role: column for role, column in (value or {}).items() if column is not None}
            elif setting.minimum is not None and hasattr(value, "__index__") and not isinstance(value, bool):
                arguments[name] = operator.index(value)
        return cls(_as_text(dataset), **arguments)

    @property
    def sample(self) -> SampleOptions:
        return self._part(SampleOptions)

    @property
    def features(self) -> FeatureOptions:
        return self._part(FeatureOptions)

    @property
    def scoring(self) -> ScoringOptions:
        return self._part(ScoringOptions)

    @property
    def training(self) -> TrainingOptions:
        return self._part(TrainingOptions)

    @property
    def running(self) -> RunOptions:
        return self._part(RunOptions)

    def _part(self, part: type[P]) -> P:
        return part(**{item.name: getattr(self, item.name) for item in dataclasses.fields(part)})  # type: ignore[arg-type]

    def recorded(self) -> dict[str, Any]:
        """Name → value, as JSON holds it, of the settings that a ranking records."""
        return {name: _as_json(getattr(self, name)) for name, setting in SETTINGS.items() if setting.recorded}

    def changed(self) -> dict[str, Any]:
        """Name → value of the settings that differ from their defaults."""
        values = {name: (getattr(self, name), setting.default) for name, setting in SETTINGS.items()}
        # An array as the dataset has no single answer to whether it differs.
        return {name: value for name, (value, default) in values.items() if default is MISSING or value != default}

    def to_argv(self) -> list[str]:
        """Return the words after ``hf-emms rank`` that make the same ranking on another machine."""
        return [word for flag in to_flags(self.changed()) for word in flag if word is not None]


SETTINGS: Mapping[str, Setting] = {
    item.name: dataclasses.replace(
        item.metadata["setting"],
        flag_name=item.metadata["setting"].flag_name or f"--{item.name.replace('_', '-')}",
    )
    for item in dataclasses.fields(Options)
}
"""Name → setting, in the order of the fields of `Options`."""


def to_flags(values: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Yield the flags of ``hf-emms rank`` for settings, each with its value; None after a flag without a value.

    Settings without a value, and those that stay on one machine, are left out.
    """
    for name, value in values.items():
        setting = SETTINGS[name]
        if not setting.job:
            continue
        if name == "columns":
            for role, column in sorted(value.items()):
                yield (f"--{role}-column", column) if role in COLUMN_FLAGS else (setting.flag_name, f"{role}={column}")
        elif name == "race":
            if value is not None:
                yield from ((setting.flag_name, None), ("--top", str(value)))
        elif isinstance(value, tuple | list):
            yield from ((setting.flag_name, str(item)) for item in value)
        elif isinstance(value, bool):
            if value != setting.default:
                yield setting.flag, None
        elif value is not None or setting.zero_is_none:
            yield setting.flag_name, str(value or 0 if setting.zero_is_none else value)


# What people call a setting from memory that no similar word finds.
_SYNONYMS = {
    "checkpoints": ("model", "models", "candidates"),
    "max_samples": ("samples", "limit", "sample_size"),
    "label_column": ("labels", "target", "targets", "y"),
}


def unknown_setting(name: str) -> EmmsError:
    """Return the error for an unknown argument, which suggests a similar name."""
    names = [*SETTINGS, *(f"{role}_column" for role in COLUMN_FLAGS)]
    close = [right for right, others in _SYNONYMS.items() if name in others]
    close = close or [f"{name}_column"] * (name in COLUMN_FLAGS) or difflib.get_close_matches(name, names)
    hint = "did you mean " + setting_ref(close[0], ...) + "?" if close else f"the arguments are {', '.join(SETTINGS)}"
    return EmmsError(f"there is no argument {name!r}", hint)


def with_role_columns(columns: Any, others: Mapping[str, str | None]) -> Any:
    """Return the columns by role, with those of arguments such as ``text_column``; an EmmsError for other arguments."""
    roles = {name: name.removesuffix("_column") for name in others}
    for name, role in roles.items():
        if role == name:
            raise unknown_setting(name)
    return {**(columns or {}), **{roles[name]: column for name, column in others.items()}} if others else columns


def settings_of(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings among the arguments of a call, its `locals()`; ``role_columns`` are added to the columns."""
    settings = {name: value for name, value in call.items() if name in SETTINGS}
    if "role_columns" in call:
        settings["columns"] = with_role_columns(call["columns"], call["role_columns"])
    return settings


_LAYERS = setting_ref("layers", SPREAD, LAST, MEAN) + " or a number"


def layer_names(names: str | int | Iterable[str | int]) -> tuple[str, ...]:
    """Return distinct layers as they are written in keys and tables: "spread", "last", "mean" and whole numbers."""
    return tuple(dict.fromkeys(_layer_name(str(layer).strip()) for layer in _several(names)))


def _layer_name(name: str) -> str:
    if name in (SPREAD, LAST, MEAN):
        return name
    try:
        return str(int(name))
    except ValueError:
        raise EmmsError(f"unknown layer {name!r}", _LAYERS) from None


def _several(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)


def _names(setting_name: str, value: Any) -> tuple[Any, ...]:
    names = _several(value)
    if not names:  # to whoever made the list, it does not mean the default
        raise EmmsError(
            f"{setting_name} is an empty list", "name at least one, or leave it out: " + setting_ref(setting_name)
        )
    return layer_names(names) if setting_name == "layers" else tuple(map(_as_text, names))


def _as_text(value: Any) -> Any:
    """Return a path or a float as its text; other values unchanged."""
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value) if isinstance(value, float) else value


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value


def _check_value(name: str, value: Any) -> None:
    setting = SETTINGS[name]
    if name == "dataset" or (value is None and (setting.default is None or setting.zero_is_none)):
        return
    if setting.choices:
        if value != setting.default and value not in setting.choices:
            raise EmmsError(f"{name} is {value!r}", setting_ref(name, *setting.choices))
        return
    is_right_type, expected = _type_of(setting)
    if not is_right_type(value):
        raise EmmsError(f"{name} is {value!r}; it must be {expected}", setting_ref(name))
    if setting.minimum is not None and not setting.minimum <= value < 2**63:
        raise EmmsError(
            f"{name} is {value}", setting_ref(name) + f" is a number from {setting.minimum} on, below 2**63"
        )


def _type_of(setting: Setting) -> tuple[Callable[[Any], bool], str]:
    """Return the check of a setting's type, and the type in words; they follow from the default and the minimum."""
    default = setting.default
    if isinstance(default, bool):
        return lambda value: isinstance(value, bool), "True or False"
    if isinstance(default, tuple):
        return lambda value: isinstance(value, tuple) and all(map(_is_name, value)), "names, none of them empty"
    if isinstance(default, dict):
        return _is_mapping_of_names, "a column for each role"
    if setting.minimum is not None:
        return lambda value: isinstance(value, int) and not isinstance(value, bool), "a whole number"
    if setting.empty:
        return lambda value: isinstance(value, str), "a text"
    return _is_name, "a text that is not empty"


def _is_rate(text: str) -> bool:
    try:
        return 0 < float(text) < 1
    except ValueError:
        return False


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_mapping_of_names(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_name, (*value, *value.values())))
