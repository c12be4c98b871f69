"""Where the names of points can stand so that none covers another."""

from __future__ import annotations

import numpy as np

from bertattn._arrays import Numpy

DIRECTIONS = 16
DISTANCES = 12


def place_labels(
    points: Numpy, sizes: Numpy, frame: Numpy, /, *, others: Numpy, radius: float, rounds: int = 0
) -> Numpy:
    """The middles of labels `[label, 2]`, near their points; NaN where there is no free place.

    No label lies on another or leaves the frame. Among the places that are left a label takes the cheapest: near its
    point, rather on the side away from its neighbours, on no other point, and so that the lines from the points to
    their labels neither cross nor run through labels. The most crowded points choose first. The same input has the same
    result.

    Args:
        points: `[label, 2]`, in pixels, as all that follows.
        sizes: width and height of each label, `[label, 2]`.
        frame: left, bottom, right and top.
        others: all points that are drawn, `[point, 2]`.
        radius: of a point as it is drawn.
        rounds: how often all labels may move again, the worst placed first.
    """
    count = len(points)
    reach = 0.45 * float(np.max(frame[2:] - frame[:2]))
    distances = np.geomspace(radius + 1.0, max(reach, radius + 2.0), DISTANCES)
    angles = np.linspace(0, 2 * np.pi, DIRECTIONS, endpoint=False)
    directions = np.stack([np.cos(angles), np.sin(angles)], -1)
    crowd = np.exp(-np.linalg.norm(points[:, None] - others, axis=-1) / (4 * radius))
    toward = (crowd[..., None] * (others - points[:, None])).sum(1)
    toward /= np.maximum(np.linalg.norm(toward, axis=-1, keepdims=True), 1e-9)
    middles = np.full((count, 2), np.nan)
    costs = np.full(count, np.inf)
    for turn in range(1 + rounds):
        for i in np.argsort(-(costs if turn else crowd.sum(1)), kind="stable"):
            half = sizes[i] / 2 + 0.5
            steps = distances[:, None] + np.abs(directions) @ half
            places = (points[i] + steps[..., None] * directions).reshape(-1, 2)
            placed = ~np.isnan(middles[:, 0]) & (np.arange(count) != i)
            low, high = middles[placed] - sizes[placed] / 2 - 0.5, middles[placed] + sizes[placed] / 2 + 0.5
            free = ((places - half >= frame[:2]) & (places + half <= frame[2:])).all(-1)
            free &= ~_overlaps(places - half, places + half, low, high).any(-1)
            if not free.any():
                continue
            near = (distances[:, None] + radius * (1 + directions @ toward[i])).ravel()[free]
            places = places[free]
            hidden = _overlaps(places - half, places + half, others - radius, others + radius).sum(-1)
            through = _run_through(points[i], places, low, high).sum(-1)
            through += _run_through(points[placed], middles[placed], places - half, places + half).sum(0)
            crossing = _cross(points[i], places, points[placed], middles[placed]).sum(-1)
            cost = near + 4 * radius * hidden + 8 * radius * crossing + 12 * radius * through
            best = int(cost.argmin())
            middles[i], costs[i] = places[best], cost[best]
    return middles


def _overlaps(low: Numpy, high: Numpy, other_low: Numpy, other_high: Numpy) -> Numpy:
    """bool `[box, other]`: whether the boxes overlap."""
    # One axis after the other: NumPy is slow at reducing an axis of two.
    x, y = ((low[:, None, i] < other_high[:, i]) & (other_low[:, i] < high[:, None, i]) for i in (0, 1))
    return np.asarray(x & y)


def _run_through(starts: Numpy, ends: Numpy, low: Numpy, high: Numpy) -> Numpy:
    """bool `[line, box]`: whether the line from a start to an end meets the box."""
    enters, leaves = [], []
    for i in (0, 1):
        start = starts[..., i].reshape(-1, 1)
        along = ends[:, None, i] - start
        along[along == 0] = 1e-9
        sides = (low[:, i] - start) / along, (high[:, i] - start) / along
        enters.append(np.minimum(*sides))
        leaves.append(np.maximum(*sides))
    enter, leave = np.maximum(*enters), np.minimum(*leaves)
    return np.asarray((enter < leave) & (enter < 1) & (leave > 0))


def _cross(start: Numpy, ends: Numpy, other_starts: Numpy, other_ends: Numpy) -> Numpy:
    """bool `[end, other]`: whether the line from `start` to an end crosses another line."""

    def side(a: Numpy, b: Numpy, point: Numpy) -> Numpy:
        return np.asarray(np.sign((b - a)[..., 0] * (point - a)[..., 1] - (b - a)[..., 1] * (point - a)[..., 0]))

    ends = ends[:, None]
    apart = side(start, ends, other_starts) * side(start, ends, other_ends) < 0
    return np.asarray(apart & (side(other_starts, other_ends, start) * side(other_starts, other_ends, ends) < 0))
