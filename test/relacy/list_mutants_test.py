# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the mechanical list makes of small headers."""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).absolute().parent))
import list_mutants  # pylint: disable=wrong-import-position


def mutants(body, kind, head="inline void Do(Cell<int>& a, Cell<int>& b)"):
    """[(number, the body as the mutant has it)] of one kind, of one function."""
    before = f"#define GUARD\n{head} {{\n"
    text = f"{before}{body}\n}}\n"
    made = []
    for mutant in list_mutants.mutants_of("small", text):
        if mutant.kind == kind:
            changed = mutant.apply(text)
            made.append(" ".join(changed[len(before):].rstrip("}\n").split()))
    return made


class Orders(unittest.TestCase):

    def test_each_is_weakened_by_one_step(self):
        self.assertEqual(
            mutants("WriteOnce(a, 1, kRelease);\nreturn ReadOnce(b, kAcquire);",
                    "order"),
            ["WriteOnce(a, 1, kRelaxed); return ReadOnce(b, kAcquire);",
             "WriteOnce(a, 1, kRelease); return ReadOnce(b, kRelaxed);"])

    def test_acquire_release_has_two(self):
        self.assertEqual(
            mutants("FetchAdd(a, 0, kAcqRel);", "order"),
            ["FetchAdd(a, 0, kAcquire);", "FetchAdd(a, 0, kRelease);"])

    def test_sequentially_consistent_becomes_acquire_release(self):
        self.assertEqual(mutants("FetchAdd(a, 0, kSeqCst);", "order"),
                         ["FetchAdd(a, 0, kAcqRel);"])

    def test_relaxed_and_comments_have_none(self):
        self.assertEqual(
            mutants("// Were it kAcquire.\nFetchAdd(a, 0, kRelaxed);", "order"), [])


class Swaps(unittest.TestCase):

    def test_two_writes_are_exchanged(self):
        self.assertEqual(
            mutants("WriteOnce(a, 1, kRelaxed);\nb.Set(2);", "swap"),
            ["b.Set(2); WriteOnce(a, 1, kRelaxed);"])

    def test_each_pair_of_three(self):
        self.assertEqual(
            mutants("a.Set(1);\nb.Set(2);\nflush();", "swap"),
            ["b.Set(2); a.Set(1); flush();", "a.Set(1); flush(); b.Set(2);"])

    def test_across_what_is_no_write(self):
        self.assertEqual(
            mutants("a.Set(1);\n++local;\nb.Set(2);", "swap"),
            ["b.Set(2); a.Set(1); ++local;"])

    def test_not_across_what_the_later_depends_on(self):
        self.assertEqual(
            mutants("a.Set(1);\nconst int x = 2;\nb.Set(x);", "swap"), [])
        self.assertEqual(mutants("const int x = Take(a);\nb.Set(x);", "swap"), [])

    def test_not_across_a_jump(self):
        self.assertEqual(mutants("a.Set(1);\nif (x) return;\nb.Set(2);", "swap"), [])

    def test_a_branch_and_a_loop_count_as_a_whole(self):
        self.assertEqual(
            mutants("if (!Freeze(a, x)) return false;\nflush();", "swap"),
            ["flush(); if (!Freeze(a, x)) return false;"])
        self.assertEqual(
            mutants("for (Cell<int>& c : all) WriteOnce(c, 0, kRelaxed);\n"
                    "Publish<F>(a, 1);", "swap"),
            ["Publish<F>(a, 1); for (Cell<int>& c : all) "
             "WriteOnce(c, 0, kRelaxed);"])

    def test_a_declaration_stays_and_the_other_moves(self):
        self.assertEqual(
            mutants("a.Set(1);\nconst int before = FetchAdd(b, 1, kRelaxed);\n"
                    "Use(before);", "swap"),
            ["const int before = FetchAdd(b, 1, kRelaxed); a.Set(1); Use(before);"])

    def test_in_blocks_and_lambdas(self):
        self.assertEqual(len(mutants("if (x) {\na.Set(1);\nb.Set(2);\n}", "swap")), 1)
        self.assertEqual(
            len(mutants("Each([&](int i) {\na.Set(i);\nb.Set(i);\n});", "swap")), 1)

    def test_a_question_whether_it_is_empty_is_no_write(self):
        self.assertEqual(mutants("a.Set(1);\nif (range.Empty()) Go();", "swap"), [])


class Rechecks(unittest.TestCase):

    def test_a_compare_and_swap_succeeds_or_is_a_store(self):
        self.assertEqual(
            mutants("return TryCmpxchg(a, seen, F(1, 2), kAcquire);", "recheck"),
            ["return (TryCmpxchg(a, seen, F(1, 2), kAcquire), true);",
             "return (WriteOnce(a, F(1, 2), kRelaxed), true);"])

    def test_a_store_keeps_a_release(self):
        self.assertEqual(
            mutants("return TryCmpxchg(a, 0, 1, kAcqRel);", "recheck")[1],
            "return (WriteOnce(a, 1, kRelease), true);")

    def test_a_predicate_answers_that_nothing_changed(self):
        self.assertEqual(mutants("if (!belongs()) return;", "recheck"),
                         ["if (!true) return;"])
        self.assertEqual(
            mutants("if (IsFrozen<F>(seen)) return Outcome::kFrozen;", "recheck"),
            ["if (false) return Outcome::kFrozen;"])

    def test_a_comparison_with_a_shared_read_is_taken_for_equal(self):
        self.assertEqual(
            mutants("if (ReadOnce(a, kRelaxed) != kIdle || x) continue;", "recheck"),
            ["if (false || x) continue;"])
        self.assertEqual(
            mutants("return RecordedFrame<F>(m, e) == gfn && x;", "recheck"),
            ["return true && x;"])
        self.assertEqual(
            mutants("while (x && ReadOnce(a, kAcquire) < wanted) Pause();",
                    "recheck"),
            ["while (x && false) Pause();"])

    def test_a_local_that_was_read_counts_as_a_read(self):
        self.assertEqual(
            mutants("const int seen = ReadOnce(a, kRelaxed);\n"
                    "if ((seen & 1) == 0) Go();", "recheck"),
            ["const int seen = ReadOnce(a, kRelaxed); if (true) Go();"])
        self.assertEqual(
            mutants("const int here = 2;\nif (here == 0) Go();", "recheck"), [])

    def test_of_two_locals_of_one_name_only_the_one_that_was_read(self):
        self.assertEqual(
            len(mutants("{\nconst int x = ReadOnce(a, kRelaxed);\nGo(x);\n}\n"
                        "const int x = 1;\nif (x == 0) Go();", "recheck")), 0)

    def test_what_was_read_again_does_not_jump(self):
        self.assertEqual(
            mutants("int seen = 0;\nif (x) seen = ReadEntry(a);\n"
                    "if (!F::IsPresent(seen)) return;", "recheck"),
            ["int seen = 0; if (x) seen = ReadEntry(a); if (false) return;"])

    def test_asserts_and_null_do_not_count(self):
        self.assertEqual(
            mutants("PTAGE_ASSERT(!IsFrozen<F>(taken));\n"
                    "if (ReadOnce(p, kRelaxed) == nullptr) return;", "recheck"), [])


class Text(unittest.TestCase):

    HEADER = """\
#ifndef A_H_
#define A_H_
namespace ptage {
// Uses { and kAcquire in a comment.
struct Line {
  Cell<int> word{0};
  void Go() {
    WriteOnce(word, 1, kRelease);
    word.Set(2);
  }
};
template <class F, int kN>
int Line<F, kN>::Go(F&& f) const {
  return ReadOnce(word, kAcquire);
}
}  // namespace ptage
#endif
"""

    def test_names_are_stable(self):
        self.assertEqual(
            [m.id for m in list_mutants.mutants_of("a/b", self.HEADER)],
            ["a/b:Go:swap:1", "a/b:Go:order:1", "a/b:Go:order:2"])

    def test_the_shipped_headers_can_be_read(self):
        for header, made in list_mutants.all_mutants().items():
            text = list_mutants.text_of(header)
            for mutant in made:
                self.assertNotEqual(mutant.apply(text), text, mutant.id)


if __name__ == "__main__":
    unittest.main()
