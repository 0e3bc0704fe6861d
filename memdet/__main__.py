"""``python -m memdet``."""

from memdet.cli import main

main()
