"""The field's published numbers, reproduced: each by one command, through the public API, on the same data.

``python -m benchmarks.published NAME --data DIR``; ``--help`` lists the names. Each row of the table is a module in
`rows`; what was really run is kept under ``benchmarks/results/published``, and docs/results.md is made from it.
"""
