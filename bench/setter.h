// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The micro-model `contention/setter`: a thread that sets accessed bits in
// random entries as fast as it can, against an ager that clears them. In the
// locked variants the setter takes the ager's lock on each access, which no
// real design does: it shows what a lock costs that hardware would have to
// take.

#ifndef PTAGE_BENCH_SETTER_H_
#define PTAGE_BENCH_SETTER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "bench/clock.h"
#include "bench/locks.h"
#include "bench/preemption.h"
#include "bench/report.h"
#include "bench/stats.h"
#include "bench/team.h"
#include "bench/window.h"
#include "ptage/lock.h"
#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"

namespace ptage::bench {

class SetterModel {
 public:
  // `tables` of entries; both threads pinned, the setter on `team`.
  SetterModel(std::size_t tables, Team& team)
      : tables_(tables),
        team_(team),
        memory_(std::make_unique<Table<Ept>[]>(tables)),
        tickets_(tables),
        spins_(tables) {
    for (std::size_t t = 0; t < tables; ++t) {
      for (SpteCell<Ept>& entry : memory_[t].entries) {
        WriteOnce(entry, Ept::MakeLeaf(Pfn{1}, Level{1}, Rights::kAll),
                  kRelaxed);
      }
    }
  }

  // Runs rounds of the three variants, and adds `contention/setter/…`. Windows
  // in which a thread lost its CPU are dropped. `go_on()` false: stops.
  template <class GoOn>
  void Run(std::uint64_t rounds, double window_ns, std::uint64_t seed,
           const TickRate& rate, GoOn&& go_on, Figures& figures) {
    internal::SplitMix random(seed);
    std::vector<double> vs_ticket;
    std::vector<double> vs_spin;
    for (std::uint64_t round = 0; round < rounds && go_on(); ++round) {
      double rates[3] = {};
      int order[3] = {0, 1, 2};
      std::swap(order[2], order[random.Below(3)]);
      std::swap(order[1], order[random.Below(2)]);
      const std::uint64_t length = rate.FromNanoseconds(window_ns);
      for (const int variant : order) {
        rates[variant] = variant == 0   ? Window(NoLocks{}, length, rate)
                         : variant == 1 ? Window(Locks{tickets_}, length, rate)
                                        : Window(Locks{spins_}, length, rate);
      }
      if (rates[0] == 0) continue;
      if (rates[1] != 0) vs_ticket.push_back(rates[0] / rates[1]);
      if (rates[2] != 0) vs_spin.push_back(rates[0] / rates[2]);
    }
    const auto figure = [](const std::vector<double>& ratios) {
      constexpr std::size_t kLeast = 5;
      if (ratios.size() < kLeast) return Figure{.missing = "too few windows"};
      return Figure{.summary = Summarize(ratios)};
    };
    figures["contention/setter/vs_ticket"] = figure(vs_ticket);
    figures["contention/setter/vs_spin"] = figure(vs_spin);
  }

 private:
  struct NoLocks {
    void Lock(std::size_t) {}
    void Unlock(std::size_t) {}
  };
  template <class L>
  struct Locks {
    explicit Locks(std::vector<L>& of_tables) : locks(of_tables) {}
    void Lock(std::size_t table) { locks[table].Lock(); }
    void Unlock(std::size_t table) { locks[table].Unlock(); }
    std::vector<L>& locks;
  };

  // Bits set per tick; 0 if a thread lost its CPU.
  template <class L>
  double Window(L locks, std::uint64_t length, const TickRate& rate) {
    const std::uint64_t stolen = rate.FromNanoseconds(kStolenNs);
    std::uint64_t set = 0;
    bool setter_lost = false;
    const std::uint64_t end = Ticks() + length;
    team_.Start([&](std::size_t member) {
      if (member != 0) return;
      PreemptionWatch watch(stolen, Ticks(), ThreadTime(rate));
      set = SetUntil(end, locks, watch);
      setter_lost = watch.lost();
    });
    PreemptionWatch watch(stolen, Ticks(), ThreadTime(rate));
    std::uint64_t now = Ticks();
    for (std::size_t table = 0; now < end; table = (table + 1) % tables_) {
      locks.Lock(table);
      for (SpteCell<Ept>& entry : memory_[table].entries) {
        (void)TestClearYoungFastOnly<Ept>(entry);
      }
      locks.Unlock(table);
      now = Ticks();
      watch.Look(now, Between::kWaiting);
    }
    team_.Join();
    if (setter_lost || watch.lost()) return 0;
    return static_cast<double>(set) / static_cast<double>(length);
  }
  template <class L>
  std::uint64_t SetUntil(std::uint64_t end, L& locks,
                         PreemptionWatch<>& watch) {
    internal::SplitMix random(end);
    std::uint64_t set = 0;
    std::uint64_t now = 0;
    do {
      for (int i = 0; i < 16; ++i) {
        const std::uint64_t number =
            random.Below(tables_ * kEntriesPerTable<Ept>);
        const std::size_t table = number / kEntriesPerTable<Ept>;
        SpteCell<Ept>& entry =
            memory_[table].entries[number % kEntriesPerTable<Ept>];
        locks.Lock(table);
        const std::uint64_t seen = ReadOnce(entry, kRelaxed);
        if (!IsYoung<Ept>(seen)) {
          (void)TryCmpxchg(entry, seen, seen | Ept::kAccessed, kRelaxed);
        }
        locks.Unlock(table);
        ++set;
      }
      now = Ticks();
      watch.Look(now, Between::kWaiting);
    } while (now < end);
    return set;
  }

  const std::size_t tables_;
  Team& team_;
  std::unique_ptr<Table<Ept>[]> memory_;
  std::vector<TicketLock> tickets_;
  std::vector<SpinLock> spins_;
};

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_SETTER_H_
