# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the compilers make of vector loads on AArch64.

No run under an emulator on x86 tells whether loads are ordered, or whole. So
this reads the instructions: words are loaded by vectors or by 8 bytes, never by
less, and a DMB ISHLD stands between the vector loads of a function and its end.
"""

import pathlib
import re
import shutil
import subprocess
import unittest

SOURCE = "test/once/neon_assembly.cc"
# PTAGE_HARDENED=0: what checks arguments calls abort() in blocks of its own.
FLAGS = ["-std=c++20", "-Iinclude", "-DPTAGE_HARDENED=0",
         "-fno-asynchronous-unwind-tables", "-S", "-o", "-"]
COMPILERS = [["aarch64-linux-gnu-g++"]]
if shutil.which("clang++-19"):
    COMPILERS.append(["clang++-19", "--target=aarch64-linux-gnu"])
QUESTIONS = ["AskWhereInRun", "AskWhereHasLacks", "AskBlockInRun",
             "AskBlockHasLacks", "AskSeeWords", "AskSeeOneBlock",
             "AskSeeEightBlocks"]

# A load of the table: not of the stack, and not of a constant.
LOAD = re.compile(r"(ld\w*)\s+(?:\{?)([a-z])\w*.*\[(?!sp)(?!.*lo12)")
BARRIER = re.compile(r"dmb\s+ishld")


def functions(text):
    """Name -> instructions of the functions of an assembly file."""
    found = {}
    body = None
    for line in text.splitlines():
        line = re.sub(r"\s*//.*", "", line).rstrip()
        label = re.match(r"([A-Za-z_]\w*):", line)
        if label:
            body = found.setdefault(label.group(1), [])
        elif body is not None and re.match(r"\s+[a-z]", line):
            body.append(line.strip())
    return found


def worker(found, body):
    """The body that does the work: one that loads nothing only calls it."""
    while not any(LOAD.match(line) for line in body):
        calls = [re.fullmatch(r"bl?\s+(\w+)", line) for line in body]
        body = next(found[call.group(1)] for call in calls
                    if call and call.group(1) in found)
    return body


class NeonAssemblyTest(unittest.TestCase):

    def for_each(self, check, *flags):
        for compiler in COMPILERS:
            text = subprocess.run([*compiler, *FLAGS, *flags, SOURCE], check=True,
                                  text=True, capture_output=True).stdout
            found = functions(text)
            for question in QUESTIONS:
                with self.subTest(compiler=compiler[0], flags=flags,
                                  question=question):
                    check(worker(found, found[question]))

    def check_barrier(self, body):
        barriers = [i for i, line in enumerate(body) if BARRIER.match(line)]
        self.assertTrue(barriers)
        vectors = [i for i, line in enumerate(body)
                   if LOAD.match(line) and LOAD.match(line).group(2) in "qv"]
        self.assertTrue(vectors)
        self.assertLess(max(vectors), max(barriers))

    def check_loads(self, body):
        loads = [LOAD.match(line) for line in body if LOAD.match(line)]
        self.assertTrue(loads)
        for load in loads:
            self.assertIn(load.group(1),
                          ("ldr", "ldp", "ldur", "ldar", "ldapr", "ld1"))
            self.assertIn(load.group(2), "qvxd", load.string)

    def test_a_barrier_follows_all_vector_loads(self):
        self.for_each(self.check_barrier, "-O2")

    def test_no_word_is_loaded_in_parts(self):
        self.for_each(self.check_loads, "-O2")
        # Where a vector must lie at a multiple of 16, it is two loads of 8.
        self.for_each(self.check_loads, "-O2", "-mstrict-align")


if __name__ == "__main__":
    unittest.main()
