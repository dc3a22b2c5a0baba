"""Draw sentences of documents as queries for a corpus without queries. A sentence must find the rest of its document.

The measurements are in docs/evidence-search.md.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import islice

import numpy as np

from hf_emms.data.search.draw import (
    JUDGMENT,
    DrawnSearch,
    SearchData,
    SmallestTexts,
    distinct_judgments,
    read_judgments,
    text_key,
)
from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize
from hf_emms.inputs.languages import language_code, short_code
from hf_emms.options import SampleOptions
from hf_emms.ranking.reading import shortened

# Minimum number of distinct sentences per document with queries, and minimum share of such documents.
_FEWEST_SENTENCES, _SMALLEST_SHARE = 3, 0.2
_MOST_QUERIES = 400
# Minimum letters and digits per sentence. Shorter ones, such as headings, fit many documents.
_FEWEST_CHARACTERS = 20
# A sentence in more documents is boilerplate.
_MOST_HOLDERS = 10
# Longer lines continue in the next line if it starts with a letter or digit. Code and tables do not.
_WRAPPED = 60
_DEFAULT_LANGUAGE = "en"


def draw_sentences(data: SearchData, options: SampleOptions) -> DrawnSearch:
    """Draw documents, and sentences of them as queries. The documents lack the sentences that were drawn from them.

    Sentences do not search near-duplicates of their document.

    Raises:
        EmmsError: Few documents have three distinct sentences, or more than 5 % of the rows are unusable.
    """
    drawn = DrawnSearch()
    texts = _draw_documents(data, options, drawn)
    code = language_code(data.opened.config or "") or language_code(data.columns[data.task.label.name])
    language = short_code(code or _DEFAULT_LANGUAGE)
    corpus = _Corpus([split_sentences(text, language) for text in texts], text_key(str(options.seed)))
    chosen = dict(islice(corpus.drawable(), min(options.max_samples or _MOST_QUERIES, _MOST_QUERIES)))
    corpus.check(len(chosen))
    rests = corpus.without(chosen)
    keys = list(map(text_key, rests))
    pairs = [(text_key(query), keys[document], 1.0) for query, document in chosen.items()]
    twins = [
        (text_key(query), keys[twin], -1.0) for query, document in chosen.items() for twin in corpus.twins(document)
    ]
    drawn.judgments = distinct_judgments(np.array([*pairs, *twins], JUDGMENT))
    drawn.queries = {text_key(query): query for query in sorted(chosen, key=text_key)}
    drawn.documents = dict(sorted(zip(keys, rests, strict=True)))
    drawn.total_queries = drawn.total_relevant = len(chosen)
    drawn.facts += [
        f"no queries: {pluralize(len(chosen), 'sentence')} of {pluralize(len(set(chosen.values())), 'document')}, "
        f"which the documents lack, such as {shortened(next(iter(chosen)))}",
        f"they search {len(rests):,} of {pluralize(drawn.total_documents, 'document')}",
    ]
    not_searched = len({query for query, _, _ in twins})
    if not_searched:
        drawn.facts.append(f"{not_searched:,} of them do not search near-duplicates of their document")
    return drawn


def split_sentences(text: str, language: str) -> list[str]:
    """Split a text into sentences, and its code and tables into lines. The parts joined are the text.

    Args:
        text: The text.
        language: ISO 639-1 code. Its abbreviations do not end a sentence.
    """
    import sentencex

    paragraphs, previous = list[str](), ""
    for line in text.splitlines(keepends=True):
        if len(previous) > _WRAPPED and line[0].isalnum():
            paragraphs[-1] += line
        else:
            paragraphs.append(line)
        previous = line
    return [part for paragraph in paragraphs for part in sentencex.segment(language, paragraph)]


def _draw_documents(data: SearchData, options: SampleOptions, drawn: DrawnSearch) -> list[str]:
    """Return distinct documents up to the size of the corpus, in the order of drawing."""
    drawn.total_documents = len(np.unique(read_judgments(data, drawn)["document"]))
    texts = SmallestTexts(options)
    for content, text in data.read_documents():
        texts.add(content, text, first=False)
    return [text for _, text in texts]


class _Corpus:
    """Documents with their sentences.

    Args:
        parts: The parts of each document, from `split_sentences`.
        salt: Decides the order of drawing.
    """

    def __init__(self, parts: Sequence[Sequence[str]], salt: int) -> None:
        self._parts = [[(part, " ".join(part.split())) for part in of_document] for of_document in parts]
        self._holders = defaultdict[str, set[int]](set)
        for document, of_document in enumerate(self._parts):
            for _, sentence in of_document:
                if sum(map(str.isalnum, sentence)) >= _FEWEST_CHARACTERS:
                    self._holders[sentence].add(document)
        drawable = {sentence for sentence, holders in self._holders.items() if len(holders) <= _MOST_HOLDERS}
        self._sentences = [
            sorted(
                drawable.intersection(sentence for _, sentence in of_document), key=lambda text: text_key(text) ^ salt
            )
            for of_document in self._parts
        ]
        self.twins = cache(self._twins)

    def _twins(self, document: int) -> set[int]:
        """Return the near-duplicates of a document: they share at least half of its sentences."""
        sentences = self._sentences[document]
        times = Counter(holder for sentence in sentences for holder in self._holders[sentence])
        return {other for other, count in times.items() if other != document and 2 * count >= len(sentences)}

    def drawable(self) -> Iterator[tuple[str, int]]:
        """Yield sentences to draw, with their document. At most a third of a document's sentences is drawn."""
        drawn = set[str]()
        longest = max(map(len, self._sentences), default=0)
        for place in range(longest // _FEWEST_SENTENCES):
            for document, sentences in enumerate(self._sentences):
                if place >= len(sentences) // _FEWEST_SENTENCES:
                    continue
                sentence = sentences[place]
                if sentence not in drawn and self._holders[sentence] <= {document} | self.twins(document):
                    drawn.add(sentence)
                    yield sentence, document

    def without(self, chosen: Mapping[str, int]) -> list[str]:
        """Return the documents without the sentences that were drawn from them."""
        return [
            "".join(part for part, sentence in of_document if chosen.get(sentence) != document).strip()
            for document, of_document in enumerate(self._parts)
        ]

    def check(self, n_chosen: int) -> None:
        """Raise an `EmmsError` if too few documents have enough sentences."""
        documents = len(self._sentences)
        enough = sum(len(sentences) >= _FEWEST_SENTENCES for sentences in self._sentences)
        if n_chosen < 2 or enough < _SMALLEST_SHARE * documents:
            raise EmmsError(
                "few-sentences",
                f"{enough:,} of {pluralize(documents, 'document')} have {_FEWEST_SENTENCES} distinct sentences, "
                f"but {_SMALLEST_SHARE:.0%} must: without queries, a sentence searches for the rest of its document",
                "write 50 queries, with the documents that answer them: docs/rank-search.md lists the layouts",
            )
