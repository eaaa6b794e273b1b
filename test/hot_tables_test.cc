// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/hot_tables.h"

#include <cstdint>
#include <random>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/spte/riscv64.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "test/formats.h"
#include "test/tree.h"

namespace ptage {
namespace {

using test::TestTree;
using test::Truth;

constexpr Level kLarge{2};

using Frames = std::set<std::uint64_t>;

template <class F>
concept CanAge = requires(TestTree<F>& owner, typename TestTree<F>::Walk& walk,
                          HotTables<F>& tables, AgeOutput& output) {
  AgeHotTables(owner.tree(), walk, owner.flusher(), tables, output);
};
static_assert(CanAge<Ept> && CanAge<X86_64>);
static_assert(!CanAge<RiscvSv39> && !CanAge<test::TinyFormat>);

// Four tables from the second one on.
template <class F>
class HotTablesTest : public ::testing::Test {
 protected:
  using Word = typename F::Word;

  static constexpr std::uint64_t kTables = 4;
  static constexpr std::uint64_t kFrames = 512;
  static constexpr GfnRange kAll{Gfn{kFrames}, Gfn{(1 + kTables) * kFrames}};

  static Gfn At(std::uint64_t table, std::uint64_t i = 0) {
    return kAll.begin + table * kFrames + i;
  }
  static Frames Whole(std::uint64_t table) { return First(table, kFrames); }
  // The first ones of a table.
  static Frames First(std::uint64_t table, std::uint64_t count) {
    Frames frames;
    for (std::uint64_t i = 0; i < count; ++i) frames.insert(At(table, i).value);
    return frames;
  }
  void SetUp() override {
    for (std::uint64_t t = 0; t < kTables; ++t) {
      owner_.MustFill(At(t));
      SetParent(At(t), false);
    }
    owner_.flusher().hook = [this](GfnRange range) {
      ++flushes_;
      EXPECT_EQ(range.begin, kAll.begin);
      EXPECT_EQ(range.end, kAll.end);
      for (std::uint64_t t = 0; t < kTables; ++t) {
        EXPECT_FALSE(ParentIsYoung(At(t))) << t;
      }
    };
  }

  // As a CPU does.
  void Access(Gfn gfn) {
    SetParent(gfn, true);
    owner_.Write(gfn, TestTree<F>::Young(owner_.Read(gfn)));
  }
  void AccessFirst(std::uint64_t table, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) Access(At(table, i));
  }
  void SetParent(Gfn gfn, bool young) {
    SpteCell<F>& parent = owner_.ParentOf(gfn);
    const Word word = ReadOnce(parent, kRelaxed);
    WriteOnce(
        parent,
        young ? word | Truth<F>::kAccessedBit : word & ~Truth<F>::kAccessedBit,
        kRelaxed);
  }
  bool ParentIsYoung(Gfn gfn) {
    return (ReadOnce(owner_.ParentOf(gfn), kRelaxed) &
            Truth<F>::kAccessedBit) != 0;
  }
  std::uint64_t YoungLeaves(std::uint64_t table) {
    std::uint64_t young = 0;
    for (std::uint64_t i = 0; i < kFrames; ++i) {
      young += (owner_.Read(At(table, i)) & Truth<F>::kAccessedBit) != 0;
    }
    return young;
  }

  // A round; what it found young.
  Frames Round(HotTables<F>& hot) {
    std::vector<std::uint64_t> young((kAll.Frames() + 63) / 64);
    std::vector<std::uint64_t> unknown((kAll.Frames() + 63) / 64);
    counts_ = AgeCounts{};
    result_ = AgeHotTables(
        owner_.tree(), LocklessWalk(owner_.domain()), owner_.flusher(), hot,
        AgeOutput{.begin = kAll.begin,
                  .young = Bitmap(young.data(), kAll.Frames()),
                  .unknown = Bitmap(unknown.data(), kAll.Frames()),
                  .counts = &counts_});
    unknown_ = FramesOf(unknown);
    const Frames frames = FramesOf(young);
    EXPECT_EQ(result_.young, !frames.empty());
    return frames;
  }
  static Frames FramesOf(const std::vector<std::uint64_t>& words) {
    Frames frames;
    for (std::uint64_t i = 0; i < kAll.Frames(); ++i) {
      if ((words[i / 64] >> i % 64 & 1) != 0) frames.insert(At(0, i).value);
    }
    return frames;
  }
  HotTables<F> Start(DensePolicy policy) {
    bytes_.assign(HotTables<F>::BytesFor(kAll.Frames()), 0);
    return HotTables<F>(bytes_.data(), kAll, policy);
  }

  TestTree<F> owner_;
  std::vector<std::uint8_t> bytes_;
  int flushes_ = 0;
  AgeResult result_;
  AgeCounts counts_;
  Frames unknown_;
};

using Formats = ::testing::Types<Ept, X86_64>;
TYPED_TEST_SUITE(HotTablesTest, Formats, test::FormatNames);

constexpr DensePolicy kNeverVerified{.sixteenths = 15, .verify_one_in = 0};

TYPED_TEST(HotTablesTest, ATableIsDenseAfterTwoDenseRoundsAndThenLeftAlone) {
  HotTables<TypeParam> hot = this->Start(kNeverVerified);
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(hot.Dense(), 0u);
    this->AccessFirst(1, 480);
    EXPECT_EQ(this->Round(hot), this->First(1, 480));
    EXPECT_EQ(this->counts_.examined, 512u);
    EXPECT_EQ(this->YoungLeaves(1), 0u);
  }
  EXPECT_EQ(hot.Dense(), 1u);
  for (int round = 0; round < 3; ++round) {
    this->AccessFirst(1, 480);
    EXPECT_EQ(this->Round(hot), this->Whole(1));
    EXPECT_EQ(this->counts_.examined, 1u);
    EXPECT_EQ(this->counts_.young, 1u);
    EXPECT_EQ(this->YoungLeaves(1), 480u);
    EXPECT_FALSE(this->ParentIsYoung(this->At(1)));
  }
}

TYPED_TEST(HotTablesTest, WhatIsNotDenseIsReadAtItsLeaves) {
  HotTables<TypeParam> hot = this->Start(kNeverVerified);
  for (int round = 0; round < 6; ++round) {
    this->AccessFirst(0, 479);
    // Dense in every other round alone.
    const std::uint64_t young = round % 2 == 0 ? 512 : 1;
    this->AccessFirst(2, young);
    Frames wanted = this->First(0, 479);
    wanted.merge(this->First(2, young));
    EXPECT_EQ(this->Round(hot), wanted);
    EXPECT_EQ(hot.Dense(), 0u);
  }
}

TYPED_TEST(HotTablesTest, ATableThatNobodyUsesIsColdAndNotRead) {
  HotTables<TypeParam> hot = this->Start(kNeverVerified);
  this->owner_.Write(
      this->At(3), TestTree<TypeParam>::Young(this->owner_.Read(this->At(3))));
  EXPECT_EQ(this->Round(hot), Frames{});
  EXPECT_EQ(this->counts_.examined, 0u);
  EXPECT_EQ(this->YoungLeaves(3), 1u);
  EXPECT_EQ(this->flushes_, 0);
}

TYPED_TEST(HotTablesTest, ADenseTableThatWentColdIsReadWhenItIsUsedAgain) {
  HotTables<TypeParam> hot = this->Start(kNeverVerified);
  for (int round = 0; round < 3; ++round) {
    this->AccessFirst(0, 512);
    EXPECT_EQ(this->Round(hot), this->Whole(0));
  }
  EXPECT_EQ(this->Round(hot), Frames{});
  EXPECT_EQ(hot.Dense(), 0u);
  // Its leaves are young since before: too much, for one round.
  this->AccessFirst(0, 3);
  EXPECT_EQ(this->Round(hot), this->Whole(0));
  this->AccessFirst(0, 3);
  EXPECT_EQ(this->Round(hot), this->First(0, 3));
  EXPECT_EQ(hot.Dense(), 0u);
}

TYPED_TEST(HotTablesTest, OneDenseTableInSoManyIsVerifiedInEachRound) {
  HotTables<TypeParam> hot =
      this->Start(DensePolicy{.sixteenths = 15, .verify_one_in = 2});
  for (int round = 0; round < 2; ++round) {
    for (std::uint64_t t = 0; t < this->kTables; ++t) {
      this->AccessFirst(t, 512);
    }
    (void)this->Round(hot);
  }
  ASSERT_EQ(hot.Dense(), this->kTables);
  // In four rounds each is verified once, by two of them.
  std::vector<int> leaves(this->kTables);
  for (int round = 0; round < 12; ++round) {
    for (std::uint64_t t = 0; t < this->kTables; ++t) {
      this->AccessFirst(t, 490);
    }
    const Frames young = this->Round(hot);
    int read = 0;
    for (std::uint64_t t = 0; t < this->kTables; ++t) {
      if (this->YoungLeaves(t) != 0) continue;
      ++read;
      ++leaves[t];
    }
    // At first the one is late: it was not dense yet when its turn came.
    EXPECT_EQ(read, round == 0 ? 1 : 2) << round;
    EXPECT_EQ(young.size(),
              this->kAll.Frames() - (round == 0 ? 0 : 1) * (512 - 490));
  }
  for (std::uint64_t t = 0; t < this->kTables; ++t) {
    EXPECT_GE(leaves[t], 5) << t;
  }
}

TYPED_TEST(HotTablesTest, ATableThatIsNotDenseAnyMoreIsFoundOut) {
  constexpr unsigned kOneIn = 2;
  HotTables<TypeParam> hot =
      this->Start(DensePolicy{.sixteenths = 15, .verify_one_in = kOneIn});
  for (int round = 0; round < 3; ++round) {
    this->AccessFirst(3, 512);
    EXPECT_EQ(this->Round(hot), this->Whole(3));
  }
  // Whenever its turn comes, all of it is found once more, since its leaves are
  // young from before; then what was accessed since.
  int whole = 0;
  for (; whole < 10; ++whole) {
    this->AccessFirst(3, 7);
    if (this->Round(hot) != this->Whole(3)) break;
  }
  EXPECT_LE(whole, static_cast<int>(2 * kOneIn));
  EXPECT_EQ(hot.Dense(), 0u);
  for (int round = 0; round < 3; ++round) {
    this->AccessFirst(3, 7);
    EXPECT_EQ(this->Round(hot), this->First(3, 7));
  }
}

TYPED_TEST(HotTablesTest, ARoundFlushesOnceIfAnyParentWasYoung) {
  HotTables<TypeParam> hot = this->Start(DensePolicy{.verify_one_in = 1});
  for (int round = 0; round < 8; ++round) {
    EXPECT_EQ(this->flushes_, round);
    for (std::uint64_t t = 0; t < this->kTables; ++t) {
      this->AccessFirst(t, t * 170);
    }
    (void)this->Round(hot);
  }
  (void)this->Round(hot);
  EXPECT_EQ(this->flushes_, 8);
}

TYPED_TEST(HotTablesTest, WhatIsFrozenIsUnknownAndItsParentIsMarkedAgain) {
  using F = TypeParam;
  HotTables<F> hot = this->Start(kNeverVerified);
  this->AccessFirst(2, 2);
  SpteCell<F>& entry = *this->owner_.Find(this->At(2)).entry;
  const typename F::Word taken = ReadOnce(entry, kRelaxed);
  ASSERT_TRUE(Freeze<F>(entry, taken));
  this->owner_.flusher().hook = nullptr;
  EXPECT_EQ(this->Round(hot), (Frames{this->At(2, 1).value}));
  EXPECT_FALSE(this->result_.complete);
  EXPECT_EQ(this->unknown_, (Frames{this->At(2).value}));
  Restore<F>(entry, taken);
  EXPECT_EQ(this->Round(hot), (Frames{this->At(2).value}));
  EXPECT_TRUE(this->result_.complete);
}

TYPED_TEST(HotTablesTest, AFrozenParentMakesItsFramesUnknown) {
  using F = TypeParam;
  HotTables<F> hot = this->Start(kNeverVerified);
  this->AccessFirst(2, 2);
  SpteCell<F>& parent = this->owner_.ParentOf(this->At(2));
  const typename F::Word taken = ReadOnce(parent, kRelaxed);
  ASSERT_TRUE(Freeze<F>(parent, taken));
  EXPECT_EQ(this->Round(hot), Frames{});
  EXPECT_FALSE(this->result_.complete);
  EXPECT_EQ(this->unknown_, this->Whole(2));
  Restore<F>(parent, taken);
  EXPECT_EQ(this->Round(hot), this->First(2, 2));
}

TYPED_TEST(HotTablesTest, LargeLeavesAreHarvestedAndHolesAreCold) {
  using F = TypeParam;
  this->owner_.flusher().hook = [this](GfnRange) { ++this->flushes_; };
  for (const std::uint64_t t : {1u, 2u}) {
    const GfnRange table{this->At(t), this->At(t) + this->kFrames};
    (void)this->owner_.tree().RemoveTables(LocklessWalk(this->owner_.domain()),
                                           table, [](const TakenLeaf<F>&) {});
  }
  this->flushes_ = 0;
  this->owner_.MustMap(
      this->At(2), kLarge,
      TestTree<F>::Young(TestTree<F>::Leaf(this->At(2), kLarge)));
  HotTables<F> hot = this->Start(kNeverVerified);
  EXPECT_EQ(this->Round(hot), this->Whole(2));
  EXPECT_EQ(this->flushes_, 0);
  EXPECT_EQ(this->Round(hot), Frames{});
}

// Against a model of what the contract says, of tables whose density changes
// now and then.
TYPED_TEST(HotTablesTest, RandomRoundsAgreeWithTheContract) {
  constexpr std::uint64_t kOneIn = 3;
  HotTables<TypeParam> hot =
      this->Start(DensePolicy{.sixteenths = 12, .verify_one_in = kOneIn});
  enum class Is { kSparse, kOnce, kDense, kCleared };
  struct {
    Is is = Is::kSparse;
    Frames young;  // leaves that are young in the tables
  } model[4];
  std::mt19937 random(1);
  unsigned percent[4] = {};
  for (std::uint64_t round = 0; round < 300; ++round) {
    Frames wanted;
    for (std::uint64_t t = 0; t < 4; ++t) {
      if (random() % 8 == 0) {
        const unsigned choices[] = {0, 1, 50, 80, 100};
        percent[t] = choices[random() % 5];
      }
      bool used = false;
      for (std::uint64_t i = 0; i < 512; ++i) {
        if (random() % 100 >= percent[t]) continue;
        used = true;
        this->Access(this->At(t, i));
        model[t].young.insert(this->At(t, i).value);
      }
      if (!used) {
        model[t].is = Is::kSparse;
        continue;
      }
      const bool due = (t + round) % (2 * kOneIn) == 0;
      if (model[t].is == Is::kDense) {
        wanted.merge(this->Whole(t));
        if (due) {
          model[t].is = Is::kCleared;
          model[t].young.clear();
        }
        continue;
      }
      const bool dense = model[t].young.size() >= 384;
      wanted.insert(model[t].young.begin(), model[t].young.end());
      model[t].young.clear();
      model[t].is = !dense                       ? Is::kSparse
                    : model[t].is == Is::kSparse ? Is::kOnce
                                                 : Is::kDense;
    }
    ASSERT_EQ(this->Round(hot), wanted) << "round " << round;
  }
}

}  // namespace
}  // namespace ptage
