// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of prune_nested.h.

#ifndef PTAGE_TEST_RELACY_PRUNE_NESTED_SEARCHES_H_
#define PTAGE_TEST_RELACY_PRUNE_NESTED_SEARCHES_H_

#include <cstdint>

#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/prune.h"
#include "ptage/prune_nested.h"
#include "ptage/reclaim.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/relacy/cpu.h"
#include "test/relacy/frees_at_the_end.h"
#include "test/relacy/score.h"
#include "test/relacy/search.h"
#include "test/relacy/searched_tree.h"
#include "test/relacy/tiny_format.h"

namespace ptage::relacy {

// Two nested frames under one parent, and the gfns kA and kB that their entries
// may map.
constexpr Gfn kFirst{0};
constexpr Gfn kSecond{1};
constexpr GfnRange kOnlyA{kA, kB};
constexpr GfnRange kOnlyB{kB, Gfn{2}};

// Which frames back kA and kB.
enum class Frames { kOneEach, kTheSame };

template <class Fl = NoFlush, Frames kFrames = Frames::kOneEach>
class Nested {
 public:
  using Arena = CheckedArena<3>;
  using Pages = PageTable<TinyFormat, Arena, FreesAtTheEnd, Fl, BlockingLock>;
  using Walk = LocklessWalk<FreesAtTheEnd>;

  Pages& pages() { return pages_; }
  Arena& arena() { return arena_; }
  Fl& flusher() { return flusher_; }
  Score& score(Gfn gfn) { return scores_[gfn.value]; }

  static Word LeafOf(Gfn gfn, Word bits) {
    return Leaf(Backing(kFrames == Frames::kTheSame ? kA : gfn)) | bits;
  }
  // The entry at `nested`, of a table that stays.
  Entry& EntryAt(Gfn nested) {
    Walk walk(reclaimer_);
    return *pages_.Lookup(walk, nested).entry;
  }
  // Alone, before the threads: the table of both frames.
  void BuildTable() {
    Walk walk(reclaimer_);
    Entry* entry = nullptr;
    Require(pages_.Claim(walk, kFirst, kSmall, entry) == MapOutcome::kDone,
            "a map that nobody hinders is done");
    Empty<TinyFormat>(*entry);
    for (const Gfn nested : {kFirst, kSecond}) {
      entries_[nested.value] = &EntryAt(nested);
    }
  }
  // A fault. The parent of what is young is marked afterwards.
  void Map(Gfn nested, Gfn gfn, Word bits) {
    Entry& entry = *entries_[nested.value];
    Require(Freeze<TinyFormat>(entry, TinyFormat::kEmpty),
            "an empty entry is free");
    RecordFrame<TinyFormat>(arena_, entry, gfn);
    const bool young = (bits & TinyFormat::kAccessed) != 0;
    if (young) {
      score(gfn).Accessed(Leaf(Backing(gfn)), AccessKind::kRead);
    }
    Publish<TinyFormat>(entry, LeafOf(gfn, bits));
    if (young) {
      Walk walk(reclaimer_);
      MarkParent(pages_, walk, nested);
    }
  }
  void MapYoung(Gfn nested, Gfn gfn) {
    Map(nested, gfn, TinyFormat::kAccessed);
  }
  void MapLargeYoung() {
    Walk walk(reclaimer_);
    Entry* entry = nullptr;
    Require(pages_.Claim(walk, kFirst, kLarge, entry) == MapOutcome::kDone,
            "a map that nobody hinders is done");
    RecordFrame<TinyFormat>(arena_, *entry, kA);
    Publish<TinyFormat>(
        *entry, TinyFormat::MakeLeaf(Backing(kA), kLarge, Rights::kAll) |
                    TinyFormat::kAccessed);
  }
  // Takes what maps `gfn` away, and hands it on.
  template <class Sink>
  void Zap(Gfn nested, Gfn gfn, Sink&& sink) {
    (void)ptage::Zap<TinyFormat>(
        *entries_[nested.value], [] {},
        [&](Word taken) {
          score(gfn).Found(taken);
          sink();
        });
  }
  // Removes the table of both frames.
  template <class Sink>
  void RemoveTables(Sink&& sink) {
    Walk walk(reclaimer_);
    pages_.RemoveTables(walk, kBoth, [&](const TakenLeaf<TinyFormat>& leaf) {
      score(RecordedFrame<TinyFormat>(arena_, leaf.entry)).Found(leaf.word);
      sink();
    });
  }
  // Takes an entry, and puts it back.
  static void Borrow(Entry& entry) {
    const Word seen = ReadOnce(entry, kAcquire);
    if (!Freeze<TinyFormat>(entry, seen)) return;
    Restore<TinyFormat>(entry, seen);
  }

  struct Answer {
    bool Young(Gfn gfn) const { return (young >> gfn.value & 1) != 0; }
    bool Unknown(Gfn gfn) const { return (unknown >> gfn.value & 1) != 0; }
    AgeResult result;
    std::uint64_t young = 0;
    std::uint64_t unknown = 0;
    AgeCounts counts;
  };
  // A round. What it cleared is written down; after a lost race the bit is
  // still somewhere. Of an entry that moves from kA to kB, and is young for
  // both, kA's bit was cleared: their words differ.
  Answer Prune(GfnRange asked, Pruning pruning = Pruning::kExact) {
    Walk walk(reclaimer_);
    Answer answer;
    answer.result = PruneNested(pages_, walk, flusher_, kBoth, pruning,
                                AgeAction::kTestAndClear, asked,
                                AgeOutput{.begin = kA,
                                          .young = Bitmap(&answer.young, 2),
                                          .unknown = Bitmap(&answer.unknown, 2),
                                          .counts = &answer.counts});
    std::uint64_t cleared = answer.counts.young - answer.counts.lost_races;
    for (const Gfn gfn : {kA, kB}) {
      if (!answer.Young(gfn) || cleared == 0) continue;
      score(gfn).Aged(SpteAge::kYoung);
      --cleared;
    }
    return answer;
  }

  // Alone: a round finds whatever is young.
  void RequireNothingIsLeftBehind(Pruning pruning = Pruning::kExact) {
    (void)Prune(kBoth, pruning);
    for (const Gfn nested : {kFirst, kSecond}) {
      Require(!IsYoung<TinyFormat>(ReadOnce(EntryAt(nested), kRelaxed)),
              "nothing young is left behind a parent that is not");
    }
  }

 private:
  Arena arena_;
  FreesAtTheEnd reclaimer_;
  Fl flusher_;
  Pages pages_{arena_, reclaimer_, flusher_, TableKind::kIndirect};
  Entry* entries_[2] = {};
  Score scores_[2];
};

// --- A fault maps a young leaf under a parent that is being cleared.

struct NestedFault : rl::test_suite<NestedFault, 2> {
  static constexpr Plan kPlan = UpToPreemptions(6);

  Nested<> nested;

  void before() {
    nested.BuildTable();
    nested.MapYoung(kSecond, kB);
  }
  void thread(unsigned index) {
    if (index == 1) {
      (void)nested.Prune(kBoth);
    } else {
      nested.MapYoung(kFirst, kA);
    }
  }
  void after() {
    nested.RequireNothingIsLeftBehind();
    for (const Gfn gfn : {kA, kB}) nested.score(gfn).Check();
  }
};

// --- A CPU walks, from the root or from what it has cached of it.

template <Pruning kPruning>
struct NestedCpu : rl::test_suite<NestedCpu<kPruning>, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Nested<Cpu> nested;

  void before() {
    nested.BuildTable();
    nested.MapYoung(kFirst, kB);
  }
  void thread(unsigned index) {
    if (index == 1) {
      (void)nested.Prune(kBoth, kPruning);
      return;
    }
    for (int i = 0; i < 2; ++i) {
      nested.flusher().WalkAndMark(
          nested.pages().root()->entries[0], [&](Word inner) {
            Table<TinyFormat>* const table =
                nested.arena().TableAt(TinyFormat::FrameOf(inner));
            (void)Access(table->entries[0], AccessKind::kRead);
          });
    }
  }
  void after() { nested.RequireNothingIsLeftBehind(kPruning); }
};

// --- The entry is given to another gfn.

// What the entry is once it is kB's.
enum class Given { kCold, kYoung };

template <Given kGiven, GfnRange kAsked>
struct NestedGivenAway : rl::test_suite<NestedGivenAway<kGiven, kAsked>, 2> {
  static constexpr Plan kPlan =
      kAsked == kBoth ? kEveryInterleaving : UpToPreemptions(5);

  Nested<> nested;
  Plain<bool> on_record;

  void before() {
    on_record.Set(false);
    nested.BuildTable();
    nested.MapYoung(kFirst, kA);
  }
  void thread(unsigned index) {
    if (index == 0) {
      nested.Zap(kFirst, kA, [&] { on_record.Set(true); });
      nested.Map(kFirst, kB,
                 kGiven == Given::kYoung ? TinyFormat::kAccessed : Word{0});
      return;
    }
    const auto answer = nested.Prune(kAsked);
    if (kAsked.Contains(kA) && !answer.Young(kA) && !answer.Unknown(kA)) {
      Require(on_record.Get(), "who finds nothing sees what was zapped");
    }
    Require(
        (answer.young | answer.unknown) >> kAsked.end.value == 0 &&
            (kAsked.Contains(kA) || !(answer.Young(kA) || answer.Unknown(kA))),
        "nobody hears of what he did not ask for");
    Require(answer.result.young == (answer.young != 0) &&
                answer.result.complete == (answer.unknown == 0),
            "the answer says what the bits say");
  }
  void after() {
    nested.RequireNothingIsLeftBehind();
    for (const Gfn gfn : {kA, kB}) nested.score(gfn).Check();
  }
};

// The same where one frame backs both, and the words are the same.
struct NestedSameWord : rl::test_suite<NestedSameWord, 2> {
  static constexpr Plan kPlan = UpToPreemptions(6);

  Nested<NoFlush, Frames::kTheSame> nested;
  std::uint64_t young = 0;

  void before() {
    nested.BuildTable();
    nested.MapYoung(kFirst, kA);
  }
  void thread(unsigned index) {
    if (index == 0) {
      nested.Zap(kFirst, kA, [] {});
      nested.MapYoung(kFirst, kB);
    } else {
      young |= nested.Prune(kBoth).young;
    }
  }
  void after() {
    young |= nested.Prune(kBoth).young;
    Require((young >> kB.value & 1) != 0, "no access is lost");
  }
};

// --- An owner takes a young leaf, and puts it back after a round.

// kAsked: the leaf's gfn, or another one's.
template <GfnRange kAsked>
struct NestedOwner : rl::test_suite<NestedOwner<kAsked>, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Nested<> nested;
  bool reported = false;

  void before() {
    nested.BuildTable();
    nested.MapYoung(kFirst, kA);
  }
  void thread(unsigned index) {
    if (index == 0) {
      nested.Borrow(nested.EntryAt(kFirst));
      return;
    }
    const auto answer = nested.Prune(kAsked);
    Require(answer.result.complete == (answer.unknown == 0),
            "the answer says what the bits say");
    Require(answer.Young(kA) || answer.Unknown(kA) || !kAsked.Contains(kA),
            "what is young is reported, or said to be unknown");
    reported = answer.Young(kA);
  }
  void after() {
    Require(reported || nested.Prune(kBoth).Young(kA), "no access is lost");
  }
};

struct NestedLargeOwner : rl::test_suite<NestedLargeOwner, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Nested<> nested;

  void before() { nested.MapLargeYoung(); }
  void thread(unsigned index) {
    if (index == 0) {
      nested.Borrow(nested.EntryAt(kFirst));
      return;
    }
    const auto answer = nested.Prune(kBoth);
    for (const Gfn gfn : {kA, kB}) {
      Require(answer.Young(gfn) || answer.Unknown(gfn),
              "what is young is reported, or said to be unknown");
    }
  }
  void after() { nested.RequireNothingIsLeftBehind(); }
};

// --- Two askers, each of whom asks for one of the two gfns under a parent.

struct NestedTwoAskers : rl::test_suite<NestedTwoAskers, 2> {
  static constexpr Plan kPlan = UpToPreemptions(5);

  Nested<> nested;

  void before() {
    nested.BuildTable();
    nested.MapYoung(kFirst, kA);
    nested.MapYoung(kSecond, kB);
  }
  void thread(unsigned index) {
    (void)nested.Prune(index == 0 ? kOnlyA : kOnlyB);
  }
  void after() {
    nested.RequireNothingIsLeftBehind();
    for (const Gfn gfn : {kA, kB}) nested.score(gfn).Check();
  }
};

// What either is told meanwhile.
struct NestedAskedMeanwhile : rl::test_suite<NestedAskedMeanwhile, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Nested<> nested;

  void before() {
    nested.BuildTable();
    nested.MapYoung(kSecond, kB);
  }
  void thread(unsigned index) {
    if (index == 0) {
      (void)nested.Prune(kOnlyA);
    } else {
      Require(nested.Prune(kOnlyB).Young(kB),
              "what is young is found by who asks for it first");
    }
  }
};

// --- The table is removed, with a leaf that was left.

struct NestedRemoval : rl::test_suite<NestedRemoval, 2> {
  static constexpr Plan kPlan = UpToPreemptions(5);

  Nested<> nested;
  Plain<bool> on_record;

  void before() {
    on_record.Set(false);
    nested.BuildTable();
    nested.MapYoung(kFirst, kA);
  }
  void thread(unsigned index) {
    if (index == 0) {
      nested.RemoveTables([&] { on_record.Set(true); });
      return;
    }
    const auto answer = nested.Prune(kBoth);
    if (!answer.Young(kA) && !answer.Unknown(kA)) {
      Require(on_record.Get(), "who finds nothing sees what was zapped");
    }
  }
  void after() {
    nested.RequireNothingIsLeftBehind();
    nested.score(kA).Check();
  }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_PRUNE_NESTED_SEARCHES_H_
