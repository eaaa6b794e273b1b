// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Rmaps that are asked while a writer changes them at full speed: how many
// scans a reader gets done, and how long the slowest of them take.
//
// 64 rmaps of 14 entries. The reader asks one after the other, by slow's
// question, as a pass of aging does. The writer takes a random entry out of a
// random rmap and puts it back, and does nothing else. Entries are cold, each
// on a cache line of its own, since the entries of one frame lie in different
// tables; nobody writes them, so that what differs is the lists.
//
// With a stalled writer one removal in 256 takes 20 microseconds longer: there
// the writer has just excluded the other writers of the rmap, and loses its CPU
// to an interrupt, or to the hypervisor.
//
// Contract
//   Run is called by the thread that reads; the writer is the team's first
//   member. Both are pinned to CPUs of their own.

#ifndef PTAGE_BENCH_RMAP_CONTENDED_H_
#define PTAGE_BENCH_RMAP_CONTENDED_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/clock.h"
#include "bench/locks.h"
#include "bench/preemption.h"
#include "bench/report.h"
#include "bench/stats.h"
#include "bench/table.h"
#include "bench/team.h"
#include "bench/window.h"
#include "ptage/config.h"
#include "ptage/lock.h"
#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/epoch.h"
#include "ptage/rmap.h"
#include "ptage/rmap/bit_locked.h"
#include "ptage/rmap/chunk_list.h"
#include "ptage/rmap/grace_pool.h"
#include "ptage/rmap/head_lock.h"
#include "ptage/rmap/lockless.h"
#include "ptage/rmap/lockless_list.h"
#include "ptage/rmap/single_entry_lockless.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"

namespace ptage::bench {

inline constexpr std::size_t kChurnedRmaps = 64;
inline constexpr std::size_t kChurnedEntries = 14;
inline constexpr std::uint64_t kStallEvery = 256;
inline constexpr double kStallNs = 20'000;

enum class Writer { kFullSpeed, kStalled };

// What one window gave.
struct ScanWindow {
  std::vector<std::uint32_t> scans = {};  // of one rmap, in nanoseconds
  double scans_per_second = 0;
  double churns_per_second = 0;
  std::uint64_t asks = 0;   // scans, timed or not
  std::uint64_t asked = 0;  // entries
  // A thread lost its CPU, other than by the writer's stalls.
  bool lost = false;
};

// Entries that are present and cold, one to a line.
class LoneEntries {
 public:
  using Memory = TableArena<Ept>;
  static constexpr std::uint64_t kCold =
      Ept::MakeLeaf(Pfn{1}, Level{1}, Rights::kAll);

  LoneEntries()
      : tables_(std::make_unique<Table<Ept>[]>(kTables)),
        infos_(std::make_unique<TableInfo<Ept>[]>(kTables)),
        memory_(tables_.get(), infos_.get(), nullptr, kTables, Pfn{1u << 20}) {
    for (std::size_t t = 0; t < kTables; ++t) {
      for (SpteCell<Ept>& entry : tables_[t].entries) {
        WriteOnce(entry, kCold, kRelaxed);
      }
    }
  }

  [[nodiscard]] Memory& memory() { return memory_; }
  // Precondition: rmap < kChurnedRmaps, i < kChurnedEntries.
  [[nodiscard]] SpteCell<Ept>& At(std::size_t rmap, std::size_t i) {
    const std::size_t at = (rmap * kChurnedEntries + i) * kPerLine;
    return tables_[at / kEntriesPerTable<Ept>]
        .entries[at % kEntriesPerTable<Ept>];
  }

 private:
  static constexpr std::size_t kPerLine = 64 / sizeof(SpteCell<Ept>);
  static constexpr std::size_t kTables =
      kChurnedRmaps * kChurnedEntries * kPerLine / kEntriesPerTable<Ept> + 1;

  std::unique_ptr<Table<Ept>[]> tables_;
  std::unique_ptr<TableInfo<Ept>[]> infos_;
  Memory memory_;
};

// The disciplines with what they need. `Write(head, work)` calls `work()` as a
// writer of the rmap may; `Hold(head, wait)` calls `wait()` with the other
// writers of the rmap excluded, by what Remove excludes them by.
class ChurnedLockless {
 public:
  using Chunks = RmapChunks<Ept>;
  using Pool = GracePool<Chunks, EpochDomain<>>;
  using Rmaps = Lockless<Ept, LoneEntries::Memory, Pool>;

  ChurnedLockless(LoneEntries::Memory& memory, EpochDomain<>& domain)
      : firsts_(std::make_unique<Chunks::First[]>(kChunks)),
        laters_(std::make_unique<Chunks::Later[]>(kChunks)),
        pool_(domain, firsts_.get(), kChunks, laters_.get(), kChunks),
        rmaps_(memory, pool_) {}

  [[nodiscard]] Rmaps& rmaps() { return rmaps_; }
  template <class Work>
  void Write(ptage::RmapHead&, Work&& work) {
    work();
  }
  template <class Wait>
  void Hold(ptage::RmapHead& head, Wait&& wait) {
    const std::uintptr_t word = ptage::internal::LockHead(head);
    wait();
    ptage::internal::UnlockHead(head, word);
  }

 private:
  // One for each list, and as many on their way back.
  static constexpr std::size_t kChunks = 2 * kChurnedRmaps;

  std::unique_ptr<Chunks::First[]> firsts_;
  std::unique_ptr<Chunks::Later[]> laters_;
  Pool pool_;
  Rmaps rmaps_;
};

// Chunks for the disciplines whose readers lock the list.
template <unsigned kEntries>
class ChurnedChunks {
 public:
  using Pool = FixedChunkPool<Ept, SpinLock, kEntries>;

  ChurnedChunks()
      : chunks_(std::make_unique<RmapChunk<Ept, kEntries>[]>(kChunks)),
        pool_(chunks_.get(), kChunks) {}

  [[nodiscard]] Pool& pool() { return pool_; }

 private:
  static constexpr std::size_t kChunks =
      kChurnedRmaps * (kChurnedEntries / kEntries + 1);

  std::unique_ptr<RmapChunk<Ept, kEntries>[]> chunks_;
  Pool pool_;
};

template <unsigned kEntries>
class ChurnedBitLocked {
 public:
  using Rmaps = BitLocked<Ept, LoneEntries::Memory,
                          typename ChurnedChunks<kEntries>::Pool>;

  ChurnedBitLocked(LoneEntries::Memory& memory, EpochDomain<>&)
      : rmaps_(memory, chunks_.pool()) {}

  [[nodiscard]] Rmaps& rmaps() { return rmaps_; }
  template <class Work>
  void Write(ptage::RmapHead&, Work&& work) {
    work();
  }
  template <class Wait>
  void Hold(ptage::RmapHead& head, Wait&& wait) {
    const std::uintptr_t word = ptage::internal::LockHead(head);
    wait();
    ptage::internal::UnlockHead(head, word);
  }

 private:
  ChurnedChunks<kEntries> chunks_;
  Rmaps rmaps_;
};

// The MMU lock is a fair one: under an unfair one the writer, which hardly ever
// lets go of it, keeps the reader away for good.
template <unsigned kEntries>
class ChurnedSingleEntry {
 public:
  using Rmaps =
      SingleEntryLockless<Ept, LoneEntries::Memory,
                          typename ChurnedChunks<kEntries>::Pool, TicketLock>;

  ChurnedSingleEntry(LoneEntries::Memory& memory, EpochDomain<>&)
      : rmaps_(memory, chunks_.pool(), lock_) {}

  [[nodiscard]] Rmaps& rmaps() { return rmaps_; }
  template <class Work>
  void Write(ptage::RmapHead&, Work&& work) {
    ScopedLock<TicketLock> hold(lock_);
    work();
  }
  template <class Wait>
  void Hold(ptage::RmapHead&, Wait&& wait) {
    ScopedLock<TicketLock> hold(lock_);
    wait();
  }

 private:
  ChurnedChunks<kEntries> chunks_;
  TicketLock lock_;
  Rmaps rmaps_;
};

// The rmaps of one discipline, its reader and its writer.
template <class Kind>
class ChurnedWorld {
 public:
  // Both outlive the world.
  ChurnedWorld(Team& team, const TickRate& rate)
      : team_(team), rate_(rate), kind_(entries_.memory(), domain_) {
    for (std::size_t r = 0; r < kChurnedRmaps; ++r) {
      for (std::size_t i = 0; i < kChurnedEntries; ++i) Add(r, i);
    }
  }

  // Reads for so long, and the writer writes.
  [[nodiscard]] ScanWindow Run(Writer writer, double window_ns,
                               std::uint64_t seed);

  // Whether each rmap has its entries, and no others. Nobody else is about.
  [[nodiscard]] bool IsWhole() {
    for (std::size_t r = 0; r < kChurnedRmaps; ++r) {
      if (kind_.rmaps().Count(heads_[r]) != kChurnedEntries) return false;
      for (std::size_t i = 0; i < kChurnedEntries; ++i) {
        if (!kind_.rmaps().Contains(heads_[r], entries_.At(r, i))) return false;
      }
    }
    return true;
  }

 private:
  void Add(std::size_t rmap, std::size_t i) {
    kind_.Write(heads_[rmap], [&] {
      const RmapAdd added =
          kind_.rmaps().Add(heads_[rmap], entries_.At(rmap, i));
      PTAGE_ASSERT(added == RmapAdd::kDone);
    });
  }
  // Takes the entry out and puts it back.
  template <class Stall>
  void Churn(std::size_t rmap, std::size_t i, Stall&& stall) {
    stall(heads_[rmap]);
    kind_.Write(heads_[rmap], [&] {
      const bool found =
          kind_.rmaps().Remove(heads_[rmap], entries_.At(rmap, i));
      PTAGE_ASSERT(found);
    });
    Add(rmap, i);
  }
  // Returns how often.
  std::uint64_t ChurnUntil(std::uint64_t end, Writer writer, std::uint64_t seed,
                           PreemptionWatch<>& watch);
  // Asks each rmap once; calls `after(rmap)` each time.
  template <class After>
  void AskAll(AgeCounts& counts, After&& after);

  static constexpr std::uint64_t kLongest = ~std::uint32_t{0};

  Team& team_;
  const TickRate& rate_;
  LoneEntries entries_;
  EpochDomain<> domain_;
  Kind kind_;
  alignas(64) ptage::RmapHead heads_[kChurnedRmaps] = {};
};

// How much is run, and what of it.
struct ContendedPlan {
  std::uint64_t rounds = 0;
  double window_ns = 0;
  std::uint64_t seed = 1;
  // Whether the metric is asked for.
  std::function<bool(const std::string& id)> wanted;
  // False: stop.
  std::function<bool()> go_on;
};

class ContendedRmaps {
 public:
  // All outlive this.
  ContendedRmaps(const ContendedPlan& plan, const TickRate& rate, Team& team)
      : plan_(plan), rate_(rate), team_(team) {}

  // Runs rounds of all disciplines and adds `rmap/many/14/contended/…` and
  // `rmap/many/14/stalled_writer/…`. Windows in which a thread lost its CPU are
  // dropped.
  void Run(Figures& figures);

  // A line for each discipline; empty if nothing was wanted.
  [[nodiscard]] std::string Table() const {
    return ran_ ? table_.ToString() : "";
  }

 private:
  // What a side is held against.
  enum class Role { kOurs, kPeer, kShown };

  struct Side {
    Role role;
    const char* name;     // in the table
    const char* counter;  // in the JSON entry; null: not there
    std::function<ScanWindow(Writer, std::uint64_t seed)> run;
    std::vector<std::optional<ScanWindow>> windows = {};
    std::uint64_t lost = 0;
  };

  template <class Kind>
  Side SideOf(Role role, const char* name, const char* counter) {
    auto world = std::make_shared<ChurnedWorld<Kind>>(team_, rate_);
    return Side{
        role, name, counter,
        [world, ns = plan_.window_ns](Writer writer, std::uint64_t seed) {
          return world->Run(writer, ns, seed);
        }};
  }
  void RunRounds(Writer writer, std::vector<Side>& sides);
  void Report(const std::string& base, const std::string& heading,
              std::vector<Side>& sides, Figures& figures);

  const ContendedPlan& plan_;
  const TickRate& rate_;
  Team& team_;
  bool ran_ = false;
  TextTable table_{{"rmaps of 14, written meanwhile", "scans/s", "scan p50",
                    "p99", "p99.9", "p99.99", "writes/s", "windows",
                    "dropped"}};
};

// ---------------------------------------------------------------------------

template <class Kind>
ScanWindow ChurnedWorld<Kind>::Run(Writer writer, double window_ns,
                                   std::uint64_t seed) {
  const std::uint64_t stolen = rate_.FromNanoseconds(kStolenNs);
  const std::uint64_t begin = Ticks();
  const std::uint64_t end = begin + rate_.FromNanoseconds(window_ns);
  std::uint64_t churned = 0;
  bool writer_lost = false;
  team_.Start([&](std::size_t member) {
    if (member != 0) return;
    PreemptionWatch watch(stolen, Ticks(), ThreadTime(rate_));
    churned = ChurnUntil(end, writer, seed, watch);
    writer_lost = watch.lost();
  });
  ScanWindow window;
  window.scans.reserve(static_cast<std::size_t>(window_ns / 32));
  AgeCounts counts;
  const std::uint64_t first = Ticks();
  const std::uint64_t half = first + (std::max(end, first) - first) / 2;
  PreemptionWatch watch(stolen, first, ThreadTime(rate_));
  // To read the clock takes about as long as a scan of what is in the cache, so
  // scans are counted in one half of the window, and timed in the other.
  std::uint64_t now = first;
  std::uint64_t counted = 0;
  for (; now < half; counted += kChurnedRmaps) {
    AskAll(counts, [](std::size_t) {});
    now = Ticks();
    // A reader that waits for the writer spins.
    watch.Look(now, Between::kWaiting);
  }
  if (counted != 0) {
    window.scans_per_second =
        static_cast<double>(counted) / rate_.Seconds(now - first);
  }
  while (now < end) {
    std::uint64_t last = Ticks();
    AskAll(counts, [&](std::size_t) {
      const std::uint64_t then = std::exchange(last, Ticks());
      window.scans.push_back(static_cast<std::uint32_t>(
          rate_.Nanoseconds(std::min<std::uint64_t>(last - then, kLongest))));
    });
    now = Ticks();
    watch.Look(now, Between::kWaiting);
  }
  team_.Join();
  window.asked = counts.examined + counts.unanswered;
  window.asks = counted + window.scans.size();
  window.churns_per_second =
      static_cast<double>(churned) / rate_.Seconds(end - begin);
  window.lost = writer_lost || watch.lost() || first > begin + stolen;
  return window;
}

template <class Kind>
template <class After>
void ChurnedWorld<Kind>::AskAll(AgeCounts& counts, After&& after) {
  const LocklessWalk<EpochDomain<>> walk(domain_, WalkEntry::kWait);
  for (std::size_t r = 0; r < kChurnedRmaps; ++r) {
    kind_.rmaps().Age(heads_[r], RmapFrame{Gfn{r}, Level{1}},
                      AgeAction::kTestAndClear, AgeMode::kSlow, counts);
    after(r);
  }
}

template <class Kind>
std::uint64_t ChurnedWorld<Kind>::ChurnUntil(std::uint64_t end, Writer writer,
                                             std::uint64_t seed,
                                             PreemptionWatch<>& watch) {
  internal::SplitMix random(seed);
  const std::uint64_t stall = rate_.FromNanoseconds(kStallNs);
  std::uint64_t churned = 0;
  std::uint64_t now = 0;
  do {
    for (int i = 0; i < 16; ++i) {
      const std::size_t rmap = random.Below(kChurnedRmaps);
      const std::size_t entry = random.Below(kChurnedEntries);
      ++churned;
      Churn(rmap, entry, [&](ptage::RmapHead& head) {
        if (writer != Writer::kStalled || churned % kStallEvery != 0) return;
        kind_.Hold(head, [&] {
          const std::uint64_t awake = Ticks() + stall;
          while (Ticks() < awake) SpinPause();
        });
      });
    }
    now = Ticks();
    watch.Look(now, Between::kWaiting);
  } while (now < end);
  return churned;
}

inline void ContendedRmaps::RunRounds(Writer writer, std::vector<Side>& sides) {
  internal::SplitMix random(plan_.seed);
  std::vector<Side*> order;
  for (Side& side : sides) {
    side.windows.clear();
    side.lost = 0;
    order.push_back(&side);
  }
  for (std::uint64_t round = 0; round < plan_.rounds && plan_.go_on();
       ++round) {
    for (std::size_t left = order.size(); left > 1; --left) {
      std::swap(order[left - 1], order[random.Below(left)]);
    }
    const std::uint64_t seed = random.Next();
    for (Side* side : order) {
      ScanWindow window = side->run(writer, seed);
      side->lost += window.lost ? 1 : 0;
      if (window.lost) {
        side->windows.emplace_back();
      } else {
        side->windows.emplace_back(std::move(window));
      }
    }
  }
}

namespace internal {

// Of the rounds that both have.
using Windows = std::vector<std::optional<ScanWindow>>;

inline std::vector<double> ScanRateRatios(const Windows& above,
                                          const Windows& below) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < above.size(); ++i) {
    if (!above[i].has_value() || !below[i].has_value()) continue;
    if (below[i]->scans_per_second <= 0) continue;
    ratios.push_back(above[i]->scans_per_second / below[i]->scans_per_second);
  }
  return ratios;
}

inline std::vector<double> ScanTailRatios(const Windows& above,
                                          const Windows& below, double p) {
  std::vector<const std::vector<std::uint32_t>*> tops;
  std::vector<const std::vector<std::uint32_t>*> bottoms;
  for (std::size_t i = 0; i < above.size(); ++i) {
    if (!above[i].has_value() || !below[i].has_value()) continue;
    tops.push_back(&above[i]->scans);
    bottoms.push_back(&below[i]->scans);
  }
  return PooledPercentileRatios(tops, bottoms, p);
}

inline std::vector<std::uint32_t> AllScans(const Windows& windows) {
  std::vector<std::uint32_t> scans;
  for (const auto& window : windows) {
    if (!window.has_value()) continue;
    scans.insert(scans.end(), window->scans.begin(), window->scans.end());
  }
  return scans;
}

inline double MedianOver(const Windows& windows, double ScanWindow::* member) {
  std::vector<double> figures;
  for (const auto& window : windows) {
    if (window.has_value()) figures.push_back((*window).*member);
  }
  return figures.empty() ? 0 : Median(figures);
}

// The figure that is worst for us; a peer may choose the size of its chunks.
inline Figure WorstOf(const std::vector<std::vector<double>>& against,
                      bool higher_is_better) {
  constexpr std::size_t kLeast = 5;
  Figure worst{.missing = "too few windows"};
  for (const std::vector<double>& ratios : against) {
    if (ratios.size() < kLeast) return Figure{.missing = "too few windows"};
    const Summary summary = Summarize(ratios);
    const bool first = worst.summary.samples == 0;
    if (first || (summary.median < worst.summary.median) == higher_is_better) {
      worst = Figure{.summary = summary};
    }
  }
  return worst;
}

// Nanoseconds below which a share of the scans ended, for shares that are
// evenly spaced in their number of nines; as far as there are scans.
inline void AddLatencies(const std::string& name,
                         std::vector<std::uint32_t> scans, Figure& figure) {
  constexpr int kPerNine = 4;
  for (int step = 1;; ++step) {
    const double p = 1 - std::pow(10.0, -static_cast<double>(step) / kPerNine);
    const std::optional<double> ns = Percentile(scans, p);
    if (!ns.has_value()) return;
    figure.counters.emplace_back(absl::StrFormat("%s_ns_%.7f", name, p), *ns);
  }
}

}  // namespace internal

inline void ContendedRmaps::Report(const std::string& base,
                                   const std::string& heading,
                                   std::vector<Side>& sides, Figures& figures) {
  PTAGE_ASSERT(sides[0].role == Role::kOurs);
  std::vector<std::vector<double>> rates;
  std::vector<std::vector<double>> tails;
  for (const Side& side : sides) {
    if (side.role != Role::kPeer) continue;
    rates.push_back(internal::ScanRateRatios(sides[0].windows, side.windows));
    tails.push_back(
        internal::ScanTailRatios(sides[0].windows, side.windows, 0.999));
  }
  figures[base + "vs_bit_locked"] = internal::WorstOf(rates, true);
  Figure& tail = figures[base + "p999_vs_bit_locked"];
  tail = internal::WorstOf(tails, false);
  table_.AddHeading(heading);
  for (Side& side : sides) {
    std::vector<std::uint32_t> scans = internal::AllScans(side.windows);
    const auto percentile = [&](double p) {
      const std::optional<double> value =
          scans.empty() ? std::nullopt : Percentile(scans, p);
      return value.has_value() ? Duration(*value) : "too few";
    };
    const auto rate = [&](double ScanWindow::* member) {
      return Compact(internal::MedianOver(side.windows, member));
    };
    table_.Add({absl::StrCat("  ", side.name),
                rate(&ScanWindow::scans_per_second), percentile(0.5),
                percentile(0.99), percentile(0.999), percentile(0.9999),
                rate(&ScanWindow::churns_per_second),
                absl::StrCat(side.windows.size() - side.lost),
                absl::StrCat(side.lost)});
    if (side.counter != nullptr) {
      internal::AddLatencies(side.counter, std::move(scans), tail);
    }
  }
}

inline void ContendedRmaps::Run(Figures& figures) {
  struct Mode {
    Writer writer;
    const char* base;
    const char* heading;
  };
  for (const Mode& mode :
       {Mode{Writer::kFullSpeed, "rmap/many/14/contended/",
             "by a writer at full speed:"},
        Mode{Writer::kStalled, "rmap/many/14/stalled_writer/",
             "by one that loses its CPU for 20 us in one removal in 256:"}}) {
    const std::string base = mode.base;
    if (!plan_.go_on() || (!plan_.wanted(base + "vs_bit_locked") &&
                           !plan_.wanted(base + "p999_vs_bit_locked"))) {
      continue;
    }
    ran_ = true;
    std::vector<Side> sides;
    sides.push_back(
        SideOf<ChurnedLockless>(Role::kOurs, "Lockless", "lockless"));
    sides.push_back(SideOf<ChurnedBitLocked<6>>(
        Role::kPeer, "BitLocked, 6 a chunk", "bit_locked"));
    sides.push_back(SideOf<ChurnedBitLocked<14>>(
        Role::kPeer, "BitLocked, 14 a chunk", nullptr));
    sides.push_back(SideOf<ChurnedSingleEntry<6>>(
        Role::kShown, "SingleEntryLockless, fair lock",
        "single_entry_lockless"));
    RunRounds(mode.writer, sides);
    Report(base, mode.heading, sides, figures);
  }
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_RMAP_CONTENDED_H_
