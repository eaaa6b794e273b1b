// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A tree under vCPUs, faults, zaps, changes of structure and harvests at once.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "gtest/gtest.h"
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

using test::Access;
using test::kBacking;
using test::TestTree;
using test::Truth;

constexpr Level kSmall{1};
constexpr Level kLarge{2};

template <class F>
class PageTableStressTest : public ::testing::Test {
 protected:
  using Tree = typename TestTree<F>::Tree;
  using Walk = typename TestTree<F>::Walk;
  using Word = typename F::Word;

  // Two large pages, of which a few frames each are used, so that threads meet.
  static constexpr std::uint64_t kFrames = FramesAt<F>(kLarge);
  static constexpr GfnRange kAll{Gfn{0}, Gfn{2 * kFrames}};
  static constexpr std::uint64_t kUsed = 4;
  using FrameSet = std::vector<bool>;

  static Gfn RandomFrame(std::mt19937& random) {
    return Gfn{random() % 2 * kFrames + random() % kUsed};
  }
  static Gfn RandomLarge(std::mt19937& random) {
    return Gfn{random() % 2 * kFrames};
  }

  // An access of a vCPU: walks from the root, sets the bits by compare-and-swap
  // on the value that it walked. True if the page was mapped.
  static bool Touch(TestTree<F>& owner, Gfn gfn, Access access,
                    std::uint64_t& mistranslated) {
    const Walk walk(owner.domain());
    const FoundEntry<F> found = owner.tree().Lookup(walk, gfn);
    if (!F::IsPresent(found.word)) return false;
    const Pfn pfn =
        F::FrameOf(found.word) + gfn.value % FramesAt<F>(found.level);
    if (pfn != Pfn{kBacking + gfn.value}) ++mistranslated;
    // What the builder of the table recorded is plain, and is there.
    const std::uint64_t covers = FramesAt<F>(found.level);
    if (TranslatedFrame<F>(owner.arena(), *found.entry) !=
        Gfn{gfn.value / covers * covers}) {
      ++mistranslated;
    }
    const Word wanted = static_cast<Word>(
        found.word | Truth<F>::kAccessedBit |
        (access == Access::kWrite ? Truth<F>::kDirtyBit : Word{0}));
    return wanted == found.word ||
           TryCmpxchg(*found.entry, found.word, wanted, kRelaxed);
  }

  static auto Into(FrameSet& accessed, FrameSet& written) {
    return [&](const TakenLeaf<F>& leaf) {
      for (Gfn gfn = leaf.gfn; gfn < leaf.Frames().end; gfn = gfn + 1) {
        if ((leaf.word & Truth<F>::kAccessedBit) != 0) {
          accessed[gfn.value] = true;
        }
        if ((leaf.word & Truth<F>::kDirtyBit) != 0) written[gfn.value] = true;
      }
    };
  }
};

TYPED_TEST_SUITE(PageTableStressTest, test::AllFormats, test::FormatNames);

// Rounds of a few operations each, so that one lost bit is not covered by the
// next access to its page: whatever was accessed was harvested or handed over,
// whatever was written was handed over.
TYPED_TEST(PageTableStressTest, NoAccessAndNoWriteIsLost) {
  using F = TypeParam;
  const auto end = std::chrono::steady_clock::now() + 3 * test::kStressTime;
  std::uint64_t rounds = 0;
  std::uint64_t touched = 0;
  std::uint64_t mistranslated = 0;
  while (std::chrono::steady_clock::now() < end) {
    TestTree<F> owner;
    typename TestFixture::FrameSet accessed(2 * this->kFrames);
    typename TestFixture::FrameSet written(2 * this->kFrames);
    // Each thread writes down its own.
    typename TestFixture::FrameSet handed_accessed[2] = {accessed, accessed};
    typename TestFixture::FrameSet handed_written[2] = {written, written};
    std::vector<std::uint64_t> young(2 * this->kFrames / 64 + 1);
    std::vector<std::function<void()>> bodies;
    // A vCPU, which faults where nothing is mapped.
    bodies.emplace_back([&, seed = rounds] {
      std::mt19937 random(static_cast<unsigned>(seed) * 4);
      for (int i = 0; i < 24; ++i) {
        const Gfn gfn = this->RandomFrame(random);
        const Access access =
            random() % 2 == 0 ? Access::kRead : Access::kWrite;
        if (this->Touch(owner, gfn, access, mistranslated)) {
          ++touched;
          accessed[gfn.value] = true;
          if (access == Access::kWrite) written[gfn.value] = true;
          continue;
        }
        const bool large = random() % 2 == 0;
        const Gfn from{large ? gfn.value / this->kFrames * this->kFrames
                             : gfn.value};
        const Level level = large ? kLarge : kSmall;
        (void)owner.Map(from, level, TestTree<F>::Leaf(from, level));
      }
    });
    // Zaps, and splits what is large.
    bodies.emplace_back([&, seed = rounds] {
      std::mt19937 random(static_cast<unsigned>(seed) * 4 + 1);
      for (int i = 0; i < 12; ++i) {
        const LocklessWalk walk(owner.domain());
        const Gfn gfn = this->RandomFrame(random);
        if (random() % 2 == 0) {
          owner.tree().Zap(walk, GfnRange{gfn, gfn + 1}, ZapFlush::kEach,
                           this->Into(handed_accessed[0], handed_written[0]));
        } else {
          (void)owner.tree().Split(walk, this->RandomLarge(random), kLarge);
        }
      }
    });
    // Removes tables, and promotes what is small.
    bodies.emplace_back([&, seed = rounds] {
      std::mt19937 random(static_cast<unsigned>(seed) * 4 + 2);
      for (int i = 0; i < 12; ++i) {
        const LocklessWalk walk(owner.domain());
        const Gfn gfn = this->RandomLarge(random);
        if (random() % 2 == 0) {
          owner.tree().RemoveTables(
              walk, GfnRange{gfn, gfn + this->kFrames},
              this->Into(handed_accessed[1], handed_written[1]));
        } else {
          (void)owner.tree().Promote(walk, gfn, kLarge);
        }
      }
    });
    // Harvests.
    bodies.emplace_back([&] {
      for (int i = 0; i < 6; ++i) {
        (void)Harvest(
            owner.tree(), LocklessWalk(owner.domain()), this->kAll,
            AgeAction::kTestAndClear, AgeMode::kFastOnly,
            AgeOutput{.begin = Gfn{0},
                      .young = Bitmap(young.data(), 2 * this->kFrames)});
      }
    });
    test::RunThreads(bodies);
    owner.tree().Zap(LocklessWalk(owner.domain()), this->kAll, ZapFlush::kEach,
                     this->Into(handed_accessed[0], handed_written[0]));
    for (std::uint64_t i = 0; i < 2 * this->kFrames; ++i) {
      if (accessed[i]) {
        ASSERT_TRUE(Bitmap(young.data(), 2 * this->kFrames).Test(i) ||
                    handed_accessed[0][i] || handed_accessed[1][i])
            << "round " << rounds << ", frame " << i;
      }
      if (written[i]) {
        ASSERT_TRUE(handed_written[0][i] || handed_written[1][i])
            << "round " << rounds << ", frame " << i;
      }
    }
    owner.tree().RemoveTables(LocklessWalk(owner.domain()),
                              GfnRange{Gfn{0}, Gfn{TestTree<F>::Tree::kFrames}},
                              [](const auto&) {});
    ASSERT_EQ(owner.TablesInUse(), kRootTables<F>);
    ++rounds;
  }
  EXPECT_EQ(mistranslated, 0u);
  EXPECT_GT(touched, rounds);
}

// Two harvesters and a vCPU over small pages that stay: each bit that was set
// is cleared by exactly one of them, or still there.
TYPED_TEST(PageTableStressTest, HarvestersTakeEachBitOnce) {
  using F = TypeParam;
  TestTree<F> owner;
  for (std::uint64_t i = 0; i < this->kUsed; ++i) {
    owner.MustMap(Gfn{i}, kSmall, TestTree<F>::Leaf(Gfn{i}));
  }
  AgeCounts counts[2];
  std::uint64_t set = 0;
  std::mt19937 random(1);
  const auto harvester = [&](AgeCounts& mine) {
    return [&] {
      (void)Harvest(owner.tree(), LocklessWalk(owner.domain()), this->kAll,
                    AgeAction::kTestAndClear, AgeMode::kFastOnly,
                    AgeOutput{.counts = &mine});
    };
  };
  test::Stress({harvester(counts[0]), harvester(counts[1]), [&] {
                  const LocklessWalk walk(owner.domain());
                  const FoundEntry<F> found =
                      owner.tree().Lookup(walk, Gfn{random() % this->kUsed});
                  if (test::TouchAsHardware<F>(*found.entry, Access::kRead)
                          .set_accessed) {
                    ++set;
                  }
                }});
  std::uint64_t left = 0;
  for (std::uint64_t i = 0; i < this->kUsed; ++i) {
    if ((owner.Read(Gfn{i}) & Truth<F>::kAccessedBit) != 0) ++left;
  }
  std::uint64_t cleared = 0;
  for (const AgeCounts& mine : counts) cleared += mine.young - mine.lost_races;
  EXPECT_EQ(cleared + left, set);
  EXPECT_GT(set, 0u);
}

// Faults that build the same tables: one leaf for each frame, and no table
// leaks.
TYPED_TEST(PageTableStressTest, FaultsOnOnePathBuildItOnce) {
  using F = TypeParam;
  const auto end = std::chrono::steady_clock::now() + test::kStressTime;
  while (std::chrono::steady_clock::now() < end) {
    TestTree<F> owner;
    std::uint64_t done[3] = {};
    const auto faults = [&](std::uint64_t& mine) {
      return [&] {
        for (std::uint64_t i = 0; i < this->kUsed; ++i) {
          MapOutcome outcome;
          do {
            outcome = owner.Map(Gfn{i}, kSmall, TestTree<F>::Leaf(Gfn{i}));
          } while (outcome == MapOutcome::kRetry);
          if (outcome == MapOutcome::kDone) ++mine;
        }
      };
    };
    test::RunThreads({faults(done[0]), faults(done[1]), faults(done[2])});
    ASSERT_EQ(done[0] + done[1] + done[2], this->kUsed);
    ASSERT_EQ(owner.arena().InUse(), test::kTablesOfOnePath<F>);
  }
}

}  // namespace
}  // namespace ptage
