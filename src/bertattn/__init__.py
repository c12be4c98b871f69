"""bertattn: what transformers attend to, in numbers for a paper.

Names and modules are loaded when they are first used: `import bertattn` imports neither torch nor transformers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_NAMES = {
    "AttentionTensor": "tensor",
    "Axis": "tensor",
    "BertattnError": "errors",
    "Document": "annotation",
    "DocumentWindow": "annotation",
    "Extractor": "extract",
    "Mention": "annotation",
    "Moments": "statistics",
    "RunFolder": "storage",
    "Sentence": "annotation",
    "TextPair": "inputs",
    "TokenIds": "inputs",
    "drop_special": "alignment",
    "load": "storage",
    "merge_subwords": "alignment",
    "one_pass": "results",
    "save": "storage",
    "summarize": "statistics",
    "windows": "windowing",
}
_MODULES = (
    "alignment",
    "annotation",
    "attribution",
    "clustering",
    "demo",
    "errors",
    "extract",
    "figures",
    "heads",
    "inputs",
    "interventions",
    "patterns",
    "probes",
    "readers",
    "report",
    "results",
    "segments",
    "statistics",
    "storage",
    "tensor",
    "vectors",
    "views",
    "windowing",
)

# Written out because type checkers read it; a test compares it with the two tables above.
__all__ = [
    "AttentionTensor",
    "Axis",
    "BertattnError",
    "Document",
    "DocumentWindow",
    "Extractor",
    "Mention",
    "Moments",
    "RunFolder",
    "Sentence",
    "TextPair",
    "TokenIds",
    "__version__",
    "alignment",
    "annotation",
    "attribution",
    "clustering",
    "demo",
    "drop_special",
    "errors",
    "extract",
    "figures",
    "heads",
    "inputs",
    "interventions",
    "load",
    "merge_subwords",
    "one_pass",
    "patterns",
    "probes",
    "readers",
    "report",
    "results",
    "save",
    "segments",
    "statistics",
    "storage",
    "summarize",
    "tensor",
    "vectors",
    "views",
    "windowing",
    "windows",
]

if TYPE_CHECKING:
    from bertattn import (
        alignment,
        annotation,
        attribution,
        clustering,
        demo,
        errors,
        extract,
        figures,
        heads,
        inputs,
        interventions,
        patterns,
        probes,
        readers,
        report,
        results,
        segments,
        statistics,
        storage,
        tensor,
        vectors,
        views,
        windowing,
    )
    from bertattn.alignment import drop_special, merge_subwords
    from bertattn.annotation import Document, DocumentWindow, Mention, Sentence
    from bertattn.errors import BertattnError
    from bertattn.extract import Extractor
    from bertattn.inputs import TextPair, TokenIds
    from bertattn.results import one_pass
    from bertattn.statistics import Moments, summarize
    from bertattn.storage import RunFolder, load, save
    from bertattn.tensor import AttentionTensor, Axis
    from bertattn.windowing import windows


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        value: Any = getattr(importlib.import_module(f"bertattn.{_NAMES[name]}"), name)
    elif name in _MODULES:
        value = importlib.import_module(f"bertattn.{name}")
    else:
        raise AttributeError(f"module 'bertattn' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
