// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A tree of two frames, and what searches ask of it: that each mapping goes to
// one sink, and that no access and no write is lost.

#ifndef PTAGE_TEST_RELACY_SEARCHED_TREE_H_
#define PTAGE_TEST_RELACY_SEARCHED_TREE_H_

#include <cstdint>

#include "ptage/harvest.h"
#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/reclaim.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/relacy/checked_arena.h"
#include "test/relacy/cpu.h"
#include "test/relacy/frees_at_the_end.h"
#include "test/relacy/score.h"
#include "test/relacy/search.h"
#include "test/relacy/tiny_format.h"

namespace ptage::relacy {

// The two frames under the first entry of the root.
constexpr GfnRange kBoth{kA, Gfn{2}};
constexpr Level kSmall{1};
constexpr Level kLarge{2};

// Frees at once: for scenarios without walks, in which a flush alone keeps CPUs
// out of what is freed.
class FreesAtOnce {
 public:
  struct Section {
    explicit operator bool() const { return true; }
  };
  Section Begin() { return Section(); }
  void End(Section) {}
  void Retire(Retired& node) { node.free(node, node.owner); }
};

// A tree of the two frames, and what became of them.
template <TableKind kKind = TableKind::kDirect, class R = FreesAtTheEnd,
          class Fl = NoFlush, unsigned kTables = 3>
class Tree {
 public:
  using Arena = CheckedArena<kTables>;
  using Pages = PageTable<TinyFormat, Arena, R, Fl, BlockingLock>;
  using Walk = LocklessWalk<R>;

  Pages& pages() { return pages_; }
  R& reclaimer() { return reclaimer_; }
  Fl& flusher() { return flusher_; }
  Arena& arena() { return arena_; }

  MapOutcome Map(Gfn gfn, Level level, Word leaf) {
    Walk walk(reclaimer_);
    const MapOutcome outcome = pages_.Map(walk, gfn, level, leaf);
    if (outcome == MapOutcome::kDone) Mapped(gfn, level, leaf);
    return outcome;
  }
  // A young leaf of one frame.
  MapOutcome MapSmall(Gfn gfn) {
    return Map(gfn, kSmall, YoungLeaf(Backing(gfn)));
  }
  // Until nobody is in the way.
  void MapSmallAtLast(Gfn gfn) {
    MapOutcome outcome = MapSmall(gfn);
    while (outcome == MapOutcome::kRetry) {
      SpinPause();
      outcome = MapSmall(gfn);
    }
    Require(outcome == MapOutcome::kDone, "a map is done at last");
  }
  MapOutcome MapLarge(Word bits = 0) {
    return Map(kA, kLarge,
               TinyFormat::MakeLeaf(Backing(kA), kLarge, Rights::kAll) | bits);
  }
  // Indirect trees.
  MapOutcome ClaimAndPublish(Gfn gfn) {
    Walk walk(reclaimer_);
    Entry* entry = nullptr;
    const MapOutcome outcome = pages_.Claim(walk, gfn, kSmall, entry);
    if (outcome != MapOutcome::kDone) return outcome;
    RecordFrame<TinyFormat>(arena_, *entry, gfn);
    // Before it is published: the sink of a removal may come at once.
    Mapped(gfn, kSmall, YoungLeaf(Backing(gfn)));
    Publish<TinyFormat>(*entry, YoungLeaf(Backing(gfn)));
    return outcome;
  }
  // What hardware does for an access to `gfn`.
  void AccessFrame(Gfn gfn, AccessKind kind) {
    Walk walk(reclaimer_);
    const FoundEntry<TinyFormat> found = pages_.Lookup(walk, gfn);
    if (!AccessSeen(*found.entry, found.word, kind)) return;
    Page& page = pages_of_[gfn.value];
    page.accessed = true;
    page.wrote |= kind == AccessKind::kWrite;
    if (found.level == kSmall) page.score.Accessed(found.word, kind);
  }
  // Test-and-clear of both frames. What is unknown to it is left alone.
  void HarvestBoth(AgeMode mode) {
    Walk walk(reclaimer_);
    std::uint64_t young = 0;
    std::uint64_t unknown = 0;
    AgeCounts counts;
    Harvest(pages_, walk, kBoth, AgeAction::kTestAndClear, mode,
            AgeOutput{.begin = kA,
                      .young = Bitmap(&young, 2),
                      .unknown = Bitmap(&unknown, 2),
                      .counts = &counts});
    for (const Gfn gfn : {kA, kB}) {
      Page& page = pages_of_[gfn.value];
      page.reported |= (young >> gfn.value & 1) != 0;
      page.unknown |= (unknown >> gfn.value & 1) != 0;
    }
  }
  // Both frames were accessed, and nobody else harvests.
  void RequireBothAnswered() {
    for (const Page& page : pages_of_) {
      Require(page.reported || page.unknown,
              "what is young is reported, or said to be unknown");
    }
  }
  std::uint64_t Zap(GfnRange range) {
    Walk walk(reclaimer_);
    return pages_.Zap(walk, range, ZapFlush::kEach, Sink());
  }
  std::uint64_t RemoveTables() {
    Walk walk(reclaimer_);
    return pages_.RemoveTables(walk, kBoth, Sink());
  }
  // A leaf of one frame, not accessed.
  MapOutcome MapCold(Gfn gfn) { return Map(gfn, kSmall, Leaf(Backing(gfn))); }
  // Two passes that find nothing in use, so that the next would remove.
  void MakeCold() {
    Require(ReclaimCold().young == 1, "a new table is young");
    Require(ReclaimCold() == ColdPass{}, "a table has two passes");
  }
  ColdPass ReclaimCold() {
    Walk walk(reclaimer_);
    return pages_.ReclaimCold(walk, kBoth, History(), Sink());
  }
  ColdHistory<TinyFormat> History() {
    return ColdHistory<TinyFormat>(&was_cold_, kA);
  }
  StructureOutcome Split() {
    Walk walk(reclaimer_);
    return pages_.Split(walk, kA, kLarge);
  }
  StructureOutcome Promote() {
    Walk walk(reclaimer_);
    return pages_.Promote(walk, kA, kLarge);
  }

  // The leaf that maps `gfn`, or what stands in its place.
  FoundEntry<TinyFormat> Find(Gfn gfn) {
    Walk walk(reclaimer_);
    const FoundEntry<TinyFormat> found = pages_.Lookup(walk, gfn);
    Require(!TinyFormat::IsPresent(found.word) ||
                TinyFormat::FrameOf(found.word) ==
                    Backing(found.level == kLarge ? kA : gfn),
            "nobody finds a leaf that nobody mapped");
    return found;
  }

  // Alone: each mapping was handed to one sink, or is in the tree, but once.
  void CheckMappings() {
    for (const Gfn gfn : {kA, kB}) {
      const FoundEntry<TinyFormat> left = Find(gfn);
      const Page& page = pages_of_[gfn.value];
      Require(!IsFrozen<TinyFormat>(left.word), "nothing stays frozen");
      Require(page.handed + (TinyFormat::IsPresent(left.word) ? 1 : 0) ==
                  page.mapped,
              "each mapping goes to exactly one");
    }
  }
  // Alone: where leaves are small and nobody harvests, to the bit.
  void CheckScores() {
    for (const Gfn gfn : {kA, kB}) {
      Score& score = pages_of_[gfn.value].score;
      score.Found(Find(gfn).word);
      score.Check();
    }
  }
  // Alone: where leaves split and join, and bits multiply.
  void CheckBits() {
    for (const Gfn gfn : {kA, kB}) {
      const Page& page = pages_of_[gfn.value];
      const Word left = Find(gfn).word;
      Require(!page.accessed || page.reported || page.handed_young ||
                  IsYoung<TinyFormat>(left),
              "no access is lost");
      Require(!page.wrote || page.handed_dirty || IsDirty<TinyFormat>(left),
              "no write is lost");
    }
  }

 private:
  // Of one frame.
  struct Page {
    unsigned mapped = 0;
    unsigned handed = 0;
    bool handed_young = false;
    bool handed_dirty = false;
    bool accessed = false;
    bool wrote = false;
    bool reported = false;
    bool unknown = false;
    Score score;
  };

  void Mapped(Gfn gfn, Level level, Word leaf) {
    for (const Gfn each : {kA, kB}) {
      if (level == kSmall && each != gfn) continue;
      Page& page = pages_of_[each.value];
      ++page.mapped;
      const AccessKind kind =
          IsDirty<TinyFormat>(leaf) ? AccessKind::kWrite : AccessKind::kRead;
      page.accessed |= IsYoung<TinyFormat>(leaf);
      page.wrote |= kind == AccessKind::kWrite;
      page.score.Accessed(leaf ^ TinyFormat::kAccessed, kind);
    }
  }
  auto Sink() {
    return [this](const TakenLeaf<TinyFormat>& leaf) {
      Require(TinyFormat::FrameOf(leaf.word) == Backing(leaf.gfn),
              "nobody finds a leaf that nobody mapped");
      if constexpr (requires { flusher_.Caches(); }) {
        Require(!flusher_.Caches(), "no CPU uses a leaf that was handed on");
      }
      for (const Gfn gfn : {kA, kB}) {
        if (!leaf.Frames().Contains(gfn)) continue;
        Page& page = pages_of_[gfn.value];
        ++page.handed;
        page.handed_young |= IsYoung<TinyFormat>(leaf.word);
        page.handed_dirty |= IsDirty<TinyFormat>(leaf.word);
        page.score.Found(leaf.word);
      }
    };
  }

  Arena arena_;
  R reclaimer_;
  Fl flusher_;
  Pages pages_{arena_, reclaimer_, flusher_, kKind};
  Page pages_of_[2];
  std::uint64_t was_cold_ = 0;
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_SEARCHED_TREE_H_
