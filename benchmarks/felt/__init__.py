"""The waits of a user's first hour: importing, first fits, fits again, searches, beside other tools.

The jobs are in `child`, each in a process of its own; `lines` says what is asked of each, `__main__` runs them, and
`page` writes the section of docs/results.md.
"""
