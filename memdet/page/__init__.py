"""The page: one HTML file of a run, with its table, plots and items."""

from memdet.page.render import to_html

__all__ = ["to_html"]
