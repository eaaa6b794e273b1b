// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A CPU of the reclaim soak: reads and writes pages through what it has cached,
// knows what it must find there, and faults.

#ifndef PTAGE_TEST_SOAK_RECLAIM_CPU_H_
#define PTAGE_TEST_SOAK_RECLAIM_CPU_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <random>
#include <thread>
#include <vector>

#include "ptage/lru/eviction.h"
#include "ptage/memory.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/sim/vcpu.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/machine.h"
#include "test/soak/reclaim/pages.h"
#include "test/soak/reclaim/tallies.h"
#include "test/soak/reclaim/uses.h"
#include "test/soak/reclaim/world.h"
#include "test/stress.h"

namespace ptage::reclaim_soak {

class Cpu {
 public:
  Cpu(World& world, std::size_t number, std::uint64_t seed)
      : world_(world),
        number_(number),
        random_(seed * kCpus + number),
        seen_(kPages) {}

  // Until `stop` is raised. One thread at a time.
  template <SpteFormat F>
  void Run(Cpus& set, test::Arena<F>& arena, Table<F>& root,
           const test::StopSign& stop) {
    sim::Vcpu<F, test::Arena<F>> vcpu(set, number_, arena, root);
    const sim::Running<decltype(vcpu)> running(vcpu);
    while (!stop.Raised()) Turn(vcpu);
  }

  // Of its own lane.
  [[nodiscard]] std::uint64_t WrittenTo(std::size_t page) const {
    return seen_[page][number_];
  }
  [[nodiscard]] Tallies& tallies() { return tallies_; }

 private:
  std::uint64_t Below(std::uint64_t n) { return random_() % n; }

  // A few accesses about one place, which moves on; then one fault, if need be.
  template <class V>
  void Turn(V& vcpu) {
    if (Below(32) == 0) place_ = Below(kPages);
    const std::size_t page = (place_ + Below(6)) % kPages;
    const std::uint64_t name =
        number_ == kNestedCpu ? page + kNameStep * (1 + Below(kNames)) : page;
    const bool writes = Below(2) == 0;
    const Rights access = writes ? Rights::kWrite : Rights::kRead;
    for (std::uint64_t times = 1 + Below(16); times != 0; --times) {
      if (Access(vcpu, page, name, access)) continue;
      const sim::NotRunning<V> out(vcpu);
      Fault(page, name, access);
      return;
    }
    if (Below(16) != 0) return;
    const sim::NotRunning<V> out(vcpu);
    std::this_thread::yield();
  }

  // False: it was not translated.
  template <class V>
  bool Access(V& vcpu, std::size_t page, std::uint64_t name, Rights access) {
    // Untracked ones run without the locked instructions.
    const bool tracked = Below(4) == 0;
    Uses::Use use{};
    const std::uint64_t walks = vcpu.stats().walks;
    if (tracked) use = world_.uses.Begin(number_, page);
    const sim::Translation at = vcpu.Translate(Gfn{name}, access);
    if (!at) return false;
    if (tracked) {
      world_.uses.End(number_, page, use, vcpu.stats().walks != walks);
    }
    // What is translated may be used until the next reference, however late.
    if (Below(512) == 0) std::this_thread::yield();
    ++tallies_.accesses;
    if (at.pfn.value - World::Process::kFirst.value != page) {
      ++tallies_.foreign;
      return true;
    }
    if (access == Rights::kWrite) {
      Write(page);
    } else {
      Look(page, Below(kCpus));
    }
    return true;
  }
  void Write(std::size_t page) {
    Look(page, number_);
    WriteOnce(world_.pages.Lane(page, number_), ++seen_[page][number_],
              kRelaxed);
    ++tallies_.writes;
  }
  // A lane never goes back, and a CPU knows its own.
  void Look(std::size_t page, std::size_t lane) {
    const std::uint64_t value =
        ReadOnce(world_.pages.Lane(page, lane), kRelaxed);
    std::uint64_t& seen = seen_[page][lane];
    if (value == kForeign) {
      ++tallies_.foreign;
      return;
    }
    tallies_.lost_write +=
        value < seen || (lane == number_ && value != seen) ? 1 : 0;
    seen = value;
  }

  void Fault(std::size_t page, std::uint64_t name, Rights access) {
    const FaultOutcome outcome = RetryMarking(
        world_.marks, RangeOf(page),
        [&] { return world_.Fault(number_, name, access, tallies_); },
        [] { std::this_thread::yield(); });
    if (outcome == FaultOutcome::kMapped) ++tallies_.faults;
    if (outcome == FaultOutcome::kNoSlot) ++tallies_.no_slot;
  }

  World& world_;
  const std::size_t number_;
  std::mt19937_64 random_;
  std::uint64_t place_ = 0;
  // By page and lane, what was last read or written there.
  std::vector<std::array<std::uint64_t, kCpus>> seen_;
  Tallies tallies_;
};

}  // namespace ptage::reclaim_soak

#endif  // PTAGE_TEST_SOAK_RECLAIM_CPU_H_
