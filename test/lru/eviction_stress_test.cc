// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Pages of a process go out and come back while CPUs write to them: the
// process's own, a guest's and a nested guest's, each through what it has
// cached, however old. In the end each page holds, or was stored with, what the
// writers know that they wrote.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/lru/eviction.h"
#include "ptage/lru/look_around.h"
#include "ptage/memory.h"
#include "ptage/mmu.h"
#include "ptage/notifier.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/primary_mmu.h"
#include "ptage/sim/vcpu.h"
#include "ptage/sim/vcpu_set.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "test/machine.h"
#include "test/process.h"
#include "test/scheme.h"
#include "test/stress.h"

namespace ptage {
namespace {

constexpr std::uint64_t kPages = 96;
constexpr GfnRange kAll{Gfn{0}, Gfn{kPages}};
constexpr std::size_t kWriters = 3;
// Of each writer, however long that takes.
constexpr std::uint64_t kLeastWrites = 200;

// Where a page is. An evictor claims one that is in; a fault brings one in that
// is out.
enum Where : std::uint32_t { kIn, kClaimed, kOut, kComing };

struct Cpus : sim::VcpuSet {
  Cpus() : VcpuSet(kWriters) {}
  // Much may happen between a change and the flush that follows it.
  void Flush(GfnRange range) {
    std::this_thread::yield();
    VcpuSet::Flush(range);
  }
};

template <class D>
class EvictionStressTest : public testing::Test {
 protected:
  using Chain = NotifierChain<test::Scheme>;
  using Process = test::Process<Chain, Cpus>;
  using Machine = test::Machine<Ept, D, Cpus>;
  using Vm = typename Machine::VmType;

  EvictionStressTest()
      : where_(kPages, Cell<std::uint32_t>(kIn)),
        memory_(kPages, Cell<std::uint64_t>(0)),
        stored_(kPages),
        process_(chain_domain_),
        vm_({.memory = machine_.arena,
             .reclaimer = machine_.domain,
             .flusher = machine_.flusher,
             .rmaps = machine_.rmaps,
             .mmu_lock = machine_.mmu_lock,
             .may_map = [this](GfnRange frames) { return AreIn(frames); }},
            Level{1}),
        notifier_(vm_) {
    for (auto& written : written_) written.resize(kPages);
  }
  void SetUp() override {
    ASSERT_TRUE(vm_.AddMemslot(kAll, Process::kFirst, Rights::kAll).ok());
    ASSERT_TRUE(process_.others.Register(notifier_).ok());
    process_.resident = [this](Gfn gfn) { return AreIn({gfn, gfn + 1}); };
  }

  bool AreIn(GfnRange frames) {
    bool in = true;
    for (Gfn gfn = frames.begin; gfn < frames.end; gfn = gfn + 1) {
      in &= ReadOnce(where_[gfn.value], kAcquire) == kIn;
    }
    return in;
  }
  void BringIn(std::uint64_t page) {
    if (!TryCmpxchg(where_[page], kOut, kComing, kAcquire)) return;
    WriteOnce(memory_[page], stored_[page], kRelaxed);
    WriteOnce(where_[page], kIn, kRelease);
  }
  // One try of a fault. L2 names page n n + 1000 and n + 2000.
  FaultOutcome Fault(std::size_t writer, std::uint64_t name) {
    BringIn(name % 1000);
    if (writer == 0) return process_.Fault(name, Rights::kWrite);
    if (writer == 1) return vm_.Fault(Gfn{name}, Rights::kWrite);
    return vm_.NestedFault(
        NestedGfn{name}, Rights::kWrite, [](NestedGfn asked) {
          return std::optional<NestedMapping>(Gfn{asked.value % 1000});
        });
  }

  // Each writer stays around a place that moves on.
  template <SpteFormat F>
  void Write(std::size_t writer, sim::VcpuSet& cpus, test::Arena<F>& arena,
             Table<F>* root, test::StopSign& stop) {
    using Vcpu = sim::Vcpu<F, test::Arena<F>>;
    Vcpu vcpu(cpus, writer, arena, *root);
    std::mt19937 random(static_cast<unsigned>(writer));
    const sim::Running<Vcpu> running(vcpu);
    std::uint64_t writes = 0;
    for (unsigned turn = 0; !stop.Raised() || writes < kLeastWrites; ++turn) {
      const std::uint64_t place = writer * 32 + writes / 64;
      WriteOnce(places_[writer], place, kRelaxed);
      const std::uint64_t page = (place + random() % 4) % kPages;
      const std::uint64_t name =
          writer == 2 ? page + 1000 * (1 + random() % 2) : page;
      const sim::Translation at = vcpu.Translate(Gfn{name}, Rights::kWrite);
      if (at) {
        // Before the next reference, or a flusher would not wait for it.
        FetchAdd(memory_[at.pfn.value - Process::kFirst.value],
                 std::uint64_t{1}, kRelaxed);
        ++written_[writer][page];
        ++writes;
        if (turn % 64 != 0) continue;
      }
      const sim::NotRunning<Vcpu> out(vcpu);
      if (!at) {
        // No memory, perhaps: the chunks of rmaps that were emptied wait for
        // walks. Then it comes again.
        (void)RetryMarking(
            marks_, {Gfn{page}, Gfn{page + 1}},
            [&] { return Fault(writer, name); },
            [] { std::this_thread::yield(); });
      }
      std::this_thread::yield();
    }
  }
  // A page that some writer is about to use, or has just left.
  std::uint64_t PageNearWriter(std::mt19937& random) {
    const std::uint64_t place =
        ReadOnce(places_[random() % kWriters], kRelaxed);
    return (place + kPages - 4 + random() % 8) % kPages;
  }
  void EvictOne(std::uint64_t page) {
    if (!TryCmpxchg(where_[page], kIn, kClaimed, kAcquire)) return;
    const Eviction done = Evict(
        process_.mmu, {Gfn{page}, Gfn{page + 1}}, marks_,
        [](const ZappedLeaf& leaf) { EXPECT_FALSE(leaf.accessed); },
        [&](bool) {
          stored_[page] = ReadOnce(memory_[page], kRelaxed);
          // The frame is somebody else's now.
          WriteOnce(memory_[page], std::uint64_t{1} << 40, kRelaxed);
        });
    const bool evicted = done.outcome == EvictOutcome::kEvicted;
    WriteOnce(where_[page], evicted ? kOut : kIn, kRelease);
    ++(evicted ? evicted_ : kept_);
  }
  void Unmap(std::uint64_t page) {
    (void)process_.mmu.Unmap(
        {Gfn{page}, Gfn{page + 1}}, [&](const ZappedLeaf& leaf) {
          if (leaf.accessed) {
            marks_.MarkReferenced({Gfn{page}, Gfn{page + 1}});
          }
        });
  }

  std::vector<Cell<std::uint32_t>> where_;
  // By page: what it holds, and what was stored.
  std::vector<Cell<std::uint64_t>> memory_;
  std::vector<std::uint64_t> stored_;
  std::vector<std::uint64_t> written_[kWriters];
  // Where each writer is.
  std::vector<Cell<std::uint64_t>> places_ =
      std::vector<Cell<std::uint64_t>>(kWriters, Cell<std::uint64_t>(0));
  test::Marks marks_;
  test::Scheme chain_domain_;
  Process process_;
  Machine machine_;
  Vm vm_;
  VmNotifier<Vm> notifier_;
  // One evictor.
  std::uint64_t evicted_ = 0;
  std::uint64_t kept_ = 0;
};

using Disciplines =
    testing::Types<test::BitRmaps<Ept>, test::LocklessRmaps<Ept>>;
TYPED_TEST_SUITE(EvictionStressTest, Disciplines);

TYPED_TEST(EvictionStressTest, NoWriteIsLostThatAPageGoesOutWith) {
  test::StopSign stop;
  auto& machine = this->machine_;
  auto& process = this->process_;
  std::vector<std::thread> writers;
  writers.emplace_back([&] {
    this->Write(0, process.flusher, process.arena,
                process.mmu.own().tree().root(), stop);
  });
  writers.emplace_back([&] {
    this->Write(1, machine.flusher, machine.arena,
                this->vm_.tdp().tree().root(), stop);
  });
  writers.emplace_back([&] {
    this->Write(2, machine.flusher, machine.arena,
                this->vm_.shadow().tree().root(), stop);
  });
  std::mt19937 evictor(1), ager(2), unmapper(3);
  test::Stress({[&] { this->EvictOne(this->PageNearWriter(evictor)); },
                [&] {
                  (void)process.mmu.TestClearYoungFastOnly(kAll);
                  (void)LookAround(process.mmu,
                                   Gfn{this->PageNearWriter(ager)});
                },
                [&] { this->Unmap(this->PageNearWriter(unmapper)); }});
  // Where flushes take long, that was not much.
  while (this->evicted_ < 20 || this->kept_ < 20) {
    this->EvictOne(this->PageNearWriter(evictor));
    std::this_thread::yield();
  }
  stop.Raise();
  for (std::thread& writer : writers) writer.join();
  for (std::uint64_t page = 0; page < kPages; ++page) {
    std::uint64_t truth = 0;
    for (const auto& written : this->written_) truth += written[page];
    this->BringIn(page);
    ASSERT_EQ(ReadOnce(this->memory_[page], kRelaxed), truth) << page;
  }
  this->RecordProperty("evicted", static_cast<int>(this->evicted_));
  this->RecordProperty("kept", static_cast<int>(this->kept_));
}

}  // namespace
}  // namespace ptage
