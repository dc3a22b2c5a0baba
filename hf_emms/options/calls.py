"""Errors for calls with arguments and attributes that do not exist, which suggest the right ones."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from textwrap import shorten
from types import ModuleType
from typing import ParamSpec, TypeVar

from hf_emms.errors import EmmsError

P = ParamSpec("P")
R = TypeVar("R")

# Characters of a list of arguments in an error.
_LIST_LENGTH = 500
# Argument → its names in other libraries, which similar spelling does not find.
_SYNONYMS = {
    "dataset": ("dataset_name", "data", "path"),
    "checkpoints": ("model", "models", "candidates", "model_name", "model_id", "model_name_or_path", "estimator"),
    "encoders": ("model", "model_name_or_path", "embedder"),
    "config": ("name", "subset", "config_name"),
    "max_samples": ("samples", "limit", "sample_size", "max_train_samples"),
    "label_column": ("labels", "target", "targets", "y"),
    "features": ("X", "x", "embeddings", "predictions"),
    "predictions": ("X", "x", "embeddings", "features"),
    "labels": ("y", "target", "targets", "references"),
    "references": ("y", "target", "targets", "labels"),
    "texts": ("sentences", "inputs", "labels"),
    "estimators": ("metric", "metrics", "scoring", "method", "estimator"),
    "estimator": ("metric", "metrics", "scoring", "method"),
    "folds": ("cv", "n_splits", "n_folds"),
    "seed": ("random_state",),
    "workers": ("n_jobs", "num_workers", "num_proc"),
    "progress": ("verbose", "disable_tqdm", "show_progress_bar"),
    "epochs": ("num_train_epochs", "max_epochs"),
    "steps": ("max_steps",),
    "learning_rates": ("lr",),
    "batch_size": ("per_device_train_batch_size", "per_device_eval_batch_size"),
    "top": ("k", "n", "count", "top_k", "confirm"),
    "count": ("k", "n", "top_k"),
    "repo_id": ("repo", "repo_name", "hub_model_id"),
}


class UnknownAttributeError(EmmsError, AttributeError):
    """An attribute that does not exist; `hasattr` is False for it."""


def known_as(name: str) -> list[str]:
    """Return the arguments that other libraries call by this name."""
    return [argument for argument, others in _SYNONYMS.items() if name in others]


def unknown_argument(name: str, arguments: Iterable[str]) -> EmmsError:
    """Return the error for an argument that is not one of `arguments`; it suggests the right one."""
    names = list(arguments)
    close = [argument for argument in (*known_as(name), f"{name}_column") if argument in names]
    close = close or difflib.get_close_matches(name, names)
    listed = shorten(", ".join(names), _LIST_LENGTH, placeholder=" …")
    hint = f"did you mean {close[0]}=...?" if close else f"the arguments are {listed}"
    return EmmsError("unknown-argument", f"unknown argument {name!r}", hint)


def checked_call(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a public function: a call that does not fit its signature raises an `EmmsError`."""
    signature = inspect.signature(function)
    parameters = [item for item in signature.parameters.values() if item.kind != item.VAR_KEYWORD]
    names = [item.name for item in parameters if item.name != "self"]

    @wraps(function)
    def call(*arguments: P.args, **named: P.kwargs) -> R:
        try:
            signature.bind(*arguments, **named)
        except TypeError as error:
            if unknown := next((name for name in named if name not in names), None):
                raise unknown_argument(unknown, names) from None
            written = (f"{item.name}=…" if item.kind == item.KEYWORD_ONLY else item.name for item in parameters)
            listed = shorten(", ".join(written).removeprefix("self, "), _LIST_LENGTH, placeholder=" …")
            hint = f"call {function.__name__}({listed})"
            raise EmmsError("wrong-call", f"{function.__name__} cannot be called so: {error}", hint) from None
        return function(*arguments, **named)

    return call


def unknown_attribute(owner: object, name: str, instead: Mapping[str, Iterable[str]]) -> UnknownAttributeError:
    """Return the error for an attribute that an object or module lacks.

    Args:
        owner: The object or module.
        name: The attribute.
        instead: Expression → the names that users try for it.
    """
    place = owner if isinstance(owner, ModuleType) else type(owner)  # `dir` of an object would ask for more attributes
    owned = [other for other in dir(place) if not other.startswith("_")]
    fit = [expression for expression, names in instead.items() if name in names]
    close = fit or difflib.get_close_matches(name, owned, 1)
    hint = f"use {close[0]}" if close else f"it has {', '.join(owned)}"
    return UnknownAttributeError("unknown-attribute", f"{place.__name__} has no attribute {name!r}", hint)
