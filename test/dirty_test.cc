// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/dirty.h"

#include <cstdint>
#include <random>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/harvest.h"
#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/formats.h"
#include "test/tree.h"

namespace ptage {
namespace {

using test::Access;
using test::kBacking;
using test::TestTree;
using test::Truth;

constexpr Level kSmall{1};
constexpr Level kLarge{2};

using Frames = std::set<std::uint64_t>;

struct CountingFlusher {
  void Flush(GfnRange flushed) {
    ++flushes;
    range = flushed;
  }
  int flushes = 0;
  GfnRange range;
};

template <class F>
class DirtyTest : public ::testing::Test {
 protected:
  using Word = typename F::Word;

  static constexpr std::uint64_t kFrames = FramesAt<F>(kLarge);
  static constexpr GfnRange kAll{Gfn{0}, Gfn{4 * kFrames}};

  void Map(Gfn gfn, Level level, Word bits) {
    owner_.MustMap(gfn, level,
                   static_cast<Word>(TestTree<F>::Leaf(gfn, level) | bits));
  }
  Word Read(Gfn gfn) { return owner_.Read(gfn); }

  // Frames that the call told of, and nothing but these.
  template <class Call>
  Frames Told(GfnRange range, Call call) {
    const std::uint64_t bits = range.Frames();
    std::vector<std::uint64_t> dirty((bits + 63) / 64);
    std::vector<std::uint64_t> unknown((bits + 63) / 64);
    counts_ = AgeCounts{};
    flusher_ = CountingFlusher{};
    const LocklessWalk walk(owner_.domain());
    returned_ = call(walk, AgeOutput{.begin = range.begin,
                                     .young = Bitmap(dirty.data(), bits),
                                     .unknown = Bitmap(unknown.data(), bits),
                                     .counts = &counts_});
    Frames frames;
    for (std::uint64_t i = 0; i < bits; ++i) {
      EXPECT_FALSE(Bitmap(unknown.data(), bits).Test(i));
      if (Bitmap(dirty.data(), bits).Test(i)) {
        frames.insert(range.begin.value + i);
      }
    }
    return frames;
  }
  Frames Cleared(GfnRange range) {
    return Told(range, [&](const auto& walk, const AgeOutput& output) {
      return ClearDirty(owner_.tree(), walk, flusher_, range, output);
    });
  }
  Frames Protected(GfnRange range) {
    return Told(range, [&](const auto& walk, const AgeOutput& output) {
      return WriteProtect(owner_.tree(), walk, flusher_, range, output);
    });
  }
  std::uint64_t Lift(GfnRange range) {
    return LiftProtection(owner_.tree(), LocklessWalk(owner_.domain()), range);
  }

  // What a CPU's access comes to: hardware's part, or the fault's. The right to
  // write is told from the words of the manual.
  bool CanWrite(Word word) { return Allows(F::RightsOf(word), Rights::kWrite); }
  void Use(Gfn gfn, Access access) {
    for (;;) {
      const FoundEntry<F> found = owner_.Find(gfn);
      ASSERT_TRUE(F::IsPresent(found.word));
      if (access == Access::kRead || CanWrite(found.word)) {
        (void)test::TouchAsHardware<F>(*found.entry, access);
        return;
      }
      ASSERT_TRUE(GrantWrite<F>(*found.entry, found.word, [&] { ++logged_; }));
    }
  }

  TestTree<F> owner_;
  CountingFlusher flusher_;
  AgeCounts counts_;
  AgeCounts returned_;
  int logged_ = 0;
};

TYPED_TEST_SUITE(DirtyTest, test::Protectable, test::FormatNames);

TYPED_TEST(DirtyTest, ProtectedWordsAreThoseOfTheManual) {
  using F = TypeParam;
  using T = Truth<F>;
  // A tree whose one leaf is replaced by the words that are written by hand.
  this->Map(Gfn{3}, kSmall, 0);
  const GfnRange one{Gfn{3}, Gfn{4}};
  for (const auto& [before, dirty] :
       {std::pair{T::kYoung, false}, std::pair{T::kYoungDirty, true}}) {
    this->owner_.Write(Gfn{3}, before);
    EXPECT_EQ(this->Protected(one), dirty ? Frames{3} : Frames{});
    EXPECT_EQ(this->Read(Gfn{3}), T::kYoungProtected);
    EXPECT_TRUE(IsProtected<F>(T::kYoungProtected));
    EXPECT_FALSE(IsProtected<F>(before));
    EXPECT_FALSE(this->CanWrite(T::kYoungProtected));
  }
  EXPECT_EQ(this->Lift(one), 1u);
  EXPECT_EQ(this->Read(Gfn{3}), T::kYoung);
  EXPECT_EQ(this->Lift(one), 0u);
  // A write fault.
  this->owner_.Write(Gfn{3}, T::kYoungProtected);
  this->Use(Gfn{3}, Access::kWrite);
  EXPECT_EQ(this->Read(Gfn{3}), T::kYoungDirty);
  EXPECT_EQ(this->logged_, 1);
}

TYPED_TEST(DirtyTest, WhatMayNotBeWrittenStaysSo) {
  using F = TypeParam;
  using T = Truth<F>;
  this->Map(Gfn{3}, kSmall, 0);
  this->owner_.Write(Gfn{3}, T::kYoungReadOnly);
  EXPECT_EQ(this->Protected(this->kAll), Frames{});
  EXPECT_EQ(this->flusher_.flushes, 0);
  EXPECT_EQ(this->Lift(this->kAll), 0u);
  EXPECT_EQ(this->Read(Gfn{3}), T::kYoungReadOnly);
}

TYPED_TEST(DirtyTest, DirtyBitsAreClearedAndToldOfAndNothingElseChanges) {
  using F = TypeParam;
  using T = Truth<F>;
  this->Map(Gfn{1}, kSmall, 0);
  this->Map(Gfn{2}, kSmall, 0);
  this->owner_.Write(Gfn{1}, T::kYoungDirty);
  this->owner_.Write(Gfn{2}, T::kYoung);
  EXPECT_EQ(this->Cleared(this->kAll), Frames{1});
  EXPECT_EQ(this->Read(Gfn{1}), T::kYoung);
  EXPECT_EQ(this->Read(Gfn{2}), T::kYoung);
  EXPECT_EQ(this->counts_.examined, 2u);
  EXPECT_EQ(this->counts_.young, 1u);
  EXPECT_EQ(this->returned_.young, 1u);
  EXPECT_EQ(this->Cleared(this->kAll), Frames{});
}

TYPED_TEST(DirtyTest, ACallFlushesOnceIfItChangedAnything) {
  for (std::uint64_t i = 0; i < 3; ++i) {
    this->Map(Gfn{i}, kSmall, Truth<TypeParam>::kDirtyBit);
  }
  (void)this->Cleared(this->kAll);
  EXPECT_EQ(this->flusher_.flushes, 1);
  EXPECT_EQ(this->flusher_.range, this->kAll);
  (void)this->Cleared(this->kAll);
  EXPECT_EQ(this->flusher_.flushes, 0);
  // Clean pages too lose what lets a CPU write.
  (void)this->Protected(this->kAll);
  EXPECT_EQ(this->flusher_.flushes, 1);
  (void)this->Protected(this->kAll);
  EXPECT_EQ(this->flusher_.flushes, 0);
}

TYPED_TEST(DirtyTest, ALargeLeafIsToldOfByAllItsFrames) {
  using F = TypeParam;
  const std::uint64_t n = this->kFrames;
  Frames all;
  for (std::uint64_t i = n; i < 2 * n; ++i) all.insert(i);
  this->Map(Gfn{n}, kLarge, Truth<F>::kDirtyBit);
  EXPECT_EQ(this->Cleared(this->kAll), all);
  EXPECT_EQ(this->Cleared(this->kAll), Frames{});
  this->Use(Gfn{n}, Access::kWrite);
  EXPECT_EQ(this->Protected(this->kAll), all);
  EXPECT_FALSE(this->CanWrite(this->Read(Gfn{n})));
}

TYPED_TEST(DirtyTest, ALargeLeafThatReachesBeyondIsToldOfAndLeft) {
  using F = TypeParam;
  const std::uint64_t n = this->kFrames;
  this->Map(Gfn{0}, kLarge, Truth<F>::kDirtyBit);
  const GfnRange part{Gfn{1}, Gfn{n}};
  Frames frames;
  for (std::uint64_t i = 1; i < n; ++i) frames.insert(i);
  EXPECT_EQ(this->Cleared(part), frames);
  EXPECT_EQ(this->Read(Gfn{0}),
            TestTree<F>::Dirty(TestTree<F>::Leaf(Gfn{0}, kLarge)));
  (void)this->Cleared(this->kAll);
  EXPECT_EQ(this->Cleared(part), Frames{});
  // A clean one may be written without a fault: nobody could tell.
  EXPECT_EQ(this->Protected(part), frames);
  EXPECT_EQ(this->Read(Gfn{0}), TestTree<F>::Leaf(Gfn{0}, kLarge));
  // One that is protected cannot.
  (void)this->Protected(this->kAll);
  EXPECT_EQ(this->Protected(part), Frames{});
}

TYPED_TEST(DirtyTest, ASplitKeepsProtectionAndAPromotionRefusesIt) {
  using F = TypeParam;
  const std::uint64_t n = this->kFrames;
  this->Map(Gfn{0}, kLarge, 0);
  (void)this->Protected(this->kAll);
  const LocklessWalk walk(this->owner_.domain());
  ASSERT_EQ(this->owner_.tree().Split(walk, Gfn{0}, kLarge),
            StructureOutcome::kDone);
  for (std::uint64_t i = 0; i < n; ++i) {
    ASSERT_TRUE(IsProtected<F>(this->Read(Gfn{i})));
    ASSERT_FALSE(this->CanWrite(this->Read(Gfn{i})));
  }
  this->Use(Gfn{1}, Access::kWrite);
  EXPECT_EQ(this->Protected(this->kAll), Frames{1});
  this->Use(Gfn{0}, Access::kWrite);
  EXPECT_EQ(this->owner_.tree().Promote(walk, Gfn{0}, kLarge),
            StructureOutcome::kUnsuitable);
  EXPECT_TRUE(IsProtected<F>(this->Read(Gfn{1})));
  EXPECT_EQ(this->Lift(this->kAll), n - 1);
  EXPECT_EQ(this->owner_.tree().Promote(walk, Gfn{0}, kLarge),
            StructureOutcome::kDone);
}

TYPED_TEST(DirtyTest, AgingChangesNeitherDirtyBitsNorProtection) {
  using F = TypeParam;
  using T = Truth<F>;
  for (std::uint64_t i = 0; i < 3; ++i) this->Map(Gfn{i}, kSmall, 0);
  this->owner_.Write(Gfn{0}, T::kYoungDirty);
  this->owner_.Write(Gfn{1}, T::kYoungProtected);
  this->owner_.Write(Gfn{2}, T::kYoung);
  EXPECT_TRUE(Harvest(this->owner_.tree(), LocklessWalk(this->owner_.domain()),
                      this->kAll, AgeAction::kTestAndClear, AgeMode::kFastOnly,
                      AgeOutput{})
                  .young);
  EXPECT_EQ(this->Read(Gfn{0}), T::kDirty);
  EXPECT_EQ(this->Read(Gfn{1}), T::kYoungProtected & ~T::kAccessedBit);
  EXPECT_EQ(this->Read(Gfn{2}), T::kCold);
  EXPECT_EQ(this->Cleared(this->kAll), Frames{0});
}

TYPED_TEST(DirtyTest, AGrantThatComesTooLateChangesNothing) {
  using F = TypeParam;
  using T = Truth<F>;
  SpteCell<F> entry(T::kOtherYoung);
  bool logged = false;
  EXPECT_FALSE(
      GrantWrite<F>(entry, T::kYoungProtected, [&] { logged = true; }));
  EXPECT_FALSE(logged);
  EXPECT_EQ(ReadOnce(entry, kRelaxed), T::kOtherYoung);
}

// The log is written when the page can be written, not before.
TYPED_TEST(DirtyTest, AWriteIsLoggedOnceThePageIsWritable) {
  using F = TypeParam;
  using T = Truth<F>;
  SpteCell<F> entry(T::kYoungProtected);
  EXPECT_TRUE(GrantWrite<F>(entry, T::kYoungProtected, [&] {
    EXPECT_EQ(ReadOnce(entry, kRelaxed), T::kYoungDirty);
  }));
}

// Random operations against what a page's owner would write on paper: each
// write is told of once, by the first call that comes after it or by the zap.
TYPED_TEST(DirtyTest, EachWriteIsToldOfOnce) {
  using F = TypeParam;
  const std::uint64_t n = this->kFrames;
  for (const unsigned seed : {1u, 2u}) {
    TestTree<F> owner;
    std::mt19937 random(seed);
    struct Page {
      bool mapped = false;
      bool written = false;
      bool faults = false;  // at the next write
    };
    std::vector<Page> pages(2 * n);
    int faults = 0;
    for (int step = 0; step < 4000; ++step) {
      SCOPED_TRACE(testing::Message() << "seed " << seed << ", step " << step);
      const Gfn gfn{random() % 2 * n + random() % 4};
      Page& page = pages[gfn.value];
      switch (random() % 8) {
        case 0:
        case 1:
          if (!page.mapped) {
            owner.MustMap(gfn, kSmall, TestTree<F>::Leaf(gfn));
            page = Page{.mapped = true};
          }
          break;
        case 2:
        case 3: {
          if (!page.mapped) break;
          FoundEntry<F> found = owner.Find(gfn);
          const bool writable = Allows(F::RightsOf(found.word), Rights::kWrite);
          ASSERT_EQ(writable, !page.faults);
          if (!writable) {
            ASSERT_TRUE(
                GrantWrite<F>(*found.entry, found.word, [&] { ++faults; }));
          }
          (void)test::TouchAsHardware<F>(*found.entry, Access::kWrite);
          page.written = true;
          page.faults = false;
          break;
        }
        case 4:
          (void)Harvest(owner.tree(), LocklessWalk(owner.domain()),
                        GfnRange{Gfn{0}, Gfn{2 * n}}, AgeAction::kTestAndClear,
                        AgeMode::kFastOnly, AgeOutput{});
          break;
        case 5:
          owner.tree().Zap(LocklessWalk(owner.domain()), GfnRange{gfn, gfn + 1},
                           ZapFlush::kEach, [&](const TakenLeaf<F>& leaf) {
                             ASSERT_EQ(IsDirty<F>(leaf.word), page.written);
                           });
          page = Page{};
          break;
        case 6:
          if (page.faults) {
            ASSERT_EQ(LiftProtection(owner.tree(), LocklessWalk(owner.domain()),
                                     GfnRange{gfn, gfn + 1}),
                      1u);
            page.faults = false;
          }
          break;
        default: {
          const bool protect = random() % 2 == 0;
          const GfnRange range{
              gfn, Gfn{gfn.value + 1 + random() % (2 * n - gfn.value)}};
          const std::uint64_t bits = range.Frames();
          std::vector<std::uint64_t> dirty((bits + 63) / 64);
          const AgeOutput output{.begin = range.begin,
                                 .young = Bitmap(dirty.data(), bits)};
          const LocklessWalk walk(owner.domain());
          if (protect) {
            WriteProtect(owner.tree(), walk, this->flusher_, range, output);
          } else {
            ClearDirty(owner.tree(), walk, this->flusher_, range, output);
          }
          for (std::uint64_t i = 0; i < bits; ++i) {
            Page& told = pages[range.begin.value + i];
            ASSERT_EQ(Bitmap(dirty.data(), bits).Test(i), told.written)
                << "frame " << range.begin.value + i;
            told.written = false;
            told.faults |= protect && told.mapped;
          }
        }
      }
    }
    EXPECT_GT(faults, 0);
  }
}

}  // namespace
}  // namespace ptage
