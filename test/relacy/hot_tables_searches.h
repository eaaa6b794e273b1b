// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of hot_tables.h and profile.h.

#ifndef PTAGE_TEST_RELACY_HOT_TABLES_SEARCHES_H_
#define PTAGE_TEST_RELACY_HOT_TABLES_SEARCHES_H_

#include <cstdint>

#include "ptage/hot_tables.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/profile.h"
#include "ptage/prune.h"
#include "ptage/reclaim.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/relacy/cpu.h"
#include "test/relacy/frees_at_the_end.h"
#include "test/relacy/prune_searches.h"
#include "test/relacy/search.h"
#include "test/relacy/searched_tree.h"
#include "test/relacy/tiny_format.h"

namespace ptage::relacy {

// What is known of the table of kA and kB when the search begins.
enum class Known { kNothing, kDense, kDenseAndDue, kCleared };

// Rounds of one leaf table.
template <Known kKnown>
class Rounds {
 public:
  // Alone. Brings the table to that state, its entries old but for leaves that
  // a dense table keeps.
  template <class T>
  void Begin(T& tree) {
    int rounds = 0;
    if (kKnown == Known::kDense || kKnown == Known::kDenseAndDue) rounds = 2;
    if (kKnown == Known::kCleared) rounds = 3;
    for (int i = 0; i < rounds; ++i) {
      MakeYoung(tree.Find(kA).entry);
      MakeYoung(&tree.pages().root()->entries[0]);
      (void)Round(tree);
    }
    Require(hot_.Dense() == (rounds == 2 ? 1u : 0u), "a dense table is known");
    const Word parent = ReadOnce(tree.pages().root()->entries[0], kRelaxed);
    WriteOnce(tree.pages().root()->entries[0], parent & ~TinyFormat::kAccessed,
              kRelaxed);
  }
  template <class T>
  AgeResult Round(T& tree) {
    LocklessWalk<FreesAtTheEnd> walk(tree.reclaimer());
    return AgeHotTables(tree.pages(), walk, tree.flusher(), hot_, AgeOutput{});
  }

 private:
  static void MakeYoung(Entry* entry) {
    WriteOnce(*entry, ReadOnce(*entry, kRelaxed) | TinyFormat::kAccessed,
              kRelaxed);
  }

  // Begins to verify a dense table in the third of its rounds, or never.
  static constexpr DensePolicy kPolicy{
      .sixteenths = 8, .verify_one_in = kKnown == Known::kDense ? 0u : 1u};
  std::uint8_t bytes_[1] = {};
  HotTables<TinyFormat> hot_{bytes_, kBoth, kPolicy};
};

// --- A CPU walks, from the root or from what it has cached of it.

template <Known kKnown>
struct CpuAgainstRounds : rl::test_suite<CpuAgainstRounds<kKnown>, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<TableKind::kDirect, FreesAtTheEnd, Cpu> tree;
  Rounds<kKnown> rounds;
  Cell<std::uint64_t> done{0};
  // Accesses, of which the last began after the round had ended.
  bool accessed = false;
  bool late = false;
  bool found = false;

  void before() {
    tree.MapSmall(kA);
    rounds.Begin(tree);
  }
  void thread(unsigned index) {
    if (index == 1) {
      found = rounds.Round(tree).young;
      WriteOnce(done, std::uint64_t{1}, kRelease);
      return;
    }
    for (int i = 0; i < 2; ++i) {
      const bool ended = ReadOnce(done, kAcquire) != 0;
      tree.flusher().WalkAndMark(
          tree.pages().root()->entries[0], [&](Word inner) {
            Table<TinyFormat>* const table =
                tree.arena().TableAt(TinyFormat::FrameOf(inner));
            (void)Access(table->entries[0], AccessKind::kRead);
            accessed = true;
            late = ended;
          });
    }
  }
  void after() {
    const bool again = rounds.Round(tree).young;
    Require(!late || again, "an access after a round is found by the next");
    Require(!accessed || found || again,
            "an access is found in one of the rounds");
  }
};

// --- The same of a profile, which reads no leaf.

struct CpuAgainstProfile : rl::test_suite<CpuAgainstProfile, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<TableKind::kDirect, FreesAtTheEnd, Cpu> tree;
  ProfileRegion regions[4];
  Profile<TinyFormat> profile{regions, 2, kBoth};
  Cell<std::uint64_t> done{0};
  // An access began after the round had ended.
  bool late = false;

  bool Round() {
    LocklessWalk<FreesAtTheEnd> walk(tree.reclaimer());
    (void)profile.Round(tree.pages(), walk, tree.flusher());
    return profile.size() != 0;
  }
  void before() { tree.MapSmall(kA); }
  void thread(unsigned index) {
    if (index == 1) {
      (void)Round();
      WriteOnce(done, std::uint64_t{1}, kRelease);
      return;
    }
    for (int i = 0; i < 2; ++i) {
      const bool ended = ReadOnce(done, kAcquire) != 0;
      tree.flusher().WalkAndMark(tree.pages().root()->entries[0],
                                 [&](Word) { late = ended; });
    }
  }
  void after() {
    const bool found = Round();
    Require(!late || found, "an access after a round is found by the next");
  }
};

// --- An owner takes the young entry above the leaves, and puts it back.

struct OwnerAgainstProfile : rl::test_suite<OwnerAgainstProfile, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;
  ProfileRegion regions[4];
  Profile<TinyFormat> profile{regions, 2, kBoth};

  void Round() {
    LocklessWalk<FreesAtTheEnd> walk(tree.reclaimer());
    (void)profile.Round(tree.pages(), walk, tree.flusher());
  }
  Entry& Above() { return tree.pages().root()->entries[0]; }
  void before() {
    tree.MapSmall(kA);
    Round();
    WriteOnce(Above(), ReadOnce(Above(), kRelaxed) | TinyFormat::kAccessed,
              kRelaxed);
  }
  void thread(unsigned index) {
    if (index == 1) {
      Round();
      return;
    }
    const Word seen = ReadOnce(Above(), kAcquire);
    if (!Freeze<TinyFormat>(Above(), seen)) return;
    Restore<TinyFormat>(Above(), seen);
  }
  void after() {
    Require(profile.size() != 0,
            "what is young is reported, or said to be unknown");
  }
};

// --- A fault maps a young leaf.

template <Known kKnown>
struct FaultAgainstRounds : rl::test_suite<FaultAgainstRounds<kKnown>, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;
  Rounds<kKnown> rounds;
  bool found = false;

  void before() {
    tree.MapSmall(kA);
    rounds.Begin(tree);
  }
  void thread(unsigned index) {
    if (index == 1) {
      found = rounds.Round(tree).young;
      return;
    }
    Require(tree.MapSmall(kB) == MapOutcome::kDone,
            "a map that nobody hinders is done");
    LocklessWalk<FreesAtTheEnd> walk(tree.reclaimer());
    MarkParent(tree.pages(), walk, kB);
  }
  void after() {
    const bool again = rounds.Round(tree).young;
    Require(found || again, "an access is found in one of the rounds");
  }
};

// --- An owner takes a young leaf, and puts it back after a round.

struct OwnerAgainstRounds : rl::test_suite<OwnerAgainstRounds, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;
  Rounds<Known::kNothing> rounds;
  AgeResult answer;

  void before() { tree.MapSmall(kA); }
  void thread(unsigned index) {
    if (index == 1) {
      answer = rounds.Round(tree);
      return;
    }
    const FoundEntry<TinyFormat> found = tree.Find(kA);
    if (!Freeze<TinyFormat>(*found.entry, found.word)) return;
    Restore<TinyFormat>(*found.entry, found.word);
  }
  void after() {
    Require(answer.young || !answer.complete,
            "what is young is reported, or said to be unknown");
    Require((answer | rounds.Round(tree)).young,
            "an access is found in one of the rounds");
  }
};

// --- A change of the structure, whose entry above the leaves is frozen.

struct SplitAgainstRounds : rl::test_suite<SplitAgainstRounds, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;
  Rounds<Known::kNothing> rounds;
  AgeResult answer;

  void before() { tree.MapLarge(TinyFormat::kAccessed); }
  void thread(unsigned index) {
    if (index == 1) {
      answer = rounds.Round(tree);
    } else {
      (void)tree.Split();
    }
  }
  void after() {
    Require(answer.young || !answer.complete,
            "what is young is reported, or said to be unknown");
    Require((answer | rounds.Round(tree)).young,
            "an access is found in one of the rounds");
  }
};

// --- A leaf above the parents' level is taken, and put back after a round.

struct TallOwnerAgainstRounds : rl::test_suite<TallOwnerAgainstRounds, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  TallTree tree;
  std::uint8_t bytes[2] = {};
  HotTables<TallFormat> hot{bytes, TallTree::kAll};
  AgeResult answer;

  void before() { tree.MapHuge(); }
  void thread(unsigned index) {
    if (index == 1) {
      answer = AgeHotTables(tree.pages, TallTree::Walk(tree.reclaimer),
                            tree.flusher, hot, AgeOutput{});
    } else {
      tree.TakeAndPutBack();
    }
  }
  void after() {
    Require(answer.young || !answer.complete,
            "what is young is reported, or said to be unknown");
  }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_HOT_TABLES_SEARCHES_H_
