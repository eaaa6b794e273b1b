// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Dirty bits and write-protection under a vCPU that writes, aging, zaps, and
// changes of the structure: what is written is told of, and what was to fault
// faults.

#include <chrono>
#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/dirty.h"
#include "ptage/harvest.h"
#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/formats.h"
#include "test/stress.h"
#include "test/tree.h"

namespace ptage {
namespace {

using test::TestTree;
using test::Truth;

constexpr Level kSmall{1};
constexpr Level kLarge{2};

template <class F>
class DirtyStressTest : public ::testing::Test {
 protected:
  using Walk = typename TestTree<F>::Walk;
  using Word = typename F::Word;

  static constexpr std::uint64_t kFrames = FramesAt<F>(kLarge);
  static constexpr GfnRange kAll{Gfn{0}, Gfn{kFrames}};
  using FrameSet = std::vector<bool>;

  // A write of a vCPU, and of the fault where it needs one. True if it was.
  static bool Write(TestTree<F>& owner, Gfn gfn) {
    const Walk walk(owner.domain());
    for (int tries = 0; tries < 16; ++tries) {
      const FoundEntry<F> found = owner.tree().Lookup(walk, gfn);
      if (!F::IsPresent(found.word)) return false;
      if (Allows(F::RightsOf(found.word), Rights::kWrite)) {
        const auto wanted = static_cast<Word>(
            found.word | Truth<F>::kAccessedBit | Truth<F>::kDirtyBit);
        if (wanted == found.word ||
            TryCmpxchg(*found.entry, found.word, wanted, kRelaxed)) {
          return true;
        }
      } else if (IsProtected<F>(found.word)) {
        (void)GrantWrite<F>(*found.entry, found.word, [] {});
      }
    }
    return false;
  }
  static Bitmap BitsOf(std::vector<std::uint64_t>& words) {
    return Bitmap(words.data(), kFrames);
  }
};

TYPED_TEST_SUITE(DirtyStressTest, test::Protectable, test::FormatNames);

TYPED_TEST(DirtyStressTest, EachWriteIsToldOfAndNothingStaysWritable) {
  using F = TypeParam;
  const auto end = std::chrono::steady_clock::now() + 3 * test::kStressTime;
  std::uint64_t rounds = 0;
  std::uint64_t writes = 0;
  while (std::chrono::steady_clock::now() < end) {
    TestTree<F> owner;
    if (rounds % 2 == 0) {
      owner.MustFill(Gfn{0});
    } else {
      owner.MustMap(Gfn{0}, kLarge, TestTree<F>::Leaf(Gfn{0}, kLarge));
    }
    typename TestFixture::FrameSet written(this->kFrames);
    typename TestFixture::FrameSet handed(this->kFrames);
    // Each thread writes down its own.
    std::vector<std::uint64_t> told[3];
    for (auto& words : told) words.resize(this->kFrames / 64 + 1);
    const auto take = [&](bool protect, std::vector<std::uint64_t>& words) {
      const LocklessWalk walk(owner.domain());
      const AgeOutput output{.begin = Gfn{0}, .young = this->BitsOf(words)};
      if (protect) {
        WriteProtect(owner.tree(), walk, owner.flusher(), this->kAll, output);
      } else {
        ClearDirty(owner.tree(), walk, owner.flusher(), this->kAll, output);
      }
    };
    std::vector<std::function<void()>> bodies;
    bodies.emplace_back([&, seed = rounds] {
      std::mt19937 random(static_cast<unsigned>(seed) * 4);
      for (int i = 0; i < 32; ++i) {
        const Gfn gfn{random() % 4};
        if (this->Write(owner, gfn)) {
          ++writes;
          written[gfn.value] = true;
        }
      }
    });
    bodies.emplace_back([&] {
      for (int i = 0; i < 4; ++i) take(i % 2 == 0, told[0]);
    });
    bodies.emplace_back([&] {
      for (int i = 0; i < 4; ++i) take(i % 2 != 0, told[1]);
    });
    bodies.emplace_back([&] {
      for (int i = 0; i < 6; ++i) {
        (void)Harvest(owner.tree(), LocklessWalk(owner.domain()), this->kAll,
                      AgeAction::kTestAndClear, AgeMode::kFastOnly,
                      AgeOutput{});
      }
    });
    bodies.emplace_back([&, seed = rounds] {
      std::mt19937 random(static_cast<unsigned>(seed) * 4 + 1);
      for (int i = 0; i < 8; ++i) {
        const LocklessWalk walk(owner.domain());
        const Gfn gfn{random() % 4};
        switch (random() % 4) {
          case 0:
            (void)owner.tree().Split(walk, Gfn{0}, kLarge);
            break;
          case 1:
          case 2:
            (void)LiftProtection(owner.tree(), walk, this->kAll);
            (void)owner.tree().Promote(walk, Gfn{0}, kLarge);
            break;
          default:
            owner.tree().Zap(walk, GfnRange{gfn, gfn + 1}, ZapFlush::kEach,
                             [&](const TakenLeaf<F>& leaf) {
                               if ((leaf.word & Truth<F>::kDirtyBit) == 0)
                                 return;
                               for (std::uint64_t g = leaf.gfn.value;
                                    g < leaf.Frames().end.value; ++g) {
                                 handed[g] = true;
                               }
                             });
        }
      }
    });
    test::RunThreads(bodies);
    take(true, told[2]);
    for (std::uint64_t i = 0; i < this->kFrames; ++i) {
      const typename F::Word left = owner.Read(Gfn{i});
      ASSERT_FALSE(IsFrozen<F>(left));
      ASSERT_FALSE(F::IsPresent(left) &&
                   Allows(F::RightsOf(left), Rights::kWrite))
          << "round " << rounds << ", frame " << i;
      if (!written[i]) continue;
      ASSERT_TRUE(handed[i] || this->BitsOf(told[0]).Test(i) ||
                  this->BitsOf(told[1]).Test(i) ||
                  this->BitsOf(told[2]).Test(i))
          << "round " << rounds << ", frame " << i;
    }
    ++rounds;
  }
  EXPECT_GT(writes, rounds);
}

// Pages that stay, and one agent for each bit: aging, clearing and protecting
// take just what a vCPU set, each its own.
TYPED_TEST(DirtyStressTest, NobodyTakesAnothersBit) {
  using F = TypeParam;
  TestTree<F> owner;
  constexpr std::uint64_t kUsed = 4;
  for (std::uint64_t i = 0; i < kUsed; ++i) {
    owner.MustMap(Gfn{i}, kSmall, TestTree<F>::Leaf(Gfn{i}));
  }
  AgeCounts aged;
  AgeCounts cleared;
  std::uint64_t set_accessed = 0;
  std::uint64_t set_dirty = 0;
  std::mt19937 random(1);
  const GfnRange used{Gfn{0}, Gfn{kUsed}};
  test::Stress({[&] {
                  (void)Harvest(owner.tree(), LocklessWalk(owner.domain()),
                                used, AgeAction::kTestAndClear,
                                AgeMode::kFastOnly, AgeOutput{.counts = &aged});
                },
                [&] {
                  (void)ClearDirty(owner.tree(), LocklessWalk(owner.domain()),
                                   owner.flusher(), used,
                                   AgeOutput{.counts = &cleared});
                },
                [&] {
                  const FoundEntry<F> found = owner.Find(Gfn{random() % kUsed});
                  const test::Touched touched = test::TouchAsHardware<F>(
                      *found.entry, test::Access::kWrite);
                  set_accessed += touched.set_accessed ? 1 : 0;
                  set_dirty += touched.set_dirty ? 1 : 0;
                }});
  std::uint64_t accessed = aged.young - aged.lost_races;
  std::uint64_t dirty = cleared.young - cleared.lost_races;
  for (std::uint64_t i = 0; i < kUsed; ++i) {
    const typename F::Word left = owner.Read(Gfn{i});
    accessed += (left & Truth<F>::kAccessedBit) != 0 ? 1 : 0;
    dirty += (left & Truth<F>::kDirtyBit) != 0 ? 1 : 0;
  }
  EXPECT_EQ(accessed, set_accessed);
  EXPECT_EQ(dirty, set_dirty);
  EXPECT_GT(set_dirty, 0u);
}

}  // namespace
}  // namespace ptage
