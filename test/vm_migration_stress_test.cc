// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A VM's memory is copied while it runs (migration): vCPUs of the guest and of
// its own guests write, pages are aged, taken away and given back, and L1
// changes its tables; a copier asks in rounds what was written, and copies
// that. In the end the copy holds what the writers know that they wrote.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/memory.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/page_history.h"
#include "ptage/page_table.h"
#include "ptage/sim/vcpu.h"
#include "ptage/sim/vcpu_set.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/spte/ept_tracked.h"
#include "ptage/types.h"
#include "test/machine.h"
#include "test/stress.h"

namespace ptage {
namespace {

constexpr std::uint64_t kPages = 252;
constexpr GfnRange kAll{Gfn{0}, Gfn{kPages}};
constexpr std::uint64_t kBase = 512;
// Each page of L1 has two names in each L2.
constexpr std::uint64_t kNames = 2 * kPages;
constexpr std::size_t kVcpus = 4;
// Of each vCPU, however long that takes.
constexpr std::uint64_t kLeastWrites = 200;

struct Cpus : sim::VcpuSet {
  Cpus() : VcpuSet(kVcpus) {}
  // Much may happen between a change and the flush that follows it.
  void Flush(GfnRange range) {
    std::this_thread::yield();
    VcpuSet::Flush(range);
  }
};

enum class How { kClear, kProtect, kEither };
enum class Who { kEverybody, kNestedAlone };

template <class F, template <class> class D>
class Migration {
 public:
  using Machine = test::Machine<F, D<F>, Cpus>;
  using Vcpu = sim::Vcpu<F, test::Arena<F>>;

  Migration()
      : words_(PageHistory::WordsFor(kPages), Cell<std::uint64_t>(0)),
        history_(words_.data(), kAll),
        machine_(64, 1024, Level{1}, &history_),
        places_(kVcpus, Cell<std::uint64_t>(0)),
        memory_(kPages, Cell<std::uint64_t>(0)),
        copy_(kPages) {
    EXPECT_TRUE(vm().AddMemslot(kAll, Pfn{kBase}, Rights::kAll).ok());
    EXPECT_TRUE(vm().AddNestedGuest().has_value());
  }

  // Two vCPUs write by direct tables, one in each nested guest by its own. The
  // nested ones alone write to the last third of the pages; or to all, and
  // nobody else takes pages away, so that nothing is flushed for their sake but
  // what the copier changed of theirs.
  void Run(How how, Who who) {
    test::StopSign stop;
    std::vector<std::thread> writers;
    for (auto& written : written_) written.resize(kPages);
    for (std::size_t i = who == Who::kEverybody ? 0 : 2; i < kVcpus; ++i) {
      writers.emplace_back([&, i] { Write(i, stop); });
    }
    std::mt19937 random(1);
    test::Stress({[&] { Copy(how); },
                  [&] {
                    (void)vm().TestClearYoungFastOnly(kAll);
                    (void)vm().TestClearYoung(kAll);
                  },
                  [&] {
                    if (who == Who::kEverybody) TakeAway(random);
                  }});
    stop.Raise();
    for (std::thread& writer : writers) writer.join();
    Copy(how);
  }
  void ExpectCopied() {
    for (std::uint64_t page = 0; page < kPages; ++page) {
      std::uint64_t truth = 0;
      for (const auto& written : written_) truth += written[page];
      ASSERT_EQ(copy_[page], truth) << "page " << page;
    }
    EXPECT_GT(rounds_, 1u);
  }

 private:
  auto& vm() { return *machine_.vm; }

  // Each vCPU writes around a place that moves on: so a page that was told of
  // too early stays as it is for a while, and is not told of again.
  void Write(std::size_t number, test::StopSign& stop) {
    const bool nested = number >= 2;
    const NestedGuest guest{static_cast<std::uint32_t>(number % 2)};
    Vcpu vcpu(
        machine_.flusher, number, machine_.arena,
        nested ? *vm().shadow().tree(guest).root() : *vm().tdp().tree().root());
    std::mt19937 random(static_cast<unsigned>(number));
    const sim::Running<Vcpu> running(vcpu);
    std::uint64_t writes = 0;
    for (unsigned turn = 0; !stop.Raised() || writes < kLeastWrites; ++turn) {
      const std::uint64_t place = number * 64 + writes / 64;
      const std::uint64_t name =
          (place + random() % 4) % (nested ? kNames : kPages * 2 / 3);
      WriteOnce(places_[number], name, kRelaxed);
      const sim::Translation at = vcpu.Translate(Gfn{name}, Rights::kWrite);
      if (at) {
        // Before the next reference, or a flusher would not wait for it.
        FetchAdd(memory_[at.pfn.value - kBase], std::uint64_t{1}, kRelaxed);
        ++written_[number][name % kPages];
        ++writes;
        if (turn % 64 != 0) continue;
      }
      const sim::NotRunning<Vcpu> out(vcpu);
      if (!at) {
        if (nested) {
          (void)vm().NestedFault(
              NestedGfn{name}, Rights::kWrite,
              [](NestedGfn asked) {
                return std::optional(Gfn{asked.value % kPages});
              },
              guest);
        } else {
          (void)vm().Fault(Gfn{name}, Rights::kWrite);
        }
      }
      std::this_thread::yield();
    }
  }
  void Copy(How how) {
    ++rounds_;
    std::vector<std::uint64_t> told((kPages + 63) / 64);
    const AgeOutput output{.begin = kAll.begin,
                           .young = Bitmap(told.data(), kPages)};
    if constexpr (WriteProtectable<F>) {
      if (how == How::kProtect || (how == How::kEither && rounds_ % 2 == 0)) {
        (void)vm().WriteProtect(kAll, output);
      } else {
        (void)vm().ClearDirty(kAll, output);
      }
      if (how == How::kEither && rounds_ % 8 == 0) {
        (void)vm().LiftProtection(kAll);
      }
    } else {
      (void)vm().ClearDirty(kAll, output);
    }
    for (std::uint64_t page = 0; page < kPages; ++page) {
      if (!Bitmap(told.data(), kPages).Test(page)) continue;
      copy_[page] = ReadOnce(memory_[page], kRelaxed);
    }
  }
  void TakeAway(std::mt19937& random) {
    const auto drop = [](const ZappedLeaf&) {};
    const std::size_t number = random() % kVcpus;
    const std::uint64_t name = ReadOnce(places_[number], kRelaxed);
    if (number >= 2 && random() % 2 == 0) {
      (void)vm().InvalidateNested(
          {NestedGfn{name}, NestedGfn{name + 4}}, drop, [] {},
          NestedGuest{static_cast<std::uint32_t>(number % 2)});
    } else {
      const Gfn gfn{name % kPages};
      (void)vm().Invalidate({gfn, gfn + 4}, drop);
    }
  }

  std::vector<Cell<std::uint64_t>> words_;
  PageHistory history_;
  Machine machine_;
  // Where each vCPU is.
  std::vector<Cell<std::uint64_t>> places_;
  // By page: what it holds, and what was copied.
  std::vector<Cell<std::uint64_t>> memory_;
  std::vector<std::uint64_t> copy_;
  // Each writer's own.
  std::vector<std::uint64_t> written_[kVcpus];
  std::uint64_t rounds_ = 0;
};

template <class T>
class VmMigrationStressTest : public testing::Test {};

template <class F_, template <class> class D>
struct Case {
  using Type = Migration<F_, D>;
};
template <class F>
using Single = test::SingleRmaps<F>;
template <class F>
using Bit = test::BitRmaps<F>;
template <class F>
using Free = test::LocklessRmapsUnderLock<F>;
using Cases = testing::Types<Case<Ept, Single>, Case<Ept, Bit>, Case<Ept, Free>,
                             Case<EptTracked, Free>>;
TYPED_TEST_SUITE(VmMigrationStressTest, Cases);

TYPED_TEST(VmMigrationStressTest, TheCopyIsWhatAllWritersWrote) {
  for (const Who who : {Who::kEverybody, Who::kNestedAlone}) {
    for (const How how : {How::kClear, How::kProtect, How::kEither}) {
      typename TypeParam::Type migration;
      migration.Run(how, who);
      migration.ExpectCopied();
    }
  }
}

}  // namespace
}  // namespace ptage
