"""Studies: what makes this repository's own documents from memdet, one folder each. Not part of the package.

A folder holds ``command.py`` with a click command of that name; ``memdet reproduce NAME`` finds it in a checkout and
runs it. Studies may import all of memdet; memdet imports none of them. A new study is a new folder: nothing lists them.
"""
