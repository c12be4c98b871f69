"""Views to look at attention: one HTML file each, which needs nothing beside it and loads nothing from the network.

Every browser since 2023 draws them, from disk, in a notebook or on a web page. What they show is saved from the page as
SVG or PNG; `bertattn.figures` draws the same without a browser.
"""

from __future__ import annotations

from bertattn.views._html import HTMLView
from bertattn.views.head import head_view
from bertattn.views.model import model_view
from bertattn.views.neuron import neuron_view

__all__ = ["HTMLView", "head_view", "model_view", "neuron_view"]
