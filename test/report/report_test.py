# SPDX-License-Identifier: MIT OR Apache-2.0
"""The report: what is in it, that it stands alone, and what bad input gets."""

import contextlib
import copy
import html.parser
import importlib.machinery
import importlib.util
import io
import json
import os
import re
import subprocess
import tempfile
import unittest

TOOL = os.path.abspath("tools/report")
FIXTURE = os.path.abspath("test/report/fixture.json")
VOID = {"meta", "br", "wbr", "img", "hr", "input", "link"}


def load():
    loader = importlib.machinery.SourceFileLoader("report_tool", TOOL)
    spec = importlib.util.spec_from_loader(loader.name, loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


class Page(html.parser.HTMLParser):
    """Elements with their attributes, and what is wrong with their nesting."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.problems = [], [], []
        self.texts = {}
        self.feed(text)
        self.close()
        if self.open:
            self.problems.append(f"never closed: {self.open}")

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), tuple(self.open)))
        if len(dict(attrs)) != len(attrs):
            self.problems.append(f"attribute twice: {tag} {attrs}")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), tuple(self.open)))

    def handle_endtag(self, tag):
        if not self.open or self.open[-1] != tag:
            self.problems.append(f"</{tag}> in {self.open} at {self.getpos()}")
        elif tag not in VOID:
            self.open.pop()

    def handle_data(self, data):
        for tag in set(self.open):
            self.texts.setdefault(tag, []).append(data)

    def ids(self):
        return [attrs["id"] for _, attrs, _ in self.elements if "id" in attrs]


class ReportTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        os.environ["MPLCONFIGDIR"] = cls.folder.name
        cls.tool = load()
        with open(FIXTURE, encoding="utf-8") as file:
            cls.results = json.load(file)
        cls.text = cls.written(FIXTURE)
        cls.page = Page(cls.text)

    @classmethod
    def call(cls, *arguments):
        """The tool, in this process: to start it takes longer than to run it."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = cls.tool.main(list(arguments))
        return subprocess.CompletedProcess(arguments, status, out.getvalue(),
                                           err.getvalue())

    @classmethod
    def written(cls, *arguments):
        target = os.path.join(cls.folder.name, "out.html")
        outcome = cls.call(*arguments, f"--out={target}")
        assert (outcome.returncode, outcome.stderr) == (0, ""), outcome
        with open(target, encoding="utf-8") as file:
            return file.read()

    def file_of(self, results):
        path = os.path.join(self.folder.name, "in.json")
        with open(path, "w", encoding="utf-8") as file:
            file.write(results if isinstance(results, str) else
                       json.dumps(results))
        return path

    def groups(self):
        return {entry["name"].split("/")[0]
                for entry in self.results["benchmarks"] if "ratio" in entry}

    def test_each_group_that_was_measured_has_a_picture_and_its_commands(self):
        self.assertGreaterEqual(len(self.groups()), 1)
        names = self.call("--list", FIXTURE).stdout.split()
        self.assertEqual(len(names), len(set(names)))
        for group in self.groups():
            self.assertIn(f"group-{group}", self.page.ids())
            drawn = [name for name in names if name.startswith(group + "-")]
            self.assertNotEqual(drawn, [], group)
        for name in names:
            section = self.text[self.text.index(f'<section id="{name}">'):]
            section = section[:section.index("</section>")]
            self.assertIn("<svg viewBox=", section)
            self.assertRegex(section, r"<code>tools/bench [^<]+</code>")
            self.assertIn(f"--only={name} ", section)

    def test_each_metric_with_a_goal_is_in_a_table_with_its_verdict(self):
        cells = set(self.page.texts["td"])
        for entry in self.results["benchmarks"]:
            if "goal" not in entry or entry.get("label") == "elsewhere" or \
                    entry["name"].split("/")[0] not in self.groups():
                continue
            last = entry["name"].split("/")[-1]
            self.assertIn(last, cells, entry["name"])
            self.assertIn(entry["label"], cells)

    def test_the_command_of_a_picture_draws_that_picture_alone(self):
        for name in self.call("--list", FIXTURE).stdout.split():
            page = Page(self.written(FIXTURE, f"--only={name}"))
            sections = [attrs["id"] for tag, attrs, _ in page.elements
                        if tag == "section"]
            self.assertEqual(sections, [name])
            self.assertEqual(page.problems, [])

    def test_it_is_well_formed_and_no_id_is_there_twice(self):
        self.assertEqual(self.page.problems, [])
        ids = self.page.ids()
        self.assertEqual(len(ids), len(set(ids)))
        # What is pointed at is there.
        for target in re.findall(r'(?:href="|url\()#([^")]+)', self.text):
            self.assertIn(target, ids)

    def test_it_needs_nothing_from_anywhere(self):
        for tag, attrs, _ in self.page.elements:
            self.assertNotIn(tag, ("link", "script", "img", "iframe", "object"))
            self.assertNotIn("src", attrs)
            if "href" in attrs:
                self.assertTrue(attrs["href"].startswith("#"), attrs)
        # A namespace is a name, and not even that is left.
        self.assertNotRegex(self.text, r"https?://|//[a-z]+\.|@import|data:")
        self.assertNotRegex(re.sub(r"url\(#", "", self.text), r"url\(")

    def test_colours_are_the_pages_and_text_is_text(self):
        pictures = re.findall(r"<svg viewBox.*?</svg>", self.text, re.S)
        self.assertGreaterEqual(len(pictures), 3)
        for picture in pictures:
            self.assertNotRegex(picture, r"#[0-9a-fA-F]{6}\b")
            self.assertNotIn("font-family", picture)
        self.assertTrue(any("<text" in picture for picture in pictures))
        named = set(re.findall(r"var\(--([a-z]+)\)", self.text))
        css = "".join(self.page.texts["style"])
        for block in css.split(":root")[1:]:
            for name in named:
                self.assertIn(f"--{name}:", block)
        self.assertIn("prefers-color-scheme: dark", css)
        self.assertIn("@media print", css)

    def test_another_process_makes_the_same_page_and_says_nothing(self):
        target = os.path.join(self.folder.name, "again.html")
        outcome = subprocess.run([TOOL, FIXTURE, f"--out={target}"],
                                 capture_output=True, text=True, check=False)
        self.assertEqual((outcome.returncode, outcome.stdout, outcome.stderr),
                         (0, "", ""))
        with open(target, encoding="utf-8") as file:
            self.assertEqual(file.read(), self.text)

    def test_what_the_machine_is_is_escaped(self):
        results = copy.deepcopy(self.results)
        results["context"]["cpu"] = 'Z80 <script>"&'
        text = self.written(self.file_of(results))
        self.assertIn("Z80 &lt;script&gt;&quot;&amp;", text)
        self.assertEqual(Page(text).problems, [])

    def test_files_are_joined_and_the_first_counts(self):
        both = next(entry for entry in self.results["benchmarks"]
                    if "ratio" in entry)
        other = {"context": {"cpu": "another"}, "benchmarks": [
            {"name": "unheard/of", "ratio": 2.0, "goal": 1.5, "label": "met",
             "higher_is_better": 1}, dict(both, ratio=77777.0)]}
        self.assertIn(">77777<", self.written(self.file_of(other)))
        text = self.written(FIXTURE, self.file_of(other))
        self.assertIn('id="group-unheard"', text)
        self.assertIn('id="unheard-goals"', text)
        self.assertNotIn(">77777<", text)
        self.assertIn("another", text)
        self.assertEqual(Page(text).problems, [])

    def test_what_a_full_run_measures_is_drawn(self):
        goal = "contention/tdp/fast_only/evict/duty5/fault_p99"
        self.assertTrue(any(entry["name"] == goal and "goal" in entry
                            for entry in self.results["benchmarks"]))
        full = copy.deepcopy(self.results)
        full["contention_faults"] += [dict(one, load="/evict/duty5")
                                      for one in full["contention_faults"]]
        path = self.file_of(full)
        names = self.call("--list", path).stdout.split()
        for name in ("contention-faults-duty5", "contention-translations",
                     "contention-sizes"):
            self.assertIn(name, names)
        text = self.written(path)
        self.assertIn("tools/bench --sizes=8192,65536,262144,1048576", text)
        section = text[text.index('<section id="contention-faults-duty5">'):]
        self.assertIn("p99 ÷ nobody",
                      section[:section.index("</section>")])
        self.assertEqual(Page(text).problems, [])

    def expect_refused(self, arguments, *words):
        outcome = self.call(*arguments)
        self.assertEqual(outcome.returncode, 2, outcome)
        self.assertEqual(outcome.stderr.count("\n"), 1, outcome.stderr)
        self.assertTrue(outcome.stderr.startswith("report: "), outcome.stderr)
        for word in words:
            self.assertIn(word, outcome.stderr)

    def test_bad_input_gets_one_line_and_exit_2(self):
        whole = json.dumps(self.results)
        for text, word in (("", "not JSON"), (whole[:500], "not JSON"),
                           ("[]", "benchmarks"), ("{}", "benchmarks"),
                           ('{"benchmarks": {}}', "benchmarks"),
                           ('{"benchmarks": []}', "nothing was measured")):
            self.expect_refused([self.file_of(text)], word)

        def broken(member, number, **members):
            results = copy.deepcopy(self.results)
            results.setdefault(member, [{}])[number].update(members)
            return [self.file_of(results)]

        self.expect_refused(broken("benchmarks", 0, ratio="x"),
                            "benchmarks[0]", "ratio")
        self.expect_refused(broken("benchmarks", 0, name=7), "name")
        self.expect_refused(broken("measured", 1, median=None), "measured[1]")
        self.expect_refused(broken("measured", 1, heading=[]), "measured[1]")
        results = dict(self.results, contention_faults=[
            {"guest": "tdp", "ager": "none", "load": "/evict",
             "below_ns": [20, 10], "count": [1, 2]}])
        self.expect_refused([self.file_of(results)], "contention_faults[0]",
                            "increase")
        results["contention_faults"][0].update(below_ns=[10, 20], count=[1, -2])
        self.expect_refused([self.file_of(results)], "above 0")

    def test_bad_arguments_get_one_line_and_exit_2(self):
        missing = os.path.join(self.folder.name, "none.json")
        self.expect_refused([missing], "none.json: cannot read: No such file")
        self.expect_refused([FIXTURE, f"--out={self.folder.name}"],
                            "cannot write")
        self.expect_refused([FIXTURE, "--only=nothing"], "nothing")
        self.expect_refused([FIXTURE, "--unknown"], "--unknown")
        self.expect_refused([FIXTURE, "--out"], "--out lacks its value")
        self.expect_refused([FIXTURE, "--out="], "empty")
        self.expect_refused([], "JSON")
        self.assertEqual(self.call("--help").returncode, 0)
        # Nothing is left of what could not be given its name.
        self.assertEqual([name for name in os.listdir(self.folder.name)
                          if "partial" in name], [])


if __name__ == "__main__":
    unittest.main()
