"""The page: one HTML file of a run, with its table, plots and items."""

from memdet.page.render import page_of, to_html

__all__ = ["page_of", "to_html"]
