# SPDX-License-Identifier: MIT OR Apache-2.0
"""The picture of vCPUs' faults: that it shows the document's table; bad input."""

import importlib.machinery
import importlib.util
import os
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree

TOOL = os.path.abspath("tools/plot_fault_latency")
TABLE = "docs/results.md"
DESCRIPTION = "{http://purl.org/dc/elements/1.1/}description"


def load():
    loader = importlib.machinery.SourceFileLoader("plot_fault_latency", TOOL)
    spec = importlib.util.spec_from_loader(loader.name, loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


class PlotTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.source = os.path.join(folder.name, "in.md")
        self.target = os.path.join(folder.name, "out.svg")

    def call(self, *arguments):
        environment = dict(os.environ, MPLCONFIGDIR=self.folder)
        return subprocess.run([TOOL, *arguments], capture_output=True,
                              text=True, env=environment, check=False)

    def expect_refused(self, text, *words):
        with open(self.source, "w", encoding="utf-8") as file:
            file.write(text)
        outcome = self.call(self.source, self.target)
        self.assertEqual(outcome.returncode, 2, outcome)
        self.assertEqual(outcome.stderr.count("\n"), 1, outcome.stderr)
        for word in words:
            self.assertIn(word, outcome.stderr)
        self.assertFalse(os.path.exists(self.target))

    def test_the_picture_in_the_docs_shows_the_first_table(self):
        tree = xml.etree.ElementTree.parse("docs/fault_latency.svg")
        shown = [entry.text for entry in tree.iter(DESCRIPTION)]
        tool = load()
        self.assertEqual(shown, [tool.describe(tool.read(TABLE))])

    def test_the_picture_is_small_and_the_same_each_time(self):
        pictures = []
        for _ in range(2):
            outcome = self.call(TABLE, self.target)
            self.assertEqual((outcome.returncode, outcome.stderr), (0, ""))
            with open(self.target, encoding="utf-8") as file:
                pictures.append(file.read())
        self.assertEqual(pictures[0], pictures[1])
        self.assertLess(len(pictures[0].encode()), 100_000)

    def test_bad_input_gets_one_line_and_exit_2(self):
        with open(TABLE, encoding="utf-8") as file:
            good = file.read()
        self.expect_refused("", "no table")
        self.expect_refused(good.replace("`slow`", "`slower`"), "no row of slow")
        self.expect_refused(good.replace("195 µs", "195 s"), "195 s")
        self.assertEqual(self.call("none.md", self.target).returncode, 2)
        self.assertEqual(self.call(TABLE, self.folder).returncode, 2)
        self.assertEqual(self.call().returncode, 2)
        self.assertEqual(self.call("--help").returncode, 0)


if __name__ == "__main__":
    unittest.main()
