"""The settings of a ranking, each defined once.

A field of `Options` is a setting: its name is the argument of `hf_emms.rank`, and its `Setting` is what the flags, the
help, the command lines of jobs and cards, the cache keys and the settings recorded in a ranking are made from. To add a
setting, add a field here and use it where it acts; `rank` lists it as a keyword.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

from hf_emms.errors import EmmsError

if TYPE_CHECKING:
    import datasets

Group = Literal["Data", "Checkpoints", "Labels", "Scoring", "Confirm", "Running", "Output", "Safety"]
Stage = Literal["sample", "features", "scores"]
References = Literal["mean", "first", "all", "majority", "one-per-image"]
Sampling = Literal["balanced", "proportional"]
LabelForm = Literal["text", "numbers", "both", "spans"]

# Layers by name: what the table of architectures says; the average over hidden layers; the first and the middle hidden
# layer in addition to the last.
LAST, MEAN, SPREAD = "last", "mean", "spread"

# Enough rows for a steady order (1,500 already are), few enough for an afternoon on one machine.
DEFAULT_MAX_SAMPLES = 5000
DEFAULT_ESTIMATORS = ("emms_knn", "emms", "logme", "knn")
DEFAULT_RACE = 3
DEFAULT_ENCODERS = "base"
# Folder of rankings that are pulled from a results dataset, or that a sweep makes.
DEFAULT_RESULTS = "emms-results"

# Role of a column → help of its flag. Roles of other packages' tasks are given by --column ROLE=NAME.
COLUMN_ROLES = {
    "image": "Column with the images [default: inferred].",
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
    """What is known of a setting besides its type.

    Attributes:
        default: its default; `MISSING` if it has none.
        help: one line.
        group: heading in the help.
        stages: whose results it changes; they are cached under it.
        recorded: whether a ranking records it among its settings.
        on: its flag on the command line; by default the name, with hyphens.
        short: one-letter flag.
        metavar: what the value is, in the help.
        choices: the values that are allowed, besides the default.
        minimum: smallest allowed number.
        shared: whether a command that makes a ranking again on another machine passes it on.
        everyday: whether it is among the settings that the help lists first.
    """

    default: Any
    help: str
    group: Group
    stages: tuple[Stage, ...] = ()
    recorded: bool = False
    on: str = ""
    short: str = ""
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    minimum: int | None = None
    shared: bool = True
    everyday: bool = False

    @property
    def flag(self) -> str:
        """The flag that changes it; of a setting that is on by default, the flag that turns it off."""
        return self.on if self.default is not True else f"--no-{self.on[2:]}"


Settings = Mapping[str, Setting]
"""Name of a setting → what is known of it."""


def setting(default: Any, help: str, group: Group, *stages: Stage, **details: Any) -> Any:
    """A field of `Options`; the arguments are those of `Setting`."""
    metadata = {"setting": Setting(default, help, group, stages, **details)}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


def settings_of(options: type[Options]) -> dict[str, Setting]:
    """The settings that are the fields of a class of options."""
    table = {one.name: one.metadata["setting"] for one in dataclasses.fields(options)}
    return {
        name: dataclasses.replace(known, on=known.on or f"--{name.replace('_', '-')}") for name, known in table.items()
    }


@dataclass(frozen=True)
class Options:
    """All settings of a ranking, checked. The arguments of `hf_emms.rank` explain them.

    Raises:
        EmmsError: a value that is not allowed.
    """

    dataset: str | datasets.Dataset = setting(
        MISSING, "Preset, Hub dataset id, folder or file.", "Data", metavar="NAME", everyday=True
    )
    checkpoints: tuple[str, ...] = setting(
        (),
        "What to rank; repeat for several.",
        "Checkpoints",
        on="--checkpoint",
        short="-c",
        metavar="ID|DIR",
        everyday=True,
    )
    task: str | None = setting(
        None, "The Hub's task id [default: inferred].", "Data", "sample", metavar="ID", everyday=True
    )
    config: str | None = setting(None, "Dataset configuration.", "Data", metavar="NAME")
    split: str | None = setting(None, "Dataset split.", "Data", metavar="NAME", everyday=True)
    columns: Mapping[str, str] = setting(
        {}, "The same for a role of any task.", "Data", "sample", on="--column", metavar="ROLE=NAME"
    )
    max_samples: int | None = setting(
        DEFAULT_MAX_SAMPLES,
        f"Rows to use; 0 for all [default: {DEFAULT_MAX_SAMPLES}].",
        "Data",
        "sample",
        metavar="N",
        minimum=2,
        everyday=True,
        recorded=True,
    )
    sampling: Sampling | None = setting(
        None, "How rows are drawn.", "Data", "sample", choices=("balanced", "proportional"), recorded=True
    )
    race: int | None = setting(
        None,
        "Stop checkpoints early that cannot be among the best.",
        "Scoring",
        minimum=1,
        recorded=True,
        everyday=True,
    )
    references: References = setting(
        "mean",
        "Which captions, answers or classes of one input count.",
        "Labels",
        "sample",
        choices=("mean", "first", "all", "majority", "one-per-image"),
        recorded=True,
    )
    prompt: str | None = setting(
        None, "Template of label texts, e.g. 'a photo of a {}'.", "Labels", "sample", metavar="TEXT", recorded=True
    )
    label_form: LabelForm | None = setting(
        None,
        "F-labels of boxes, values and answers [default: by task and data].",
        "Labels",
        "sample",
        choices=("text", "numbers", "both", "spans"),
        recorded=True,
    )
    box_format: str | None = setting(
        None,
        "How boxes are written, in pixels or as parts of the picture [default: xywh].",
        "Labels",
        "sample",
        choices=("xywh", "xyxy", "cxcywh"),
        recorded=True,
    )
    encoders: tuple[str, ...] = setting(
        (),
        "Label encoders: paper, base, demo or ids.",
        "Labels",
        on="--encoder",
        short="-e",
        metavar="SET|ID",
        everyday=True,
    )
    estimators: tuple[str, ...] = setting(
        DEFAULT_ESTIMATORS,
        f"The first one orders the rows [default: {', '.join(DEFAULT_ESTIMATORS)}].",
        "Scoring",
        "scores",
        on="--estimator",
        metavar="NAME",
    )
    seed: int = setting(
        0, "Of the sample and the folds.", "Scoring", "sample", "scores", minimum=-(2**63), recorded=True
    )
    folds: int = setting(5, "Of held-out scores.", "Scoring", "scores", minimum=1, recorded=True)
    results: str | None = setting(
        None,
        'Results dataset or folder of rankings: shows mean ranks on its other datasets as a control, "elsewhere".',
        "Scoring",
        metavar="REPO|DIR",
        recorded=True,
    )
    confirm: int | None = setting(
        None,
        "Then fine-tune the best N, and report what that measured.",
        "Confirm",
        metavar="N",
        minimum=1,
        everyday=True,
    )
    method: str | None = setting(
        None,
        "What is trained: all weights, a LoRA adapter (pip install 'hf-emms[lora]'), the head alone [default: full].",
        "Confirm",
        choices=("full", "lora", "head"),
    )
    budget: str | None = setting(
        None,
        "A quick fine-tuning of few rows and epochs; who is best at it may not be best at yours.",
        "Confirm",
        choices=("quick",),
    )
    epochs: int | None = setting(None, "The most epochs a run [default: by task].", "Confirm", minimum=1)
    steps: int | None = setting(None, "Optimizer steps a run, instead of epochs.", "Confirm", minimum=1)
    learning_rates: tuple[str, ...] = setting(
        (),
        "Peak learning rate; repeat for several, of which validation rows choose [default: two, by model size].",
        "Confirm",
        on="--learning-rate",
        metavar="RATE",
    )
    seeds: int | None = setting(None, "Runs of each checkpoint at its best rate [default: 1].", "Confirm", minimum=1)
    confirm_samples: int | None = setting(
        None, "The most rows for fine-tuning [default: all].", "Confirm", metavar="N", minimum=20
    )
    time_limit: str | None = setting(
        None, "When fine-tuning ends, e.g. 90m, 2h; what is finished counts.", "Confirm", metavar="TIME"
    )
    save_model: str | None = setting(
        None, "Keep the best fine-tuned model in this folder.", "Confirm", metavar="DIR", shared=False
    )
    push_to_hub: str | None = setting(
        None,
        "Upload the best fine-tuned model with its card; a new repository is private.",
        "Confirm",
        metavar="ORG/NAME",
    )
    device: str = setting("auto", "cpu, cuda, mps.", "Running", "features", everyday=True, recorded=True)
    dtype: str = setting(
        "auto",
        "Precision of the checkpoints.",
        "Running",
        "features",
        choices=("auto", "float32", "bfloat16", "float16"),
        recorded=True,
    )
    batch_size: int | None = setting(None, "Inputs a batch [default: chosen].", "Running", metavar="N", minimum=1)
    layers: tuple[str, ...] = setting(
        (),
        f"Hidden layers to take features from; of several, each checkpoint's best counts [default: {SPREAD}].",
        "Checkpoints",
        "features",
        on="--layer",
        metavar="spread|last|mean|N",
        recorded=True,
    )
    resume: bool = setting(True, "Use rows that an earlier run finished.", "Running")
    cache: bool = setting(True, "Read and write the cache.", "Running")
    streaming: bool = setting(False, "Stream the dataset instead of downloading all of it.", "Data", on="--stream")
    allow_pickle: bool = setting(False, "Unpickle weights that hold more than tensors (can run code).", "Safety")
    trust_remote_code: bool = setting(False, "Run code from checkpoint repositories.", "Safety", "features")
    engine: str = setting(
        "local",
        "Where checkpoints run: this process, a Ray cluster (pip install 'hf-emms[ray]'), a Hugging Face Job.",
        "Running",
        choices=("local", "ray", "jobs"),
        shared=False,
    )
    ray_address: str | None = setting(
        None,
        "A running Ray cluster, HOST:PORT or auto [default: RAY_ADDRESS, else one on this machine for this run].",
        "Running",
        metavar="ADDRESS",
        shared=False,
    )

    def __post_init__(self) -> None:
        for name, known in self.settings().items():
            value = getattr(self, name)
            if not _fits(name, value, known):
                raise EmmsError(f"{name} is {value!r}; it must be {_kind(known)}", known.flag)
            if known.choices and value != known.default and value not in known.choices:
                raise EmmsError(f"{name} is {value!r}", f"{known.flag} {'|'.join(known.choices)}")
            if known.minimum is not None and value is not None and not known.minimum <= value < 2**63:
                raise EmmsError(f"{name} is {value}", f"{known.flag} N with N from {known.minimum} on, below 2**63")
        unused = [name for name in self.changed() if self.settings()[name].group == "Confirm" and self.confirm is None]
        if unused:
            flag = self.settings()[unused[0]].flag
            raise EmmsError(f"{flag} is for fine-tuning, which was not asked for", "--confirm N")
        if self.prompt is not None and "{}" not in self.prompt:
            raise EmmsError(f"the prompt {self.prompt!r} has no {{}} for the class", '--prompt "a photo of a {}"')

    @classmethod
    @functools.cache
    def settings(cls) -> Settings:
        """Name → setting, in the order of the fields."""
        return settings_of(cls)

    @classmethod
    def of(cls, dataset: Any, **arguments: Any) -> Self:
        """Options from what users pass: one name or several, None for the default.

        Raises:
            EmmsError: a value that is not allowed.
        """
        for name, value in arguments.items():
            known = cls.settings()[name]
            if isinstance(known.default, tuple):
                arguments[name] = known.default if value is None else _named(name, _several(value), known)
            elif name == "columns" and isinstance(value, Mapping | None):
                arguments[name] = {role: column for role, column in (value or {}).items() if column is not None}
            elif known.minimum is not None and hasattr(value, "__index__") and not isinstance(value, bool):
                arguments[name] = operator.index(value)
        return cls(_as_text(dataset), **arguments)

    @property
    def read_layers(self) -> tuple[str, ...]:
        """The layers that are read: those asked for, or the last with two earlier ones."""
        return self.layers or (SPREAD,)

    def of_stage(self, *stages: Stage) -> dict[str, Any]:
        """Name → value of the settings that change results of these stages, as JSON holds them: for a cache key."""
        wanted = set(stages)
        return {name: _as_json(getattr(self, name)) for name, one in self.settings().items() if wanted & {*one.stages}}

    def recorded(self) -> dict[str, Any]:
        """Name → value of the settings that a ranking records, as JSON holds them."""
        return {name: _as_json(getattr(self, name)) for name, one in self.settings().items() if one.recorded}

    def changed(self) -> dict[str, Any]:
        """Name → value of the settings that differ from their defaults."""
        values = {name: (getattr(self, name), one.default) for name, one in self.settings().items()}
        # An array as the dataset has no single answer to whether it differs.
        return {name: value for name, (value, default) in values.items() if default is MISSING or value != default}


SETTINGS = Options.settings()


def arguments_of(values: Mapping[str, Any], settings: Settings = SETTINGS) -> Iterator[tuple[str, str | None]]:
    """The flags of ``hf-emms rank`` for settings, each with its value; None after a flag that takes none.

    Args:
        values: name → value; None (but for `max_samples`) and the settings that stay on one machine are left out.
        settings: what is known of them.
    """
    for name, value in values.items():
        known = settings[name]
        if not known.shared:
            continue
        if name == "columns":
            for role, column in sorted(value.items()):
                yield (f"--{role}-column", column) if role in COLUMN_ROLES else (known.flag, f"{role}={column}")
        elif name == "race":
            if value is not None:
                yield from (("--race", None), ("--top", str(value)))
        elif name == "max_samples":
            yield known.flag, str(value or 0)
        elif isinstance(value, tuple | list):
            yield from ((known.flag, str(one)) for one in value)
        elif isinstance(value, bool):
            if value != known.default:
                yield known.flag, None
        elif value is not None:
            yield known.flag, str(value)


def words_of(values: Mapping[str, Any], settings: Settings = SETTINGS) -> list[str]:
    """`arguments_of` as the words of a command line."""
    return [word for pair in arguments_of(values, settings) for word in pair if word is not None]


def layer_names(names: str | int | Iterable[str | int]) -> tuple[str, ...]:
    """Layers as they are written in keys and tables, each once.

    Raises:
        EmmsError: a name that is none of "spread", "last" and "mean" nor a whole number, or no name at all.
    """
    given = _several(names)
    if not given:
        raise EmmsError("no layer was named", f"--layer {SPREAD}, {LAST}, {MEAN} or a number")
    return tuple(dict.fromkeys(_layer_name(str(one).strip()) for one in given))


def _several(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)


def _named(name: str, several: tuple[Any, ...], known: Setting) -> tuple[Any, ...]:
    """Several values of a setting, as they are kept.

    Raises:
        EmmsError: an empty list: to whoever made it, it does not mean the default.
    """
    if not several:
        raise EmmsError(f"{name} is an empty list", f"name at least one, or leave it out: {known.flag}")
    return layer_names(several) if name == "layers" else tuple(map(_as_text, several))


def _as_text(value: Any) -> Any:
    """A path or a float as its text; anything else as it is."""
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value) if isinstance(value, float) else value


def _kind(known: Setting) -> str:
    """What values of a setting are, in words; it follows from its default, its choices and its minimum."""
    if isinstance(known.default, bool):
        return "True or False"
    if isinstance(known.default, tuple):
        return "names, none of them empty"
    if isinstance(known.default, dict):
        return "a column for each role"
    return "a text that is not empty" if known.minimum is None else "a whole number"


def _fits(name: str, value: Any, known: Setting) -> bool:
    """Whether a value is of the type of its setting."""
    if name == "dataset" or known.choices or (value is None and (known.default is None or name == "max_samples")):
        return True
    if isinstance(known.default, bool):
        return isinstance(value, bool)
    if isinstance(known.default, tuple):
        return isinstance(value, tuple) and all(map(_is_name, value))
    if isinstance(known.default, dict):
        return isinstance(value, Mapping) and all(_is_name(one) for pair in value.items() for one in pair)
    return _is_name(value) if known.minimum is None else isinstance(value, int) and not isinstance(value, bool)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value


def _layer_name(name: str) -> str:
    if name in (SPREAD, LAST, MEAN):
        return name
    try:
        return str(int(name))
    except ValueError:
        raise EmmsError(f"unknown layer {name!r}", f"--layer {SPREAD}, {LAST}, {MEAN} or a number") from None
