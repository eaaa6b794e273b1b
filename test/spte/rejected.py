# SPDX-License-Identifier: MIT OR Apache-2.0
"""What a format cannot do must not compile, and say why."""

import pathlib
import shutil
import subprocess
import unittest

TOP = pathlib.Path(__file__).absolute().parent.parent.parent
COMPILERS = [c for c in ("g++", "clang++-19") if shutil.which(c)]

PROLOGUE = """
#include "ptage/core.h"
using namespace ptage;
template <class F>
using TreeOf = PageTable<F, TableArena<F>, AnonymousEpochDomain<>>;
template <class F> AgeCounts Protect(TreeOf<F>& tree, const typename TreeOf<F>::Walk& walk,
                                     NoFlush& flusher, const AgeOutput& output) {
  return WriteProtect(tree, walk, flusher, GfnRange{}, output);
}
template <class F> AgeResult Skip(TreeOf<F>& tree, const typename TreeOf<F>::Walk& walk,
                                  NoFlush& flusher, AgeOutput& output) {
  return Prune(tree, walk, flusher, GfnRange{}, Pruning::kExact, AgeAction::kTest, output);
}
template <class F> ColdPass Cold(TreeOf<F>& tree, const typename TreeOf<F>::Walk& walk,
                                 ColdHistory<F> history) {
  return tree.ReclaimCold(walk, GfnRange{}, history, [](const TakenLeaf<F>&) {});
}
#define PROTECT(F) template AgeCounts Protect<F>(TreeOf<F>&, \\
    const TreeOf<F>::Walk&, NoFlush&, const AgeOutput&);
#define SKIP(F) template AgeResult Skip<F>(TreeOf<F>&, \\
    const TreeOf<F>::Walk&, NoFlush&, AgeOutput&);
#define COLD(F) template ColdPass Cold<F>(TreeOf<F>&, \\
    const TreeOf<F>::Walk&, ColdHistory<F>);
"""

COMPILES = """
PROTECT(Ept) PROTECT(Arm64Stage2Of4K) PROTECT(RiscvSv39x4)
SKIP(Ept) SKIP(X86_64La57) COLD(Ept) COLD(X86_64)
template class ptage::ForeignTree<X86_64, ForeignRam>;
template class ptage::GuestWalker<RiscvSv39x4Svade, ForeignRam>;
template struct ptage::Arm64Stage2<Arm64Granule::k64K, 46>;
"""

REJECTED = (
    # A page that is clean is as good as protected.
    [(f"PROTECT({f})", "WriteProtectable") for f in
     ("EptTracked", "Arm64FaultingOf4K", "RiscvSv39x4Svade")] +
    # No inner entry is ever marked.
    [(f"SKIP({f})", "Prunable") for f in
     ("EptTracked", "Arm64Stage2Of16K", "RiscvSv48x4")] +
    [(f"COLD({f})", "kInnerAccessed") for f in
     ("EptTracked", "Arm64Stage2Of4K", "RiscvSv39")] +
    # Which bits are reserved is not said.
    [(f"template class ptage::{c}<{f}, ForeignRam>;", "CheckedFormat")
     for c in ("ForeignTree", "GuestWalker")
     for f in ("EptTracked", "Arm64Stage2Of4K", "Arm64FaultingOf4K")] +
    # Shapes that the manual does not have, or that are not here.
    [("template struct ptage::Arm64Stage2<Arm64Granule::k64K, 48>;",
      "no root of 1, 2, 4, 8 or 16 tables resolves so many bits"),
     ("template struct ptage::Arm64Stage2<Arm64Granule::k4K, 44>;",
      "no root of 1, 2, 4, 8 or 16 tables resolves so many bits"),
     ("template struct ptage::Arm64Stage2<Arm64Granule::k4K, 52>;",
      "without FEAT_LPA2 addresses have 48 bits"),
     ("template struct ptage::EptOf<3>;", "static assertion"),
     ("template struct ptage::RiscvSv<2>;", "static assertion")])


def compile_with(compiler, source):
    return subprocess.run(
        [compiler, "-std=c++20", "-fsyntax-only", f"-I{TOP}/include", "-x", "c++",
         "-"], input=PROLOGUE + source, text=True, capture_output=True,
        check=False)


class RejectedTest(unittest.TestCase):

    def test_the_rest_compiles(self):
        self.assertTrue(COMPILERS)
        for compiler in COMPILERS:
            done = compile_with(compiler, COMPILES)
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_what_a_format_cannot_do_does_not_compile_and_says_why(self):
        for compiler in COMPILERS:
            for source, reason in REJECTED:
                with self.subTest(compiler=compiler, source=source):
                    done = compile_with(compiler, source)
                    self.assertNotEqual(done.returncode, 0)
                    # Compilers may break a message at the quotes of its parts.
                    said = done.stderr.replace('"', "").replace("\n", " ")
                    self.assertIn(reason, " ".join(said.split()))


if __name__ == "__main__":
    unittest.main()
