// SPDX-License-Identifier: MIT OR Apache-2.0
//
// vCPUs that set no bits: they read and write pages through tables that are
// aged and zapped meanwhile, and fault on what aging left. The pages are plain
// memory, which their next owner overwrites: a translation that outlives its
// mapping is a wrong owner here, and a data race for ThreadSanitizer.

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <random>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/fast_fault.h"
#include "ptage/harvest.h"
#include "ptage/lock.h"
#include "ptage/memory/arena.h"
#include "ptage/page_table.h"
#include "ptage/reclaim.h"
#include "ptage/sim/tlb.h"
#include "ptage/sim/translation_cache.h"
#include "ptage/sim/vcpu.h"
#include "ptage/sim/walk_cache.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/formats.h"
#include "test/sim/guest.h"
#include "test/stress.h"

namespace ptage {
namespace {

constexpr std::size_t kVcpus = 2;
constexpr std::uint64_t kFrames = 16;
constexpr std::size_t kPages = 12;
constexpr Pfn kFirstPage{0x800};
// Of the evictor: so many, and then until each thread has done what it is there
// for, which may take long on a busy machine.
constexpr int kTurns = 2000;
constexpr int kMostTurns = 1000 * kTurns;
constexpr GfnRange kAll{Gfn{0}, Gfn{kFrames}};

struct Page {
  std::uint64_t owner = 0;
  std::array<std::uint64_t, kVcpus> writes{};
};

template <class F>
class Machine {
 public:
  Machine() : guest_(kVcpus) {
    for (std::size_t i = 0; i < kPages; ++i) free_.push_back(kFirstPage + i);
  }

  void RunVcpu(std::size_t index) {
    Vcpu vcpu(guest_.cpus, index, guest_.memory, *guest_.tree.root());
    std::mt19937_64 random(index);
    const sim::Running running(vcpu);
    while (!ended_.load()) {
      const Gfn gfn{random() % kFrames};
      const Rights needed = random() % 4 == 0 ? Rights::kWrite : Rights::kRead;
      sim::Translation found = vcpu.Translate(gfn, needed);
      while (!found && !ended_.load()) {
        ASSERT_TRUE(found.fault == sim::FaultCause::kNotPresent ||
                    found.fault == sim::FaultCause::kUnmarked);
        {
          const sim::NotRunning out(vcpu);
          HandleFault(gfn, needed);
        }
        found = vcpu.Translate(gfn, needed);
      }
      if (!found) break;
      Page& page = PageAt(found.pfn);
      ASSERT_EQ(page.owner, gfn.value);
      if (needed == Rights::kWrite) ++page.writes[index];
      if (vcpu.stats().Hits() != 0) hit_[index].store(true);
    }
  }

  void RunAger() {
    while (!ended_.load()) {
      const Walk walk(guest_.domain, WalkEntry::kWait);
      AgeCounts counts;
      (void)Harvest(guest_.tree, walk, kAll, AgeAction::kTestAndClear,
                    AgeMode::kFastOnly, AgeOutput{.counts = &counts});
      young_.fetch_add(counts.young);
      std::this_thread::yield();
    }
  }

  // Zaps, and flushes at times without, so that what was aged shows.
  void RunEvictor() {
    std::mt19937_64 random(99);
    for (int i = 0; i < kTurns || (!AllSeen() && i < kMostTurns); ++i) {
      if (i % 4 == 0) {
        guest_.cpus.Flush(kAll);
      } else {
        ZapOne(Gfn{random() % kFrames});
      }
      if (i % 2 == 0) std::this_thread::yield();
    }
    ended_.store(true);
  }

  // Alone.
  void Check() {
    for (std::uint64_t gfn = 0; gfn < kFrames; ++gfn) ZapOne(Gfn{gfn});
    EXPECT_EQ(free_.size(), kPages);
    EXPECT_GT(zapped_dirty_, 0u);
    EXPECT_GT(fixed_.load(), 0u);
    EXPECT_GT(young_.load(), 0u);
    for (const auto& hit : hit_) EXPECT_TRUE(hit.load());
  }

 private:
  using Walk = typename test::Guest<F>::Walk;
  using Word = typename F::Word;
  using Cache = sim::SplitCache<F, sim::Tlb<F, 4, 2>, sim::WalkCache<F, 2>>;
  using Vcpu = sim::Vcpu<F, TableArena<F>, Cache>;

  // By the evictor.
  [[nodiscard]] bool AllSeen() const {
    bool all = zapped_dirty_ != 0 && fixed_.load() != 0 && young_.load() != 0;
    for (const auto& hit : hit_) all &= hit.load();
    return all;
  }
  Page& PageAt(Pfn pfn) { return pages_.at(pfn.value - kFirstPage.value); }

  void HandleFault(Gfn gfn, Rights access) {
    const Walk walk(guest_.domain, WalkEntry::kWait);
    const FastFaultOutcome fast = FastFault(guest_.tree, walk, gfn, access);
    ASSERT_NE(fast, FastFaultOutcome::kNotPermitted);
    if (fast == FastFaultOutcome::kFixed) fixed_.fetch_add(1);
    if (!NeedsSlowPath(fast)) return;
    Pfn pfn;
    {
      const ScopedLock<SpinLock> hold(lock_);
      if (free_.empty()) return;
      pfn = free_.back();
      free_.pop_back();
    }
    PageAt(pfn).owner = gfn.value;
    const Word leaf = Used<F>(F::MakeLeaf(pfn, Level{1}, Rights::kAll), access);
    if (guest_.tree.Map(walk, gfn, Level{1}, leaf) != MapOutcome::kDone) {
      GiveBack(pfn);
    }
  }
  void GiveBack(Pfn pfn) {
    const ScopedLock<SpinLock> hold(lock_);
    free_.push_back(pfn);
  }
  void ZapOne(Gfn gfn) {
    const Walk walk(guest_.domain, WalkEntry::kWait);
    guest_.tree.Zap(walk, GfnRange{gfn, gfn + 1}, ZapFlush::kEach,
                    [&](const TakenLeaf<F>& leaf) { Take(leaf); });
  }
  // After the flush. A page that was written is handed over dirty, however
  // often it was aged since.
  void Take(const TakenLeaf<F>& leaf) {
    const Pfn pfn = F::FrameOf(leaf.word);
    Page& page = PageAt(pfn);
    EXPECT_EQ(page.owner, leaf.gfn.value);
    bool written = false;
    for (std::uint64_t& writes : page.writes) {
      written |= writes != 0;
      writes = 0;
    }
    EXPECT_TRUE(!written || IsDirty<F>(leaf.word));
    EXPECT_EQ(F::RightsOf(leaf.word), Rights::kAll);
    if (written) ++zapped_dirty_;
    page.owner = ~std::uint64_t{0};
    GiveBack(pfn);
  }

  test::Guest<F> guest_;
  std::array<Page, kPages> pages_;
  std::atomic<bool> ended_{false};
  std::atomic<std::uint64_t> fixed_{0};
  std::atomic<std::uint64_t> young_{0};
  std::array<std::atomic<bool>, kVcpus> hit_{};
  std::uint64_t zapped_dirty_ = 0;
  SpinLock lock_;
  std::vector<Pfn> free_;
};

template <class F>
class FastFaultStressTest : public ::testing::Test {};
TYPED_TEST_SUITE(FastFaultStressTest, test::MarkedByFaults, test::FormatNames);

TYPED_TEST(FastFaultStressTest, NoWriteAndNoPageIsLost) {
  Machine<TypeParam> machine;
  test::RunThreads({[&] { machine.RunVcpu(0); }, [&] { machine.RunVcpu(1); },
                    [&] { machine.RunAger(); }, [&] { machine.RunEvictor(); }});
  machine.Check();
}

}  // namespace
}  // namespace ptage
