"""Speed, side by side: ours and its peers on the same rows, networks and machine, by turns in one run.

``python -m benchmarks.speed --help``. Each line of the benchmark is a function in `lines`, each peer a module in
`peers`; a peer that is not installed is reported as such.
"""
