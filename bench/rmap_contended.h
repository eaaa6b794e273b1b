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
// A stalled writer loses its CPU for 20 microseconds inside one removal in 256,
// as to an interrupt or to the hypervisor: it goes on looking at the clock, and
// touches nothing that is shared. Where it stalls:
//   Lockless             it holds the head's bit, and has stored the top entry
//                        into the hole, but has not yet cleared the top slot
//                        (where the entry that goes is the top one, there is no
//                        hole: before the only store). So scans meet a list
//                        that is half changed, for all of that time.
//   BitLocked            it holds the head's bit, and has changed nothing yet.
//   SingleEntryLockless  the same, with the MMU lock.
// Under the two locks nobody can see how far the change has come, so any place
// between the lock and its release is the same to a reader. That one removal
// stalls, and not one addition, is the same to a reader, too: either holds the
// lock, and either leaves Lockless's readers a list that they can scan.
//
// Contract
//   Run is called by the thread that reads; the writer is the team's first
//   member. Both are pinned to CPUs of their own.

#ifndef PTAGE_BENCH_RMAP_CONTENDED_H_
#define PTAGE_BENCH_RMAP_CONTENDED_H_

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "bench/clock.h"
#include "bench/huge_array.h"
#include "bench/latency.h"
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

enum class Writer {
  kNone,  // nobody writes
  kFullSpeed,
  kStalled,
};

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

// What a writer does in the middle of an update, once.
class MidUpdate {
 public:
  // Calls `stall()` where the update that `work()` makes on this thread has a
  // middle. Precondition: it has one.
  template <class Work>
  static void During(absl::FunctionRef<void()> stall, Work&& work) {
    due_ = &stall;
    work();
    PTAGE_ASSERT(due_ == nullptr);
  }
  // This is the middle.
  static void Reach() {
    if (due_ != nullptr) (*std::exchange(due_, nullptr))();
  }

 private:
  static inline thread_local absl::FunctionRef<void()>* due_ = nullptr;
};

// Chunks whose slots have a middle before they are cleared; else RmapChunks.
// (Chunks are the pool's to choose.)
template <unsigned kFirstSlots = 7, unsigned kLaterSlots = 14>
struct StallingChunks {
  using Format = Ept;
  class Slot : public Cell<SpteCell<Ept>*> {
   public:
    template <int kOrder>
    friend void WriteOnce(Slot& slot, SpteCell<Ept>* entry,
                          Order<kOrder> order) {
      // [list.4] in lockless_list.h comes next, [list.3] is done.
      if (entry == nullptr) MidUpdate::Reach();
      Cell<SpteCell<Ept>*>& cell = slot;
      ptage::WriteOnce(cell, entry, order);
    }
  };
  struct alignas(64) First {
    static constexpr unsigned kSlots = kFirstSlots;
    Plain<std::uint64_t> owner;
    Slot slots[kSlots];
  };
  struct alignas(64) Later {
    static constexpr unsigned kSlots = kLaterSlots;
    Plain<std::uint64_t> owner;
    Plain<std::uintptr_t> next;
    Slot slots[kSlots];
  };
  using Shipped = RmapChunks<Ept, kFirstSlots, kLaterSlots>;
  static_assert(sizeof(First) == sizeof(typename Shipped::First) &&
                sizeof(Later) == sizeof(typename Shipped::Later));
};

// The disciplines with what they need. Add and Remove are called by any thread
// that holds no lock; StalledRemove calls `stall()` inside the removal.
template <class ChunkTypes = RmapChunks<Ept>>
class ChurnedLockless {
 public:
  using Chunks = ChunkTypes;
  using Pool = GracePool<Chunks, EpochDomain<>>;
  using Rmaps = Lockless<Ept, LoneEntries::Memory, Pool>;
  // Whether a removal has a middle to stop in.
  static constexpr bool kStalls =
      !std::same_as<typename Chunks::Slot, Cell<SpteCell<Ept>*>>;

  ChurnedLockless(LoneEntries::Memory& memory, EpochDomain<>& domain)
      : firsts_(kChunks),
        laters_(kChunks),
        pool_(domain, firsts_.data(), kChunks, laters_.data(), kChunks),
        rmaps_(memory, pool_) {}

  [[nodiscard]] Rmaps& rmaps() { return rmaps_; }
  [[nodiscard]] RmapAdd Add(ptage::RmapHead& head, SpteCell<Ept>& entry) {
    return rmaps_.Add(head, entry);
  }
  bool Remove(ptage::RmapHead& head, SpteCell<Ept>& entry) {
    return rmaps_.Remove(head, entry);
  }
  // Precondition: more than two entries, and more than one in the newest chunk.
  bool StalledRemove(ptage::RmapHead& head, SpteCell<Ept>& entry,
                     absl::FunctionRef<void()> stall) {
    static_assert(kStalls);
    bool found = false;
    MidUpdate::During(stall, [&] { found = rmaps_.Remove(head, entry); });
    return found;
  }

 private:
  // One for each list, and as many on their way back.
  static constexpr std::size_t kChunks = 2 * kChurnedRmaps;

  HugeArray<typename Chunks::First> firsts_;
  HugeArray<typename Chunks::Later> laters_;
  Pool pool_;
  Rmaps rmaps_;
};

// Chunks for the disciplines whose readers lock the list.
template <unsigned kEntries>
class ChurnedChunks {
 public:
  using Pool = FixedChunkPool<Ept, SpinLock, kEntries>;

  ChurnedChunks() : chunks_(kChunks), pool_(chunks_.data(), kChunks) {}

  [[nodiscard]] Pool& pool() { return pool_; }

 private:
  static constexpr std::size_t kChunks =
      kChurnedRmaps * (kChurnedEntries / kEntries + 1);

  HugeArray<RmapChunk<Ept, kEntries>> chunks_;
  Pool pool_;
};

template <unsigned kEntries>
class ChurnedBitLocked {
 public:
  static constexpr bool kStalls = true;
  using Pool = typename ChurnedChunks<kEntries>::Pool;
  using Rmaps = BitLocked<Ept, LoneEntries::Memory, Pool>;

  ChurnedBitLocked(LoneEntries::Memory& memory, EpochDomain<>&)
      : rmaps_(memory, chunks_.pool()),
        list_(chunks_.pool(), kDefaultRmapCap) {}

  [[nodiscard]] Rmaps& rmaps() { return rmaps_; }
  [[nodiscard]] RmapAdd Add(ptage::RmapHead& head, SpteCell<Ept>& entry) {
    return rmaps_.Add(head, entry);
  }
  bool Remove(ptage::RmapHead& head, SpteCell<Ept>& entry) {
    return rmaps_.Remove(head, entry);
  }
  // What Remove does, and a stall.
  bool StalledRemove(ptage::RmapHead& head, SpteCell<Ept>& entry,
                     absl::FunctionRef<void()> stall) {
    const std::uintptr_t word = ptage::internal::LockHead(head);
    stall();
    const std::uint32_t before = list_.Count(word);
    const std::uintptr_t without = list_.Removed(word, entry);
    const bool found = list_.Count(without) != before;
    ptage::internal::UnlockHead(head, without);
    return found;
  }

 private:
  ChurnedChunks<kEntries> chunks_;
  Rmaps rmaps_;
  ptage::internal::ChunkList<Ept, Pool> list_;
};

// The MMU lock is a fair one: under an unfair one the writer, which hardly ever
// lets go of it, keeps the reader away for good.
template <unsigned kEntries>
class ChurnedSingleEntry {
 public:
  static constexpr bool kStalls = true;
  using Rmaps =
      SingleEntryLockless<Ept, LoneEntries::Memory,
                          typename ChurnedChunks<kEntries>::Pool, TicketLock>;

  ChurnedSingleEntry(LoneEntries::Memory& memory, EpochDomain<>&)
      : rmaps_(memory, chunks_.pool(), lock_) {}

  [[nodiscard]] Rmaps& rmaps() { return rmaps_; }
  [[nodiscard]] RmapAdd Add(ptage::RmapHead& head, SpteCell<Ept>& entry) {
    ScopedLock<TicketLock> hold(lock_);
    return rmaps_.Add(head, entry);
  }
  bool Remove(ptage::RmapHead& head, SpteCell<Ept>& entry) {
    ScopedLock<TicketLock> hold(lock_);
    return rmaps_.Remove(head, entry);
  }
  bool StalledRemove(ptage::RmapHead& head, SpteCell<Ept>& entry,
                     absl::FunctionRef<void()> stall) {
    ScopedLock<TicketLock> hold(lock_);
    stall();
    return rmaps_.Remove(head, entry);
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
  // Whether its lists can be stalled.
  static constexpr bool kStalls = Kind::kStalls;

  // Both outlive the world.
  ChurnedWorld(Team& team, const TickRate& rate)
      : team_(team),
        rate_(rate),
        kind_(entries_.memory(), domain_),
        writing_(0),
        reading_(0) {
    for (std::size_t r = 0; r < kChurnedRmaps; ++r) {
      for (std::size_t i = 0; i < kChurnedEntries; ++i) Add(r, i);
    }
  }

  // Reads for so long, at least all rmaps in each half, and the writer writes
  // from before that until after it.
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
    const RmapAdd added = kind_.Add(heads_[rmap], entries_.At(rmap, i));
    PTAGE_ASSERT(added == RmapAdd::kDone);
  }
  // Takes the entry out and puts it back.
  void Churn(std::size_t rmap, std::size_t i) {
    const bool found = kind_.Remove(heads_[rmap], entries_.At(rmap, i));
    PTAGE_ASSERT(found);
    Add(rmap, i);
  }
  void StalledChurn(std::size_t rmap, std::size_t i) {
    PTAGE_ASSERT(kStalls);
    if constexpr (kStalls) {
      const auto stall = [&] {
        const std::uint64_t awake = Ticks() + rate_.FromNanoseconds(kStallNs);
        while (Ticks() < awake) SpinPause();
      };
      const bool found =
          kind_.StalledRemove(heads_[rmap], entries_.At(rmap, i), stall);
      PTAGE_ASSERT(found);
      Add(rmap, i);
    }
  }
  // Writes until the reader has read. Returns how many entries it has churned,
  // a second.
  double ChurnWhileReading(Writer writer, std::uint64_t seed,
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
  // Lines are fetched in pairs: what the two threads fight for must not depend
  // on where the allocator puts it.
  alignas(4096) ptage::RmapHead heads_[kChurnedRmaps] = {};
  // Whether the writer has begun, and the reader has not ended.
  alignas(128) Cell<std::uint32_t> writing_;
  alignas(128) Cell<std::uint32_t> reading_;
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

  // How long scans took, with each writer, none among them: a JSON array;
  // empty if nothing was wanted. Times are what the clock says, which takes
  // about as long as a scan to be read.
  [[nodiscard]] const std::string& LatencyJson() const { return latencies_; }

  // A line for each discipline; empty if nothing was wanted.
  [[nodiscard]] std::string Table() const {
    return ran_ ? table_.ToString() : "";
  }

 private:
  // What a side is held against.
  enum class Role { kOurs, kPeer, kShown };

  struct Side {
    Role role;
    const char* name;  // in the table, and in the JSON
    std::function<ScanWindow(Writer, std::uint64_t seed)> run;
    std::vector<std::optional<ScanWindow>> windows = {};
    std::uint64_t lost = 0;
  };

  template <class Kind>
  Side SideOf(Role role, const char* name) {
    auto world = std::make_shared<ChurnedWorld<Kind>>(team_, rate_);
    return Side{
        role, name,
        [world, ns = plan_.window_ns](Writer writer, std::uint64_t seed) {
          return world->Run(writer, ns, seed);
        }};
  }
  void RunRounds(Writer writer, std::vector<Side>& sides);
  // What the figures need of the sides.
  static void Judge(const std::string& base, const std::vector<Side>& sides,
                    Figures& figures);
  // And the table and the JSON.
  void Show(const char* writer, const char* heading, std::vector<Side>& sides);

  const ContendedPlan& plan_;
  const TickRate& rate_;
  Team& team_;
  bool ran_ = false;
  std::string latencies_;
  TextTable table_{{"rmaps of 14, written meanwhile", "scans/s", "scan p50",
                    "p99", "p99.9", "p99.99", "writes/s", "windows",
                    "dropped"}};
};

// ---------------------------------------------------------------------------

template <class Kind>
ScanWindow ChurnedWorld<Kind>::Run(Writer writer, double window_ns,
                                   std::uint64_t seed) {
  const std::uint64_t stolen = rate_.FromNanoseconds(kStolenNs);
  ScanWindow window;
  window.scans.reserve(static_cast<std::size_t>(window_ns / 32));
  bool writer_lost = false;
  // What the two tell each other orders nothing; starting and joining does.
  WriteOnce(writing_, 0u, kRelaxed);
  WriteOnce(reading_, 1u, kRelaxed);
  const std::uint64_t begin = Ticks();
  team_.Start([&](std::size_t member) {
    if (member != 0) return;
    PreemptionWatch watch(stolen, Ticks(), ThreadTime(rate_));
    window.churns_per_second = ChurnWhileReading(writer, seed, watch);
    writer_lost = watch.lost();
  });
  // On a busy machine the writer may need this CPU first.
  while (ReadOnce(writing_, kRelaxed) == 0) std::this_thread::yield();
  AgeCounts counts;
  const std::uint64_t first = Ticks();
  const std::uint64_t half = first + rate_.FromNanoseconds(window_ns / 2);
  const std::uint64_t end = first + rate_.FromNanoseconds(window_ns);
  PreemptionWatch watch(stolen, first, ThreadTime(rate_));
  // To read the clock takes about as long as a scan of what is in the cache, so
  // scans are counted in one half of the window, and timed in the other.
  std::uint64_t now = first;
  std::uint64_t counted = 0;
  do {
    AskAll(counts, [](std::size_t) {});
    counted += kChurnedRmaps;
    now = Ticks();
    // A reader that waits for the writer spins.
    watch.Look(now, Between::kWaiting);
  } while (now < half);
  window.scans_per_second =
      static_cast<double>(counted) / rate_.Seconds(now - first);
  // However late it is, once: a window without scans says nothing, not even of
  // a writer that keeps the reader away for so long.
  do {
    std::uint64_t last = Ticks();
    AskAll(counts, [&](std::size_t) {
      const std::uint64_t then = std::exchange(last, Ticks());
      window.scans.push_back(static_cast<std::uint32_t>(
          rate_.Nanoseconds(std::min<std::uint64_t>(last - then, kLongest))));
    });
    now = Ticks();
    watch.Look(now, Between::kWaiting);
  } while (now < end);
  WriteOnce(reading_, 0u, kRelaxed);
  team_.Join();
  window.asked = counts.examined + counts.unanswered;
  window.asks = counted + window.scans.size();
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
double ChurnedWorld<Kind>::ChurnWhileReading(Writer writer, std::uint64_t seed,
                                             PreemptionWatch<>& watch) {
  internal::SplitMix random(seed);
  std::uint64_t churned = 0;
  const std::uint64_t begin = Ticks();
  WriteOnce(writing_, 1u, kRelaxed);
  if (writer == Writer::kNone) return 0;
  do {
    for (int i = 0; i < 16; ++i) {
      const std::size_t rmap = random.Below(kChurnedRmaps);
      const std::size_t entry = random.Below(kChurnedEntries);
      ++churned;
      if (writer == Writer::kStalled && churned % kStallEvery == 0) {
        StalledChurn(rmap, entry);
      } else {
        Churn(rmap, entry);
      }
    }
    watch.Look(Ticks(), Between::kWaiting);
  } while (ReadOnce(reading_, kRelaxed) != 0);
  return static_cast<double>(churned) / rate_.Seconds(Ticks() - begin);
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

}  // namespace internal

inline void ContendedRmaps::Judge(const std::string& base,
                                  const std::vector<Side>& sides,
                                  Figures& figures) {
  // Each discipline may choose the size of its chunks.
  const Side* ours = nullptr;
  double best = -1;
  for (const Side& side : sides) {
    if (side.role != Role::kOurs) continue;
    const double rate =
        internal::MedianOver(side.windows, &ScanWindow::scans_per_second);
    if (rate > best) {
      best = rate;
      ours = &side;
    }
  }
  PTAGE_ASSERT(ours != nullptr);
  std::vector<std::vector<double>> rates;
  std::vector<std::vector<double>> tails;
  for (const Side& side : sides) {
    if (side.role != Role::kPeer) continue;
    rates.push_back(internal::ScanRateRatios(ours->windows, side.windows));
    tails.push_back(
        internal::ScanTailRatios(ours->windows, side.windows, 0.999));
  }
  figures[base + "vs_bit_locked"] = internal::WorstOf(rates, true);
  figures[base + "p999_vs_bit_locked"] = internal::WorstOf(tails, false);
}

inline void ContendedRmaps::Show(const char* writer, const char* heading,
                                 std::vector<Side>& sides) {
  table_.AddHeading(heading);
  for (const Side& side : sides) {
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
    LatencyBuckets buckets;
    for (const std::uint32_t ns : scans) buckets.Add(ns);
    absl::StrAppend(&latencies_, latencies_.empty() ? "[" : ",",
                    "\n    {\"writer\": \"", writer, "\", \"rmaps\": \"",
                    side.name, "\", ", buckets.JsonMembers(), "}");
  }
}

inline void ContendedRmaps::Run(Figures& figures) {
  struct Mode {
    Writer writer;
    const char* name;
    const char* heading;
  };
  const auto wants = [this](const std::string& name) {
    const std::string base = "rmap/many/14/" + name + "/";
    return plan_.wanted(base + "vs_bit_locked") ||
           plan_.wanted(base + "p999_vs_bit_locked");
  };
  // What nobody disturbs is what the others are held against by eye.
  const auto wants_any = wants("contended") || wants("stalled_writer");
  for (const Mode& mode :
       {Mode{Writer::kFullSpeed, "contended", "by a writer at full speed:"},
        Mode{Writer::kStalled, "stalled_writer",
             "by one that loses its CPU for 20 us in one removal in 256:"},
        Mode{Writer::kNone, "none", "by nobody:"}}) {
    const bool judged = mode.writer != Writer::kNone;
    if (!plan_.go_on() || !(judged ? wants(mode.name) : wants_any)) continue;
    ran_ = true;
    std::vector<Side> sides;
    const auto add_ours = [&]<unsigned kFirst>(const char* name) {
      sides.push_back(mode.writer == Writer::kStalled
                          ? SideOf<ChurnedLockless<StallingChunks<kFirst>>>(
                                Role::kOurs, name)
                          : SideOf<ChurnedLockless<RmapChunks<Ept, kFirst>>>(
                                Role::kOurs, name));
    };
    add_ours.template operator()<7>("Lockless, 7 and 14 a chunk");
    add_ours.template operator()<15>("Lockless, 15 and 14 a chunk");
    sides.push_back(
        SideOf<ChurnedBitLocked<6>>(Role::kPeer, "BitLocked, 6 a chunk"));
    sides.push_back(
        SideOf<ChurnedBitLocked<14>>(Role::kPeer, "BitLocked, 14 a chunk"));
    sides.push_back(SideOf<ChurnedSingleEntry<6>>(
        Role::kShown, "SingleEntryLockless, fair lock"));
    RunRounds(mode.writer, sides);
    if (judged) {
      Judge(absl::StrCat("rmap/many/14/", mode.name, "/"), sides, figures);
    }
    Show(mode.name, mode.heading, sides);
  }
  if (ran_) latencies_ += "\n  ]";
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_RMAP_CONTENDED_H_
