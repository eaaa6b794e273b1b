// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A process and a VM in it, for the tests of eviction.

#ifndef PTAGE_TEST_LRU_EVICTION_FIXTURE_H_
#define PTAGE_TEST_LRU_EVICTION_FIXTURE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/lru/eviction.h"
#include "ptage/mmu.h"
#include "ptage/notifier.h"
#include "ptage/once.h"
#include "ptage/page_history.h"
#include "ptage/page_table.h"
#include "ptage/reclaim.h"
#include "ptage/spte/ept.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "test/machine.h"
#include "test/process.h"
#include "test/scheme.h"

namespace ptage::test {

// Calls a function at each flush, if there is one.
struct HookedFlusher {
  void Flush(GfnRange range) {
    if (hook) hook(range);
  }
  std::function<void(GfnRange)> hook;
};

constexpr GfnRange PageOf(std::uint64_t gfn) {
  return GfnRange{Gfn{gfn}, Gfn{gfn + 1}};
}

// A process, and a VM in it, whose frames are the process's pages. L2's frame
// n + 10000 is L1's frame n.
template <class D>
class EvictionTest : public testing::Test {
 protected:
  using Chain = NotifierChain<Scheme>;
  using Process = test::Process<Chain, HookedFlusher>;
  using Machine = test::Machine<Ept, D, HookedFlusher>;
  static constexpr std::uint64_t kNested = 10000;

  // `largest` is of the VM's leaves.
  explicit EvictionTest(Level largest = Level{1})
      : words_(PageHistory::WordsFor(1500), Cell<std::uint64_t>(0)),
        history_(words_.data(), Process::kOrdinary),
        process_(chain_domain_),
        machine_(64, 256, largest, &history_),
        notifier_(*machine_.vm) {}
  void SetUp() override {
    ASSERT_TRUE(
        vm().AddMemslot(Process::kOrdinary, Process::kFirst, Rights::kAll)
            .ok());
    ASSERT_TRUE(chain().Register(notifier_).ok());
  }

  auto& mmu() { return process_.mmu; }
  auto& vm() { return *machine_.vm; }
  Chain& chain() { return process_.others; }

  FaultOutcome FaultNested(std::uint64_t gfn, Rights access = Rights::kRead) {
    return vm().NestedFault(NestedGfn{kNested + gfn}, access, [&](NestedGfn) {
      return std::optional<NestedMapping>(Gfn{gfn});
    });
  }
  // Maps a page in all three.
  void Map(std::uint64_t gfn, Rights access = Rights::kRead) {
    ASSERT_EQ(process_.Fault(gfn, access), FaultOutcome::kMapped);
    ASSERT_EQ(vm().Fault(Gfn{gfn}, access), FaultOutcome::kMapped);
    ASSERT_EQ(FaultNested(gfn, access), FaultOutcome::kMapped);
  }
  void MakeOld(GfnRange range = Process::kOrdinary) {
    (void)mmu().TestClearYoung(range);
  }
  Ept::Word DirectWord(std::uint64_t gfn) {
    return vm()
        .tdp()
        .tree()
        .Lookup(LocklessWalk(machine_.domain, WalkEntry::kWait), Gfn{gfn})
        .word;
  }
  FoundEntry<Ept> NestedEntry(std::uint64_t gfn) {
    return vm().shadow().tree().Lookup(
        LocklessWalk(machine_.domain, WalkEntry::kWait), Gfn{kNested + gfn});
  }
  // What maps the page, in all three.
  std::vector<std::uint64_t> WordsOf(std::uint64_t gfn) {
    return {process_.WordAt(gfn), DirectWord(gfn), NestedEntry(gfn).word};
  }
  static std::vector<std::uint64_t> Nothing() {
    return {X86_64::kEmpty, Ept::kEmpty, Ept::kEmpty};
  }
  Eviction EvictPage(std::uint64_t gfn) { return EvictRange(PageOf(gfn)); }
  Eviction EvictRange(GfnRange page) {
    return Evict(
        mmu(), page, marks_,
        [&](const ZappedLeaf& leaf) {
          events_.push_back(leaf.dirty ? "dirty" : "clean");
        },
        [&](bool) { events_.push_back("store"); });
  }
  // A page that was kept is as it was before.
  void ExpectKept(std::uint64_t gfn, const std::vector<std::uint64_t>& before) {
    EXPECT_EQ(WordsOf(gfn), before);
    EXPECT_EQ(events_, std::vector<std::string>{});
    // Nothing is left that keeps faults out.
    EXPECT_EQ(process_.Fault(gfn), FaultOutcome::kSpurious);
    EXPECT_EQ(vm().Fault(Gfn{gfn}, Rights::kRead), FaultOutcome::kSpurious);
    EXPECT_EQ(FaultNested(gfn), FaultOutcome::kSpurious);
  }

  std::vector<Cell<std::uint64_t>> words_;
  PageHistory history_;
  Scheme chain_domain_;
  Process process_;
  Machine machine_;
  VmNotifier<typename Machine::VmType> notifier_;
  Marks marks_;
  std::vector<std::string> events_;
};

}  // namespace ptage::test

#endif  // PTAGE_TEST_LRU_EVICTION_FIXTURE_H_
