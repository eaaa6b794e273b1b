# SPDX-License-Identifier: MIT OR Apache-2.0
"""The picture of the rmaps' latencies: what is drawn, and what bad input gets."""

import copy
import importlib.machinery
import importlib.util
import json
import os
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree

TOOL = os.path.abspath("tools/plot_rmap_latency")
SVG = "{http://www.w3.org/2000/svg}"


def load():
    loader = importlib.machinery.SourceFileLoader("plot_rmap_latency", TOOL)
    spec = importlib.util.spec_from_loader(loader.name, loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def run_of(writer, rmaps, count):
    return {"writer": writer, "rmaps": rmaps, "below_ns": [20, 40, 20000],
            "count": count}


GOOD = {
    "context": {"cpu": "a machine"},
    "benchmarks": [],
    "rmap_scan_latencies": [
        run_of(writer, rmaps, [90000, 9000, 1000])
        for writer in ("none", "contended", "stalled_writer")
        for rmaps in ("Lockless", "BitLocked, 6 a chunk",
                      "BitLocked, 14 a chunk", "SingleEntryLockless, fair lock")
    ],
}


class PlotTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.source = os.path.join(self.folder.name, "in.json")
        self.target = os.path.join(self.folder.name, "out.svg")

    def plot(self, results):
        text = results if isinstance(results, str) else json.dumps(results)
        with open(self.source, "w", encoding="utf-8") as file:
            file.write(text)
        return self.call(self.source, self.target)

    def call(self, *arguments):
        environment = dict(os.environ, MPLCONFIGDIR=self.folder.name)
        return subprocess.run([TOOL, *arguments], capture_output=True,
                              text=True, env=environment, check=False)

    def expect_refused(self, results, *words):
        outcome = self.plot(results)
        self.assertEqual(outcome.returncode, 2, outcome)
        self.assertEqual(outcome.stderr.count("\n"), 1, outcome.stderr)
        self.assertTrue(outcome.stderr.startswith("plot_rmap_latency: "))
        for word in words:
            self.assertIn(word, outcome.stderr)
        self.assertFalse(os.path.exists(self.target))

    def test_the_picture_is_small_and_the_same_each_time(self):
        outcome = self.plot(GOOD)
        self.assertEqual((outcome.returncode, outcome.stderr), (0, ""))
        with open(self.target, encoding="utf-8") as file:
            first = file.read()
        self.assertLess(len(first.encode()), 100_000)
        root = xml.etree.ElementTree.fromstring(first)
        panels = [group for group in root.iter(SVG + "g")
                  if group.get("id", "").startswith("axes_")]
        self.assertEqual(len(panels), 3)
        # One line for each discipline, in its colour, and one to its name.
        for panel in panels:
            text = xml.etree.ElementTree.tostring(panel, "unicode").lower()
            for colour in ("#0072b2", "#d55e00", "#2a2a2a"):
                self.assertGreaterEqual(text.count("stroke: " + colour), 2)
        self.plot(GOOD)
        with open(self.target, encoding="utf-8") as file:
            self.assertEqual(file.read(), first)

    def test_a_line_gives_the_share_that_took_as_long_or_longer(self):
        tool = load()
        corners = tool.longer([20, 40, 20000], [90000, 9000, 1000])
        self.assertEqual(corners[1:], [(20, 0.1), (40, 0.01)])
        self.assertEqual(corners[0][1], 1)
        # One scan in ten takes 20 ns or more.
        self.assertEqual(tool.reach(corners, 0.5), 20)
        self.assertEqual(tool.reach(corners, 0.05), 40)

    def test_of_two_chunk_sizes_the_faster_is_drawn(self):
        results = copy.deepcopy(GOOD)
        results["rmap_scan_latencies"][1]["count"] = [90000, 9000, 5000]
        with open(self.source, "w", encoding="utf-8") as file:
            json.dump(results, file)
        runs, _ = load().read(self.source)
        self.assertEqual(runs["none", "BitLocked"][1], [90000, 9000, 5000])

    def test_bad_input_gets_one_line_and_exit_2(self):
        self.expect_refused("", "not JSON")
        self.expect_refused(json.dumps(GOOD)[:200], "not JSON")
        self.expect_refused("[]", "no \"rmap_scan_latencies\"")
        self.expect_refused({"benchmarks": []}, "no \"rmap_scan_latencies\"")

        def broken(**members):
            results = copy.deepcopy(GOOD)
            results["rmap_scan_latencies"][2].update(members)
            return results

        self.expect_refused(broken(writer="fast"), "[2]", "\"fast\"")
        self.expect_refused(broken(rmaps="Other"), "[2]", "\"Other\"")
        self.expect_refused(broken(rmaps=7), "[2]", "7")
        self.expect_refused(broken(writer=[]), "[2]", "[]")
        self.expect_refused(broken(count=[1, 2]), "[2]", "count")
        self.expect_refused(broken(count=[1, 2, -3]), "[2]", "positive")
        self.expect_refused(broken(count=[1, 2, True]), "[2]", "positive")
        self.expect_refused(broken(below_ns=[20, 20, 30]), "[2]", "increase")
        self.expect_refused(broken(below_ns="abc"), "[2]", "below_ns")
        results = broken()
        del results["rmap_scan_latencies"][2]["count"]
        self.expect_refused(results, "[2]", "wants")
        results = copy.deepcopy(GOOD)
        results["rmap_scan_latencies"] = results["rmap_scan_latencies"][:4]
        self.expect_refused(results, "\"contended\"")

    def test_files_that_are_not_there_are_named(self):
        missing = self.call(os.path.join(self.folder.name, "none"), self.target)
        self.assertEqual(missing.returncode, 2)
        self.assertIn("none: cannot read: No such file", missing.stderr)
        self.plot(GOOD)
        unwritable = self.call(self.source, self.folder.name)
        self.assertEqual(unwritable.returncode, 2)
        self.assertIn("cannot write", unwritable.stderr)
        self.assertEqual(self.call().returncode, 2)
        self.assertEqual(self.call("--help").returncode, 0)

    def test_the_picture_in_the_docs_is_one_of_these(self):
        with open("docs/rmap_latency.svg", encoding="utf-8") as file:
            text = file.read()
        self.assertLess(len(text.encode()), 100_000)
        self.assertEqual(xml.etree.ElementTree.fromstring(text).tag,
                         SVG + "svg")


if __name__ == "__main__":
    unittest.main()
