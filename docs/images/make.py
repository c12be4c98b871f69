"""The pictures of the README and of the pages: `python docs/images/make.py`, from the root of the repository."""

from pathlib import Path

from bertattn import Extractor, attribution, clustering, demo, figures, heads, patterns, readers, summarize

HERE = Path(__file__).parent
SENTENCE = "The keeper's lighthouse stood on a cliff."
HEADS = {"1-3": "the previous token", "2-9": "the next token, or [CLS]", "4-12": "the full stop"}

if __name__ == "__main__":
    ext = Extractor.from_pretrained(demo.model_path())
    figure = figures.example_heads(ext(SENTENCE), list(HEADS), titles=list(HEADS.values()), threshold=0.05)
    figures.save(figure, HERE / "heads.png", dpi=110)

    passages = demo.passages()
    embedding = clustering.embed_heads(clustering.head_distances(ext.extract(passages)), starts=20)
    surface = summarize(ext.extract(passages), patterns.surface_patterns)
    relations = heads.score_relations(ext.extract(readers.read_conllu(demo.corpus_path())))
    behaviors = clustering.label_behaviors(surface, relations=relations, min_count=50)
    figures.save(figures.cluster_figure(embedding, behaviors), HERE / "clusters.png", dpi=80)

    stream = attribution.gradients(ext, passages, objective=attribution.Contrastive(), batch_size=24)
    figure = figures.gradient_figure(attribution.gradient_importance(stream))
    figures.save(figure, HERE / "gradients.png", dpi=110)
