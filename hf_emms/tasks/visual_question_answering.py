"""Questions with answers about an image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from hf_emms.heads import ConstantBaseline, LabeledSplit, Metric, RowHead, RowOutputs
from hf_emms.heads.metrics import AGREEING, VQA_ACCURACY
from hf_emms.heads.row import class_config, weight_table
from hf_emms.heads.split import MAX_BASELINES, best_baseline, for_all_rows
from hf_emms.inputs import IMAGE_TEXT, TEXT
from hf_emms.tasks.task import IMAGE_COLUMN, Column, Task, clean_answer

# Maximum number of answers of a classifier, as for VQA v2 (arXiv 1708.02711).
MAX_ANSWERS = 3_129


class AnswerHead(RowHead):
    """A classifier of the frequent answers of training rows."""

    def metrics(self, references: Sequence[Any]) -> tuple[Metric, ...]:
        return (VQA_ACCURACY,)

    def baseline(self, train: LabeledSplit, split: LabeledSplit) -> ConstantBaseline:
        answers = _frequent_answers(train.references, MAX_BASELINES)
        metric = self.metrics(train.references)[0]
        return best_baseline("the same answer for all rows", metric, map(for_all_rows, answers), train, split)

    def outputs(self, references: Sequence[Any]) -> RowOutputs:
        """Return one output per frequent answer; its target is the number of annotators who gave it."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        answers = sorted(_frequent_answers(references, MAX_ANSWERS))
        return RowOutputs(
            len(answers),
            labels=lambda rows: weight_table(
                [[(text, min(1.0, weight / AGREEING)) for text, weight in weighted] for weighted in rows], answers
            ),
            # Summed over answers, as in ViLT: a mean over thousands of wrong answers would hardly change.
            loss=lambda outputs, labels: binary_cross_entropy_with_logits(outputs, labels) * labels.shape[1],
            predictions=lambda outputs: [answers[number] for number in outputs.argmax(1)],
            config=class_config(answers),
            references=[[[answer, 1.0]] for answer in answers],
        )


def _frequent_answers(references: Sequence[Any], count: int) -> list[str]:
    counts: Counter[str] = Counter()
    for weighted in references:
        for text, weight in weighted:
            counts[text] += weight
    return [text for text, _ in counts.most_common(count)]


VISUAL_QUESTION_ANSWERING = Task(
    id="visual-question-answering",
    input=IMAGE_TEXT,
    inputs=(
        IMAGE_COLUMN,
        Column("question", ("question", "questions", "query", "texts.user"), ("string", "strings"), TEXT),
    ),
    label=Column(
        "answer",
        # Prefer all annotators' answers to their majority.
        ("answers", "answers.answer", "answer", "multiple_choice_answer", "texts.assistant", "label"),
        ("string", "strings", "class", "bool", "integer"),
    ),
    # Answers repeat, but balancing them would change the distribution of questions.
    categorical=False,
    label_text=clean_answer,
    head=AnswerHead(
        "AutoModelForVisualQuestionAnswering",
        epochs=10,
        # These models generate answers and have no classifier.
        excluded_model_types=("blip", "blip-2"),
    ),
    aliases=("vqa",),
    source_tags=("image-text-to-text",),
    group_by="image",
)
