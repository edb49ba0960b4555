"""What the five systems give a new user with default settings, compared with simple peers, on real data.

The sets are in `sets`, the peers in `peers`, the fits in `child` and `examples`, each in a process of its own that
`runs` starts; `promises` compares the figures with their bounds, `tables` prints them, and `page` saves them.
"""
