# SPDX-License-Identifier: MIT OR Apache-2.0
"""Two runs side by side: what changed is said, and noise is not."""

import copy
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import unittest

BENCH = os.path.abspath("tools/bench")
sys.path.insert(0, os.path.abspath("tools"))
sys.dont_write_bytecode = True

# pylint: disable=wrong-import-position
from reporting import compare, results


def figure(metric_id, rounds, higher_is_better=1, **members):
    """An entry as the benchmark makes it of rounds: the sign test's interval."""
    rounds = sorted(rounds)
    # Of 100 samples it is the 40th and the 61st (Conover, 3.4).
    cut = {15: 4, 100: 40}[len(rounds)] - 1
    return {"name": metric_id, "label": "reported", "spread": 0.01,
            "ratio": statistics.median(rounds), "samples": len(rounds),
            "interval_low": rounds[cut], "interval_high": rounds[-1 - cut],
            "higher_is_better": higher_is_better, **members}


def run_of(*entries, **context):
    return {"context": {"cpu": "a machine", "commit": "abc", **context},
            "benchmarks": list(entries)}


def rounds_around(centre, generator, count=100, noise=0.03):
    return [centre * generator.lognormvariate(0, noise) for _ in range(count)]


class CompareTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.generator = random.Random(1)

    def path(self, document, name):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(document if isinstance(document, str) else
                       json.dumps(document))
        return path

    def compared(self, before, after):
        return compare.changes(results.read(self.path(before, "a.json")),
                               results.read(self.path(after, "b.json")))

    def said(self, before, after):
        return compare.text(results.read(self.path(before, "a.json")),
                            results.read(self.path(after, "b.json")))

    def noise(self, count=100, noise=0.03):
        return rounds_around(2, self.generator, count, noise)

    def test_of_two_hundred_figures_that_did_not_change_none_is_said_to_have(
            self):
        for count in (15, 100):
            before, after = (
                run_of(*(figure(f"g/{number}", self.noise(count))
                         for number in range(200))) for _ in range(2))
            changed, compared, unknown = self.compared(before, after)
            self.assertEqual(([c.before.id for c in changed], compared, unknown),
                             ([], 200, []))

    def test_a_change_of_five_percent_in_noise_of_three_is_found(self):
        before = run_of(*(figure(f"g/{n}", self.noise()) for n in range(9)))
        after = copy.deepcopy(before)
        after["benchmarks"] = [figure(f"g/{n}", self.noise())
                               for n in range(9)]
        after["benchmarks"][4] = figure(
            "g/4", rounds_around(2 * 1.05, self.generator))
        changed, compared, _ = self.compared(before, after)
        self.assertEqual([change.before.id for change in changed], ["g/4"])
        self.assertEqual(compared, 9)
        self.assertTrue(changed[0].better)
        text = self.said(before, after)
        self.assertIn("Changed beyond noise: 1 of 9 figures", text)
        self.assertRegex(text, r"better  g/4  [12]\.\d+ → 2\.\d+  \(\+[3-7]\.\d %\)")

    def test_what_is_worse_depends_on_what_is_better_and_comes_first(self):
        low, high = self.noise(), rounds_around(3, self.generator)
        before = run_of(figure("g/rate", low), figure("g/time", low, 0))
        after = run_of(figure("g/rate", high), figure("g/time", high, 0))
        changed, _, _ = self.compared(before, after)
        self.assertEqual([(c.before.id, c.better) for c in changed],
                         [("g/time", False), ("g/rate", True)])

    def test_intervals_that_do_not_meet_by_little_are_noise(self):
        before = run_of(figure("g/a", self.noise(), ratio=1.0,
                               interval_low=0.98, interval_high=1.02))
        for middle, expected in ((1.05, 0), (1.07, 1)):
            after = run_of(figure("g/a", self.noise(), ratio=middle,
                                  interval_low=middle - 0.02,
                                  interval_high=middle + 0.02))
            self.assertEqual(len(self.compared(before, after)[0]), expected)

    def test_less_than_one_percent_is_no_change_however_sure(self):
        def sure(middle):
            return run_of(figure("g/a", self.noise(), ratio=middle,
                                 interval_low=middle, interval_high=middle))
        self.assertEqual(len(self.compared(sure(1.0), sure(1.005))[0]), 0)
        self.assertEqual(len(self.compared(sure(1.0), sure(1.02))[0]), 1)

    def test_counts_change_by_one_and_what_has_no_interval_is_not_judged(self):
        def counted(metric_id, ratio, label="reported"):
            return {"name": metric_id, "ratio": ratio, "samples": 1,
                    "label": label, "higher_is_better": 0}
        before = run_of(counted("policy/sort/5/misses_vs_clock", 0.9),
                        counted("memory/lru/bytes_per_frame", 8.0),
                        counted("contention/tdp/trylock/unanswered", 0.03))
        after = run_of(counted("policy/sort/5/misses_vs_clock", 0.9001),
                       counted("memory/lru/bytes_per_frame", 8.0),
                       counted("contention/tdp/trylock/unanswered", 0.3,
                               "missed"))
        changed, compared, unknown = self.compared(before, after)
        self.assertEqual([c.before.id for c in changed],
                         ["policy/sort/5/misses_vs_clock"])
        self.assertEqual((compared, len(unknown)), (2, 1))
        text = self.said(before, after)
        self.assertIn("reported → missed  contention/tdp/trylock", text)
        self.assertIn("not equal (1): contention/tdp/trylock", text)

    def test_what_only_one_measured_and_machines_that_differ_are_named(self):
        before = run_of(figure("g/a", self.noise()), figure("g/b", self.noise()),
                        trace_sort_crc32="1")
        after = run_of(figure("g/a", self.noise()), figure("g/c", self.noise()),
                       cpu="another", trace_sort_crc32="2")
        text = self.said(before, after)
        self.assertIn("Only in A (1): g/b", text)
        self.assertIn("Only in B (1): g/c", text)
        self.assertIn("processor: a machine → another", text)
        self.assertIn("traces: sort", text)

    def test_a_run_is_like_itself(self):
        with open("test/report/fixture.json", encoding="utf-8") as file:
            document = json.load(file)
        changed, compared, _ = self.compared(document, document)
        self.assertEqual(changed, [])
        self.assertGreater(compared, 10)
        self.assertNotIn("Not made alike", self.said(document, document))

    def call(self, *arguments):
        return subprocess.run([BENCH, "--compare", *arguments],
                              capture_output=True, text=True, check=False)

    def test_the_command_ends_with_0_and_with_2_for_bad_files(self):
        good = self.path(run_of(figure("g/a", self.noise())), "good.json")
        slow = self.path(run_of(figure("g/a", self.noise(), ratio=1.0,
                                       interval_low=1, interval_high=1)),
                         "slow.json")
        outcome = self.call(good, slow)
        self.assertEqual((outcome.returncode, outcome.stderr), (0, ""))
        self.assertIn("1 of 1 figures:", outcome.stdout)
        cut = self.path(json.dumps(run_of())[:-5], "cut.json")
        for arguments, word in (
                ((good, cut), "cut.json: not JSON"),
                ((cut, good), "cut.json: not JSON"),
                ((good, os.path.join(self.folder, "none")), "No such file"),
                ((good, self.path("[]", "list.json")), "benchmarks"),
                ((good,), "two files"), ((good, good, good), "two files")):
            outcome = self.call(*arguments)
            self.assertEqual(outcome.returncode, 2, arguments)
            self.assertEqual(outcome.stderr.count("\n"), 1, outcome.stderr)
            self.assertIn(word, outcome.stderr)
            self.assertEqual(outcome.stdout, "")


if __name__ == "__main__":
    unittest.main()
