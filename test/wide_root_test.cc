// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Trees whose root is several tables: what lies on either side of a border
// between two of them, and at the end of the last.

#include <cstdint>
#include <set>
#include <string>
#include <type_traits>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/harvest.h"
#include "ptage/harvest/split.h"
#include "ptage/hot_tables.h"
#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/profile.h"
#include "ptage/prune.h"
#include "ptage/prune_nested.h"
#include "ptage/reclaim.h"
#include "ptage/spte.h"
#include "ptage/spte/arm64.h"
#include "ptage/spte/riscv64.h"
#include "ptage/types.h"
#include "ptage/walk.h"
#include "test/formats.h"
#include "test/tree.h"

namespace ptage {
namespace {

using test::TestTree;
using test::WideFormat;

constexpr Level kSmall{1};
constexpr Level kLarge{2};

using Gfns = std::set<std::uint64_t>;

// Tables of the root, and frames that one of them translates, by hand.
template <class F>
struct Shape;
// 41 bits of address, in tables of 512 GiB.
template <>
struct Shape<RiscvSv39x4> {
  static constexpr unsigned kTables = 4;
  static constexpr std::uint64_t kFrames = 0x800'0000;
};
// 50 bits, in tables of 256 TiB.
template <>
struct Shape<RiscvSv48x4> {
  static constexpr unsigned kTables = 4;
  static constexpr std::uint64_t kFrames = 0x10'0000'0000;
};
// 40 bits, in tables of 512 GiB.
template <>
struct Shape<Arm64Stage2Of4KWith40Bits> {
  static constexpr unsigned kTables = 2;
  static constexpr std::uint64_t kFrames = 0x800'0000;
};
// 48 bits, in tables of 128 TiB, or 2^33 frames of 16 KiB.
template <>
struct Shape<Arm64Stage2Of16KWith48Bits> {
  static constexpr unsigned kTables = 2;
  static constexpr std::uint64_t kFrames = 0x2'0000'0000;
};
// 46 bits, in tables of 4 TiB, or 2^26 frames of 64 KiB.
template <>
struct Shape<Arm64Stage2Of64KWith46Bits> {
  static constexpr unsigned kTables = 16;
  static constexpr std::uint64_t kFrames = 0x400'0000;
};
template <>
struct Shape<WideFormat> {
  static constexpr unsigned kTables = 4;
  static constexpr std::uint64_t kFrames = 16;
};

}  // namespace

namespace test {

// Words are those of the format with another root.
template <>
struct Truth<RiscvSv48x4> : Truth<RiscvSv39> {};
template <>
struct Truth<Arm64Stage2Of16KWith48Bits> : Truth<Arm64Stage2Of16K> {};
template <>
struct Truth<Arm64Stage2Of64KWith46Bits> : Truth<Arm64Stage2Of64K> {};

}  // namespace test

namespace {

template <class F>
class WideRootTest : public ::testing::Test {
 protected:
  using Word = typename F::Word;
  using Tree = typename TestTree<F>::Tree;
  using Walk = typename TestTree<F>::Walk;

  static constexpr std::uint64_t kBorder = Shape<F>::kFrames;
  static constexpr std::uint64_t kEnd = Shape<F>::kTables * kBorder;
  // Frames of an entry of level 2.
  static constexpr std::uint64_t kPart = FramesAt<F>(kLarge);
  static constexpr GfnRange kAll{Gfn{0}, Gfn{kEnd}};
  // Around the first border.
  static constexpr GfnRange kAround{Gfn{kBorder - kPart}, Gfn{kBorder + kPart}};

  // Frames around a border follow one another, as those of the tree do.
  static Word Leaf(Gfn gfn, Level level = kSmall) {
    return F::MakeLeaf(Pfn{test::kBacking + gfn.value % (4 * kPart)}, level,
                       Rights::kAll);
  }
  static Word Young(Word word) { return TestTree<F>::Young(word); }
  void MapYoung(std::uint64_t gfn, Level level = kSmall) {
    owner_.MustMap(Gfn{gfn}, level, Young(Leaf(Gfn{gfn}, level)));
  }
  // The last frame of each table of the root but the last, and the first of the
  // next; and the very last.
  static Gfns Edges() {
    Gfns edges;
    for (std::uint64_t at = kBorder; at < kEnd; at += kBorder) {
      edges.insert({at - 1, at});
    }
    edges.insert(kEnd - 1);
    return edges;
  }
  Gfns Walked(GfnRange range) {
    Gfns walked;
    WalkAll(owner_.tree(), Walk(owner_.domain()), range,
            [&](const VisitedEntry<F>& visited) {
              // In ascending order.
              EXPECT_TRUE(walked.empty() ||
                          *walked.rbegin() < visited.covers.begin.value);
              walked.insert(visited.covers.begin.value);
            });
    return walked;
  }
  // Notes which frames are young, whatever their number.
  struct Notes {
    void SetYoung(GfnRange range) {
      for (Gfn gfn = range.begin; gfn < range.end; gfn = gfn + 1) {
        young.insert(gfn.value);
      }
    }
    void SetYoung(Gfn first, std::uint64_t lanes) {
      for (unsigned i = 0; i < 64; ++i) {
        if ((lanes >> i & 1) != 0) young.insert(first.value + i);
      }
    }
    void SetUnknown(GfnRange) { complete = false; }
    void SetUnknown(Gfn, std::uint64_t) { complete = false; }
    void Count(const AgeCounts& more) { counts += more; }

    Gfns young;
    bool complete = true;
    AgeCounts counts;
  };
  Gfns Harvested(GfnRange range) {
    Notes notes;
    Harvest(owner_.tree(), Walk(owner_.domain()), range,
            AgeAction::kTestAndClear, AgeMode::kFastOnly, notes);
    EXPECT_TRUE(notes.complete);
    return notes.young;
  }

  // A path for each edge, at most.
  TestTree<F> owner_{TableKind::kDirect, 33 * F::kLevels};
};

struct Names {
  template <class F>
  static std::string GetName(int) {
    if (std::is_same_v<F, RiscvSv39x4>) return "RiscvSv39x4";
    if (std::is_same_v<F, RiscvSv48x4>) return "RiscvSv48x4";
    if (std::is_same_v<F, Arm64Stage2Of4KWith40Bits>) return "Arm64Of4K40Bits";
    if (std::is_same_v<F, Arm64Stage2Of16KWith48Bits>) {
      return "Arm64Of16K48Bits";
    }
    if (std::is_same_v<F, Arm64Stage2Of64KWith46Bits>) {
      return "Arm64Of64K46Bits";
    }
    return "WideFormat";
  }
};
using Formats =
    ::testing::Types<RiscvSv39x4, RiscvSv48x4, Arm64Stage2Of4KWith40Bits,
                     Arm64Stage2Of16KWith48Bits, Arm64Stage2Of64KWith46Bits,
                     WideFormat>;
TYPED_TEST_SUITE(WideRootTest, Formats, Names);

TYPED_TEST(WideRootTest, TheSpaceIsThatOfAllTables) {
  using F = TypeParam;
  EXPECT_EQ(kRootTables<F>, Shape<F>::kTables);
  EXPECT_EQ(TestTree<F>::Tree::kFrames, this->kEnd);
}

// Aligned to their size, as the hardware wants them.
TYPED_TEST(WideRootTest, ItsTablesFollowEachOtherAndKnowTheirPlaces) {
  using F = TypeParam;
  Table<F>* const root = this->owner_.tree().root();
  const Pfn first = this->owner_.arena().FrameOf(root);
  EXPECT_EQ(first.value % Shape<F>::kTables, 0u);
  for (unsigned i = 0; i < Shape<F>::kTables; ++i) {
    EXPECT_EQ(this->owner_.arena().FrameOf(root + i), first + i);
    const TableInfo<F>& info = this->owner_.arena().InfoOf(root + i);
    EXPECT_EQ(info.Base(), Gfn{i * this->kBorder});
    EXPECT_EQ(info.AtLevel(), Level{F::kLevels});
    EXPECT_EQ(info.parent.Get(), nullptr);
    // What an rmap goes by.
    EXPECT_EQ(TranslatedFrame<F>(this->owner_.arena(), root[i].entries[1]),
              Gfn{i * this->kBorder} + FramesAt<F>(Level{F::kLevels}));
  }
}

TYPED_TEST(WideRootTest, EveryTableLeadsToItsOwnFrames) {
  using F = TypeParam;
  for (const std::uint64_t gfn : this->Edges()) this->MapYoung(gfn);
  for (const std::uint64_t gfn : this->Edges()) {
    EXPECT_EQ(this->owner_.Read(Gfn{gfn}), this->Young(this->Leaf(Gfn{gfn})));
    SpteCell<F>* parent = this->owner_.Find(Gfn{gfn}).entry;
    Table<F>* table = nullptr;
    while (parent != nullptr) {
      table = this->owner_.arena().TableOf(*parent);
      parent = this->owner_.arena().InfoOf(table).parent.Get();
    }
    EXPECT_EQ(table, this->owner_.tree().root() + gfn / this->kBorder);
  }
  // Nothing appears in the other tables at the same place.
  EXPECT_EQ(this->owner_.Read(Gfn{this->kBorder - 2}), F::kEmpty);
  EXPECT_EQ(this->owner_.Read(Gfn{0}), F::kEmpty);
}

#if PTAGE_HARDENED
TYPED_TEST(WideRootTest, BehindTheLastTableThereIsNothing) {
  EXPECT_DEATH((void)this->owner_.Find(Gfn{this->kEnd}), "");
}
#endif

TYPED_TEST(WideRootTest, AWalkGoesThroughAllTablesInOrder) {
  for (const std::uint64_t gfn : this->Edges()) this->MapYoung(gfn);
  EXPECT_EQ(this->Walked(this->kAll), this->Edges());
  EXPECT_EQ(this->Walked(this->kAround),
            (Gfns{this->kBorder - 1, this->kBorder}));
  EXPECT_EQ(this->Walked(GfnRange{Gfn{this->kBorder}, this->kAround.end}),
            (Gfns{this->kBorder}));
  EXPECT_EQ(this->Walked(GfnRange{this->kAround.begin, Gfn{this->kBorder}}),
            (Gfns{this->kBorder - 1}));
}

TYPED_TEST(WideRootTest, AWalkGoesOnBehindABorderWhereverItStopped) {
  using F = TypeParam;
  for (const std::uint64_t gfn : this->Edges()) this->MapYoung(gfn);
  const GfnRange range{Gfn{this->kBorder - 1}, Gfn{this->kBorder + 1}};
  // Two paths down.
  for (std::uint64_t budget = F::kLevels; budget <= 2 * F::kLevels; ++budget) {
    Gfns walked;
    WalkCursor cursor(range);
    int calls = 0;
    while (!cursor.Done()) {
      ASSERT_LT(++calls, 3);
      WalkSome(this->owner_.tree(), LocklessWalk(this->owner_.domain()), cursor,
               budget, [&](const VisitedEntry<F>& visited) {
                 EXPECT_TRUE(walked.insert(visited.covers.begin.value).second);
               });
    }
    EXPECT_EQ(calls, budget < 2 * F::kLevels ? 2 : 1);
    EXPECT_EQ(walked, (Gfns{this->kBorder - 1, this->kBorder}));
  }
}

TYPED_TEST(WideRootTest, AHarvestFindsAndClearsOnBothSides) {
  for (const std::uint64_t gfn : this->Edges()) this->MapYoung(gfn);
  EXPECT_EQ(this->Harvested(this->kAround),
            (Gfns{this->kBorder - 1, this->kBorder}));
  EXPECT_EQ(this->Harvested(this->kAround), Gfns{});
  Gfns rest = this->Edges();
  rest.erase(this->kBorder - 1);
  rest.erase(this->kBorder);
  EXPECT_EQ(this->Harvested(this->kAll), rest);
  EXPECT_EQ(this->Harvested(this->kAll), Gfns{});
}

TYPED_TEST(WideRootTest, AHarvestStopsForItsBudgetAndGoesOnBehindABorder) {
  using F = TypeParam;
  for (const std::uint64_t gfn : this->Edges()) this->MapYoung(gfn);
  typename TestFixture::Notes notes;
  WalkCursor cursor(GfnRange{Gfn{this->kBorder - 1}, Gfn{this->kBorder + 1}});
  int calls = 0;
  while (!cursor.Done()) {
    HarvestSome(this->owner_.tree(), LocklessWalk(this->owner_.domain()),
                cursor, F::kLevels, AgeAction::kTestAndClear,
                AgeMode::kFastOnly, notes);
    ++calls;
  }
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(notes.young, (Gfns{this->kBorder - 1, this->kBorder}));
}

TYPED_TEST(WideRootTest, LargeLeavesChangeTheirSizeOnBothSides) {
  using F = TypeParam;
  for (const std::uint64_t begin :
       {this->kBorder - this->kPart, this->kBorder, this->kEnd - this->kPart}) {
    const auto large = this->Young(this->Leaf(Gfn{begin}, kLarge));
    this->owner_.MustMap(Gfn{begin}, kLarge, large);
    EXPECT_EQ(this->owner_.Read(Gfn{begin + this->kPart - 1}), large);
    const LocklessWalk walk(this->owner_.domain());
    ASSERT_EQ(this->owner_.tree().Split(walk, Gfn{begin}, kLarge),
              StructureOutcome::kDone);
    EXPECT_EQ(this->owner_.Read(Gfn{begin + this->kPart - 1}),
              this->Young(this->Leaf(Gfn{begin + this->kPart - 1})));
    ASSERT_EQ(this->owner_.tree().Promote(walk, Gfn{begin}, kLarge),
              StructureOutcome::kDone);
    EXPECT_EQ(this->owner_.Read(Gfn{begin}), large);
  }
  EXPECT_TRUE(F::IsLeaf(this->owner_.Read(Gfn{this->kBorder}), kLarge));
}

TYPED_TEST(WideRootTest, AZapAcrossABorderTakesBothSides) {
  using F = TypeParam;
  for (const std::uint64_t gfn : this->Edges()) this->MapYoung(gfn);
  Gfns taken;
  EXPECT_EQ(
      this->owner_.tree().Zap(
          LocklessWalk(this->owner_.domain()), this->kAround, ZapFlush::kEach,
          [&](const TakenLeaf<F>& leaf) { taken.insert(leaf.gfn.value); }),
      2u);
  EXPECT_EQ(taken, (Gfns{this->kBorder - 1, this->kBorder}));
  EXPECT_EQ(this->Walked(this->kAround), Gfns{});
}

TYPED_TEST(WideRootTest, TablesAreRemovedAcrossABorderAndTheRootStays) {
  using F = TypeParam;
  for (const std::uint64_t gfn : this->Edges()) this->MapYoung(gfn);
  Gfns taken;
  const auto sink = [&](const TakenLeaf<F>& leaf) {
    EXPECT_EQ(leaf.word, this->Young(this->Leaf(leaf.gfn)));
    taken.insert(leaf.gfn.value);
  };
  // A leaf table on either side.
  EXPECT_EQ(this->owner_.tree().RemoveTables(
                LocklessWalk(this->owner_.domain()), this->kAround, sink),
            2u);
  EXPECT_EQ(taken, (Gfns{this->kBorder - 1, this->kBorder}));
  const std::size_t before = this->owner_.TablesInUse();
  EXPECT_EQ(this->owner_.tree().RemoveTables(
                LocklessWalk(this->owner_.domain()), this->kAll, sink),
            before - Shape<F>::kTables);
  EXPECT_EQ(taken, this->Edges());
  EXPECT_EQ(this->owner_.TablesInUse(), Shape<F>::kTables);
  for (const std::uint64_t gfn : this->Edges()) {
    EXPECT_EQ(this->owner_.Read(Gfn{gfn}), F::kEmpty);
  }
}

TYPED_TEST(WideRootTest, WorkIsCutAtABorder) {
  using F = TypeParam;
  for (const std::uint64_t gfn : this->Edges()) this->MapYoung(gfn);
  GfnRange pieces[3];
  const LocklessWalk walk(this->owner_.domain());
  ASSERT_EQ(SplitByTables(this->owner_.tree(), walk, this->kAround, pieces, 2),
            2u);
  EXPECT_EQ(pieces[0], (GfnRange{this->kAround.begin, Gfn{this->kBorder}}));
  EXPECT_EQ(pieces[1], (GfnRange{Gfn{this->kBorder}, this->kAround.end}));
  // As many tables before the middle as behind it, but for one.
  ASSERT_EQ(SplitByTables(this->owner_.tree(), walk, this->kAll, pieces, 2),
            2u);
  EXPECT_EQ(pieces[1].end, Gfn{this->kEnd});
  const auto in = [&](GfnRange piece) { return this->Walked(piece).size(); };
  EXPECT_EQ(in(pieces[0]) + in(pieces[1]), 2 * Shape<F>::kTables - 1);
  EXPECT_LE(in(pieces[1]) + 1 - in(pieces[0]), 2u);
}

// --- What needs accessed bits in inner entries: no real format has both.

class WidePrunedTest : public WideRootTest<WideFormat> {
 protected:
  static constexpr std::uint64_t kTables = 16;  // leaf tables
  static constexpr Word kAccessedBit = 0x8;

  void MapCold(std::uint64_t gfn) {
    owner_.MustMap(Gfn{gfn}, kSmall, Leaf(Gfn{gfn}));
  }
  void Access(std::uint64_t gfn) {
    SpteCell<WideFormat>& parent = owner_.ParentOf(Gfn{gfn});
    WriteOnce(parent, ReadOnce(parent, kRelaxed) | kAccessedBit, kRelaxed);
    owner_.Write(Gfn{gfn}, owner_.Read(Gfn{gfn}) | kAccessedBit);
  }
  void ClearParents() {
    for (std::uint64_t gfn = 0; gfn < kEnd; gfn += kPart) {
      SpteCell<WideFormat>& parent = owner_.ParentOf(Gfn{gfn});
      WriteOnce(parent, ReadOnce(parent, kRelaxed) & ~kAccessedBit, kRelaxed);
    }
  }
  void SetUp() override {
    for (std::uint64_t gfn = 0; gfn < kEnd; ++gfn) MapCold(gfn);
    ClearParents();
  }
};

static_assert(Prunable<WideFormat>);

TEST_F(WidePrunedTest, ParentsInAllTablesOfTheRootAreSeenAndCleared) {
  for (const std::uint64_t gfn : {3u, 15u, 16u, 63u}) Access(gfn);
  for (const Gfns& expected : {Gfns{3, 15, 16, 63}, Gfns{}}) {
    Notes notes;
    Prune(owner_.tree(), Walk(owner_.domain()), owner_.flusher(), kAll,
          Pruning::kExact, AgeAction::kTestAndClear, notes);
    EXPECT_EQ(notes.young, expected);
    // Four leaf tables of four.
    EXPECT_EQ(notes.counts.examined, 4 * expected.size());
  }
}

TEST_F(WidePrunedTest, AParentIsMarkedInItsTableOfTheRoot) {
  for (const std::uint64_t gfn : {15u, 16u, 63u}) {
    ClearParents();
    MarkParent(owner_.tree(), Walk(owner_.domain()), Gfn{gfn});
    for (std::uint64_t at = 0; at < kEnd; at += kPart) {
      EXPECT_EQ(ReadOnce(owner_.ParentOf(Gfn{at}), kRelaxed) & kAccessedBit,
                gfn / kPart == at / kPart ? kAccessedBit : 0)
          << gfn << ", " << at;
    }
  }
}

TEST_F(WidePrunedTest, DenseTablesAreAgedOnBothSidesOfABorder) {
  std::uint8_t bytes[kTables] = {};
  HotTables<WideFormat> hot(bytes, kAll);
  const Gfns dense{12, 13, 14, 15, 16, 17, 18, 19, 60, 61, 62, 63};
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(hot.Dense(), round < 2 ? 0u : 3u);
    for (const std::uint64_t gfn : dense) Access(gfn);
    Access(33);
    Notes notes;
    AgeHotTables(owner_.tree(), Walk(owner_.domain()), owner_.flusher(), hot,
                 notes);
    Gfns expected = dense;
    expected.insert(33);
    EXPECT_EQ(notes.young, expected);
  }
}

TEST_F(WidePrunedTest, AProfileLooksAtAllTablesOfTheRoot) {
  ProfileRegion regions[16];
  Profile<WideFormat> profile(regions, 8, kAll);
  const Walk walk(owner_.domain());
  for (const std::uint64_t gfn : {1u, 15u, 16u, 63u}) Access(gfn);
  (void)profile.Round(owner_.tree(), walk, owner_.flusher());
  std::vector<GfnRange> found;
  for (const ProfileRegion& region : profile) found.push_back(region.range);
  EXPECT_EQ(found,
            (std::vector<GfnRange>{
                {Gfn{0}, Gfn{4}}, {Gfn{12}, Gfn{20}}, {Gfn{60}, Gfn{64}}}));
  (void)profile.Round(owner_.tree(), walk, owner_.flusher());
  EXPECT_EQ(profile.size(), 0u);
}

TEST_F(WidePrunedTest, ColdTablesLeaveOnBothSidesOfABorder) {
  std::uint64_t words[1] = {};
  const ColdHistory<WideFormat> history(words, Gfn{0});
  Gfns taken;
  const auto pass = [&] {
    return owner_.tree().ReclaimCold(Walk(owner_.domain()), kAll, history,
                                     [&](const TakenLeaf<WideFormat>& leaf) {
                                       taken.insert(leaf.gfn.value);
                                     });
  };
  Access(20);
  EXPECT_EQ(pass(), (ColdPass{.young = 1, .removed = 0}));
  Access(20);
  EXPECT_EQ(pass(), (ColdPass{.young = 1, .removed = kTables - 1}));
  EXPECT_EQ(taken.size(), kEnd - 4);
  EXPECT_EQ(taken.count(20), 0u);
  EXPECT_EQ(taken.count(15) + taken.count(16) + taken.count(63), 3u);
  EXPECT_EQ(owner_.TablesInUse(), 4u + 1u);
}

TEST(WideNestedTest, NestedFramesOfAllTablesOfTheRootAreAged) {
  TestTree<WideFormat> owner(TableKind::kIndirect);
  const LocklessWalk walk(owner.domain());
  for (const std::uint64_t nested : {5u, 15u, 16u, 63u}) {
    SpteCell<WideFormat>* entry = nullptr;
    ASSERT_EQ(owner.tree().Claim(walk, Gfn{nested}, kSmall, entry),
              MapOutcome::kDone);
    RecordFrame<WideFormat>(owner.arena(), *entry, Gfn{nested % 16});
    Publish<WideFormat>(
        *entry, WideFormat::MakeLeaf(Pfn{nested}, kSmall, Rights::kAll) | 0x8);
  }
  std::uint64_t young = 0;
  EXPECT_TRUE(
      PruneNested(owner.tree(), walk, owner.flusher(),
                  GfnRange{Gfn{0}, Gfn{64}}, Pruning::kExact,
                  AgeAction::kTestAndClear, GfnRange{Gfn{0}, Gfn{16}},
                  AgeOutput{.begin = Gfn{0}, .young = Bitmap(&young, 64)})
          .young);
  // 5; 15 twice; 0.
  EXPECT_EQ(young, 0x8021u);
  for (const std::uint64_t nested : {5u, 15u, 16u, 63u}) {
    EXPECT_EQ(owner.Read(Gfn{nested}) & 0x8, 0u);
  }
}

}  // namespace
}  // namespace ptage
