"""The picture of the README and the home page: `python docs/images/make.py`, from the root of the repository."""

from pathlib import Path

from bertattn import Extractor, demo, figures

SENTENCE = "The keeper's lighthouse stood on a cliff."
HEADS = {"1-3": "the previous token", "2-9": "the next token, or [CLS]", "4-12": "the full stop"}

if __name__ == "__main__":
    attention = Extractor.from_pretrained(demo.model_path())(SENTENCE)
    figure = figures.example_heads(attention, list(HEADS), list(HEADS.values()), threshold=0.05)
    figures.save(figure, Path(__file__).with_name("heads.png"), dpi=110)
