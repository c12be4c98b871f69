"""Best trees by looking at all of them, as plain loops."""

from __future__ import annotations

from itertools import combinations, product


def is_tree(governors: tuple[int, ...]) -> bool:
    """One root, and every word reaches it. Governors count from 1, 0 is the root."""
    if list(governors).count(0) != 1:
        return False
    for start in range(1, len(governors) + 1):
        word, seen = start, set()
        while word != 0:
            if word in seen:
                return False
            seen.add(word)
            word = governors[word - 1]
    return True


def arborescence_score(scores: list[list[float]], governors: tuple[int, ...]) -> float:
    total = 0.0
    for dependent, governor in enumerate(governors):
        if governor != 0:
            total += scores[dependent][governor - 1]
    return total


def best_arborescence(scores: list[list[float]], root: int | None = None) -> tuple[tuple[int, ...], float]:
    best = None
    n = len(scores)
    for governors in product(range(n + 1), repeat=n):
        if is_tree(governors) and (root is None or governors[root - 1] == 0):
            total = arborescence_score(scores, governors)
            if best is None or total > best[1]:
                best = governors, total
    assert best is not None
    return best


def edge_score(scores: list[list[float]], edges: tuple[tuple[int, int], ...]) -> float:
    return sum((scores[a - 1][b - 1] + scores[b - 1][a - 1]) / 2 for a, b in edges)


def best_spanning_tree(scores: list[list[float]]) -> tuple[tuple[tuple[int, int], ...], float]:
    best = None
    n = len(scores)
    pairs = [(a, b) for a in range(1, n + 1) for b in range(a + 1, n + 1)]
    for edges in combinations(pairs, n - 1):
        group = list(range(n + 1))
        for a, b in edges:
            group = [group[a] if g == group[b] else g for g in group]
        if len(set(group[1:])) == 1:
            total = edge_score(scores, edges)
            if best is None or total > best[1]:
                best = edges, total
    assert best is not None
    return best


def attachment(predicted: list[int], gold: list[int | None], punct: list[bool], *, with_punct: bool, with_root: bool):
    right = words = 0
    for i in range(len(gold)):
        if gold[i] is None:
            continue
        if punct[i] and not with_punct:
            continue
        if gold[i] == 0 and not with_root:
            continue
        words += 1
        if predicted[i] == gold[i]:
            right += 1
    return right, words


def undirected_attachment(edges: list[tuple[int, int]], gold: list[int | None], punct: list[bool], *, with_punct: bool):
    right = total = 0
    for i in range(len(gold)):
        if gold[i] is None or gold[i] == 0 or (punct[i] and not with_punct):
            continue
        total += 1
        if (i + 1, gold[i]) in edges or (gold[i], i + 1) in edges:
            right += 1
    return right, total
