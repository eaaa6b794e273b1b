// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What sections, grace periods and retiring cost, beside other schemes: the
// metrics `reclaim/…`. In a round each window runs once, in a shuffled order.

#ifndef PTAGE_BENCH_RECLAIM_SUITE_H_
#define PTAGE_BENCH_RECLAIM_SUITE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/clock.h"
#include "bench/measurements.h"
#include "bench/node_pool.h"
#include "bench/paired.h"
#include "bench/preemption.h"
#include "bench/reclaim_peers.h"
#include "bench/report.h"
#include "bench/stats.h"
#include "bench/table.h"
#include "bench/team.h"
#include "bench/window.h"
#include "ptage/config.h"
#include "ptage/once.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"

namespace ptage::bench {

struct ReclaimPlan {
  std::uint64_t rounds = 0;
  // How long the windows are.
  double read_ns = 0;
  double grace_ns = 0;
  double retire_ns = 0;
  std::uint64_t seed = 1;
  // Whether a metric is; its windows run only then.
  std::function<bool(const std::string& id)> wanted = {};
  // Called after each round with how many are done and how many windows were
  // dropped; false: stops.
  std::function<bool(std::uint64_t rounds, std::uint64_t dropped)> progress =
      {};
};

class ReclaimSuite {
 public:
  // The calling thread and the first member of `team` are pinned, to different
  // CPUs. Both arguments outlive this.
  ReclaimSuite(Team& team, const TickRate& rate);
  ReclaimSuite(const ReclaimSuite&) = delete;
  ReclaimSuite& operator=(const ReclaimSuite&) = delete;

  // Adds the metrics. Called once, by the thread that made this.
  void Run(const ReclaimPlan& plan, Figures& figures);
  // How long Run takes at most, but for starting windows.
  [[nodiscard]] double Seconds(const ReclaimPlan& plan) const;
  // What each contender took; empty if nothing was measured.
  [[nodiscard]] std::string TableText() const;
  // The same figures: nanoseconds of one thread.
  [[nodiscard]] std::vector<Measurement> Measurements() const;

  // How many nodes a thread of ours retires before it looks what may be freed,
  // in `retire`. Walks begin by a locked operation there, so that no look
  // interrupts the other thread and batches may be small enough for the caches;
  // elsewhere by a store. The table has other batches, and both ways.
  static constexpr std::uint64_t kBatch = 256;

  // In a round, of each contender: short ones are seldom dropped, and one alone
  // would say little.
  static constexpr unsigned kGraceWindows = 4;

 private:
  enum Measure { kPair1, kPair2, kLook1, kLook2, kGrace, kRetire, kMeasures };
  static constexpr const char* kMeasureNames[kMeasures] = {
      "pair 1T", "pair 2T", "section 1T", "section 2T", "grace", "retire 2T"};
  enum class Role { kOurs, kUrcuMemb, kXenium, kOther };
  // What one contender does for one measure.
  struct Contest {
    std::string name;
    Role role;
    Measure measure;
    // For so many ticks; 0 if a thread lost its CPU. Sections and nodes per
    // nanosecond, of all threads together; nanoseconds per grace period.
    std::function<double(std::uint64_t ticks)> window;
    Series series = {};
  };
  struct Ratio {
    const char* id;
    Measure measure;
    Role peer;
  };
  static const std::vector<Ratio>& Ratios();
  static bool IsWanted(const ReclaimPlan& plan, Measure measure);
  static double WindowOf(const ReclaimPlan& plan, Measure measure);

  template <class Scheme>
  void AddReaders(const std::string& name, Role role, Scheme& scheme,
                  const typename Scheme::Head& head);
  template <class Scheme>
  void AddGrace(const std::string& name, Role role, Scheme& scheme,
                const typename Scheme::Head& head);
  template <class Scheme>
  void AddRetire(const std::string& name, Role role, Scheme& scheme);
  template <class Reclamation, XeniumEntry kEntry>
  void AddXenium(const std::string& name);

  struct Turns {
    std::uint64_t count = 0;
    double per_ns = 0;
    bool lost = false;
  };
  // Calls `turn` until `end`, or until `stop()`, which is asked now and then.
  // `between`: whether it may take long.
  template <class Turn, class Stop>
  Turns Repeat(std::uint64_t end, Between between, Turn turn, Stop stop) const;
  template <class Turn>
  Turns Repeat(std::uint64_t end, Between between, Turn turn) const {
    return Repeat(end, between, turn, [] { return false; });
  }
  // Runs `job` on the member's CPU. In a thread that ends with it: one that is
  // known to a scheme of quiescent states and idle holds up all others, which
  // would then save the time that their grace periods take.
  template <class Job>
  void StartBeside(Job job);
  // On one thread or two, which end after `ticks`: the sum of what they
  // return, 0 if one returns 0.
  template <class Job>
  double OnThreads(unsigned threads, std::uint64_t ticks, Job job);

  // Nanoseconds of one thread, where all together make this figure.
  static double NsOf(const Contest& contest, double figure);
  const Contest* Find(Measure measure, Role role) const;
  const Contest* BestXenium(Measure measure) const;

  Team& team_;
  const TickRate& rate_;
  // Of the schemes that have heads of our own.
  Rmap rmap_;
  ProbeHead head_;
  std::vector<std::shared_ptr<void>> kept_;  // schemes, heads, slots
  std::vector<Contest> contests_;
};

// ---------------------------------------------------------------------------

namespace internal {

inline std::uint64_t YoungEntry() {
  return Ept::MakeLeaf(Pfn{1}, Level{1}, Rights::kAll) | Ept::kAccessed;
}

// What a thread writes alone.
template <class Slot>
struct alignas(64) OwnSlot {
  Slot slot{};
};

}  // namespace internal

inline ReclaimSuite::ReclaimSuite(Team& team, const TickRate& rate)
    : team_(team), rate_(rate), rmap_(internal::YoungEntry()) {
  WriteOnce(head_.word, reinterpret_cast<std::uint64_t>(&rmap_), kRelaxed);
  const auto keep = [this](auto scheme) -> auto& {
    kept_.push_back(scheme);
    return *scheme;
  };

  auto& ours =
      keep(std::make_shared<PtageScheme>(EpochReaders::kFastest, kBatch));
  AddReaders("ptage", Role::kOurs, ours, head_);
  AddGrace("ptage", Role::kOurs, ours, head_);
  AddRetire(
      "ptage, locked", Role::kOurs,
      keep(std::make_shared<PtageScheme>(EpochReaders::kExchange, kBatch)));
  for (const std::uint64_t batch : {kBatch * 4, kBatch * 16}) {
    AddRetire(
        absl::StrCat("ptage, locked, batch ", batch), Role::kOther,
        keep(std::make_shared<PtageScheme>(EpochReaders::kExchange, batch)));
    AddRetire(
        absl::StrCat("ptage, batch ", batch), Role::kOther,
        keep(std::make_shared<PtageScheme>(EpochReaders::kFastest, batch)));
  }

  auto& memb = keep(std::make_shared<UrcuScheme<UrcuMemb>>());
  AddReaders("urcu memb", Role::kUrcuMemb, memb, head_);
  AddGrace("urcu memb", Role::kUrcuMemb, memb, head_);
  auto& bp = keep(std::make_shared<UrcuScheme<UrcuBp>>());
  AddReaders("urcu bp", Role::kOther, bp, head_);
  AddGrace("urcu bp", Role::kOther, bp, head_);
  AddReaders("urcu qsbr, sections alone", Role::kOther,
             keep(std::make_shared<UrcuScheme<UrcuQsbr>>()), head_);
  auto& each = keep(std::make_shared<UrcuScheme<UrcuQsbrEach>>());
  AddReaders("urcu qsbr, quiet after each", Role::kOther, each, head_);
  AddGrace("urcu qsbr, quiet after each", Role::kOther, each, head_);

  AddXenium<XeniumEpoch, XeniumEntry::kGuard>("xenium epoch_based");
  AddXenium<XeniumNewEpoch, XeniumEntry::kRegion>("xenium new_epoch_based");
  AddXenium<XeniumDebra, XeniumEntry::kGuard>("xenium debra");
  AddXenium<XeniumHazard, XeniumEntry::kAcquire>("xenium hazard_pointer");
  AddXenium<XeniumQsbr, XeniumEntry::kRegion>("xenium quiescent_state_based");
  AddXenium<XeniumStampIt, XeniumEntry::kRegion>("xenium stamp_it");

  AddReaders("std::shared_mutex", Role::kOther,
             keep(std::make_shared<SharedMutexScheme>()), head_);
  AddReaders("absl::Mutex", Role::kOther,
             keep(std::make_shared<AbslMutexScheme>()), head_);
}

template <class Reclamation, XeniumEntry kEntry>
void ReclaimSuite::AddXenium(const std::string& name) {
  using Scheme = XeniumScheme<Reclamation, kEntry>;
  // They outlive the process's threads, as the schemes' own state does.
  static Scheme scheme;
  static typename Scheme::Head head(Scheme::MakeNode(internal::YoungEntry()));
  AddReaders(name, Role::kXenium, scheme, head);
  AddRetire(name, Role::kXenium, scheme);
}

template <class Scheme>
void ReclaimSuite::AddReaders(const std::string& name, Role role,
                              Scheme& scheme,
                              const typename Scheme::Head& head) {
  for (const unsigned threads : {1u, 2u}) {
    contests_.push_back(
        {name, role, threads == 1 ? kPair1 : kPair2,
         [this, threads, &scheme, &head](std::uint64_t ticks) {
           return OnThreads(
               threads, ticks, [&](std::size_t, std::uint64_t end) {
                 const typename Scheme::Member member(scheme);
                 return Repeat(end, Between::kWork, [&] { scheme.Pair(head); })
                     .per_ns;
               });
         }});
    contests_.push_back(
        {name, role, threads == 1 ? kLook1 : kLook2,
         [this, threads, &scheme, &head](std::uint64_t ticks) {
           return OnThreads(
               threads, ticks, [&](std::size_t, std::uint64_t end) {
                 const typename Scheme::Member member(scheme);
                 std::uint64_t young = 0;
                 const Turns turns = Repeat(
                     end, Between::kWork, [&] { young += scheme.Look(head); });
                 PTAGE_ASSERT(young == turns.count);
                 asm volatile("" : : "r"(young));
                 return turns.per_ns;
               });
         }});
  }
}

template <class Scheme>
void ReclaimSuite::AddGrace(const std::string& name, Role role, Scheme& scheme,
                            const typename Scheme::Head& head) {
  contests_.push_back(
      {name, role, kGrace, [this, &scheme, &head](std::uint64_t ticks) {
         // The reader goes on until the last grace period has ended, or that
         // would be one without a reader.
         Cell<std::uint64_t> state(0);  // 1: it reads; 2: it may stop
         bool lost = false;
         StartBeside([&] {
           const typename Scheme::Member member(scheme);
           WriteOnce(state, std::uint64_t{1}, kRelaxed);
           const Turns turns = Repeat(
               UINT64_MAX, Between::kWork, [&] { scheme.Pair(head); },
               [&] { return ReadOnce(state, kRelaxed) == 2; });
           lost = turns.lost;
         });
         double each = 0;
         {
           const typename Scheme::Member member(scheme);
           while (ReadOnce(state, kRelaxed) == 0) SpinPause();
           const std::uint64_t begin = Ticks();
           std::uint64_t now = begin;
           std::uint64_t periods = 0;
           while (now - begin < ticks) {
             scheme.Reclaim();
             ++periods;
             now = Ticks();
           }
           each = rate_.Nanoseconds(now - begin) / static_cast<double>(periods);
         }
         WriteOnce(state, std::uint64_t{2}, kRelaxed);
         team_.Join();
         return lost ? 0 : each;
       }});
}

template <class Scheme>
void ReclaimSuite::AddRetire(const std::string& name, Role role,
                             Scheme& scheme) {
  using Slots = internal::OwnSlot<typename Scheme::Slot>;
  // What is in them stays the pool's.
  std::shared_ptr<Slots[]> slots(new Slots[2]);
  contests_.push_back(
      {name, role, kRetire, [this, &scheme, slots](std::uint64_t ticks) {
         return OnThreads(2, ticks, [&](std::size_t thread, std::uint64_t end) {
           const typename Scheme::Member member(scheme);
           typename Scheme::Slot& slot = slots.get()[thread].slot;
           const std::uint64_t before = NodePool::Given();
           // A turn may free two batches, or wait for who does.
           const Turns turns =
               Repeat(end, Between::kWaiting, [&] { scheme.Update(slot); });
           const auto freed = static_cast<double>(NodePool::Given() - before);
           return turns.per_ns * freed / static_cast<double>(turns.count);
         });
       }});
}

template <class Turn, class Stop>
ReclaimSuite::Turns ReclaimSuite::Repeat(std::uint64_t end, Between between,
                                         Turn turn, Stop stop) const {
  PreemptionWatch watch(rate_.FromNanoseconds(kStolenNs), Ticks(),
                        ThreadTime(rate_));
  // Reading the clock takes as long as ten sections.
  const std::uint64_t apart = rate_.FromNanoseconds(10'000);
  const std::uint64_t begin = Ticks();
  std::uint64_t now = begin;
  Turns turns;
  std::uint64_t block = 16;
  do {
    for (std::uint64_t i = 0; i < block; ++i) turn();
    turns.count += block;
    const std::uint64_t then = std::exchange(now, Ticks());
    watch.Look(now, between);
    if (now - then < apart) block *= 2;
  } while (now < end && !stop());
  turns.lost = watch.lost();
  if (!turns.lost) {
    turns.per_ns =
        static_cast<double>(turns.count) / rate_.Nanoseconds(now - begin);
  }
  return turns;
}

template <class Job>
void ReclaimSuite::StartBeside(Job job) {
  team_.Start([job](std::size_t number) {
    if (number != 0) return;
    // It inherits the CPU.
    std::thread([job] {
      job();
      NodePool::Flush();
    }).join();
  });
}

template <class Job>
double ReclaimSuite::OnThreads(unsigned threads, std::uint64_t ticks, Job job) {
  if (threads == 1) return job(0, Ticks() + ticks);
  // Both begin together: a thread takes a while to start.
  Cell<std::uint64_t> end_at(0);
  Cell<std::uint64_t> ready(0);
  double others = 0;
  StartBeside([&] {
    WriteOnce(ready, std::uint64_t{1}, kRelaxed);
    while (ReadOnce(end_at, kRelaxed) == 0) SpinPause();
    others = job(1, ReadOnce(end_at, kRelaxed));
  });
  while (ReadOnce(ready, kRelaxed) == 0) SpinPause();
  const std::uint64_t end = Ticks() + ticks;
  WriteOnce(end_at, end, kRelaxed);
  const double mine = job(0, end);
  team_.Join();
  return mine == 0 || others == 0 ? 0 : mine + others;
}

inline const std::vector<ReclaimSuite::Ratio>& ReclaimSuite::Ratios() {
  static const std::vector<Ratio>& ratios = *new std::vector<Ratio>{
      {"reclaim/enter_exit/vs_urcu_memb/1", kPair1, Role::kUrcuMemb},
      {"reclaim/enter_exit/vs_urcu_memb/2", kPair2, Role::kUrcuMemb},
      {"reclaim/enter_exit/vs_xenium/1", kPair1, Role::kXenium},
      {"reclaim/enter_exit/vs_xenium/2", kPair2, Role::kXenium},
      {"reclaim/section/vs_urcu_memb/1", kLook1, Role::kUrcuMemb},
      {"reclaim/section/vs_urcu_memb/2", kLook2, Role::kUrcuMemb},
      {"reclaim/section/vs_xenium/1", kLook1, Role::kXenium},
      {"reclaim/section/vs_xenium/2", kLook2, Role::kXenium},
      {"reclaim/grace/vs_urcu_memb", kGrace, Role::kUrcuMemb},
      {"reclaim/retire/vs_xenium", kRetire, Role::kXenium},
  };
  return ratios;
}

inline bool ReclaimSuite::IsWanted(const ReclaimPlan& plan, Measure measure) {
  return std::any_of(Ratios().begin(), Ratios().end(), [&](const Ratio& ratio) {
    return ratio.measure == measure && plan.wanted(ratio.id);
  });
}

inline double ReclaimSuite::WindowOf(const ReclaimPlan& plan, Measure measure) {
  return measure == kGrace    ? plan.grace_ns
         : measure == kRetire ? plan.retire_ns
                              : plan.read_ns;
}

inline double ReclaimSuite::Seconds(const ReclaimPlan& plan) const {
  double round_ns = 0;
  for (const Contest& contest : contests_) {
    if (IsWanted(plan, contest.measure)) {
      round_ns += WindowOf(plan, contest.measure) *
                  (contest.measure == kGrace ? kGraceWindows : 1);
    }
  }
  return round_ns * 1e-9 * static_cast<double>(plan.rounds);
}

inline void ReclaimSuite::Run(const ReclaimPlan& plan, Figures& figures) {
  std::vector<Contest*> order;
  for (Contest& contest : contests_) {
    if (IsWanted(plan, contest.measure)) order.push_back(&contest);
  }
  if (order.empty()) return;
  const auto run = [&](const Contest& contest) {
    return contest.window(
        rate_.FromNanoseconds(WindowOf(plan, contest.measure)));
  };
  // The first time fills caches, pools and places.
  for (const Contest* contest : order) static_cast<void>(run(*contest));
  internal::SplitMix random(plan.seed);
  std::uint64_t dropped = 0;
  for (std::uint64_t round = 0; round < plan.rounds; ++round) {
    for (std::size_t i = order.size(); i > 1; --i) {
      std::swap(order[i - 1], order[random.Below(i)]);
    }
    for (Contest* contest : order) {
      const unsigned times = contest->measure == kGrace ? kGraceWindows : 1;
      for (unsigned i = 0; i < times; ++i) {
        contest->series.push_back(run(*contest));
        if (contest->series.back() == 0) ++dropped;
      }
    }
    if (!plan.progress(round + 1, dropped)) return;
  }
  for (const Ratio& ratio : Ratios()) {
    if (!plan.wanted(ratio.id)) continue;
    const Contest* const ours = Find(ratio.measure, Role::kOurs);
    const Contest* const peer = ratio.peer == Role::kXenium
                                    ? BestXenium(ratio.measure)
                                    : Find(ratio.measure, ratio.peer);
    Figure figure{.missing = "too few windows"};
    if (ours != nullptr && peer != nullptr) {
      figure = PairedFigure(ours->series, peer->series);
    }
    if (ratio.measure == kRetire) {
      figure.counters.emplace_back("batch", static_cast<double>(kBatch));
    }
    figures[ratio.id] = std::move(figure);
  }
}

inline const ReclaimSuite::Contest* ReclaimSuite::Find(Measure measure,
                                                       Role role) const {
  for (const Contest& contest : contests_) {
    if (contest.measure == measure && contest.role == role) return &contest;
  }
  return nullptr;
}

inline const ReclaimSuite::Contest* ReclaimSuite::BestXenium(
    Measure measure) const {
  std::vector<const Contest*> schemes;
  std::vector<const Series*> series;
  for (const Contest& contest : contests_) {
    if (contest.measure != measure || contest.role != Role::kXenium) continue;
    schemes.push_back(&contest);
    series.push_back(&contest.series);
  }
  const std::optional<std::size_t> best = BestOf(series);
  return best.has_value() ? schemes[*best] : nullptr;
}

inline double ReclaimSuite::NsOf(const Contest& contest, double figure) {
  const bool two = contest.measure == kPair2 || contest.measure == kLook2 ||
                   contest.measure == kRetire;
  return contest.measure == kGrace ? figure : two ? 2 / figure : 1 / figure;
}

inline std::vector<Measurement> ReclaimSuite::Measurements() const {
  std::vector<Measurement> all;
  for (const Contest& contest : contests_) {
    std::vector<double> ns;
    for (const double figure : Kept(contest.series)) {
      ns.push_back(NsOf(contest, figure));
    }
    if (ns.empty()) continue;
    all.push_back(Measurement{.group = "reclaim",
                              .heading = kMeasureNames[contest.measure],
                              .name = contest.name,
                              .unit = "ns",
                              .summary = Summarize(ns)});
  }
  return all;
}

inline std::string ReclaimSuite::TableText() const {
  std::vector<std::string> names;
  bool measured = false;
  for (const Contest& contest : contests_) {
    measured = measured || !contest.series.empty();
    if (std::find(names.begin(), names.end(), contest.name) == names.end()) {
      names.push_back(contest.name);
    }
  }
  if (!measured) return "";
  std::vector<std::string> header = {"reclaim, medians"};
  header.insert(header.end(), std::begin(kMeasureNames),
                std::end(kMeasureNames));
  TextTable table(std::move(header));
  for (const std::string& name : names) {
    std::vector<std::string> row(1 + kMeasures, "-");
    row[0] = name;
    for (const Contest& contest : contests_) {
      const std::vector<double> kept = Kept(contest.series);
      if (contest.name != name || kept.empty()) continue;
      row[1 + contest.measure] = Duration(NsOf(contest, Median(kept)));
    }
    table.Add(std::move(row));
  }
  return absl::StrCat(
      table.ToString(), "of one thread, each; ptage retires in batches of ",
      kBatch,
      " nodes unless it says another, and its walks begin by a store unless it "
      "says locked; the pool made ",
      NodePool::Made(), " nodes of ", NodePool::kNodeBytes, " bytes\n");
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_RECLAIM_SUITE_H_
