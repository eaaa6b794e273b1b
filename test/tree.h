// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A tree with everything that it needs, for tests of the core.

#ifndef PTAGE_TEST_TREE_H_
#define PTAGE_TEST_TREE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "gtest/gtest.h"
#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/reclaim.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/formats.h"
#include "test/scheme.h"
#include "test/tables.h"

namespace ptage::test {

// Calls a function at each flush, if there is one.
struct HookedFlusher {
  void Flush(GfnRange range) {
    if (hook) hook(range);
  }
  std::function<void(GfnRange)> hook;
};

// Frame g is mapped to the frame kBacking + g, so that every large leaf is
// aligned. A multiple of the frames of the largest leaf of every format, and
// within the 20 bits of the smallest.
inline constexpr std::uint64_t kBacking = 0x8'0000;

template <SpteFormat F>
class TestTree {
 public:
  using Domain = Scheme;
  using Tree = PageTable<F, TableArena<F>, Domain, HookedFlusher>;
  using Word = typename F::Word;
  using Walk = typename Tree::Walk;

  explicit TestTree(TableKind kind = TableKind::kDirect,
                    std::size_t tables = 32)
      : tables_(tables), tree_(tables_.arena(), domain_, flusher_, kind) {}

  Tree& tree() { return tree_; }
  Domain& domain() { return domain_; }
  HookedFlusher& flusher() { return flusher_; }
  TableArena<F>& arena() { return tables_.arena(); }

  // A leaf for `gfn` at `level`, neither accessed nor dirty.
  static Word Leaf(Gfn gfn, Level level = Level{1},
                   Rights rights = Rights::kAll) {
    return F::MakeLeaf(Pfn{kBacking + gfn.value}, level, rights);
  }
  static Word Young(Word word) {
    return static_cast<Word>(word | Truth<F>::kAccessedBit);
  }
  static Word Dirty(Word word) {
    return static_cast<Word>(word | Truth<F>::kDirtyBit);
  }

  MapOutcome Map(Gfn gfn, Level level, Word leaf) {
    return tree_.Map(Walk(domain_), gfn, level, leaf);
  }
  // Maps, with success, a leaf that looks like this.
  void MustMap(Gfn gfn, Level level, Word leaf) {
    ASSERT_EQ(Map(gfn, level, leaf), MapOutcome::kDone);
  }
  // Maps every frame of the entry of level 2 that begins at `gfn`, one by one.
  void MustFill(Gfn gfn) {
    for (std::uint64_t i = 0; i < FramesAt<F>(Level{2}); ++i) {
      MustMap(gfn + i, Level{1}, Leaf(gfn + i));
    }
  }
  FoundEntry<F> Find(Gfn gfn) { return tree_.Lookup(Walk(domain_), gfn); }
  Word Read(Gfn gfn) { return Find(gfn).word; }
  // Overwrites the deepest entry on the path.
  void Write(Gfn gfn, Word word) {
    WriteOnce(*Find(gfn).entry, word, kRelaxed);
  }
  // The table whose entry is the deepest on the path.
  Table<F>& TableOf(Gfn gfn) { return *arena().TableOf(*Find(gfn).entry); }
  // The entry that points to that table.
  SpteCell<F>& ParentOf(Gfn gfn) {
    return *arena().InfoOf(&TableOf(gfn)).parent.Get();
  }

  // Tables in use, once nothing waits for a walk.
  std::size_t TablesInUse() {
    FreeAll(domain_);
    return arena().InUse();
  }

 private:
  OwnedTables<F> tables_;
  Domain domain_;
  HookedFlusher flusher_;
  Tree tree_;
};

}  // namespace ptage::test

#endif  // PTAGE_TEST_TREE_H_
