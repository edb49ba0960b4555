"""The released test suites of other libraries, run against diabolo through thin adapters.

No test is copied: the files come from the installed package, or, where a package does not ship its tests, from an
unpacked copy of its repository. `adapters` gives an estimator of diabolo the constructor of a peer's class; `plugin`
puts it in the peer's place before pytest imports the tests.

    python -m benchmarks.peers                                    # what scikit-learn ships
    python -m benchmarks.peers --tests pyod=DIR --tests ctgan=DIR # repositories of the installed versions, unpacked
"""
