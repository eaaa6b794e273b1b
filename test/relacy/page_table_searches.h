// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of page_table.h, walk.h and harvest.h.

#ifndef PTAGE_TEST_RELACY_PAGE_TABLE_SEARCHES_H_
#define PTAGE_TEST_RELACY_PAGE_TABLE_SEARCHES_H_

#include <cstdint>

#include "ptage/harvest.h"
#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/once/block.h"
#include "ptage/once/vector.h"
#include "ptage/page_table.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/anonymous_epoch.h"
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

// --- A fault against the removal of its table.

struct MapAgainstRemoval : rl::test_suite<MapAgainstRemoval, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;

  void before() { tree.MapSmall(kB); }
  void thread(unsigned index) {
    if (index == 0) {
      tree.MapSmall(kA);
    } else {
      tree.RemoveTables();
    }
  }
  void after() {
    tree.CheckMappings();
    tree.CheckScores();
  }
};

// The same of an entry that is claimed: the removal waits for its owner.
struct ClaimAgainstRemoval : rl::test_suite<ClaimAgainstRemoval, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<TableKind::kIndirect> tree;

  void before() { tree.ClaimAndPublish(kB); }
  void thread(unsigned index) {
    if (index == 0) {
      tree.ClaimAndPublish(kA);
    } else {
      tree.RemoveTables();
    }
  }
  void after() {
    tree.CheckMappings();
    tree.CheckScores();
  }
};

// A walker sets bits in leaves that a removal takes.
struct WalkerAgainstRemoval : rl::test_suite<WalkerAgainstRemoval, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;

  void before() {
    tree.Map(kA, kSmall, Leaf(Backing(kA)));
    tree.MapSmall(kB);
  }
  void thread(unsigned index) {
    if (index == 0) {
      tree.AccessFrame(kA, AccessKind::kRead);
      tree.AccessFrame(kB, AccessKind::kWrite);
    } else {
      tree.RemoveTables();
    }
  }
  void after() {
    tree.CheckMappings();
    tree.CheckScores();
  }
};

// A CPU keeps the inner entry, and goes on from there.
struct CachedInner : rl::test_suite<CachedInner, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<TableKind::kDirect, FreesAtOnce, Cpu> tree;

  void before() { tree.MapSmall(kA); }
  void thread(unsigned index) {
    if (index == 1) {
      tree.RemoveTables();
      return;
    }
    for (int i = 0; i < 2; ++i) {
      tree.flusher().Walk(tree.pages().root()->entries[0], [&](Word inner) {
        Table<TinyFormat>* const table =
            tree.arena().TableAt(TinyFormat::FrameOf(inner));
        Access(table->entries[0], AccessKind::kWrite);
      });
    }
  }
  void after() { tree.CheckMappings(); }
};

// What "empty" says to who finds it on the way to a page.
struct EmptyAfterRemoval : rl::test_suite<EmptyAfterRemoval, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;
  Cell<std::uint32_t> on_record;

  void before() {
    tree.MapSmall(kA);
    WriteOnce(on_record, 0u, kRelaxed);
  }
  void thread(unsigned index) {
    if (index == 0) {
      LocklessWalk<FreesAtTheEnd> walk(tree.reclaimer());
      tree.pages().RemoveTables(walk, kBoth, [&](const TakenLeaf<TinyFormat>&) {
        WriteOnce(on_record, 1u, kRelaxed);
      });
    } else if (tree.Find(kA).word == TinyFormat::kEmpty) {
      Require(ReadOnce(on_record, kRelaxed) == 1,
              "nobody reads empty before the access is on record");
    }
  }
};

// --- A harvest against a zap: by words, and by blocks.

struct HarvestAgainstZap : rl::test_suite<HarvestAgainstZap, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;
  Cell<std::uint32_t> on_record;

  AgeResult Ask() {
    LocklessWalk<FreesAtTheEnd> walk(tree.reclaimer());
    return Harvest(tree.pages(), walk, kBoth, AgeAction::kTest,
                   AgeMode::kFastOnly, AgeOutput{});
  }
  void before() {
    tree.MapSmall(kA);
    WriteOnce(on_record, 0u, kRelaxed);
  }
  void thread(unsigned index) {
    if (index == 0) {
      LocklessWalk<FreesAtTheEnd> walk(tree.reclaimer());
      tree.pages().Zap(walk, kBoth, ZapFlush::kEach,
                       [&](const TakenLeaf<TinyFormat>&) {
                         WriteOnce(on_record, 1u, kRelaxed);
                       });
      return;
    }
    const AgeResult answer = Ask();
    Require(
        answer.young || !answer.complete || ReadOnce(on_record, kRelaxed) == 1,
        "nobody reads empty before the access is on record");
  }
  void after() { Require(Ask() == AgeResult{}, "nothing stays frozen"); }
};

// kAll: a bit that all words have, as far from the accessed bit as it takes for
// words to be folded, or nearer.
template <Word kAll>
struct BlockAgainstZap : rl::test_suite<BlockAgainstZap<kAll>, 2> {
  static constexpr Plan kPlan = RandomInterleavings(20'000);
  static constexpr unsigned kZapped = 5;

  Entry entries[kBlock];
  Cell<std::uint32_t> on_record;

  BlockSeen See() {
    const Entry* const blocks[1] = {entries};
    BlockSeen seen[1];
    SeeBlocks<1>(blocks, kAll, TinyFormat::kAccessed, seen);
    return seen[0];
  }
  void before() {
    for (Entry& entry : entries) {
      WriteOnce(entry, TinyFormat::kPresent | kAll, kRelaxed);
    }
    WriteOnce(entries[kZapped],
              TinyFormat::kPresent | kAll | TinyFormat::kAccessed, kRelaxed);
    WriteOnce(on_record, 0u, kRelaxed);
    Require(See().all, "what is whole is said to be");
  }
  void thread(unsigned index) {
    if (index == 0) {
      (void)Zap<TinyFormat>(
          entries[kZapped], [] {},
          [&](Word) { WriteOnce(on_record, 1u, kRelaxed); });
      if (Freeze<TinyFormat>(entries[kZapped], TinyFormat::kEmpty)) {
        Publish<TinyFormat>(entries[kZapped], TinyFormat::kPresent | kAll);
      }
      return;
    }
    // Of a block that is not whole, its words are asked.
    const BlockSeen seen = See();
    Require(!seen.all || seen.has == 1u << kZapped ||
                ReadOnce(on_record, kRelaxed) == 1,
            "nobody reads cold before the access is on record");
  }
};

// --- Zaps against each other, and against a removal.

enum class Rival { kZap, kRemoval };

template <Rival kRival>
struct ZapAgainst : rl::test_suite<ZapAgainst<kRival>, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;

  void before() { tree.MapSmall(kA); }
  void thread(unsigned index) {
    if (index == 0 || kRival == Rival::kZap) {
      tree.Zap(kBoth);
      Require(!TinyFormat::IsPresent(tree.Find(kA).word),
              "what was zapped does not come back");
    } else {
      tree.RemoveTables();
    }
  }
  void after() {
    tree.CheckMappings();
    tree.CheckScores();
  }
};

// --- A cold table goes.

// A fault that is inside maps a young leaf.
struct FaultAgainstCold : rl::test_suite<FaultAgainstCold, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;

  void before() {
    tree.MapCold(kB);
    tree.MakeCold();
  }
  void thread(unsigned index) {
    if (index == 0) {
      tree.MapSmall(kA);
    } else {
      tree.ReclaimCold();
    }
  }
  void after() {
    tree.CheckMappings();
    tree.CheckBits();
  }
};

// A CPU marks the entry above and the leaf, or goes on from what it keeps.
struct WalkerAgainstCold : rl::test_suite<WalkerAgainstCold, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<TableKind::kDirect, FreesAtOnce, Cpu> tree;

  void before() {
    tree.MapCold(kA);
    tree.MakeCold();
  }
  void thread(unsigned index) {
    if (index == 1) {
      LocklessWalk<FreesAtOnce> walk(tree.reclaimer());
      tree.pages().ReclaimCold(
          walk, kBoth, tree.History(), [&](const TakenLeaf<TinyFormat>& leaf) {
            Require(!tree.flusher().Caches(),
                    "no CPU uses a leaf that was handed on");
            Require(!IsYoung<TinyFormat>(leaf.word),
                    "a table in use is not removed");
          });
      return;
    }
    Entry& above = tree.pages().root()->entries[0];
    for (int i = 0; i < 2; ++i) {
      tree.flusher().Walk(above, [&](Word inner) {
        Access(above, AccessKind::kRead);
        Table<TinyFormat>* const table =
            tree.arena().TableAt(TinyFormat::FrameOf(inner));
        // The first finds nothing mapped.
        Access(table->entries[1 - i], AccessKind::kWrite);
      });
    }
  }
};

// What "empty" says to who finds it on the way to a page.
struct EmptyAfterCold : rl::test_suite<EmptyAfterCold, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;
  Cell<std::uint32_t> on_record;

  void before() {
    tree.MapCold(kA);
    tree.MakeCold();
    WriteOnce(on_record, 0u, kRelaxed);
  }
  void thread(unsigned index) {
    if (index == 0) {
      LocklessWalk<FreesAtTheEnd> walk(tree.reclaimer());
      tree.pages().ReclaimCold(walk, kBoth, tree.History(),
                               [&](const TakenLeaf<TinyFormat>&) {
                                 WriteOnce(on_record, 1u, kRelaxed);
                               });
    } else if (tree.Find(kA).word == TinyFormat::kEmpty) {
      Require(ReadOnce(on_record, kRelaxed) == 1,
              "nobody reads empty before the access is on record");
    }
  }
};

// --- Faults that build the table they need.

// There is memory for the table, and for no other: who comes second does not
// ask for one.
struct TwoBuilders : rl::test_suite<TwoBuilders, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<TableKind::kDirect, FreesAtTheEnd, NoFlush, 2> tree;

  void thread(unsigned index) { tree.MapSmallAtLast(Gfn{index}); }
  void after() {
    tree.CheckMappings();
    tree.CheckScores();
    Require(tree.arena().InUse() == 2, "no table is lost");
  }
};

// Nobody is in the way.
struct OneBuilder : rl::test_suite<OneBuilder, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;

  void thread(unsigned index) {
    if (index != 0) return;
    for (const Gfn gfn : {kA, kB}) {
      Require(tree.MapSmall(gfn) == MapOutcome::kDone,
              "a map that nobody hinders is done");
    }
    Require(tree.MapSmall(kA) == MapOutcome::kPresent,
            "a fault is told that its page is mapped");
  }
  void after() { tree.CheckMappings(); }
};

// A reader meets the table while it is new.
struct BuilderAndReader : rl::test_suite<BuilderAndReader, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;

  void thread(unsigned index) {
    if (index == 0) {
      tree.MapSmall(kA);
    } else {
      tree.Find(kA);
      tree.HarvestBoth(AgeMode::kFastOnly);
      tree.Find(kB);
    }
  }
  void after() { tree.CheckBits(); }
};

struct SmallAgainstLarge : rl::test_suite<SmallAgainstLarge, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;
  MapOutcome outcomes[2] = {};

  void thread(unsigned index) {
    outcomes[index] = index == 0 ? tree.MapSmall(kB) : tree.MapLarge();
  }
  void after() {
    const bool small = outcomes[0] == MapOutcome::kDone;
    const bool large = outcomes[1] == MapOutcome::kDone;
    Require(!small || !large, "exactly one fault wins");
    tree.CheckMappings();
    Require(!large || tree.arena().InUse() == 1, "no table is lost");
  }
};

// --- Split and promote.

enum class Change { kSplit, kPromote };

// What a leaf or its table is before the change.
template <Change kChange>
void StartWhole(Tree<>& tree, Word bits) {
  if (kChange == Change::kSplit) {
    tree.MapLarge(bits);
  } else {
    for (const Gfn gfn : {kA, kB}) {
      tree.Map(gfn, kSmall, Leaf(Backing(gfn)) | bits);
    }
  }
}
template <Change kChange>
StructureOutcome Make(Tree<>& tree) {
  return kChange == Change::kSplit ? tree.Split() : tree.Promote();
}

template <Change kChange>
struct WalkerAgainstChange : rl::test_suite<WalkerAgainstChange<kChange>, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;

  void before() { StartWhole<kChange>(tree, 0); }
  void thread(unsigned index) {
    if (index == 0) {
      tree.AccessFrame(kB, AccessKind::kRead);
      tree.AccessFrame(kA, AccessKind::kWrite);
    } else {
      Require(Make<kChange>(tree) == StructureOutcome::kDone,
              "a change that nobody hinders is done");
    }
  }
  void after() {
    tree.CheckMappings();
    tree.CheckBits();
  }
};

template <Change kChange>
struct AgerAgainstChange : rl::test_suite<AgerAgainstChange<kChange>, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;

  void before() { StartWhole<kChange>(tree, TinyFormat::kAccessed); }
  void thread(unsigned index) {
    if (index == 0) {
      tree.HarvestBoth(AgeMode::kFastOnly);
      tree.RequireBothAnswered();
    } else {
      Require(Make<kChange>(tree) == StructureOutcome::kDone,
              "a change that nobody hinders is done");
    }
  }
  void after() {
    tree.CheckMappings();
    tree.CheckBits();
  }
};

template <Change kChange>
struct ZapAgainstChange : rl::test_suite<ZapAgainstChange<kChange>, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;

  void before() { StartWhole<kChange>(tree, TinyFormat::kDirty); }
  void thread(unsigned index) {
    if (index == 0) {
      tree.Zap(GfnRange{kA, kB});
      Require(!TinyFormat::IsPresent(tree.Find(kA).word),
              "what was zapped does not come back");
    } else {
      Make<kChange>(tree);
    }
  }
  void after() {
    tree.CheckMappings();
    tree.CheckBits();
    Require(!TinyFormat::IsPresent(tree.Find(kA).word),
            "what was zapped does not come back");
  }
};

// Leaves of consecutive frames, of which the first is not aligned.
struct Unaligned : rl::test_suite<Unaligned, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;

  void before() {
    for (const Gfn gfn : {kA, kB}) {
      tree.Map(gfn, kSmall, Leaf(Pfn{0x11 + gfn.value}));
    }
  }
  void thread(unsigned index) {
    if (index != 0) return;
    Require(tree.Promote() == StructureOutcome::kUnsuitable,
            "a large leaf maps an aligned frame");
  }
};

// A CPU that keeps a leaf and goes on using it. Hardware forbids that it then
// meets a leaf of another size for the same frame.
class SizedCpu {
 public:
  // An access to kA. `below(inner)` is the table that an inner entry leads to.
  template <class Below>
  void Use(const Entry& root, Below&& below) {
    ScopedLock<BlockingLock> hold(walking_);
    const Word seen = ReadOnce(root, kAcquire);
    if (!TinyFormat::IsPresent(seen)) return;
    const bool large = TinyFormat::IsLeaf(seen, kLarge);
    if (size_ != 0) {
      Require(large == (size_ == 2), "no CPU holds a leaf of another size");
      return;
    }
    if (large ||
        TinyFormat::IsPresent(ReadOnce(below(seen).entries[0], kAcquire))) {
      size_ = large ? 2 : 1;
    }
  }
  // A Flusher, as Cpu.
  void Flush(GfnRange) {
    ScopedLock<BlockingLock> hold(walking_);
    size_ = 0;
  }

 private:
  BlockingLock walking_;
  int size_ = 0;  // the level of the leaf that it keeps; 0 for none
};

enum class Resize { kSplit, kPromote, kRemoveAndMap };

template <Resize kResize>
struct CpuAgainst : rl::test_suite<CpuAgainst<kResize>,
                                   kResize == Resize::kRemoveAndMap ? 3 : 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  using Pages = Tree<TableKind::kDirect, FreesAtTheEnd, SizedCpu>;
  Pages tree;

  void before() {
    if (kResize == Resize::kSplit) {
      tree.MapLarge();
    } else {
      tree.MapSmall(kA);
      tree.MapSmall(kB);
    }
  }
  void thread(unsigned index) {
    if (index == 0) {
      for (int i = 0; i < 2; ++i) {
        LocklessWalk<FreesAtTheEnd> walk(tree.reclaimer());
        tree.flusher().Use(
            tree.pages().root()->entries[0],
            [&](Word inner) -> Table<TinyFormat>& {
              return *tree.arena().TableAt(TinyFormat::FrameOf(inner));
            });
      }
    } else if (index == 2) {
      tree.MapLarge();
    } else if (kResize == Resize::kSplit) {
      tree.Split();
    } else if (kResize == Resize::kPromote) {
      tree.Promote();
    } else {
      tree.RemoveTables();
    }
  }
  void after() { tree.CheckMappings(); }
};

// A promotion that finds out too late that it cannot: what it froze returns.
struct GivenBack : rl::test_suite<GivenBack, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;

  void before() {
    tree.Map(kA, kSmall, YoungLeaf(Backing(kA)) | TinyFormat::kDirty);
  }
  void thread(unsigned index) {
    if (index == 0) {
      tree.AccessFrame(kA, AccessKind::kRead);
      tree.MapSmall(kB);
    } else {
      tree.Promote();
    }
  }
  void after() {
    tree.CheckMappings();
    tree.CheckBits();
  }
};

struct ZapAgainstGivingBack : rl::test_suite<ZapAgainstGivingBack, 2> {
  static constexpr Plan kPlan = UpToPreemptions(5);

  Tree<> tree;

  void before() { tree.MapSmall(kA); }
  void thread(unsigned index) {
    if (index == 0) {
      tree.Zap(kBoth);
      Require(!TinyFormat::IsPresent(tree.Find(kA).word),
              "what was zapped does not come back");
    } else {
      Require(tree.Promote() == StructureOutcome::kUnsuitable,
              "half a table is not promoted");
    }
  }
  void after() {
    tree.CheckMappings();
    tree.CheckScores();
  }
};

// --- The memory of a removed table is used again while others still walk.

struct RemovedUnderAWalk : rl::test_suite<RemovedUnderAWalk, 2> {
  static constexpr Plan kPlan = UpToPreemptions(4);

  using Domain = AnonymousEpochDomain<2, BlockingLock>;

  Tree<TableKind::kDirect, Domain> tree;

  void before() { tree.MapSmall(kA); }
  void thread(unsigned index) {
    if (index == 0) {
      tree.Find(kA);
      tree.HarvestBoth(AgeMode::kFastOnly);
      tree.Find(kB);
      return;
    }
    tree.RemoveTables();
    for (int i = 0; i < 2; ++i) tree.reclaimer().Poll();
    // Takes the freed table again, if it is free by then.
    tree.MapSmallAtLast(kB);
  }
  void after() {
    tree.CheckMappings();
    tree.CheckBits();
  }
};

// --- Everything at once, at random.

struct Everything : rl::test_suite<Everything, 4> {
  static constexpr Plan kPlan = RandomInterleavings(100'000);

  using Domain = AnonymousEpochDomain<4, BlockingLock>;

  Tree<TableKind::kDirect, Domain> tree;

  void before() { tree.MapLarge(TinyFormat::kAccessed); }
  void thread(unsigned index) {
    switch (index) {
      case 0:
        tree.AccessFrame(kB, AccessKind::kWrite);
        tree.MapSmall(kA);
        tree.AccessFrame(kA, AccessKind::kWrite);
        break;
      case 1:
        tree.HarvestBoth(AgeMode::kFastOnly);
        tree.HarvestBoth(AgeMode::kSlow);
        break;
      case 2:
        tree.Split();
        tree.Zap(GfnRange{kA, kB});
        tree.Promote();
        break;
      default:
        tree.MapSmall(kB);
        tree.RemoveTables();
        tree.reclaimer().Poll();
    }
  }
  void after() {
    tree.CheckMappings();
    tree.CheckBits();
  }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_PAGE_TABLE_SEARCHES_H_
