"""Word vectors: one row of numbers a word, and how much of a corpus they cover.

They come from a file (`readers.read_word_vectors`) or from a model's own input embeddings (`Extractor.word_vectors`).
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeAlias

import numpy as np

from bertattn import _arrays, _files
from bertattn._arrays import Numpy
from bertattn.annotation import Document, DocumentWindow, Sentence
from bertattn.errors import ValidationError
from bertattn.results import Result

__all__ = ["VectorCoverage", "WordVectors"]

Words: TypeAlias = Iterable[str | Sentence | Document | DocumentWindow]

_VERSION: Final = 1
# Unknown words that a coverage shows when it is printed.
_SHOWN: Final = 10


def words_of(items: Words) -> Iterator[str]:
    """The words in an iterable of words, or of sentences, documents and windows of them.

    Raises:
        ValidationError: one string or one sentence instead of several, or something that is neither.
    """
    if isinstance(items, str | Sentence | Document | DocumentWindow) or not isinstance(items, Iterable):
        raise ValidationError(f"words are given as a list of words or of sentences, but got {items!r:.60}")
    for item in items:
        if isinstance(item, str):
            yield item
        elif isinstance(item, Sentence | Document | DocumentWindow):
            yield from item.words
        else:
            raise ValidationError(f"words are strings, or those of sentences, but one is {item!r:.60}")


@dataclass(frozen=True, eq=False, repr=False)
class WordVectors:
    """A vector for each of some words; a word that has none is unknown, and looked up it gives zeros.

    A value: equal to another where the words, the numbers and the way of looking up are the same, whatever the name.

    Args:
        words: the words, each once.
        matrix: `[word, dimension]` finite numbers, kept as read-only float32. An array that can be written to is
            copied.
        lowercase: words are looked up lower-cased, as in the paper's code; `words` then hold no capitals.
        name: where the vectors are from, such as the name of the file.

    Raises:
        ValidationError: a word that is not text, is empty, comes twice, or has capitals in spite of `lowercase`; a
            matrix of another shape, or one with numbers that are not finite.

    Examples:
        >>> vectors = WordVectors(["the", "cat"], [[1.0, 0.0], [0.5, 2.0]])
        >>> vectors
        WordVectors(2 words, 2 dimensions, lower-cased)
        >>> vectors.lookup(["The", "dog"])
        array([[1., 0.],
               [0., 0.]], dtype=float32)
        >>> "Cat" in vectors, vectors.knows(["the", "dog"])
        (True, array([ True, False]))
    """

    words: tuple[str, ...]
    matrix: Numpy
    lowercase: bool = field(default=True, kw_only=True)
    name: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        words = _arrays.column("words", self.words, entry="vector")
        for i, word in enumerate(words):
            if not isinstance(word, str) or not word:
                raise ValidationError(f"word {i} must be a non-empty string, but is {word!r}")
            if self.lowercase and word != word.lower():
                raise ValidationError(
                    f"words are looked up lower-cased, so {word!r} would never be found; give it lower-cased or say "
                    "lowercase=False"
                )
        object.__setattr__(self, "words", words)
        object.__setattr__(self, "matrix", _checked(self.matrix, len(words)))
        if len(self._index) < len(words):
            twice, times = Counter(words).most_common(1)[0]
            raise ValidationError(f"each word has one vector, but {twice!r} comes {times} times")

    @functools.cached_property
    def _index(self) -> dict[str, int]:
        return {word: row for row, word in enumerate(self.words)}

    @property
    def dimension(self) -> int:
        """How many numbers a vector has."""
        return int(self.matrix.shape[1])

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the words, the numbers and `lowercase`: the same for equal vectors."""
        content = hashlib.sha256(json.dumps([self.lowercase, self.dimension, self.words]).encode())
        content.update(self.matrix.astype("<f4", copy=False).data)
        return content.hexdigest()

    def __eq__(self, other: object) -> bool:
        return self.digest == other.digest if isinstance(other, WordVectors) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)

    def __len__(self) -> int:
        """Number of words."""
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and self._key(word) in self._index

    def __repr__(self) -> str:
        name = "" if self.name is None else f", {self.name!r}"
        cased = "lower-cased" if self.lowercase else "cased"
        return f"WordVectors({len(self)} words, {self.dimension} dimensions, {cased}{name})"

    def __deepcopy__(self, _: dict[int, Any]) -> Self:
        return self  # nothing in it changes, and scikit-learn's clone would copy gigabytes

    def __reduce__(self) -> tuple[Any, ...]:  # a matrix that was pickled can be written to again
        return functools.partial(type(self), lowercase=self.lowercase, name=self.name), (self.words, self.matrix)

    def lookup(self, words: Iterable[str], /) -> Numpy:
        """The vectors of the words, `[word, dimension]` in float32; zeros for unknown ones.

        Raises:
            ValidationError: one string instead of several words.
        """
        rows = self._rows(words)
        found = np.zeros((len(rows), self.dimension), np.float32)
        found[rows >= 0] = self.matrix[rows[rows >= 0]]
        return found

    def knows(self, words: Iterable[str], /) -> Numpy:
        """For each word whether it has a vector.

        Raises:
            ValidationError: one string instead of several words.
        """
        return np.asarray(self._rows(words) >= 0)

    def coverage(self, sentences: Words, /) -> VectorCoverage:
        """How many of the words of a corpus have a vector, as running words (tokens) and as different words (types).

        Args:
            sentences: sentences, documents or windows of them, or single words.

        Raises:
            ValidationError: something that is none of these.

        Examples:
            >>> vectors = WordVectors(["the", "cat"], [[1.0, 0.0], [0.5, 2.0]])
            >>> coverage = vectors.coverage([Sentence(["The", "cat", "saw", "the", "dog"])])
            >>> coverage.known_tokens, coverage.tokens, coverage.token_fraction
            (3, 5, 0.6)
            >>> coverage.unknown
            (('dog', 1), ('saw', 1))
        """
        counts = Counter(self._key(word) for word in words_of(sentences))
        unknown = sorted((word for word in counts if word not in self._index), key=lambda word: (-counts[word], word))
        return VectorCoverage(
            tokens=counts.total(),
            types=len(counts),
            unknown=tuple((word, counts[word]) for word in unknown),
            name=self.name,
        )

    def reduced(self, dimension: int, /) -> WordVectors:
        """The same words with shorter vectors: their `dimension` first principal components.

        matrix' = (matrix - mean) V, V the eigenvectors of the covariance over all words, each word counting once, by
        falling eigenvalue. In each the largest entry is positive, so the result is the same everywhere.

        Raises:
            ValidationError: a dimension that is no whole number from 1 to that of the vectors, or more than the words
                that there are.

        Examples:
            >>> vectors = WordVectors(["a", "b", "c"], [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
            >>> vectors.reduced(1).matrix.round(3).ravel()
            array([-1.414,  0.   ,  1.414], dtype=float32)
        """
        dimension = _arrays.plain(dimension)
        most = min(self.dimension, len(self))
        if type(dimension) is not int or not 1 <= dimension <= most:
            raise ValidationError(
                f"{len(self)} vectors of {self.dimension} dimensions can be reduced to 1 to {most} of them, but not to "
                f"{dimension!r}"
            )
        centred = self.matrix - self.matrix.mean(0, dtype=np.float64)
        axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :dimension]
        largest = np.take_along_axis(axes, np.abs(axes).argmax(0)[None], axis=0)
        name = f"{self.name or 'vectors'}, {dimension} principal components"
        return WordVectors(self.words, centred @ (axes * np.sign(largest)), lowercase=self.lowercase, name=name)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the vectors as one safetensors file; `load` gives an equal value. An existing file is replaced at once.

        Raises:
            StorageError: `path` is a folder or lies in one that is not there.
            OSError: the folder may not be written, or is full.
        """
        _files.write_arrays(path, *self._to_arrays(), kind="WordVectors", version=_VERSION)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> WordVectors:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: no such file.
            StorageError: a file that bertattn did not write, that holds something else, that is torn, or that a newer
                bertattn wrote.
        """
        return _files.read_arrays(path, cls._from_arrays, kind="WordVectors", version=_VERSION)

    def _to_arrays(self) -> tuple[dict[str, Numpy], dict[str, Any]]:
        """What a file holds: arrays, and what JSON can say."""
        # The words are not in a file's header, since that may not grow beyond 100 MB.
        words = np.frombuffer(json.dumps(self.words).encode(), np.uint8)
        return {"matrix": self.matrix, "words": words}, {"lowercase": self.lowercase, "name": self.name}

    @classmethod
    def _from_arrays(cls, value: dict[str, Any], arrays: dict[str, Numpy]) -> WordVectors:
        words = json.loads(arrays["words"].tobytes())
        return cls(words, arrays["matrix"], lowercase=value["lowercase"], name=value["name"])

    def _key(self, word: str) -> str:
        return word.lower() if self.lowercase else word

    def _rows(self, words: Iterable[str]) -> Numpy:
        """The row of each word, -1 for unknown ones."""
        if isinstance(words, str) or not isinstance(words, Iterable):
            raise ValidationError(f"words are looked up as a list, but got {words!r:.60}; write [word] for one word")
        return np.array([self._index.get(self._key(word), -1) for word in words], dtype=np.intp)


def _checked(values: Any, words: int) -> Numpy:
    """The values as a read-only float32 matrix with one row a word."""
    try:
        given = _arrays.to_numpy(values)
        if given.dtype.kind not in "fiu":
            raise TypeError(f"they are {given.dtype}")
        with np.errstate(over="ignore"):  # an infinity is refused below
            matrix = np.array(given, np.float32, order="C", copy=True if given.flags.writeable else None)
    except (TypeError, ValueError) as error:
        raise ValidationError(f"matrix must hold a row of numbers for each word: {error}") from None
    if matrix.ndim != 2 or len(matrix) != words or not matrix.shape[1]:
        raise ValidationError(
            f"matrix must be [word, dimension] with {words} rows and at least one column, but is {list(matrix.shape)}"
        )
    good = np.isfinite(matrix).all(1)
    if not good.all():
        raise ValidationError(f"vectors are finite float32 numbers, but not that of word {int(good.argmin())}")
    matrix.flags.writeable = False
    return matrix


@dataclass(frozen=True)
class VectorCoverage(Result):
    """How much of a corpus has word vectors.

    Args:
        tokens: running words.
        types: different words, as they are looked up (so lower-cased where the vectors are).
        unknown: the words without a vector and how often each comes, the most frequent first.
        name: that of the vectors.
    """

    tokens: int
    types: int
    unknown: tuple[tuple[str, int], ...]
    name: str | None = None

    @property
    def known_tokens(self) -> int:
        """Running words that have a vector."""
        return self.tokens - sum(count for _, count in self.unknown)

    @property
    def known_types(self) -> int:
        """Different words that have a vector."""
        return self.types - len(self.unknown)

    @property
    def token_fraction(self) -> float:
        """The fraction of running words that have a vector; NaN for a corpus without words."""
        return self.known_tokens / self.tokens if self.tokens else np.nan

    @property
    def type_fraction(self) -> float:
        """The fraction of different words that have a vector; NaN for a corpus without words."""
        return self.known_types / self.types if self.types else np.nan

    def __repr__(self) -> str:
        shares = f"{self.token_fraction:.1%} of {self.tokens} tokens, {self.type_fraction:.1%} of {self.types} types"
        return f"VectorCoverage({shares} known)"

    def __str__(self) -> str:
        """The fractions, and the most frequent unknown words."""
        shown = ", ".join(f"{word!r} {count}" for word, count in self.unknown[:_SHOWN])
        return f"{self!r}\nmost frequent unknown words: {shown or 'none'}"

    def to_records(self) -> list[dict[str, Any]]:
        """Two rows, tokens and types: how many there are, how many are known, and the fraction."""
        return [
            {"counted": "tokens", "count": self.tokens, "known": self.known_tokens, "fraction": self.token_fraction},
            {"counted": "types", "count": self.types, "known": self.known_types, "fraction": self.type_fraction},
        ]

    def _state(self) -> dict[str, Any]:
        return {"tokens": self.tokens, "types": self.types, "unknown": self.unknown, "name": self.name}

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        return cls(**(state | {"unknown": tuple((word, count) for word, count in state["unknown"])}))
