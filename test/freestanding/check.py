# SPDX-License-Identifier: MIT OR Apache-2.0
"""The core is freestanding: builds program.cc without a library, and runs it.

With each compiler that is there, at -O0 for every format and at -O2 for some, and
for other processors at -O2: no warning, no undefined symbol but mem* and what OTHERS
says, exit status 0. And at -O0 the program has an instance of every public function
that the core's headers declare, for every format and discipline that there is.
The same from the generated single header, of which a compiler sees the same tokens.
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

TOP = pathlib.Path(__file__).absolute().parent.parent.parent
INCLUDE = TOP / "include"
HERE = TOP / "test" / "freestanding"
SINGLE_HEADER = [sys.executable, TOP / "tools" / "single_header"]
FLAGS = [
    "-std=c++20", "-ffreestanding", "-fno-exceptions", "-fno-rtti", "-nostdlib",
    "-static", "-fno-pic", "-fno-stack-protector",
    "-fno-threadsafe-statics", "-fno-asynchronous-unwind-tables", "-Wall",
    "-Wextra", "-Wconversion", "-Wshadow", "-Werror",
]
# Takes four formats of three processors: all of them take minutes to optimise.
OPTIMISED = ["-O2", "-DPTAGE_FEW_FORMATS=1"]
COMPILERS = [c for c in ("g++", "clang++-19") if shutil.which(c)]
# Of other processors: the compiler, what it needs besides (else gcc calls its
# library for compare-and-swaps on ARM), what it may call in its library (RISC-V
# counts zeros by instructions with Zbb alone), and what runs its programs.
OTHERS = [
    ("aarch64-linux-gnu-g++", ["-mno-outline-atomics"], r"-", "qemu-aarch64"),
    ("riscv64-linux-gnu-g++", [], r"__c[lt]zdi2", "qemu-riscv64"),
]


def core_headers():
    """The headers that core.h includes, read from it."""
    text = (INCLUDE / "ptage" / "core.h").read_text()
    return [INCLUDE / name for name in
            re.findall(r'#include "(ptage/[^"]+)"', text) +
            ["ptage/once/builtin.h"]]


def public_functions(header):
    """Names of the functions that `header` declares outside "internal".

    Reads the header scope by scope: what stands in a function's braces, in a
    concept, or behind "private:" declares nothing public.
    """
    text = re.sub(r"//[^\n]*", "", header.read_text())
    text = re.sub(r"^\s*#(?:.*\\\n)*.*$", "", text, flags=re.M)
    names = set()
    scopes = [True]  # of each open brace: are declarations in it public?
    statement = ""
    for token in re.findall(r"\w+|::|&&|\[\[|\]\]|\S", text):
        if token not in "{};" and not (token == ":" and statement.strip() in
                                       ("public", "private", "protected")):
            statement += " " + token
            continue
        words = statement.split()
        statement = ""
        if token == ":":
            scopes[-1] = words == ["public"]
            continue
        name = declared_function(words) if scopes[-1] else None
        if name:
            names.add(name)
        if token == "{":
            kind = [w for w in words if w in ("namespace", "class", "struct")]
            opens = bool(kind) and name is None and "concept" not in words
            scopes.append(scopes[-1] and opens and "internal" not in words and
                          ("class" not in words or "template" == words[0] and
                           "struct" in words))
        elif token == "}":
            scopes.pop()
    return names


def declared_function(words):
    """The function that a statement declares; None if it declares none."""
    if not words or words[0] in ("using", "static_assert", "return", "asm"):
        return None
    # Leaves no symbol to be found.
    if "always_inline" in words:
        return None
    if "concept" in words or "=" in words and "(" in words and (
            words.index("=") < words.index("(")):
        return None
    angle = square = 0
    for before, word in zip(words, words[1:]):
        angle += (before == "<") - (before == ">")
        square += (before == "[[") - (before == "]]")
        if word == "(" and angle == 0 and square == 0:
            plain = re.fullmatch(r"[A-Za-z]\w*", before)
            keyword = before in ("requires", "alignas", "sizeof", "noexcept",
                                 "decltype", "operator", "if", "for", "while",
                                 "bool", "void")
            qualified = "::" in words[:words.index("(")] and (
                words[words.index(before) - 1] == "::")
            if plain and not keyword and not qualified:
                return before
            if before != "alignas":
                return None
    return None


class FreestandingTest(unittest.TestCase):

    def build(self, compiler, flags, folder, here=HERE):
        objects = []
        for source in ("program", "memory_functions"):
            out = folder / f"{source}.o"
            subprocess.run(
                [compiler, *FLAGS, *flags, f"-I{INCLUDE}", "-c",
                 str(here / f"{source}.cc"), "-o", str(out)], check=True)
            objects.append(str(out))
        return objects

    def check(self, compiler, flags, library="-", run_by=(), here=HERE):
        with self.subTest(compiler=compiler, flags=flags), \
                tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            objects = self.build(compiler, flags, folder, here)
            undefined = subprocess.run(
                ["nm", "-u", objects[0]], check=True, text=True,
                capture_output=True).stdout.split()
            foreign = [s for s in undefined if s != "U"
                       and not re.fullmatch(r"mem\w+|" + library, s)]
            self.assertEqual(foreign, [])
            program = str(folder / "program")
            subprocess.run([compiler, "-nostdlib", "-static", "-no-pie", *objects,
                            "-lgcc", "-o", program],
                           check=True)
            ran = subprocess.run([*run_by, program], check=False, timeout=60)
            self.assertEqual(ran.returncode, 0)

    def test_needs_nothing_and_runs_to_its_end(self):
        for compiler in COMPILERS:
            for flags in (["-O0"], OPTIMISED):
                self.check(compiler, flags)

    def test_does_so_on_other_processors(self):
        for compiler, flags, library, emulator in OTHERS:
            self.check(compiler, [*OPTIMISED, *flags], library, [emulator])

    def test_does_so_from_the_single_header(self):
        with tempfile.TemporaryDirectory() as name:
            here = pathlib.Path(name)
            subprocess.run([*SINGLE_HEADER, here / "ptage_core.h"], check=True)
            program = (HERE / "program.cc").read_text().replace(
                '#include "ptage/core.h"', '#include "ptage_core.h"')
            self.assertNotIn("ptage/", re.sub(r"//.*", "", program))
            (here / "program.cc").write_text(program)
            shutil.copy(HERE / "memory_functions.cc", here)
            self.check("g++", ["-O0", "-DPTAGE_FEW_FORMATS=1"], here=here)

    def test_finds_the_same_tokens_in_the_single_header(self):
        def tokens(compiler, flags, header):
            text = subprocess.run(
                [compiler, *FLAGS, *flags, "-E", "-P", "-x", "c++", header],
                check=True, text=True, capture_output=True).stdout
            return text.split()

        with tempfile.TemporaryDirectory() as name:
            single = pathlib.Path(name) / "ptage_core.h"
            subprocess.run([*SINGLE_HEADER, single], check=True)
            again = subprocess.run(SINGLE_HEADER, check=True,
                                   capture_output=True).stdout
            self.assertEqual(single.read_bytes(), again)
            core = INCLUDE / "ptage" / "core.h"
            for compiler, flags in [
                    *((c, f) for c in COMPILERS
                      for f in ([], ["-mavx2"], ["-mavx512f"],
                                ["-fsanitize=thread"])),
                    *((c, f) for c, f, _, _ in OTHERS)]:
                with self.subTest(compiler=compiler, flags=flags):
                    expected = tokens(compiler, [*flags, f"-I{INCLUDE}"], core)
                    self.assertGreater(len(expected), 10000)
                    actual = tokens(compiler, flags, single)
                    # A list of what differs would take minutes.
                    self.assertTrue(actual == expected)

    def test_calls_every_public_function_of_the_core(self):
        with tempfile.TemporaryDirectory() as name:
            objects = self.build("g++", ["-O0"], pathlib.Path(name))
            symbols = subprocess.run(
                ["nm", "-C", "--defined-only", objects[0]], check=True,
                text=True, capture_output=True).stdout
        total = 0
        for header in core_headers():
            for function in sorted(public_functions(header)):
                total += 1
                with self.subTest(header=header.name, function=function):
                    called = re.search(rf"\b{function}(<.*>)?\(", symbols)
                    self.assertTrue(called, f"{function} has no instance")
        # The parser finds what a reader would find.
        self.assertGreater(total, 90)
        print(f"{total} public functions")

    def test_covers_every_format_and_discipline(self):
        source = (HERE / "program.cc").read_text()
        for header in (INCLUDE / "ptage" / "spte").glob("*.h"):
            for name in re.findall(r"static_assert\(SpteFormat<(\w+)>\)",
                                   header.read_text()):
                self.assertIn(f"CheckSpte<{name}>()", source)
                self.assertIn(f"CheckRmaps<{name}>()", source)
                self.assertIn(f"CheckTrees<{name}>()", source)
        disciplines = [
            re.search(r"\nclass (\w+) \{", header.read_text()).group(1)
            for header in (INCLUDE / "ptage" / "rmap").glob("*.h")
            if "kFastAging" in header.read_text()]
        self.assertGreaterEqual(len(disciplines), 2)
        for name in disciplines:
            self.assertIn(f"{name}<F, Arena, Pool>", source)

    def test_includes_only_small_freestanding_headers(self):
        allowed = {"cstdint", "cstddef", "type_traits", "concepts", "compare",
                   "bit", "limits"}
        for header in core_headers():
            system = set(re.findall(r"#include <([^>]+)>", header.read_text()))
            self.assertLessEqual(system, allowed, header.name)


if __name__ == "__main__":
    if "--list" in sys.argv:
        for path in core_headers():
            print(path.name, sorted(public_functions(path)))
        sys.exit(0)
    unittest.main()
