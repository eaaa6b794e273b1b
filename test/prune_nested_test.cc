// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/prune_nested.h"

#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/prune.h"
#include "ptage/reclaim.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "test/formats.h"
#include "test/tree.h"

namespace ptage {
namespace {

using test::TestTree;
using test::Truth;

constexpr Level kSmall{1};
constexpr Level kLarge{2};

using Frames = std::set<std::uint64_t>;

Frames Consecutive(std::uint64_t first, std::uint64_t count) {
  Frames frames;
  for (std::uint64_t i = 0; i < count; ++i) frames.insert(first + i);
  return frames;
}

template <class F>
class PruneNestedTest : public ::testing::Test {
 protected:
  using Word = typename F::Word;

  static constexpr std::uint64_t kPerTable = 512;
  // The nested frames, and the gfns that they may map.
  static constexpr GfnRange kNested{Gfn{0}, Gfn{16 * kPerTable}};
  static constexpr GfnRange kGfns{Gfn{0}, Gfn{4096}};

  static Gfn At(std::uint64_t table, std::uint64_t i = 0) {
    return Gfn{table * kPerTable + i};
  }
  void Map(Gfn nested, Gfn gfn, bool young, Level level = kSmall) {
    const LocklessWalk walk(owner_.domain());
    SpteCell<F>* entry = nullptr;
    ASSERT_EQ(owner_.tree().Claim(walk, nested, level, entry),
              MapOutcome::kDone);
    RecordFrame<F>(owner_.arena(), *entry, gfn);
    const Word leaf = F::MakeLeaf(Pfn{gfn.value}, level, Rights::kAll);
    Publish<F>(*entry, young ? leaf | Truth<F>::kAccessedBit : leaf);
    if (young && level == kSmall) MarkParent(owner_.tree(), walk, nested);
  }
  void MapYoung(Gfn nested, std::uint64_t gfn, Level level = kSmall) {
    Map(nested, Gfn{gfn}, true, level);
  }
  void Zap(Gfn nested) {
    const LocklessWalk walk(owner_.domain());
    (void)owner_.tree().Zap(walk, GfnRange{nested, nested + 1},
                            ZapFlush::kByCaller, [](const TakenLeaf<F>&) {});
  }
  // What hardware does on its way from the root.
  void Access(Gfn nested) {
    SetParent(nested, true);
    test::TouchAsHardware<F>(*owner_.Find(nested).entry, test::Access::kRead);
  }
  bool IsYoungAt(Gfn nested) {
    return (owner_.Read(nested) & Truth<F>::kAccessedBit) != 0;
  }
  bool ParentIsYoung(Gfn nested) {
    return (ReadOnce(owner_.ParentOf(nested), kRelaxed) &
            Truth<F>::kAccessedBit) != 0;
  }
  void SetParent(Gfn nested, bool young) {
    SpteCell<F>& parent = owner_.ParentOf(nested);
    const Word word = ReadOnce(parent, kRelaxed);
    WriteOnce(
        parent,
        young ? word | Truth<F>::kAccessedBit : word & ~Truth<F>::kAccessedBit,
        kRelaxed);
  }
  AgeResult Ask(GfnRange asked = kGfns, GfnRange nested = kNested,
                AgeAction action = AgeAction::kTestAndClear,
                Pruning pruning = Pruning::kExact) {
    young_.assign(kGfns.Frames() / 64, 0);
    unknown_.assign(kGfns.Frames() / 64, 0);
    counts_ = AgeCounts{};
    return PruneNested(
        owner_.tree(), LocklessWalk(owner_.domain()), owner_.flusher(), nested,
        pruning, action, asked,
        AgeOutput{.begin = kGfns.begin,
                  .young = Bitmap(young_.data(), kGfns.Frames()),
                  .unknown = Bitmap(unknown_.data(), kGfns.Frames()),
                  .counts = &counts_});
  }
  static Frames FramesOf(const std::vector<std::uint64_t>& words) {
    Frames frames;
    for (std::uint64_t i = 0; i < 64 * words.size(); ++i) {
      if ((words[i / 64] >> i % 64 & 1) != 0) frames.insert(i);
    }
    return frames;
  }
  Frames Young() const { return FramesOf(young_); }
  Frames Unknown() const { return FramesOf(unknown_); }

  TestTree<F> owner_{TableKind::kIndirect};
  std::vector<std::uint64_t> young_;
  std::vector<std::uint64_t> unknown_;
  AgeCounts counts_;
};

using Formats = ::testing::Types<Ept, X86_64>;
TYPED_TEST_SUITE(PruneNestedTest, Formats, test::FormatNames);

constexpr AgeResult kYoung{.young = true, .was_fast = false, .complete = true};
constexpr AgeResult kCold{.young = false, .was_fast = false, .complete = true};
constexpr AgeResult kNotKnown{
    .young = false, .was_fast = false, .complete = false};

TYPED_TEST(PruneNestedTest, ALeafIsReportedForTheGfnOfItsRecord) {
  this->MapYoung(this->At(1, 3), 700);
  this->MapYoung(this->At(9, 511), 64);
  this->Map(this->At(9, 0), Gfn{65}, false);
  EXPECT_EQ(this->Ask(), kYoung);
  EXPECT_EQ(this->Young(), (Frames{64, 700}));
  EXPECT_EQ(this->counts_.examined, 3u);
  EXPECT_EQ(this->counts_.young, 2u);
  EXPECT_FALSE(this->IsYoungAt(this->At(1, 3)));
  EXPECT_FALSE(this->IsYoungAt(this->At(9, 511)));
  EXPECT_EQ(this->Ask(), kCold);
}

TYPED_TEST(PruneNestedTest, AGfnIsYoungByAnyOfItsNames) {
  this->MapYoung(this->At(1, 3), 700);
  this->Map(this->At(1, 4), Gfn{700}, false);
  this->MapYoung(this->At(7, 9), 700);
  EXPECT_EQ(this->Ask(), kYoung);
  EXPECT_EQ(this->Young(), (Frames{700}));
  EXPECT_EQ(this->counts_.young, 2u);
  this->Access(this->At(1, 4));
  EXPECT_EQ(this->Ask(), kYoung);
  EXPECT_EQ(this->Young(), (Frames{700}));
  EXPECT_EQ(this->counts_.young, 1u);
}

TYPED_TEST(PruneNestedTest, ATableIsReadIfItsParentIsYoungAndSkippedIfNot) {
  for (const std::uint64_t table : {1u, 2u, 9u}) {
    this->MapYoung(this->At(table, 3), 100 + table);
  }
  this->SetParent(this->At(2), false);
  EXPECT_EQ(this->Ask(), kYoung);
  EXPECT_EQ(this->Young(), (Frames{101, 109}));
  EXPECT_EQ(this->counts_.examined, 2u);
  EXPECT_TRUE(this->IsYoungAt(this->At(2, 3)));
  for (const std::uint64_t table : {1u, 2u, 9u}) {
    EXPECT_FALSE(this->ParentIsYoung(this->At(table, 3)));
  }
  EXPECT_EQ(this->Ask(), kCold);
  EXPECT_EQ(this->counts_.examined, 0u);
}

TYPED_TEST(PruneNestedTest, OneFlushBetweenTheParentsAndTheLeaves) {
  this->MapYoung(this->At(1, 3), 1);
  this->MapYoung(this->At(9, 3), 2);
  int flushes = 0;
  this->owner_.flusher().hook = [&](GfnRange range) {
    ++flushes;
    EXPECT_TRUE(range.Contains(this->At(1)) && range.Contains(this->At(9)));
    EXPECT_FALSE(this->ParentIsYoung(this->At(1)));
    EXPECT_TRUE(this->IsYoungAt(this->At(1, 3)));
  };
  (void)this->Ask();
  EXPECT_EQ(flushes, 1);
  (void)this->Ask();
  EXPECT_EQ(flushes, 1);
  this->SetParent(this->At(1), true);
  (void)this->Ask(this->kGfns, this->kNested, AgeAction::kTestAndClear,
                  Pruning::kBestEffort);
  EXPECT_EQ(flushes, 1);
  this->owner_.flusher().hook = nullptr;
}

TYPED_TEST(PruneNestedTest, ATestChangesNothing) {
  this->MapYoung(this->At(1, 3), 700);
  this->MapYoung(this->At(1, 4), 4000);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(
        this->Ask(GfnRange{Gfn{0}, Gfn{1000}}, this->kNested, AgeAction::kTest),
        kYoung);
    EXPECT_EQ(this->Young(), (Frames{700}));
  }
  EXPECT_TRUE(this->ParentIsYoung(this->At(1)));
  EXPECT_TRUE(this->IsYoungAt(this->At(1, 3)));
  // Nor does it mark anything.
  this->SetParent(this->At(1), false);
  EXPECT_EQ(
      this->Ask(GfnRange{Gfn{0}, Gfn{10}}, this->kNested, AgeAction::kTest),
      kCold);
  EXPECT_FALSE(this->ParentIsYoung(this->At(1)));
}

TYPED_TEST(PruneNestedTest, WhatIsNotAskedForIsLeftToWhoAsks) {
  this->MapYoung(this->At(1, 3), 700);
  this->MapYoung(this->At(1, 4), 999);
  this->MapYoung(this->At(1, 5), 1000);
  this->MapYoung(this->At(1, 6), 699);
  EXPECT_EQ(this->Ask(GfnRange{Gfn{700}, Gfn{1000}}), kYoung);
  EXPECT_EQ(this->Young(), (Frames{700, 999}));
  EXPECT_EQ(this->counts_.examined, 4u);
  EXPECT_EQ(this->counts_.young, 2u);
  EXPECT_TRUE(this->IsYoungAt(this->At(1, 5)));
  EXPECT_TRUE(this->ParentIsYoung(this->At(1)));
  // The others find what is theirs.
  EXPECT_EQ(this->Ask(), kYoung);
  EXPECT_EQ(this->Young(), (Frames{699, 1000}));
  EXPECT_FALSE(this->ParentIsYoung(this->At(1)));
}

TYPED_TEST(PruneNestedTest, AParentOfWhichTheRangeHasAPartIsNotCleared) {
  this->MapYoung(this->At(1, 3), 5);
  this->MapYoung(this->At(1, 100), 6);
  EXPECT_EQ(this->Ask(this->kGfns, GfnRange{this->At(0), this->At(1, 50)}),
            kYoung);
  EXPECT_EQ(this->Young(), (Frames{5}));
  EXPECT_TRUE(this->ParentIsYoung(this->At(1)));
  EXPECT_EQ(this->Ask(this->kGfns, GfnRange{this->At(1, 50), this->At(4)}),
            kYoung);
  EXPECT_EQ(this->Young(), (Frames{6}));
}

TYPED_TEST(PruneNestedTest, AFrozenLeafIsUnknownAndLookedAtAgain) {
  using F = TypeParam;
  this->MapYoung(this->At(1, 3), 700);
  const auto taken = this->owner_.Read(this->At(1, 3));
  this->owner_.Write(this->At(1, 3), F::kFrozen);
  EXPECT_EQ(this->Ask(), kNotKnown);
  EXPECT_EQ(this->Unknown(), (Frames{700}));
  EXPECT_EQ(this->counts_.unanswered, 1u);
  this->owner_.Write(this->At(1, 3), taken);
  EXPECT_EQ(this->Ask(), kYoung);
  EXPECT_EQ(this->Young(), (Frames{700}));
}

TYPED_TEST(PruneNestedTest, AFrozenLeafOfAGfnNotAskedForLeavesNothingUnknown) {
  using F = TypeParam;
  this->MapYoung(this->At(1, 3), 700);
  const auto taken = this->owner_.Read(this->At(1, 3));
  this->owner_.Write(this->At(1, 3), F::kFrozen);
  EXPECT_EQ(this->Ask(GfnRange{Gfn{0}, Gfn{700}}), kCold);
  EXPECT_EQ(this->Unknown(), Frames{});
  this->owner_.Write(this->At(1, 3), taken);
  EXPECT_EQ(this->Ask(), kYoung);
  EXPECT_EQ(this->Young(), (Frames{700}));
}

TYPED_TEST(PruneNestedTest, AFrozenParentLeavesAllThatIsAskedForUnknown) {
  using F = TypeParam;
  this->MapYoung(this->At(1, 3), 700);
  WriteOnce(this->owner_.ParentOf(this->At(1, 3)), F::kFrozen, kRelaxed);
  EXPECT_EQ(this->Ask(GfnRange{Gfn{10}, Gfn{20}}), kNotKnown);
  EXPECT_EQ(this->Unknown(), Consecutive(10, 10));
}

TYPED_TEST(PruneNestedTest, ALargeLeafIsClearedIfAllOfItIsAskedFor) {
  this->MapYoung(this->At(3), 1024, kLarge);
  // Either range has a part.
  EXPECT_EQ(this->Ask(GfnRange{Gfn{1000}, Gfn{1030}}), kYoung);
  EXPECT_EQ(this->Young(), Consecutive(1024, 6));
  EXPECT_EQ(
      this->Ask(this->kGfns, GfnRange{this->At(3, 500), this->At(3, 504)}),
      kYoung);
  EXPECT_EQ(this->Young(), Consecutive(1524, 4));
  EXPECT_EQ(this->Ask(GfnRange{Gfn{0}, Gfn{1024}}), kCold);
  EXPECT_TRUE(this->IsYoungAt(this->At(3)));
  EXPECT_EQ(this->Ask(GfnRange{Gfn{1024}, Gfn{1536}}), kYoung);
  EXPECT_EQ(this->Young(), Consecutive(1024, 512));
  EXPECT_FALSE(this->IsYoungAt(this->At(3)));
  EXPECT_EQ(this->Ask(), kCold);
}

TYPED_TEST(PruneNestedTest, AnEmptyRangeHasNoAnswer) {
  this->MapYoung(this->At(1, 3), 5);
  EXPECT_EQ(this->Ask(this->kGfns, GfnRange{this->At(1, 3), this->At(1, 3)}),
            AgeResult{});
  EXPECT_EQ(this->Ask(GfnRange{Gfn{5}, Gfn{5}}), AgeResult{});
  EXPECT_EQ(this->Ask(), kYoung);
}

// While the leaf's record is read and its bit cleared, one thread alone cannot
// change it; while CPUs are flushed it can.
TYPED_TEST(PruneNestedTest, AnEntryThatMovesMeanwhileIsReportedForItsNewGfn) {
  this->MapYoung(this->At(1, 3), 700);
  this->owner_.flusher().hook = [&](GfnRange) {
    this->owner_.flusher().hook = nullptr;
    this->Zap(this->At(1, 3));
    this->MapYoung(this->At(1, 3), 800);
  };
  EXPECT_EQ(this->Ask(), kYoung);
  EXPECT_EQ(this->Young(), (Frames{800}));
}

// Against which nested frame maps what, and was accessed.
TYPED_TEST(PruneNestedTest, RandomRoundsFindJustWhatWasAccessed) {
  struct Page {
    std::uint64_t gfn;
    bool young;
  };
  for (unsigned seed = 1; seed <= 20; ++seed) {
    std::map<std::uint64_t, Page> model;
    std::mt19937 random(seed);
    const auto below = [&](std::uint64_t n) { return random() % n; };
    TestTree<TypeParam>& tree = this->owner_;
    for (std::uint64_t nested = 0; nested < this->kNested.end.value; ++nested) {
      if (tree.Read(Gfn{nested}) != TypeParam::kEmpty) this->Zap(Gfn{nested});
    }
    for (int round = 0; round < 60; ++round) {
      for (int i = 0; i < 40; ++i) {
        const std::uint64_t nested = 512 * below(6) + 63 * below(9);
        const auto page = model.find(nested);
        if (page == model.end()) {
          // Few gfns, so that many have more than one name.
          const std::uint64_t gfn = 37 * below(100);
          const bool young = below(2) == 0;
          this->Map(Gfn{nested}, Gfn{gfn}, young);
          model[nested] = Page{gfn, young};
        } else if (below(8) == 0) {
          this->Zap(Gfn{nested});
          model.erase(page);
        } else if (nested / 512 % 2 == 0 || below(10) == 0) {
          // The other tables are seldom used.
          this->Access(Gfn{nested});
          page->second.young = true;
        }
      }
      GfnRange asked = this->kGfns;
      GfnRange range = this->kNested;
      if (below(2) == 0) asked.begin = Gfn{below(4096)};
      if (below(2) == 0)
        asked.end = asked.begin + below(4096 - asked.begin.value);
      if (below(3) == 0) range.begin = Gfn{below(2000)};
      if (below(3) == 0) range.end = range.begin + below(3000);
      Frames expected;
      for (auto& [nested, page] : model) {
        if (!page.young || !range.Contains(Gfn{nested})) continue;
        if (!asked.Contains(Gfn{page.gfn})) continue;
        expected.insert(page.gfn);
        page.young = false;
      }
      EXPECT_EQ(
          this->Ask(asked, range, AgeAction::kTestAndClear,
                    below(2) == 0 ? Pruning::kExact : Pruning::kBestEffort),
          expected.empty() ? kCold : kYoung);
      ASSERT_EQ(this->Young(), expected) << "seed " << seed << ", " << round;
      for (const auto& [nested, page] : model) {
        ASSERT_EQ(this->IsYoungAt(Gfn{nested}), page.young) << nested;
      }
    }
  }
}

}  // namespace
}  // namespace ptage
