// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Nested faults of several threads, through few frames of L1 with many names
// each, against aging, invalidations of both kinds, and each other. When all
// have ended, rmaps and entries tell the same.

#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/memory.h"
#include "ptage/memslot.h"
#include "ptage/mmu.h"
#include "ptage/page_table.h"
#include "ptage/reclaim.h"
#include "ptage/rmap.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"
#include "ptage/vm.h"
#include "test/machine.h"
#include "test/stress.h"

namespace ptage {
namespace {

constexpr std::uint64_t kFrames = 8;
// So that a list may be full.
constexpr std::uint64_t kNames = kFrames * (kDefaultRmapCap + 100);

template <class D>
class VmNestedStressTest : public testing::Test {
 protected:
  using Machine = test::Machine<Ept, D>;

  void SetUp() override {
    ASSERT_TRUE(vm().AddMemslot(kAll, Pfn{512}, Rights::kAll).ok());
  }
  auto& vm() { return *machine_.vm; }

  // L1's frame behind a name changes now and then, and nobody says so.
  FaultOutcome Fault(std::uint64_t name, std::uint64_t shift, Rights access) {
    return vm().NestedFault(NestedGfn{name}, access,
                            [&](NestedGfn) -> std::optional<NestedMapping> {
                              return NestedMapping(
                                  Gfn{(name + shift) % kFrames},
                                  access | Rights::kRead);
                            });
  }

  static constexpr GfnRange kAll{Gfn{0}, Gfn{kFrames}};
  Machine machine_{64, 4096, Level{1}};
};

using Disciplines =
    testing::Types<test::SingleRmaps<Ept>, test::BitRmaps<Ept>,
                   test::LocklessRmaps<Ept>, test::LocklessRmapsUnderLock<Ept>>;
TYPED_TEST_SUITE(VmNestedStressTest, Disciplines);

TYPED_TEST(VmNestedStressTest, RmapsAndEntriesTellTheSameInTheEnd) {
  auto& vm = this->vm();
  std::vector<std::mt19937> randoms;
  for (unsigned seed = 1; seed <= 5; ++seed) randoms.emplace_back(seed);
  const auto fault = [&](std::mt19937& random) {
    for (int i = 0; i < 64; ++i) {
      const std::uint64_t shift = random() % 512 == 0 ? 1 : 0;
      const Rights access =
          random() % 2 == 0 ? Rights::kReadWrite : Rights::kRead;
      const FaultOutcome outcome =
          this->Fault(random() % kNames, shift, access);
      // No memory: the chunks of lists that were zapped wait for walks.
      ASSERT_TRUE(outcome == FaultOutcome::kMapped ||
                  outcome == FaultOutcome::kSpurious ||
                  outcome == FaultOutcome::kRetry ||
                  outcome == FaultOutcome::kNoMemory);
    }
  };
  const std::vector<std::function<void()>> bodies = {
      [&] { fault(randoms[0]); }, [&] { fault(randoms[1]); },
      [&] { fault(randoms[2]); },
      [&] { (void)vm.TestClearYoungFastOnly(this->kAll); },
      [&] {
        if (randoms[4]() % 8 != 0) return;
        const auto drop = [](const ZappedLeaf&) {};
        if (randoms[4]() % 2 == 0) {
          const Gfn gfn{randoms[4]() % kFrames};
          (void)vm.Invalidate(GfnRange{gfn, gfn + 1}, drop);
        } else {
          const NestedGfn nested{randoms[4]() % kNames};
          (void)vm.InvalidateNested(NestedRange{nested, nested + 200}, drop,
                                    [] {});
        }
      }};
  test::Stress(bodies);

  const LocklessWalk walk(this->machine_.domain);
  std::uint64_t leaves = 0;
  for (std::uint64_t name = 0; name < kNames; ++name) {
    const FoundEntry<Ept> found = vm.shadow().tree().Lookup(walk, Gfn{name});
    ASSERT_FALSE(IsFrozen<Ept>(found.word));
    if (!Ept::IsPresent(found.word)) continue;
    ++leaves;
    const Gfn gfn = RecordedFrame<Ept>(this->machine_.arena, *found.entry);
    ASSERT_EQ(Ept::FrameOf(found.word), Pfn{512 + gfn.value});
    Memslot<Ept>* const slot = vm.memslots().Find(walk, gfn);
    ASSERT_NE(slot, nullptr);
    ASSERT_TRUE(this->machine_.rmaps.Contains(slot->HeadOf(gfn, Level{1}),
                                              *found.entry));
  }
  std::uint64_t entries = 0;
  for (Gfn gfn = this->kAll.begin; gfn < this->kAll.end; gfn = gfn + 1) {
    entries +=
        vm.shadow().CountEntries(*vm.memslots().Find(walk, gfn), gfn, Level{1});
  }
  EXPECT_GT(leaves, 0u);
  EXPECT_EQ(entries, leaves);
  EXPECT_EQ(vm.shadow().live(), leaves);
}

}  // namespace
}  // namespace ptage
