# SPDX-License-Identifier: MIT OR Apache-2.0
"""What must not compile with a type-stable reclaimer, and the reason it gives."""

import pathlib
import shutil
import subprocess
import unittest

TOP = pathlib.Path(__file__).absolute().parent.parent.parent
COMPILERS = [c for c in ("g++", "clang++-19") if shutil.which(c)]

PROLOGUE = """
#include "ptage/core.h"
using namespace ptage;
using Stable = StableArena<Ept>;
using Tree = PageTable<Ept, Stable, TypeStable>;
template class ptage::PageTable<X86_64, StableArena<X86_64>, AnonymousEpochDomain<>>;
"""

REJECTED = [
    ("chunks of rmaps",
     "template class ptage::GracePool<RmapChunks<Ept>, TypeStable>;",
     "chunks need a reclaimer that waits for walks"),
    ("memory that keeps no identities",
     "template class ptage::PageTable<Ept, TableArena<Ept>, TypeStable>;",
     "needs memory that keeps its tables and an identity beside each"),
    ("entries found through rmaps",
     "MapOutcome F(Tree& t, const Tree::Walk& w, SpteCell<Ept>*& e) {"
     " return t.Claim(w, Gfn{0}, Level{1}, e); }",
     "indirect trees are found through rmaps"),
    # A table cannot change its format: no tree of another takes from the pool.
    ("a pool of another format",
     "template class ptage::PageTable<X86_64, Stable, TypeStable>;",
     "TableMemory"),
]


def compile_with(compiler, source):
    return subprocess.run(
        [compiler, "-std=c++20", "-fsyntax-only", f"-I{TOP}/include", "-x", "c++",
         "-"], input=PROLOGUE + source, text=True, capture_output=True,
        check=False)


class RejectedTest(unittest.TestCase):

    def test_the_rest_compiles(self):
        for compiler in COMPILERS:
            done = compile_with(
                compiler, "MapOutcome F(Tree& t, const Tree::Walk& w) {"
                " return t.Map(w, Gfn{0}, Level{1}, 0); }")
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_what_cannot_work_does_not_compile_and_says_why(self):
        for compiler in COMPILERS:
            for what, source, reason in REJECTED:
                with self.subTest(compiler=compiler, what=what):
                    done = compile_with(compiler, source)
                    self.assertNotEqual(done.returncode, 0)
                    # Compilers may break a message at the quotes of its parts.
                    said = done.stderr.replace('"', "").replace("\n", " ")
                    self.assertIn(reason, " ".join(said.split()))


if __name__ == "__main__":
    unittest.main()
