// SPDX-License-Identifier: MIT OR Apache-2.0
//
// vCPUs that read and write pages through the tables while these are zapped,
// aged, remapped to other pages, and removed. The pages are plain memory, which
// their next owner overwrites: a translation that outlives a flush is a wrong
// owner here, and a data race for ThreadSanitizer.

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "ptage/memory/arena.h"
#include "ptage/page_table.h"
#include "ptage/sim/tlb.h"
#include "ptage/sim/translation_cache.h"
#include "ptage/sim/vcpu.h"
#include "ptage/sim/walk_cache.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"
#include "ptage/walk.h"
#include "test/sim/guest.h"

namespace ptage::sim {
namespace {

constexpr std::size_t kVcpus = 2;
// Under two leaf tables.
constexpr std::uint64_t kFramesEach = 24;
constexpr std::size_t kPages = 40;
constexpr Pfn kFirstPage{0x800};
// Of the evictor. Each may wait for a thread that has lost its processor.
constexpr int kTurns = 3000;

using Cache = SplitCache<Ept, Tlb<Ept, 4, 2>, WalkCache<Ept, 2>>;
using StressVcpu = Vcpu<Ept, TableArena<Ept>, Cache>;

Gfn FrameNumber(std::uint64_t i) {
  return Gfn{i < kFramesEach ? i : 512 + i - kFramesEach};
}

// Neither atomic nor locked: the tables and the flush must order it.
struct Page {
  std::uint64_t owner = 0;
  std::array<std::uint64_t, kVcpus> writes{};
};

class Stress {
 public:
  Stress() : guest_(kVcpus) {
    for (std::size_t i = 0; i < kPages; ++i) {
      free_.push_back(kFirstPage + i);
    }
  }

  void RunVcpu(std::size_t index) {
    auto vcpu = std::make_unique<StressVcpu>(guest_.cpus, index, guest_.memory,
                                             *guest_.tree.root());
    std::mt19937_64 random(index);
    {
      const Running running(*vcpu);
      while (!ended_.load()) {
        const Gfn gfn = FrameNumber(random() % (2 * kFramesEach));
        const Rights needed =
            random() % 4 == 0 ? Rights::kWrite : Rights::kRead;
        Translation found = vcpu->Translate(gfn, needed);
        // Without the evictor there may be no page to be had.
        while (!found && !ended_.load()) {
          ASSERT_EQ(found.fault, FaultCause::kNotPresent);
          {
            const NotRunning out(*vcpu);
            HandleFault(gfn);
          }
          found = vcpu->Translate(gfn, needed);
        }
        if (!found) break;
        Page& page = PageAt(found.pfn);
        ASSERT_EQ(page.owner, gfn.value);
        if (needed == Rights::kWrite) ++page.writes[index];
      }
    }
    const VcpuStats& stats = vcpu->stats();
    EXPECT_GT(stats.Hits(), 0u);
    EXPECT_GT(stats.flushes, 0u);
  }

  void RunEvictor() {
    std::mt19937_64 random(99);
    for (int i = 0; i < kTurns; ++i) {
      const std::uint64_t turn = random();
      if (turn % 16 == 0) {
        RemoveTable(turn / 16 % 2);
      } else if (turn % 4 == 0) {
        ClearAll();
      } else {
        ZapOne(FrameNumber(turn / 16 % (2 * kFramesEach)));
      }
      // Or the vCPUs would do nothing but fault.
      if (turn % 8 == 0) std::this_thread::yield();
    }
    ended_.store(true);
    EXPECT_GT(zapped_, 0u);
    EXPECT_GT(removed_, 0u);
  }

 private:
  using Walk = test::Guest<Ept>::Walk;

  Page& PageAt(Pfn pfn) { return pages_.at(pfn.value - kFirstPage.value); }

  void HandleFault(Gfn gfn) {
    Pfn pfn;
    {
      absl::MutexLock lock(&mutex_);
      if (free_.empty()) return;
      pfn = free_.back();
      free_.pop_back();
    }
    PageAt(pfn).owner = gfn.value;
    const Walk walk(guest_.domain, WalkEntry::kWait);
    const MapOutcome mapped = guest_.tree.Map(
        walk, gfn, Level{1}, Ept::MakeLeaf(pfn, Level{1}, Rights::kAll));
    if (mapped != MapOutcome::kDone) GiveBack(pfn);
  }
  void GiveBack(Pfn pfn) {
    absl::MutexLock lock(&mutex_);
    free_.push_back(pfn);
  }

  // After the flush.
  void Take(Gfn gfn, Ept::Word leaf) {
    const Pfn pfn = Ept::FrameOf(leaf);
    Page& page = PageAt(pfn);
    EXPECT_EQ(page.owner, gfn.value);
    bool written = false;
    for (std::uint64_t& writes : page.writes) {
      written |= writes != 0;
      writes = 0;
    }
    EXPECT_TRUE(!written || IsDirty<Ept>(leaf));
    page.owner = ~std::uint64_t{0};
    GiveBack(pfn);
  }

  void ZapOne(Gfn gfn) {
    const Walk walk(guest_.domain, WalkEntry::kWait);
    zapped_ += guest_.tree.Zap(
        walk, GfnRange{gfn, gfn + 1}, ZapFlush::kEach,
        [&](const TakenLeaf<Ept>& leaf) { Take(leaf.gfn, leaf.word); });
  }

  void RemoveTable(std::uint64_t index) {
    struct Leaf {
      Gfn gfn;
      Ept::Word word;
    };
    std::vector<Leaf> taken;
    {
      const Walk walk(guest_.domain, WalkEntry::kWait);
      removed_ += guest_.tree.RemoveTables(
          walk, GfnRange{Gfn{512 * index}, Gfn{512 * (index + 1)}},
          [&](const TakenLeaf<Ept>& leaf) {
            taken.push_back(Leaf{leaf.gfn, leaf.word});
          });
    }
    for (const Leaf& leaf : taken) Take(leaf.gfn, leaf.word);
    guest_.domain.Poll();
  }

  void ClearAll() {
    const Walk walk(guest_.domain, WalkEntry::kWait);
    WalkAll(guest_.tree, walk, GfnRange{Gfn{0}, Gfn{1024}},
            [](const VisitedEntry<Ept>& visited) {
              AgeSeen<Ept>(visited.entry, visited.seen,
                           AgeAction::kTestAndClear, [] { return true; });
            });
  }

  test::Guest<Ept> guest_;
  std::array<Page, kPages> pages_;
  std::atomic<bool> ended_{false};
  std::uint64_t zapped_ = 0;
  std::uint64_t removed_ = 0;
  absl::Mutex mutex_;
  std::vector<Pfn> free_ ABSL_GUARDED_BY(mutex_);
};

TEST(VcpuStressTest, NoTranslationOutlivesItsPage) {
  Stress stress;
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < kVcpus; ++i) {
    threads.emplace_back([&stress, i] { stress.RunVcpu(i); });
  }
  stress.RunEvictor();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace ptage::sim
