"""The page of the metric: from features and labels to score, weights, R² and a chart."""

from __future__ import annotations

import csv
import io
import os
import zipfile
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from emms import Emms  # type: ignore[import-not-found]

if os.environ.get("SPACES_ZERO_GPU"):
    import spaces  # type: ignore[import-not-found]

    @spaces.GPU
    def unused() -> None:
        """Do nothing: ZeroGPU requires a GPU function, but this page needs none."""


METHODS = {
    "held out, ridge and nearest rows (default)": "emms_knn",
    "held out, ridge alone": "emms",
    "the paper's objective at its optimum": "emms_exact",
    "the official function": "emms_one_pass",
    "the paper's Algorithm 1": "emms_alternating",
}
FEATURES, LABELS = ("predictions", "features"), ("references", "label_embeddings", "labels")
LARGEST_FILE = "50mb"

INTRO = """
# EMMS: does this checkpoint fit your labels?
Upload **features** of a pretrained checkpoint for your examples, and the **labels** of the same examples. The score
measures how well the features explain the label embeddings, without fine-tuning. Higher is better, and 0 is perfect.
**Compare checkpoints only on the same rows and labels.** A single score means little.
"""
FORMS = """
**.npz**: `features` (N, D1) and `references` (N, D2) or (N, K, D2), in one or two files; `label_embeddings`, the
name for `hf-emms score`, also works. **.csv**: one row per example, with an optional header line. Labels are numbers
(an embedding), or one column of class names, which three small text encoders embed.
"""
WAITING = "The score appears here."


def example(rows: int = 300, width: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Return features (N, D1) and two F-labels (N, 2, D2) with a common cause; the second is noisier."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(rows, 8))
    features = hidden @ rng.normal(size=(8, width)) + rng.normal(size=(rows, width))
    labels = [hidden @ rng.normal(size=(8, 6)) + noise * rng.normal(size=(rows, 6)) for noise in (1.0, 2.0)]
    return features.round(4), np.stack(labels, axis=1).round(4)


def read_file(path: str, names: tuple[str, ...]) -> np.ndarray:
    """Return the array of an .npz file with the first name that exists, or the table of a .csv file."""
    name = Path(path).name
    if Path(path).suffix.lower() == ".npz":
        try:
            with np.load(path) as arrays:
                for key in names:
                    if key in arrays.files:
                        return np.asarray(arrays[key])
                held = ", ".join(arrays.files) or "nothing"
        except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
            raise ValueError(f"{name} is not an .npz file of plain arrays; np.savez writes one ({error})") from error
        raise ValueError(f"{name} contains {held}, but no array called {' or '.join(names)}")
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not a text file; upload .npz or .csv") from error
    return _read_table(text, name)


def _read_table(text: str, name: str) -> np.ndarray:
    """Return the numbers (N, D) of comma-separated lines, or their only column of texts (N,)."""
    lines = [line for line in csv.reader(io.StringIO(text)) if any(map(str.strip, line))]
    if not lines:
        raise ValueError(f"{name} is empty; write one line per example")
    if len(lines[0]) == 1 and (not _are_numbers(lines[-1]) or all(line[0].strip().isdigit() for line in lines)):
        return np.array([line[0].strip() for line in lines], dtype=object)
    body = lines if _are_numbers(lines[0]) else lines[1:]
    for number, line in enumerate(body, start=1 + len(lines) - len(body)):
        if len(line) != len(lines[0]):
            raise ValueError(f"{name}, line {number}: its length is {len(line)}, that of line 1 is {len(lines[0])}")
        if not _are_numbers(line):
            bad = next(value for value in line if not _are_numbers([value]))
            raise ValueError(f"{name}, line {number}: {bad.strip()!r} is not a number")
    return np.array(body, dtype=np.float64).reshape(len(body), -1)


def _are_numbers(values: list[str]) -> bool:
    try:
        list(map(float, values))
    except ValueError:
        return False
    return True


def score(features: np.ndarray, labels: np.ndarray, method: str, folds: float) -> tuple[str, pd.DataFrame]:
    """Return the result as text, and the weights."""
    if features.dtype == object:
        raise ValueError("the file with features contains texts; upload numbers, one row per example")
    options: dict[str, Any] = {"method": METHODS[method], "folds": int(folds), "estimators": ["logme", "knn"]}
    if labels.ndim == 1:
        options["encoders"] = "demo"
    result = Emms().compute(predictions=features, references=labels, **options)
    spread = f" ± {result['stderr']:.4f}" if result["stderr"] is not None else ""
    words = f"""
## score {result["score"]:.4f}{spread}
| measure | value |
|---|---|
| R² | {result["r2"]:.4f} |
| LogME | {result["logme"]:.4f} |
| k-NN | {result["knn"]:.4f} |
| rows | {result["n"]:,} |
| feature width | {result["d1"]:,} |

The best mixture of the F-labels: {", ".join(f"{weight:.3f}" for weight in result["weights"])}
"""
    names = [f"F-label {k + 1}" for k in range(len(result["weights"]))]
    return words, pd.DataFrame({"F-label": names, "weight": result["weights"]})


def explained(make: Any) -> Any:
    """Show an error of the input on the page."""

    def answer(*inputs: Any) -> tuple[str, pd.DataFrame | None]:
        try:
            return score(*make(*inputs))
        except ValueError as error:
            return f"### This cannot be scored\n{str(error).replace('→', '**How to fix it:**')}", None

    return answer


def from_example(method: str, folds: float) -> tuple[Any, ...]:
    return *example(), method, folds


def from_files(features: str | None, labels: str | None, method: str, folds: float) -> tuple[Any, ...]:
    if features is None:
        raise ValueError("the file with features is missing; upload .npz or .csv")
    if labels is None and Path(features).suffix.lower() != ".npz":
        raise ValueError("the file with labels is missing; upload .npz or .csv")
    return read_file(features, FEATURES), read_file(labels or features, LABELS), method, folds


def build() -> gr.Blocks:
    with gr.Blocks(title="EMMS") as page:
        gr.Markdown(INTRO)
        with gr.Row():
            with gr.Column():
                with gr.Tabs():
                    with gr.Tab("Example"):
                        gr.Markdown("300 examples with features of width 16 and two F-labels. The second is noisier.")
                        run_example = gr.Button("Score the example", variant="primary")
                    with gr.Tab("Upload"):
                        gr.Markdown(FORMS)
                        with gr.Row():
                            feature_file = gr.File(label="Features", file_types=[".npz", ".csv"], height=120)
                            label_file = gr.File(label="Labels", file_types=[".npz", ".csv"], height=120)
                        run_files = gr.Button("Score the files", variant="primary")
                method = gr.Dropdown(list(METHODS), value=next(iter(METHODS)), label="Method")
                folds = gr.Slider(2, 10, value=5, step=1, label="Folds of the held-out score")
            with gr.Column():
                words = gr.Markdown(WAITING, container=True, elem_id="result")
                weights = gr.BarPlot(x="F-label", y="weight", y_lim=[0, 1], height=280, title="Weights of the F-labels")
        settings, shown = [method, folds], [words, weights]
        run_example.click(explained(from_example), settings, shown, api_name="example")
        run_files.click(explained(from_files), [feature_file, label_file, *settings], shown, api_name="files")
    return page


if __name__ == "__main__":
    build().launch(
        theme=gr.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        max_file_size=LARGEST_FILE,
    )
