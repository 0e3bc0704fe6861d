"""The published prompt sets on the published models, against what papers report of them.

``memdet reproduce published`` says what that costs, runs it (again after an interruption) and compares. The figures and
the comparison are memdet's own, ``memdet.published``; ``plan`` says the cost.
"""
