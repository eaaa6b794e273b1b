// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of reclaim/type_stable.h and of what page_table.h, walk.h and
// harvest.h do under it: tables that are used again, at once, for another
// place, while walks, faults and zaps are still inside.

#ifndef PTAGE_TEST_RELACY_TYPE_STABLE_SEARCHES_H_
#define PTAGE_TEST_RELACY_TYPE_STABLE_SEARCHES_H_

#include <cstddef>
#include <cstdint>
#include <new>

#include "ptage/harvest.h"
#include "ptage/memory.h"
#include "ptage/memory/stable_arena.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/type_stable.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "ptage/walk.h"
#include "test/relacy/cpu.h"
#include "test/relacy/search.h"
#include "test/relacy/tiny_format.h"

namespace ptage::relacy {

// A level more: tables that are neither roots nor of leaves alone.
struct TallFormat : TinyFormat {
  static constexpr int kLevels = 3;
};
static_assert(SpteFormat<TallFormat>);

// What stands behind a frame of a tree.
enum class Backs {
  kApart,   // frames of its own
  kShared,  // the same frames for every tree
};

// Trees of one pool, and what became of the pages of each.
template <class F, unsigned kTrees, std::size_t kTables,
          Backs kBacks = Backs::kApart, class Fl = NoFlush>
class StableTrees {
 public:
  using Arena = StableArena<F, BlockingLock>;
  using Pages = PageTable<F, Arena, TypeStable, Fl, BlockingLock>;
  using Walk = LocklessWalk<TypeStable>;

  static constexpr unsigned kFrames = 1u << F::kLevels;
  static constexpr Level kOne{1};
  static constexpr Level kTwo{2};

  StableTrees() {
    // A table that was never used looks as if it held live leaves.
    for (auto& table : tables_) {
      for (Entry& entry : table.entries) {
        WriteOnce(entry, YoungLeaf(Pfn{0xBAD}), kRelaxed);
      }
    }
    for (unsigned tree = 0; tree < kTrees; ++tree) MakeTree(tree);
  }
  // The trees are destroyed by hand: a search that fails may leave entries
  // frozen, for which a destructor would wait.
  ~StableTrees() {}

  // Alone, or before the threads that use it.
  void MakeTree(unsigned tree) {
    ::new (&trees_[tree].pages)
        Pages(arena_, reclaimer_, flusher_, TableKind::kDirect);
  }

  Pages& At(unsigned tree) { return trees_[tree].pages; }
  TypeStable& reclaimer() { return reclaimer_; }
  Fl& flusher() { return flusher_; }

  static Pfn Backing(unsigned tree, Gfn gfn) {
    return Pfn{0x20 + (kBacks == Backs::kShared ? 0 : tree * 0x20) + gfn.value};
  }

  // A leaf with these bits, if nobody is in the way.
  MapOutcome Map(unsigned tree, Gfn gfn, Level level, Word bits) {
    const std::uint64_t frames = FramesAt<F>(level);
    if ((bits & F::kAccessed) != 0) {
      for (unsigned i = 0; i < frames; ++i) {
        pages_of_[tree][gfn.value + i].touched = true;
      }
    }
    const Walk walk(reclaimer_);
    const MapOutcome outcome = At(tree).Map(
        walk, gfn, level,
        F::MakeLeaf(Backing(tree, gfn), level, Rights::kAll) | bits);
    if (outcome != MapOutcome::kDone) return outcome;
    for (unsigned i = 0; i < frames; ++i) {
      Page& page = pages_of_[tree][gfn.value + i];
      ++page.mapped;
      page.accessed |= (bits & F::kAccessed) != 0;
    }
    return outcome;
  }
  void MapWritten(unsigned tree, unsigned gfn) {
    Map(tree, Gfn{gfn}, kOne, F::kDirty);
  }
  void MapCold(unsigned tree, unsigned gfn) {
    Map(tree, Gfn{gfn}, kOne, Word{0});
  }
  MapOutcome MapYoung(unsigned tree, unsigned gfn) {
    return Map(tree, Gfn{gfn}, kOne, F::kAccessed);
  }
  MapOutcome MapLargeYoung(unsigned tree, unsigned gfn) {
    return Map(tree, Gfn{gfn}, kTwo, F::kAccessed);
  }
  void Split(unsigned tree, unsigned gfn) {
    (void)At(tree).Split(Walk(reclaimer_), Gfn{gfn}, kTwo);
  }
  void Promote(unsigned tree, unsigned gfn) {
    (void)At(tree).Promote(Walk(reclaimer_), Gfn{gfn}, kTwo);
  }
  // Of [from, from + count).
  void Remove(unsigned tree, unsigned from, unsigned count) {
    At(tree).RemoveTables(Walk(reclaimer_), Range(from, count), Sink(tree));
  }
  void Zap(unsigned tree, unsigned from, unsigned count) {
    At(tree).Zap(Walk(reclaimer_), Range(from, count), ZapFlush::kEach,
                 Sink(tree));
  }
  void Harvest(unsigned tree, unsigned from, unsigned count, AgeAction action) {
    std::uint64_t young = 0;
    ptage::Harvest(
        At(tree), Walk(reclaimer_), Range(from, count), action,
        AgeMode::kFastOnly,
        AgeOutput{.begin = Gfn{from}, .young = Bitmap(&young, count)});
    for (unsigned i = 0; i < count; ++i) {
      if ((young >> i & 1) == 0) continue;
      Page& page = pages_of_[tree][from + i];
      Require(page.touched, "no page is charged with another's access");
      page.reported |= action == AgeAction::kTestAndClear;
    }
  }
  // Takes dirty bits of frames that nobody writes to.
  void HarvestClean(unsigned tree, unsigned from, unsigned count) {
    std::uint64_t dirty = 0;
    ptage::Harvest<HarvestBit::kDirty>(
        At(tree), Walk(reclaimer_), Range(from, count),
        AgeAction::kTestAndClear, AgeMode::kFastOnly,
        AgeOutput{.begin = Gfn{from}, .young = Bitmap(&dirty, count)});
    Require(dirty == 0, "no page is charged with another's access");
  }
  // The same as Harvest, entry by entry.
  void Visit(unsigned tree, unsigned from, unsigned count, AgeAction action) {
    WalkAll(At(tree), Walk(reclaimer_), Range(from, count),
            [&](const VisitedEntry<F>& visited) {
              if (!IsYoung<F>(visited.seen)) return;
              const SpteAge age = AgeSeen<F>(visited.entry, visited.seen,
                                             action, [] { return true; });
              if (!ToResult(age, AgeMode::kFastOnly).young) return;
              Page& page = pages_of_[tree][visited.asked.begin.value];
              Require(page.touched, "no page is charged with another's access");
              page.reported |= action == AgeAction::kTestAndClear;
            });
  }

  // Alone, at the end.
  void Check() {
    for (unsigned tree = 0; tree < kTrees; ++tree) {
      for (unsigned i = 0; i < kFrames; ++i) CheckPage(tree, Gfn{i});
    }
    Destroy();
  }
  // The same, of what a search did by itself.
  void Destroy() {
    for (unsigned tree = 0; tree < kTrees; ++tree) At(tree).~Pages();
    Require(arena_.InUse() == 0, "no table is lost");
  }

 private:
  // Of one frame of one tree.
  struct Page {
    unsigned mapped = 0;
    unsigned handed = 0;
    bool touched = false;   // perhaps: an access is on its way
    bool accessed = false;  // for certain
    bool handed_young = false;
    bool reported = false;
  };

  static GfnRange Range(unsigned from, unsigned count) {
    return GfnRange{Gfn{from}, Gfn{from + count}};
  }
  auto Sink(unsigned tree) {
    return [this, tree](const TakenLeaf<F>& leaf) {
      Require(F::FrameOf(leaf.word) == Backing(tree, leaf.gfn),
              "nobody finds a leaf that nobody mapped");
      if constexpr (requires { flusher_.Caches(); }) {
        Require(!flusher_.Caches(), "no CPU uses a leaf that was handed on");
      }
      for (Gfn gfn = leaf.gfn; gfn < leaf.Frames().end; gfn = gfn + 1) {
        Page& page = pages_of_[tree][gfn.value];
        ++page.handed;
        page.handed_young |= IsYoung<F>(leaf.word);
      }
    };
  }
  void CheckPage(unsigned tree, Gfn gfn) {
    const Page& page = pages_of_[tree][gfn.value];
    const FoundEntry<F> left = At(tree).Lookup(Walk(reclaimer_), gfn);
    Require(!IsFrozen<F>(left.word), "nothing stays frozen");
    const bool present = F::IsPresent(left.word);
    const Gfn first{gfn.value / FramesAt<F>(left.level) *
                    FramesAt<F>(left.level)};
    Require(!present || F::FrameOf(left.word) == Backing(tree, first),
            "nobody finds a leaf that nobody mapped");
    Require(page.handed + (present ? 1 : 0) == page.mapped,
            "each mapping goes to exactly one");
    Require(!page.accessed || page.reported || page.handed_young ||
                IsYoung<F>(left.word),
            "no access is lost");
  }

  Table<F> tables_[kTables];
  TableInfo<F> infos_[kTables];
  TableIdentity identities_[kTables];
  Arena arena_{tables_, infos_, identities_, kTables, Pfn{0x100}};
  TypeStable reclaimer_;
  Fl flusher_;
  // Made and destroyed by hand.
  union Tree {
    Tree() {}
    ~Tree() {}
    Pages pages;
  };
  Tree trees_[kTrees];
  Page pages_of_[kTrees][kFrames];
};

// --- The identity by itself, beside one entry: a life for another place ends,
// and one for the old place begins again.

enum class Differs { kTree, kFrame };

template <Differs kDiffers, Plan kTheirs = kEveryInterleaving>
struct IdentityAgainstReuse
    : rl::test_suite<IdentityAgainstReuse<kDiffers, kTheirs>, 2> {
  static constexpr Plan kPlan = kTheirs;
  static constexpr Word kCold = Leaf(Pfn{0x20});
  static constexpr Word kTheirYoung = YoungLeaf(Pfn{0x30});

  TableIdentity identity;
  Entry entry;

  TablePlace Mine() const { return {this, kA, Level{1}}; }
  TablePlace Theirs() const {
    return kDiffers == Differs::kTree ? TablePlace{&entry, kA, Level{1}}
                                      : TablePlace{this, kB, Level{1}};
  }
  // Ends a life, and begins another with `word` in the entry.
  void Reuse(const TablePlace& place, Word word) {
    Require(Freeze<TinyFormat>(entry, ReadOnce(entry, kRelaxed)),
            "nobody else changes the entry");
    identity.Record(place);
    Publish<TinyFormat>(entry, word);
  }

  void before() {
    identity.Record(Mine());
    WriteOnce(entry, kCold, kRelaxed);
  }
  void thread(unsigned index) {
    if (index == 0) {
      Reuse(Theirs(), kTheirYoung);
      Reuse(Mine(), kCold);
      return;
    }
    const TableLife life = identity.LifeIn(Mine());
    const Word seen = ReadOnce(entry, kAcquire);
    Require(
        !identity.StillIn(life) || seen == kCold || seen == TinyFormat::kFrozen,
        "no page is charged with another's access");
  }
};

// --- A harvest, whose table is taken from it and serves another place.

// With what the table comes back.
enum class Reuse {
  kAnotherGfn,
  kAnotherTree,
  kSplit,        // another gfn, and leaves before it is published
  kAwayAndBack,  // another gfn, and then the old one again
  kAwayToTree,   // another tree, and then the old one again
};

inline constexpr AgeAction kTake = AgeAction::kTestAndClear;
inline constexpr AgeAction kLook = AgeAction::kTest;

template <Reuse kReuse, AgeAction kAction>
struct HarvestAgainstReuse
    : rl::test_suite<HarvestAgainstReuse<kReuse, kAction>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);
  static constexpr bool kTwoTrees =
      kReuse == Reuse::kAnotherTree || kReuse == Reuse::kAwayToTree;

  // One table besides the roots.
  StableTrees<TinyFormat, kTwoTrees ? 2 : 1, kTwoTrees ? 3 : 2> trees;

  void before() { trees.MapCold(0, 0); }
  void thread(unsigned index) {
    if (index == 0) {
      trees.Harvest(0, 0, 2, kAction);
      return;
    }
    if (kReuse == Reuse::kSplit) trees.MapLargeYoung(0, 2);
    trees.Remove(0, 0, 2);
    switch (kReuse) {
      case Reuse::kAnotherGfn:
        trees.MapYoung(0, 2);
        break;
      case Reuse::kAnotherTree:
        trees.MapYoung(1, 0);
        break;
      case Reuse::kSplit:
        trees.Split(0, 2);
        break;
      case Reuse::kAwayAndBack:
        trees.MapYoung(0, 2);
        trees.Remove(0, 2, 2);
        trees.MapCold(0, 0);
        break;
      case Reuse::kAwayToTree:
        trees.MapYoung(1, 0);
        trees.Remove(1, 0, 2);
        trees.MapCold(0, 0);
        break;
    }
  }
  void after() { trees.Check(); }
};

// The same of a table that comes back a level higher: its second entry was for
// frame 1, and is then for frames 2 and 3.
struct HarvestAgainstAnotherLevel
    : rl::test_suite<HarvestAgainstAnotherLevel, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  StableTrees<TallFormat, 1, 3> trees;

  void before() { trees.MapCold(0, 1); }
  void thread(unsigned index) {
    if (index == 0) {
      trees.Harvest(0, 0, 2, AgeAction::kTestAndClear);
    } else {
      trees.Remove(0, 0, 4);
      // The table of leaves was given back last, and is given out first.
      trees.MapLargeYoung(0, 2);
    }
  }
  void after() { trees.Check(); }
};

// The same of dirty bits, which an entry may have that is not accessed.
struct DirtyAgainstReuse : rl::test_suite<DirtyAgainstReuse, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  StableTrees<TinyFormat, 1, 2> trees;

  void before() { trees.MapCold(0, 0); }
  void thread(unsigned index) {
    if (index == 0) {
      trees.HarvestClean(0, 0, 2);
    } else {
      trees.Remove(0, 0, 2);
      trees.MapWritten(0, 2);
    }
  }
  void after() { trees.Check(); }
};

// The same entry by entry, whatever a harvest reads besides.
template <AgeAction kAction>
struct WalkAgainstSplit : rl::test_suite<WalkAgainstSplit<kAction>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  StableTrees<TinyFormat, 1, 2> trees;

  void before() { trees.MapCold(0, 0); }
  void thread(unsigned index) {
    if (index == 0) {
      trees.Visit(0, 0, 2, kAction);
    } else {
      trees.MapLargeYoung(0, 2);
      trees.Remove(0, 0, 2);
      trees.Split(0, 2);
    }
  }
  void after() { trees.Check(); }
};

// The same of the second entry of a table whose first one was asked about
// before it was taken.
template <AgeAction kAction>
struct HarvestAskedBefore : rl::test_suite<HarvestAskedBefore<kAction>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  StableTrees<TinyFormat, 1, 2> trees;

  void before() {
    trees.MapYoung(0, 0);
    trees.MapYoung(0, 1);
  }
  void thread(unsigned index) {
    if (index == 0) {
      trees.Harvest(0, 0, 2, kAction);
    } else {
      trees.Remove(0, 0, 2);
      trees.MapYoung(0, 3);
    }
  }
  void after() { trees.Check(); }
};

// --- Those who take entries for good.

struct FaultAgainstReuse : rl::test_suite<FaultAgainstReuse, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  StableTrees<TinyFormat, 1, 2> trees;

  void before() { trees.MapCold(0, 0); }
  void thread(unsigned index) {
    if (index == 0) {
      trees.MapYoung(0, 1);
    } else {
      trees.Remove(0, 0, 2);
      trees.MapYoung(0, 2);
    }
  }
  void after() { trees.Check(); }
};

// A fault that must build a table, in one that is taken from it.
struct BuilderAgainstReuse : rl::test_suite<BuilderAgainstReuse, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  StableTrees<TallFormat, 1, 4> trees;

  void before() { trees.MapLargeYoung(0, 2); }
  void thread(unsigned index) {
    if (index == 0) {
      trees.MapYoung(0, 0);
    } else {
      trees.Remove(0, 0, 4);
      trees.MapLargeYoung(0, 6);
    }
  }
  void after() { trees.Check(); }
};

// A zap, when the same word stands in the same entry for another tree.
struct ZapAgainstReuse : rl::test_suite<ZapAgainstReuse, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  StableTrees<TinyFormat, 2, 3, Backs::kShared> trees;

  void before() { trees.MapYoung(0, 0); }
  void thread(unsigned index) {
    if (index == 0) {
      trees.Zap(0, 0, 2);
    } else {
      trees.Remove(0, 0, 2);
      trees.MapYoung(1, 0);
    }
  }
  void after() { trees.Check(); }
};

// A fault that holds a table from before, while it is taken for a split of what
// is then no large leaf.
struct FaultAgainstVainSplit : rl::test_suite<FaultAgainstVainSplit, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  StableTrees<TinyFormat, 1, 2> trees;

  void before() { trees.MapCold(0, 1); }
  void thread(unsigned index) {
    if (index == 0) {
      trees.MapYoung(0, 0);
    } else {
      trees.Remove(0, 0, 2);
      trees.Split(0, 0);
    }
  }
  void after() { trees.Check(); }
};

// A fault that holds a table from before, while it is built anew for the same
// place, and a large leaf comes first.
struct FaultAgainstRebuilding : rl::test_suite<FaultAgainstRebuilding, 3> {
  static constexpr Plan kPlan = RandomInterleavings(300'000);

  StableTrees<TinyFormat, 1, 2> trees;

  void before() { trees.MapCold(0, 1); }
  void thread(unsigned index) {
    if (index == 0) {
      trees.MapYoung(0, 0);
    } else if (index == 1) {
      trees.Remove(0, 0, 2);
      trees.MapYoung(0, 1);
    } else {
      trees.MapLargeYoung(0, 0);
    }
  }
  void after() { trees.Check(); }
};

// --- What a zap owes, as under any scheme.

// To a CPU that keeps the leaf.
struct StableCachedLeaf : rl::test_suite<StableCachedLeaf, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  StableTrees<TinyFormat, 1, 2, Backs::kApart, Cpu> trees;

  void before() { trees.MapYoung(0, 0); }
  void thread(unsigned index) {
    if (index != 0) {
      trees.Zap(0, 0, 1);
      return;
    }
    const LocklessWalk<TypeStable> walk(trees.reclaimer());
    Entry& leaf = *trees.At(0).Lookup(walk, kA).entry;
    for (int i = 0; i < 2; ++i) trees.flusher().Walk(leaf, [](Word) {});
  }
  void after() { trees.Check(); }
};

// To who finds nothing any more.
struct StableEmptyAfterRecord : rl::test_suite<StableEmptyAfterRecord, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  StableTrees<TinyFormat, 1, 2> trees;
  Cell<std::uint32_t> on_record;

  void before() {
    trees.MapYoung(0, 0);
    WriteOnce(on_record, 0u, kRelaxed);
  }
  void thread(unsigned index) {
    const LocklessWalk<TypeStable> walk(trees.reclaimer());
    if (index == 0) {
      trees.At(0).Zap(walk, GfnRange{kA, kB}, ZapFlush::kEach,
                      [&](const TakenLeaf<TinyFormat>&) {
                        WriteOnce(on_record, 1u, kRelaxed);
                      });
    } else if (trees.At(0).Lookup(walk, kA).word == TinyFormat::kEmpty) {
      Require(ReadOnce(on_record, kRelaxed) == 1,
              "nobody reads empty before the access is on record");
    }
  }
  void after() { trees.Destroy(); }
};

// --- Everything at once, at random.

struct StableEverything : rl::test_suite<StableEverything, 4> {
  static constexpr Plan kPlan = RandomInterleavings(100'000);

  StableTrees<TinyFormat, 2, 4> trees;

  void before() {
    trees.MapYoung(0, 0);
    trees.MapLargeYoung(1, 2);
  }
  void thread(unsigned index) {
    switch (index) {
      case 0:
        trees.MapYoung(0, 1);
        trees.Harvest(1, 0, 4, AgeAction::kTestAndClear);
        trees.MapYoung(1, 0);
        break;
      case 1:
        trees.Harvest(0, 0, 4, AgeAction::kTestAndClear);
        trees.Zap(1, 2, 2);
        break;
      case 2:
        trees.Remove(0, 0, 2);
        trees.Split(1, 2);
        trees.Remove(1, 0, 4);
        break;
      default:
        trees.MapYoung(0, 2);
        trees.Promote(1, 2);
        trees.Remove(0, 0, 4);
    }
  }
  void after() { trees.Check(); }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_TYPE_STABLE_SEARCHES_H_
