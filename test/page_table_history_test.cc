// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Random operations on random trees, over memory that keeps every store: each
// state in between shows every frame's old or new translation, and every access
// on record. What a state is held against is in history/table_history.h; here
// is what each operation promises, taken from its contract.
//
//   * Map: a frame of the leaf is absent, then mapped. Frames that are absent
//     may be blocked while a table above is built; what is mapped never is.
//   * Zap: a leaf that covers a frame of the range is mapped, blocked, absent.
//     The access is on record before "absent" can be read, and the flush comes
//     before that, but for ZapFlush::kByCaller. Nothing else changes.
//   * Split, Promote: every frame of the large page is mapped, blocked, mapped
//     as before; absent at no time. One that fails may have blocked them.
//   * RemoveTables: frames whose table lies in the range are as they were,
//     blocked, absent. Others are as they were.
//   * ReclaimCold: the same for leaf tables; or blocked and then as before.
//     What is handed on was not accessed, as nobody maps anything meanwhile.
//   * Harvest, Prune, MarkParent: nothing is blocked or changed, but for the
//     bit that is asked for, which is in the output when the call returns;
//     Prune and MarkParent change the accessed bit of inner entries. After an
//     exact Prune, who is accessed has an accessed entry above.
//   * Freeze to Restore, Publish or Empty: what the entry covers is blocked,
//     whatever runs meanwhile.
//
// One thread: what another could do between two stores is left to the searches
// of test/relacy and to the stress tests, but for the processor.

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/harvest.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/prune.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "ptage/walk.h"
#include "test/formats.h"
#include "test/history/manual.h"
#include "test/history/table_history.h"
#include "test/scheme.h"

namespace ptage {
namespace {

using test::Absent;
using test::Found;
using test::Manual;
using test::Outcome;
using test::Promise;
using test::TableHistory;

// What a test does most of the time. The others make trees for it.
enum class Kind {
  kMap,
  kZap,
  kResize,
  kRemove,
  kReclaim,
  kHarvest,
  kPrune,
  kHold,
  kAll,
};

template <class F>
class PageTableHistoryTest : public ::testing::Test {
 protected:
  using History = TableHistory<F>;
  using Tree = PageTable<F, History, test::Scheme, History>;
  using Walk = typename Tree::Walk;
  using Word = typename F::Word;
  using Numbers = Manual<F>;

  static constexpr unsigned kEntries = 1u << Numbers::kIndexBits;
  static constexpr bool kPrunable = Numbers::kMarksInner;

  // Told by a harvest.
  struct Output {
    void SetYoung(GfnRange range) { history.Reported(range); }
    void SetYoung(Gfn first, std::uint64_t lanes) {
      for (unsigned i = 0; i < 64; ++i) {
        if ((lanes >> i & 1) != 0) {
          history.Reported(GfnRange{first + i, first + i + 1});
        }
      }
    }
    void SetUnknown(GfnRange) {}
    void SetUnknown(Gfn, std::uint64_t) {}
    void Count(const AgeCounts&) {}
    History& history;
  };

  // What came about, over all trees of a test.
  struct Tally {
    std::uint64_t mapped = 0;
    std::uint64_t zapped = 0;
    std::uint64_t split = 0;
    std::uint64_t promoted = 0;
    std::uint64_t split_gib = 0;
    std::uint64_t promoted_gib = 0;
    std::uint64_t removed = 0;
    std::uint64_t reclaimed = 0;
    std::uint64_t cleared = 0;
    std::uint64_t held = 0;
    std::uint64_t marks = 0;
    std::uint64_t stores = 0;
  };

  // Trees from three seeds, `steps` operations each.
  void Run(Kind kind, int steps = kEntries == 4 ? 4'000 : 400) {
    for (const std::uint64_t seed : {1u, 2u, 3u}) {
      random_.seed(seed);
      kind_ = kind;
      exact_ = kind == Kind::kPrune || (kind == Kind::kAll && seed == 2);
      history_.emplace(kTables, random_);
      domain_.emplace();
      tree_ = std::make_unique<Tree>(*history_, *domain_, *history_,
                                     TableKind::kDirect);
      cold_.assign(32, 0);
      held_.reset();
      history_->Watch(tree_->root());
      if (exact_) history_->RequireYoungParents();
      for (int i = 0; i < steps && !history_->failed(); ++i) Step();
      EXPECT_FALSE(history_->failed()) << "seed " << seed;
      tally_.cleared += history_->cleared();
      tally_.marks += history_->marks();
      tally_.stores += history_->stores();
      history_->Unwatch();
      // What has gone wrong may have left it in no state to be destroyed.
      if (history_->failed()) return (void)tree_.release();
      tree_.reset();
      test::FreeAll(*domain_);
      domain_.reset();
      history_.reset();
      if (this->HasFailure()) return;
    }
    EXPECT_GT(tally_.stores, 0u);
    EXPECT_GT(tally_.marks, 0u);
  }

  // --- Choices.

  std::uint64_t Random(std::uint64_t below) { return random_() % below; }
  bool Chance(unsigned percent) { return Random(100) < percent; }
  std::uint64_t RandomFrame() {
    return history_->samples()[Random(history_->samples().size())];
  }
  static std::uint64_t FramesIn(int level) { return History::FramesIn(level); }
  // The first frame of the page that a frame lies in.
  static std::uint64_t Align(std::uint64_t gfn, int level) {
    return gfn / FramesIn(level) * FramesIn(level);
  }
  static std::uint64_t End() { return FramesIn(Numbers::kLevels + 1); }
  // Mostly of one page of 4 KiB or 2 MiB.
  int RandomLevel() {
    const auto pick = Random(16);
    if (pick == 0 && Numbers::kLargest > 2) return 3;
    return pick < 5 ? 2 : 1;
  }
  // A frame at which large pages of `level` begin.
  std::uint64_t RandomLarge(int level) {
    // Small pages leave one of the three GiB for leaves of that size.
    if (level == 3) return 2 * FramesIn(3);
    return Align(RandomFrame(), level);
  }
  GfnRange RandomRange() {
    std::uint64_t a = RandomFrame();
    std::uint64_t b = RandomFrame() + 1;
    switch (Random(5)) {
      case 0:  // short
        b = a + 1 + Random(8);
        break;
      case 1:  // one table
      case 2:
        a = Align(a, 2);
        b = a + FramesIn(2);
        break;
      case 3:  // whole tables
        a = Align(a, 2 + static_cast<int>(Random(2)));
        b = Align(b, 2) + FramesIn(2);
        break;
      default:
        if (Chance(20)) return GfnRange{Gfn{0}, Gfn{End()}};
        break;
    }
    if (a > b) std::swap(a, b);
    return GfnRange{Gfn{a}, Gfn{b}};
  }

  // What a leaf table covers.
  static GfnRange TableOf(std::uint64_t gfn) {
    const Gfn base{Align(gfn, 2)};
    return GfnRange{base, base + FramesIn(2)};
  }

  // --- What operations promise.

  Promise Named(std::string what) {
    Promise promise;
    promise.what = std::move(what);
    return promise;
  }
  static std::string Text(GfnRange range) {
    return " of " + std::to_string(range.begin.value) + " … " +
           std::to_string(range.end.value);
  }
  void Begin(Promise promise) {
    history_->Begin(std::move(promise), /*with_processor=*/Chance(60));
  }
  auto Sink() {
    return [this](const TakenLeaf<F>& leaf) {
      history_->HandedOn(leaf.gfn, leaf.level, leaf.word, leaf.entry);
    };
  }
  Walk InWalk() { return Walk(*domain_); }

  // --- Operations.

  // Maps pages of `level` at `gfn`: one, or as many as fill a table.
  void Map(std::uint64_t gfn, int level, std::uint64_t pages) {
    const std::uint64_t generation =
        Chance(90) ? 1 + gfn / FramesIn(3) : 8 + Random(500);
    const bool writable = Chance(80);
    const bool young = Chance(50);
    const std::uint64_t end = gfn + pages * FramesIn(level);
    Promise promise = Named("Map at " + std::to_string(gfn) + " of level " +
                            std::to_string(level));
    promise.installs = true;
    promise.marks_parents = true;
    promise.may_block = [=](std::uint64_t at, const Found& before) {
      return !before.mapped && before.level > level &&
             Align(at, before.level) == Align(gfn, before.level);
    };
    // By hand: what the leaf's word says in the manual.
    const unsigned grants = test::kMayRead | test::kMayUser |
                            test::kMayExecute |
                            (writable ? test::kMayWrite : 0);
    promise.becomes = [=](std::uint64_t at, const Found& before) {
      if (before.mapped || at < gfn || at >= end) return before;
      Found found;
      found.mapped = true;
      const Word word = Numbers::Leaf(0, level, writable);
      found.to = {Numbers::Backing(at, generation), grants,
                  Numbers::AttributesOf(word, level)};
      return found;
    };
    Begin(std::move(promise));
    bool all = true;
    for (std::uint64_t at = gfn; at < end; at += FramesIn(level)) {
      Word word =
          Numbers::Leaf(Numbers::Backing(at, generation), level, writable);
      if (young) word |= Numbers::kAccessed;
      const Walk walk = InWalk();
      const MapOutcome outcome = tree_->Map(walk, Gfn{at}, Level{level}, word);
      if (outcome == MapOutcome::kDone) {
        ++tally_.mapped;
        if (young) {
          history_->HasAccessed(Gfn{at});
          if constexpr (kPrunable) MarkParent(*tree_, walk, Gfn{at});
        }
      } else if (outcome != MapOutcome::kPresent) {
        all = false;
      }
    }
    // A table is filled around what is there, by what memory allows.
    history_->End(all          ? Outcome::kAsPromised
                  : pages == 1 ? Outcome::kAsBefore
                               : Outcome::kEither);
  }

  void Zap(GfnRange range) {
    const ZapFlush flush = Chance(50) ? ZapFlush::kEach : ZapFlush::kByCaller;
    const auto taken = [range](std::uint64_t, const Found& before) {
      const Gfn begin{before.begin};
      return before.mapped &&
             range.Overlaps(GfnRange{begin, begin + FramesIn(before.level)});
    };
    Promise promise = Named("Zap" + Text(range));
    promise.unflushed = flush == ZapFlush::kByCaller;
    promise.may_block = taken;
    promise.becomes = [taken](std::uint64_t gfn, const Found& before) {
      return taken(gfn, before) ? Absent() : before;
    };
    Begin(std::move(promise));
    tally_.zapped += tree_->Zap(InWalk(), range, flush, Sink());
    history_->Flush(range);
    history_->End(Outcome::kAsPromised);
  }

  void Resize(bool split, std::uint64_t gfn, int level) {
    Promise promise =
        Named((split ? "Split at " : "Promote at ") + std::to_string(gfn) +
              " of level " + std::to_string(level));
    promise.may_block = [=](std::uint64_t at, const Found&) {
      return Align(at, level) == gfn;
    };
    Begin(std::move(promise));
    const StructureOutcome outcome =
        split ? tree_->Split(InWalk(), Gfn{gfn}, Level{level})
              : tree_->Promote(InWalk(), Gfn{gfn}, Level{level});
    history_->End(Outcome::kAsBefore);
    if (outcome != StructureOutcome::kDone) return;
    ++(split ? tally_.split : tally_.promoted);
    if (level > 2) ++(split ? tally_.split_gib : tally_.promoted_gib);
    EXPECT_EQ(history_->Before(gfn).level, split ? level - 1 : level);
  }

  // The same of a leaf of level 3, which random ones seldom come to.
  void ResizeGib() {
    const std::uint64_t gfn = RandomLarge(3);
    if (Chance(50)) RemoveTables(GfnRange{Gfn{gfn}, Gfn{gfn + FramesIn(3)}});
    Map(gfn, 3, 1);
    Resize(/*split=*/true, gfn, 3);
    TouchSome();
    if (Chance(50)) Resize(/*split=*/false, gfn, 3);
  }

  void RemoveTables(GfnRange range) {
    // The smallest table on the path is the first to lie in the range.
    const auto gone = [range](std::uint64_t gfn, const Found& before) {
      if (before.level == Numbers::kLevels) return false;
      const Gfn base{Align(gfn, before.level + 1)};
      return range.Contains(GfnRange{base, base + FramesIn(before.level + 1)});
    };
    Promise promise = Named("RemoveTables" + Text(range));
    promise.may_block = gone;
    promise.becomes = [gone](std::uint64_t gfn, const Found& before) {
      return gone(gfn, before) ? Absent() : before;
    };
    Begin(std::move(promise));
    tally_.removed += tree_->RemoveTables(InWalk(), range, Sink());
    history_->End(Outcome::kAsPromised);
  }

  void ReclaimCold(GfnRange range) {
    if constexpr (kPrunable) {
      const std::uint64_t frames = 3 * FramesIn(3);
      range = range.Clip(GfnRange{Gfn{0}, Gfn{frames}});
      const auto may_go = [range](std::uint64_t gfn, const Found& before) {
        const Gfn base{Align(gfn, 2)};
        return before.level == 1 &&
               range.Contains(GfnRange{base, base + FramesIn(2)});
      };
      Promise promise = Named("ReclaimCold" + Text(range));
      promise.marks_parents = true;
      promise.takes_cold_only = true;
      promise.may_block = may_go;
      promise.becomes = [may_go](std::uint64_t gfn, const Found& before) {
        return may_go(gfn, before) ? Absent() : before;
      };
      Begin(std::move(promise));
      tally_.reclaimed +=
          tree_
              ->ReclaimCold(InWalk(), range,
                            ColdHistory<F>(cold_.data(), Gfn{0}), Sink())
              .removed;
      history_->End(Outcome::kEither);
    }
  }

  template <HarvestBit kBit>
  void HarvestOne(GfnRange range, AgeMode mode) {
    const bool clear = Chance(80);
    const std::uint64_t budget =
        Chance(50) ? kNoBudget : Numbers::kLevels + Random(4 * kEntries);
    WalkCursor cursor(range);
    while (!cursor.Done() && !history_->failed()) {
      Promise promise = Named("Harvest" + Text(cursor.Rest()));
      if (clear) {
        promise.clears = kBit == HarvestBit::kAccessed ? Numbers::kAccessed
                                                       : Numbers::kDirty;
      }
      Begin(std::move(promise));
      (void)HarvestSome<kBit>(
          *tree_, InWalk(), cursor, budget,
          clear ? AgeAction::kTestAndClear : AgeAction::kTest, mode,
          Output{*history_});
      history_->End(Outcome::kAsBefore);
    }
  }
  void Harvest(GfnRange range) {
    const AgeMode mode = Chance(50) ? AgeMode::kSlow : AgeMode::kFastOnly;
    Chance(70) ? HarvestOne<HarvestBit::kAccessed>(range, mode)
               : HarvestOne<HarvestBit::kDirty>(range, mode);
  }

  void Prune(GfnRange range, Pruning pruning) {
    if constexpr (kPrunable) {
      const bool clear = Chance(80);
      Promise promise = Named("Prune" + Text(range));
      promise.marks_parents = true;
      if (clear) promise.clears = Numbers::kAccessed;
      Begin(std::move(promise));
      (void)ptage::Prune(*tree_, InWalk(), *history_, range, pruning,
                         clear ? AgeAction::kTestAndClear : AgeAction::kTest,
                         Output{*history_});
      history_->End(Outcome::kAsBefore);
    }
  }

  // Accesses between operations.
  void TouchSome() {
    const std::uint64_t around = RandomFrame();
    for (std::uint64_t i = Random(12); i > 0; --i) {
      const std::uint64_t gfn =
          Chance(50) ? RandomFrame() : Align(around, 2) + Random(FramesIn(2));
      Chance(30) ? history_->BeginTouch(Gfn{gfn}, Chance(40))
                 : history_->Touch(Gfn{gfn}, Chance(40));
    }
  }

  // Freezes a present entry at `level` on the path to `gfn`, if there is one,
  // as another thread would.
  void Hold(std::uint64_t gfn, int level) {
    SpteCell<F>* const entry = history_->EntryAt(gfn, level);
    if (entry == nullptr) return;
    const Word word = ReadOnce(*entry, kAcquire);
    if (!Numbers::IsPresent(word)) return;
    Promise promise = Named("Freeze at " + std::to_string(gfn));
    const auto here = [=](std::uint64_t at, const Found&) {
      return Align(at, level) == Align(gfn, level);
    };
    promise.may_block = here;
    history_->Hold(*entry);
    history_->Begin(std::move(promise), /*with_processor=*/false);
    ASSERT_TRUE(Freeze<F>(*entry, word));
    history_->End(Outcome::kEither);
    held_ = Held{entry, word, gfn, level};
    ++tally_.held;
  }
  // Restores, or, where it is a leaf, maps another page there or nothing.
  void EndHold() {
    const Held held = *held_;
    held_.reset();
    const std::uint64_t begin = Align(held.gfn, held.level);
    const GfnRange covers{Gfn{begin}, Gfn{begin + FramesIn(held.level)}};
    const bool leaf = Numbers::IsLeaf(held.word, held.level);
    const std::uint64_t choice = leaf ? Random(3) : 0;
    const std::uint64_t generation = 600 + Random(100);
    const Word next = Numbers::Leaf(Numbers::Backing(begin, generation),
                                    held.level, /*writable=*/false);
    Promise promise = Named("the end of a hold" + Text(covers));
    promise.releases = true;
    promise.becomes = [=](std::uint64_t gfn, const Found& before) {
      if (!covers.Contains(Gfn{gfn})) return before;
      Found found = before;
      found.blocked = false;
      if (choice == 1) return Absent();
      if (choice == 2) {
        found.to = {Numbers::Backing(gfn, generation),
                    test::kMayRead | test::kMayExecute | test::kMayUser,
                    Numbers::AttributesOf(next, held.level)};
      }
      return found;
    };
    Begin(std::move(promise));
    if (choice != 0) {
      history_->Flush(covers);
      history_->HandedOn(Gfn{begin}, Level{held.level}, held.word, *held.entry);
    }
    if (choice == 0) Restore<F>(*held.entry, held.word);
    if (choice == 1) Empty<F>(*held.entry);
    if (choice == 2) Publish<F>(*held.entry, next);
    history_->EndHold();
    history_->End(Outcome::kAsPromised);
  }

  Kind RandomKind() {
    if (kind_ != Kind::kAll && Chance(50)) return kind_;
    static constexpr Kind kKinds[] = {
        Kind::kMap,    Kind::kMap,    Kind::kMap,     Kind::kZap,
        Kind::kResize, Kind::kRemove, Kind::kReclaim, Kind::kHarvest,
        Kind::kPrune,  Kind::kHold};
    return kKinds[Random(std::size(kKinds))];
  }
  void Step() {
    if (Chance(30)) TouchSome();
    const Kind kind = RandomKind();
    if (held_ && (Chance(20) || kind == Kind::kHold)) return EndHold();
    const bool waits =
        kind == Kind::kZap || kind == Kind::kResize || kind == Kind::kRemove;
    // What waits for the owner would wait for ever.
    if (held_ && waits) EndHold();
    if (Chance(20)) test::FreeAll(*domain_);
    switch (kind) {
      case Kind::kMap: {
        const int level = RandomLevel();
        if (level == 1 && Chance(30)) {
          return Map(Align(RandomFrame(), 2), 1, kEntries);
        }
        return Map(level == 1 ? RandomFrame() : RandomLarge(level), level, 1);
      }
      case Kind::kZap:
        return Zap(RandomRange());
      case Kind::kResize:
        if (Numbers::kLargest > 2 && Chance(20)) return ResizeGib();
        return Resize(Chance(50), RandomLarge(2), 2);
      case Kind::kRemove:
        return RemoveTables(RandomRange());
      case Kind::kReclaim: {
        // Inner accessed bits have one user.
        if (exact_) return;
        const std::uint64_t gfn = RandomFrame();
        const GfnRange range = Chance(70) ? TableOf(gfn) : RandomRange();
        // Who clears them too leaves walks behind that mark leaves alone.
        if (Chance(70)) {
          history_->BeginTouch(Gfn{gfn}, Chance(40));
          Prune(range, Pruning::kBestEffort);
        }
        ReclaimCold(range);
        if (Chance(70)) ReclaimCold(range);
        return;
      }
      case Kind::kHarvest: {
        const std::uint64_t gfn = RandomFrame();
        if (!held_ && Chance(40)) Hold(gfn, 1);
        for (std::uint64_t i = 0; i < 4; ++i) {
          history_->Touch(Gfn{Align(gfn, 2) + (gfn + i) % FramesIn(2)},
                          Chance(40));
        }
        return Harvest(Chance(50) ? TableOf(gfn) : RandomRange());
      }
      case Kind::kPrune: {
        const std::uint64_t gfn = RandomFrame();
        const GfnRange range = Chance(30) ? TableOf(gfn) : RandomRange();
        if (!held_ && Chance(40)) {
          history_->Touch(Gfn{gfn}, /*write=*/false);
          Hold(gfn, 1);
        }
        Prune(range,
              exact_ || Chance(50) ? Pruning::kExact : Pruning::kBestEffort);
        // A fault under an entry that was just cleared.
        if (Chance(60)) Map(Align(gfn, 2) + Random(kEntries), 1, 1);
        return;
      }
      default:
        return Hold(RandomFrame(), 1 + static_cast<int>(Random(3)));
    }
  }

  struct Held {
    SpteCell<F>* entry;
    Word word;
    std::uint64_t gfn;
    int level;
  };
  static constexpr std::size_t kTables = 64;

  std::mt19937_64 random_;
  Kind kind_ = Kind::kAll;
  // Inner accessed bits are the pruner's, who prunes exactly.
  bool exact_ = false;
  std::optional<History> history_;
  std::optional<test::Scheme> domain_;
  std::unique_ptr<Tree> tree_;
  std::vector<std::uint64_t> cold_;
  std::optional<Held> held_;
  Tally tally_;
};

using Formats = ::testing::Types<Ept, X86_64, test::TinyFormat>;
TYPED_TEST_SUITE(PageTableHistoryTest, Formats, test::FormatNames);

// Formats whose inner entries are marked.
template <class F>
class PageTableHistoryInnerTest : public PageTableHistoryTest<F> {};
using InnerFormats = ::testing::Types<Ept, X86_64>;
TYPED_TEST_SUITE(PageTableHistoryInnerTest, InnerFormats, test::FormatNames);

TYPED_TEST(PageTableHistoryTest, AMappingAppearsWithTheTablesAboveIt) {
  this->Run(Kind::kMap);
  EXPECT_GT(this->tally_.mapped, 0u);
}

TYPED_TEST(PageTableHistoryTest, AZappedLeafIsThereUntilItIsOnRecord) {
  this->Run(Kind::kZap);
  EXPECT_GT(this->tally_.zapped, 0u);
}

TYPED_TEST(PageTableHistoryTest, ASplitOrPromotedPageIsNeverAnotherOne) {
  this->Run(Kind::kResize);
  EXPECT_GT(this->tally_.split, 0u);
  EXPECT_GT(this->tally_.promoted, 0u);
  if (Manual<TypeParam>::kLargest > 2) {
    EXPECT_GT(this->tally_.split_gib, 0u);
    EXPECT_GT(this->tally_.promoted_gib, 0u);
  }
}

TYPED_TEST(PageTableHistoryTest, ARemovedTableIsThereUntilAllIsOnRecord) {
  this->Run(Kind::kRemove);
  EXPECT_GT(this->tally_.removed, 0u);
}

TYPED_TEST(PageTableHistoryInnerTest, AReclaimedTableIsColdAndOnRecord) {
  this->Run(Kind::kReclaim);
  EXPECT_GT(this->tally_.reclaimed, 0u);
}

TYPED_TEST(PageTableHistoryTest, WhatAHarvestClearsIsInItsOutput) {
  this->Run(Kind::kHarvest);
  EXPECT_GT(this->tally_.cleared, 0u);
}

TYPED_TEST(PageTableHistoryInnerTest, WhatIsPrunedIsFoundByTheNextPass) {
  this->Run(Kind::kPrune);
  EXPECT_GT(this->tally_.cleared, 0u);
}

TYPED_TEST(PageTableHistoryTest, WhatAnotherThreadHasFrozenIsLeftToIt) {
  this->Run(Kind::kHold);
  EXPECT_GT(this->tally_.held, 0u);
}

TYPED_TEST(PageTableHistoryTest, AllOperationsTogetherLoseNothing) {
  this->Run(Kind::kAll);
}

}  // namespace
}  // namespace ptage
