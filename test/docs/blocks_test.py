# SPDX-License-Identifier: MIT OR Apache-2.0
"""What is taken from a document, what is refused, and what fails."""

import glob
import importlib.util
import os
import subprocess
import tempfile
import unittest

TOOL = os.path.abspath("test/docs/blocks.py")

spec = importlib.util.spec_from_file_location("blocks", TOOL)
blocks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(blocks)

PROGRAM = """\
Some words.

```cpp
#include <cstdio>
int main() { std::printf("%d\\n", 6 * 7); }
```

It prints

```text
42
```
"""


class BlocksTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.document = os.path.join(folder.name, "x.md")

    def write(self, text):
        with open(self.document, "w", encoding="utf-8") as file:
            file.write(text)

    def call(self, *arguments):
        return subprocess.run(["python3", TOOL, *arguments], text=True,
                              capture_output=True, check=False)

    def sources(self, text, programs):
        """The outcome, and what was written."""
        self.write(text)
        paths = [os.path.join(self.folder, f"{i}.cc")
                 for i in range(programs + 1)]
        outcome = self.call("sources", self.document, *paths)
        written = []
        for path in paths:
            if outcome.returncode == 0:
                with open(path, encoding="utf-8") as file:
                    written.append(file.read())
        return outcome, written

    def compiled(self, source):
        """A program without this library, or what the compiler said."""
        path = os.path.join(self.folder, "built.cc")
        with open(path, "w", encoding="utf-8") as file:
            file.write(source.replace('#include "ptage/ptage.h"',
                                      "namespace ptage {}"))
        return path[:-3], subprocess.run(
            ["g++", "-std=c++20", "-Wall", "-Wextra", "-Werror", "-Wno-unused", path, "-o",
             path[:-3]], capture_output=True, text=True, check=False)

    def expect_refused(self, text, *words):
        outcome, _ = self.sources(text, 0)
        self.assertEqual(outcome.returncode, 1, outcome)
        self.assertEqual(outcome.stderr.count("\n"), 1, outcome.stderr)
        for word in (self.document, *words):
            self.assertIn(word, outcome.stderr)

    def test_a_program_that_prints_what_the_document_says_passes(self):
        _, (fragments, program) = self.sources(PROGRAM, 1)
        built, outcome = self.compiled(program)
        self.assertEqual(outcome.returncode, 0, outcome.stderr)
        outcome = self.call("run", self.document, "unused", built)
        self.assertEqual((outcome.returncode, outcome.stderr), (0, ""))
        # No fragments: nothing of the library is compiled.
        self.assertNotIn("ptage.h", fragments)

    def test_another_output_than_the_documents_fails(self):
        for wrong in (PROGRAM.replace("42\n```", "43\n```"),
                      PROGRAM.replace("42\n```", "42\n42\n```"),
                      # What is not shown must not be printed.
                      PROGRAM.replace("```text\n42\n```", "42.")):
            _, (_, program) = self.sources(wrong, 1)
            built, _ = self.compiled(program)
            outcome = self.call("run", self.document, "unused", built)
            self.assertEqual(outcome.returncode, 1)
            self.assertIn(self.document + ":4: the document says",
                          outcome.stderr)

    def test_an_exit_status_fails(self):
        _, (_, program) = self.sources(
            "```cpp\nint main() { return 3; }\n```\n", 1)
        built, _ = self.compiled(program)
        outcome = self.call("run", self.document, "unused", built)
        self.assertEqual(outcome.returncode, 1)
        self.assertIn(":2: exit status 3", outcome.stderr)

    def test_a_block_that_does_not_compile_fails_with_its_line(self):
        for marker in ("", "<!-- cpp: compile -->\n",
                       "<!-- cpp: declarations -->\n"):
            _, (fragments,) = self.sources(
                "words\n" + marker + "```cpp\nint x = 1;\nint y = none;\n```\n", 0)
            _, outcome = self.compiled(fragments)
            self.assertNotEqual(outcome.returncode, 0)
            line = 4 if not marker else 5
            self.assertIn(f"{self.document}:{line}:", outcome.stderr)

    def test_fragments_go_on_see_what_is_hidden_and_print_in_turn(self):
        _, (fragments,) = self.sources("""\
<!-- cpp:
#include <cstring>
int Hidden() { return 4; }
-->
```cpp
int x = Hidden();
std::printf("%d\\n", x);
```
```text
4
```
<!-- cpp: declarations continue -->
```cpp
struct Named { static constexpr int kValue = 5; };
```
<!-- cpp: continue -->
```cpp
x += Named::kValue;
std::printf("%d %d\\n", x, int(std::strlen("abc")));
```
```text
9 3
```
```cpp
int x = 1;
```
<!-- cpp: compile
int Wait();
-->
```cpp
return Wait();
```
""", 0)
        built, outcome = self.compiled(fragments)
        self.assertEqual(outcome.returncode, 0, outcome.stderr)
        outcome = self.call("run", self.document, built)
        self.assertEqual((outcome.returncode, outcome.stderr), (0, ""))
        self.assertIn("3 fragments", outcome.stdout)

    def test_what_cannot_be_read_is_refused(self):
        self.expect_refused("```cpp\nint x;\n", ":1", "does not end")
        self.expect_refused("```cpp\nint x;\n```text\n1\n```\n", ":3", "inside")
        self.expect_refused("```c++\nint x;\n```\n", ":1", "c++")
        self.expect_refused("* one\n\n  ```cpp\n  int x;\n  ```\n", ":3", "start")
        self.expect_refused("<!-- cpp: comiple -->\n```cpp\n```\n", ":1", "wants")
        self.expect_refused("<!-- cpp: compile -->\nwords\n", ":2", "wants a cpp")
        self.expect_refused("<!-- cpp: compile -->\n```sh\n```\n", ":2",
                            "wants a cpp")
        self.expect_refused("<!-- cpp: compile\nint x;\n", "without its block")
        self.expect_refused("<!-- cpp: continue -->\n```cpp\n```\n", ":2",
                            "no block above")
        self.expect_refused("<!-- cpp: declarations -->\n```cpp\nint main() {}\n"
                            "```\n", ":3", "as it stands")

    def test_every_document_with_code_is_built(self):
        with open("test/docs/BUILD", encoding="utf-8") as file:
            built = file.read()
        for document in ("README.md", *glob.glob("*.md"),
                         *glob.glob("docs/**/*.md", recursive=True)):
            if blocks.read(document):
                self.assertIn(f'"//:{document}"', built)

    def test_programs_are_counted(self):
        outcome, _ = self.sources(PROGRAM, 0)
        self.assertEqual(outcome.returncode, 1)
        self.assertIn("has 1 programs", outcome.stderr)


if __name__ == "__main__":
    unittest.main()
