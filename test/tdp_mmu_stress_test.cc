// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The direct MMU with everything at once: vCPUs that write and fault, aging,
// dirty collection of both forms, pages that change their sizes, and zaps. What
// was written is told of, and what was accessed is reported or on record.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "gtest/gtest.h"
#include "ptage/memory.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/page_history.h"
#include "ptage/page_table.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/epoch.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/tdp_mmu.h"
#include "ptage/types.h"
#include "test/machine.h"
#include "test/stress.h"

namespace ptage {
namespace {

using F = Ept;
using Domain = EpochDomain<>;
using Tdp = TdpMmu<F, test::Arena<F>, Domain, NoFlush>;

constexpr std::size_t kTables = 64;
constexpr Level k4K{1};
constexpr Level k2M{2};
// Two large pages, of which a few frames each are used, so that threads meet.
constexpr GfnRange kAll{Gfn{0}, Gfn{1024}};

class Round {
 public:
  Round() : words_(PageHistory::WordsFor(kAll.Frames())) {
    for (auto& word : words_) WriteOnce(word, std::uint64_t{0}, kRelaxed);
  }

  // A write of a vCPU, and the faults that it needs. True if it was.
  bool Write(Gfn gfn, Level level) {
    for (int tries = 0; tries < 64; ++tries) {
      const LocklessWalk walk(domain_, WalkEntry::kWait);
      const FoundEntry<F> found = tdp_.tree().Lookup(walk, gfn);
      if (F::IsPresent(found.word) &&
          Allows(F::RightsOf(found.word), Rights::kWrite)) {
        const F::Word wanted = found.word | 0x300;  // accessed and dirty
        if (wanted == found.word ||
            TryCmpxchg(*found.entry, found.word, wanted, kRelaxed)) {
          return true;
        }
        continue;
      }
      // Faults hold what an invalidation waits for.
      absl::ReaderMutexLock lock(&mmu_lock_);
      if (tdp_.Fault(walk, gfn, Pfn{gfn.value + 512}, level, Rights::kAll,
                     Rights::kWrite) == FaultOutcome::kMapped) {
        return true;
      }
    }
    return false;
  }
  void Collect(bool protect, std::vector<std::uint64_t>& told) {
    const LocklessWalk walk(domain_, WalkEntry::kWait);
    const AgeOutput output{.begin = Gfn{0},
                           .young = Bitmap(told.data(), kAll.Frames())};
    if (protect) {
      tdp_.WriteProtect(walk, kAll, output);
    } else {
      tdp_.ClearDirty(walk, kAll, output);
    }
  }
  void Age(std::vector<std::uint64_t>& young) {
    const AgeOutput output{.begin = Gfn{0},
                           .young = Bitmap(young.data(), kAll.Frames())};
    (void)AgeWithHistory(history_, kAll, AgeAction::kTestAndClear, output, [&] {
      return tdp_.TestClearYoungFastOnly(kAll, output);
    });
  }
  void Reshape(unsigned what, Gfn gfn) {
    const LocklessWalk walk(domain_, WalkEntry::kWait);
    const auto record = [&](const ZappedLeaf& leaf) {
      history_.Record(GfnRange{leaf.gfn, leaf.gfn + FramesAt<F>(leaf.level)},
                      leaf.accessed, leaf.dirty);
    };
    switch (what % 5) {
      case 0:
        (void)tdp_.SplitLarge(walk, kAll, k4K);
        break;
      case 1:
        (void)tdp_.LiftProtection(walk, kAll);
        (void)tdp_.PromoteSmall(walk, kAll, k2M);
        break;
      case 2:
        (void)tdp_.ZapRecursive(walk, kAll, record);
        break;
      default:
        (void)tdp_.Zap(walk, GfnRange{gfn, gfn + 1}, ZapFlush::kEach, record);
    }
  }
  PageHistory& history() { return history_; }
  Tdp& tdp() { return tdp_; }
  Domain& domain() { return domain_; }
  std::size_t TablesInUse() {
    domain_.Synchronize();
    return arena_.InUse();
  }

 private:
  test::TableBlock<F> block_{kTables};
  test::Arena<F> arena_{block_.tables.data(), block_.infos.data(),
                        block_.gfns.data(), kTables, Pfn{0x1000}};
  Domain domain_;
  NoFlush flusher_;
  absl::Mutex mmu_lock_;
  Tdp tdp_{arena_, domain_, flusher_};
  std::vector<Cell<std::uint64_t>> words_;
  PageHistory history_{words_.data(), kAll};
};

TEST(TdpMmuStressTest, NoWriteAndNoAccessIsLost) {
  const auto end = std::chrono::steady_clock::now() + 4 * test::kStressTime;
  std::uint64_t rounds = 0;
  std::uint64_t writes = 0;
  while (std::chrono::steady_clock::now() < end) {
    Round round;
    std::vector<std::uint64_t> told[3];
    std::vector<std::uint64_t> young[2];
    for (auto& words : told) words.resize(kAll.Frames() / 64);
    for (auto& words : young) words.resize(kAll.Frames() / 64);
    std::vector<bool> written[2];
    std::vector<std::function<void()>> bodies;
    for (unsigned vcpu = 0; vcpu < 2; ++vcpu) {
      written[vcpu].resize(kAll.Frames());
      bodies.emplace_back([&, vcpu, seed = rounds] {
        std::mt19937 random(static_cast<unsigned>(seed) * 8 + vcpu);
        for (int i = 0; i < 24; ++i) {
          const Gfn gfn{random() % 2 * 512 + random() % 4};
          const Level level = random() % 2 == 0 ? k2M : k4K;
          if (round.Write(gfn, level)) written[vcpu][gfn.value] = true;
        }
      });
    }
    bodies.emplace_back([&] {
      for (int i = 0; i < 4; ++i) round.Collect(i % 2 == 0, told[0]);
    });
    bodies.emplace_back([&] {
      for (int i = 0; i < 4; ++i) round.Collect(i % 2 != 0, told[1]);
    });
    bodies.emplace_back([&] {
      for (int i = 0; i < 4; ++i) round.Age(young[0]);
    });
    bodies.emplace_back([&, seed = rounds] {
      std::mt19937 random(static_cast<unsigned>(seed) * 8 + 2);
      for (int i = 0; i < 8; ++i) {
        round.Reshape(static_cast<unsigned>(random()),
                      Gfn{random() % 2 * 512 + random() % 4});
      }
    });
    test::RunThreads(bodies);
    round.Collect(true, told[2]);
    // What zaps handed over.
    (void)round.history().Written(
        kAll, AgeAction::kTest,
        AgeOutput{.begin = Gfn{0},
                  .young = Bitmap(told[2].data(), kAll.Frames())});
    round.Age(young[1]);
    for (std::uint64_t i = 0; i < kAll.Frames(); ++i) {
      if (!written[0][i] && !written[1][i]) continue;
      ++writes;
      bool is_told = false;
      bool is_young = false;
      for (auto& words : told) {
        is_told |= Bitmap(words.data(), kAll.Frames()).Test(i);
      }
      for (auto& words : young) {
        is_young |= Bitmap(words.data(), kAll.Frames()).Test(i);
      }
      ASSERT_TRUE(is_told) << "round " << rounds << ", frame " << i;
      ASSERT_TRUE(is_young) << "round " << rounds << ", frame " << i;
    }
    {
      const LocklessWalk walk(round.domain());
      (void)round.tdp().ZapRecursive(walk, GfnRange{Gfn{0}, Gfn{512 * 512}},
                                     [](const ZappedLeaf&) {});
    }
    // The root, and one above what was removed.
    ASSERT_EQ(round.TablesInUse(), 2u);
    ++rounds;
  }
  EXPECT_GT(writes, rounds);
}

}  // namespace
}  // namespace ptage
