"""What the peers' suites gave: every failure that is kept has its reason."""

import json
from pathlib import Path

from benchmarks.peers.suites import NOT_RUN, SUITES

RESULTS = json.loads((Path(__file__).parents[2] / "benchmarks" / "results" / "peers.json").read_text(encoding="utf-8"))


def test_what_is_kept_is_of_suites_that_there_are():
    assert set(RESULTS["suites"]) <= set(SUITES)
    assert RESULTS["not_run"] == NOT_RUN


def test_every_failure_is_explained():
    for name, kept in RESULTS["suites"].items():
        for test, one in kept["tests"].items():
            assert one["outcome"] in ("passed", "failed", "not ours", "skipped"), (name, test)
            if one["outcome"] == "failed":
                assert SUITES[name].explanation_of(test) == one["explanation"] != "not explained", (name, test)
