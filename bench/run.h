// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The rounds of the contended benchmark: which windows there are, in what
// order, on which trace, and what is kept of them.
//
// A round runs every contender once in each configuration of each guest, in an
// order shuffled by the seed. All windows of a round replay the same stretch of
// the same trace; the traces take turns in blocks of rounds, so that
// neighbouring rounds, whose faults are pooled, see the same program. A window
// in which a thread lost its CPU is dropped and counted, and rounds go on until
// each contender has enough, or the time is up.

#ifndef PTAGE_BENCH_RUN_H_
#define PTAGE_BENCH_RUN_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "bench/clock.h"
#include "bench/contender.h"
#include "bench/replay.h"
#include "bench/team.h"
#include "bench/window.h"

namespace ptage::bench {

// How a guest is run.
struct Config {
  bool evict;
  double duty;
  // As ids spell it.
  const char* name;
  // Large leaves are split, and small ones promoted.
  bool splits = false;
};

inline constexpr double kLowDuty = 0.05;
inline constexpr Config kConfigs[] = {{false, 1, ""},
                                      {true, 1, "/evict"},
                                      {false, kLowDuty, "/duty5"},
                                      {true, kLowDuty, "/evict/duty5"}};
inline constexpr std::size_t kConfigCount = std::size(kConfigs);
// Those of a run with splits, besides; no metric has their ids. Guests whose
// leaves are all small are not run in them.
inline constexpr Config kSplitConfigs[] = {
    {true, 1, "/evict/splits", true},
    {true, kLowDuty, "/evict/splits/duty5", true}};
[[nodiscard]] constexpr bool HasLargeLeaves(GuestKind kind) {
  return kind != GuestKind::kShadow;
}

// Faults that have nothing to do with what is aged, after each burst of 1,024
// references: three levels of load.
inline constexpr std::uint64_t kLoads[] = {0, 32, 256};
inline constexpr std::size_t kLoadCount = std::size(kLoads);

// A window of a round.
struct Slot {
  Contender contender;
  // Index into kLoads.
  std::size_t load = 0;
  // The second window of `none`, which is held against the first.
  bool again = false;

  friend bool operator==(const Slot&, const Slot&) = default;
};

// What is kept of a window. Times in seconds, faults in nanoseconds.
struct Sample {
  double translations_per_second = 0;
  double faults_per_second = 0;
  std::vector<std::uint32_t> faults = {};
};

// What is kept of a slot: a sample for each round, if it was not dropped, and
// sums over them.
struct SlotResult {
  Slot slot;
  std::vector<std::optional<Sample>> rounds = {};
  std::uint64_t kept = 0;
  std::uint64_t dropped = 0;
  std::uint64_t translations = 0;
  std::uint64_t walks = 0;
  std::uint64_t zaps = 0;
  std::uint64_t splits = 0;
  std::uint64_t passes = 0;
  double aged_seconds = 0;
  std::uint64_t aged_blocks = 0;
  double longest_gap_ns = 0;
  std::uint64_t tested = 0;
  std::uint64_t unanswered = 0;
  AgeCounts counts = {};
  TruthCounts truth = {};
  // By trace: translations and walks.
  std::vector<std::uint64_t> translations_by_trace = {};
  std::vector<std::uint64_t> walks_by_trace = {};
};

struct ConfigResult {
  Config config;
  std::vector<SlotResult> slots;

  // The slot; null if it was not run.
  [[nodiscard]] const SlotResult* Find(const Slot& slot) const {
    for (const SlotResult& result : slots) {
      if (result.slot == slot) return &result;
    }
    return nullptr;
  }
  [[nodiscard]] const SlotResult* Find(Contender contender) const {
    return Find(Slot{contender});
  }
};

struct GuestResult {
  GuestKind kind;
  // Entries of a full guest, and those that share their rmap.
  std::uint64_t mapped = 0;
  std::uint64_t in_lists = 0;
  std::vector<ConfigResult> configs = {};
};

struct RunPlan {
  std::uint64_t pages = 0;
  std::uint64_t seed = 1;
  std::size_t vcpus = 1;
  std::uint64_t rounds = 100;
  // Nanoseconds of a window, and between requests to flush.
  double window_ns = 0;
  double period_ns = 0;
  double zaps_per_ms = 0;
  // 0: no guest runs with splits.
  double splits_per_ms = 0;
  // When rounds stop in any case, in seconds from the start of the first.
  double seconds = 0;
  // Rounds from one with windows under more load to the next.
  std::uint64_t load_every = 4;
  // Which guests and configurations there are.
  std::function<bool(GuestKind, const Config&)> wanted;
  // Which contenders; empty: all, and loads.
  std::vector<Contender> contenders = {};
  // Told now and then: rounds done, windows dropped. False: stop.
  std::function<bool(std::uint64_t rounds, std::uint64_t dropped)> progress;
};

struct RunResult {
  std::vector<GuestResult> guests;
  std::uint64_t rounds = 0;
  std::uint64_t windows = 0;
  std::uint64_t dropped = 0;
  bool stopped = false;  // by `progress`
};

class Runner {
 public:
  // All outlive the runner. `replays` is not empty.
  Runner(const RunPlan& plan, const std::vector<Replay>& replays,
         const TickRate& rate, Team& team);

  // Builds the guests. Unavailable: a page could not be mapped.
  [[nodiscard]] absl::Status SetUp();
  // Runs the rounds.
  [[nodiscard]] RunResult Run();

 private:
  // A configuration, and the machine it runs on: one for those with eviction,
  // one for those without, and one for those with splits, so that each stays in
  // its steady state.
  struct Part {
    Machine* machine;
    ConfigResult* result;
    // Most rmaps are lists, and it takes long to keep them in another way.
    bool lists;
  };

  void RunPart(const Part& part, std::uint64_t round);
  void RunSlot(const Part& part, SlotResult& slot, WindowPlan plan,
               std::size_t trace);
  [[nodiscard]] WindowPlan PlanFor(const Config& config, std::uint64_t round,
                                   std::size_t trace) const;
  [[nodiscard]] bool RunsIn(const Slot& slot, std::uint64_t round) const {
    return slot.load == 0 || round % plan_.load_every == 0;
  }
  [[nodiscard]] bool Enough() const;

  const RunPlan& plan_;
  const std::vector<Replay>& replays_;
  const TickRate& rate_;
  Team& team_;
  std::vector<std::unique_ptr<Machine>> machines_;
  std::vector<Part> parts_;
  RunResult result_;
  std::uint64_t seed_;
};

// ---------------------------------------------------------------------------

namespace internal {

inline std::vector<SlotResult> SlotsFor(
    GuestKind kind, const Config& config,
    const std::vector<Contender>& contenders, std::size_t traces) {
  std::vector<SlotResult> slots;
  const auto add = [&](const Slot& slot) {
    SlotResult result{.slot = slot};
    result.translations_by_trace.resize(traces);
    result.walks_by_trace.resize(traces);
    slots.push_back(std::move(result));
  };
  if (!contenders.empty()) {
    for (const Contender contender : contenders) {
      if (Exists(kind, contender)) add(Slot{contender});
    }
    return slots;
  }
  for (const Contender contender : kContenders) {
    if (Exists(kind, contender)) add(Slot{contender});
  }
  add(Slot{.contender = Contender::kNone, .again = true});
  if (config.duty < 1) return slots;
  for (std::size_t load = 1; load < kLoadCount; ++load) {
    add(Slot{.contender = Contender::kFastOnly, .load = load});
    add(Slot{.contender = Contender::kTrylock, .load = load});
  }
  return slots;
}

// The order of a round. `by_form`: who keeps lists in the same way comes one
// after another, and which way comes first is shuffled too.
inline void ShuffleSlots(bool by_form, std::uint64_t seed,
                         std::vector<SlotResult*>& order) {
  SplitMix random(seed * 0x10001);
  for (std::size_t i = order.size(); i > 1; --i) {
    std::swap(order[i - 1], order[random.Below(i)]);
  }
  if (!by_form) return;
  const bool first = random.Below(2) == 0;
  std::partition(order.begin(), order.end(), [first](const SlotResult* slot) {
    const RmapLock lock = TraitsOf(slot->slot.contender).rmap_lock;
    return (lock == RmapLock::kLockless) == first;
  });
}

}  // namespace internal

inline Runner::Runner(const RunPlan& plan, const std::vector<Replay>& replays,
                      const TickRate& rate, Team& team)
    : plan_(plan),
      replays_(replays),
      rate_(rate),
      team_(team),
      seed_(plan.seed) {}

inline absl::Status Runner::SetUp() {
  for (const GuestKind kind : kGuestKinds) {
    GuestResult guest{.kind = kind};
    const auto add = [&](const Config& config) {
      if (!plan_.wanted(kind, config)) return;
      guest.configs.push_back(
          ConfigResult{.config = config,
                       .slots = internal::SlotsFor(
                           kind, config, plan_.contenders, replays_.size())});
    };
    for (const Config& config : kConfigs) add(config);
    if (plan_.splits_per_ms > 0 && HasLargeLeaves(kind)) {
      for (const Config& config : kSplitConfigs) add(config);
    }
    if (!guest.configs.empty()) result_.guests.push_back(std::move(guest));
  }
  for (GuestResult& guest : result_.guests) {
    Machine* by_load[3] = {};
    for (ConfigResult& config : guest.configs) {
      const bool splits = config.config.splits;
      Machine*& machine = by_load[splits ? 2 : config.config.evict ? 1 : 0];
      if (machine == nullptr) {
        machines_.push_back(std::make_unique<Machine>(
            guest.kind, plan_.pages, plan_.vcpus,
            splits ? Leaves::kSomeLarge : Leaves::kSmall));
        machine = machines_.back().get();
        const absl::Status populated = machine->guest().Populate();
        if (!populated.ok()) return populated;
        if (!splits) {
          guest.mapped = machine->guest().Mapped();
          guest.in_lists = machine->guest().MappedInLists();
        }
        // With eviction the pages that are not used are soon gone for good;
        // they go at once, so that the first rounds are like the last.
        if (config.config.evict) machine->guest().EvictAll();
      }
      parts_.push_back(
          Part{machine, &config, guest.kind == GuestKind::kShadow});
    }
  }
  return absl::OkStatus();
}

inline WindowPlan Runner::PlanFor(const Config& config, std::uint64_t round,
                                  std::size_t trace) const {
  const Replay& replay = replays_[trace];
  const std::uint64_t block =
      std::max<std::uint64_t>(1, plan_.rounds / replays_.size());
  // Windows of a block begin evenly over the whole trace.
  const std::uint64_t turns = replay.Cycle() / replay.copies();
  return WindowPlan{
      .replay = &replay,
      .first_burst = turns * (round % block) / block * replay.copies(),
      .length = rate_.FromNanoseconds(plan_.window_ns),
      .period = rate_.FromNanoseconds(plan_.period_ns),
      .duty = config.duty,
      .slice = rate_.FromNanoseconds(50'000),
      .evict_every =
          config.evict ? rate_.FromNanoseconds(1e6 / plan_.zaps_per_ms) : 0,
      .split_every =
          config.splits ? rate_.FromNanoseconds(1e6 / plan_.splits_per_ms) : 0,
      .seed = plan_.seed + round};
}

inline void Runner::RunSlot(const Part& part, SlotResult& slot, WindowPlan plan,
                            std::size_t trace) {
  plan.contender = slot.slot.contender;
  plan.unrelated_faults = kLoads[slot.slot.load];
  WindowResult window = part.machine->Run(plan, rate_, team_);
  ++result_.windows;
  if (window.preempted) {
    ++slot.dropped;
    ++result_.dropped;
    slot.rounds.emplace_back();
    return;
  }
  Sample sample;
  for (VcpuWindow& vcpu : window.vcpus) {
    const double seconds = rate_.Seconds(vcpu.elapsed);
    sample.translations_per_second +=
        static_cast<double>(vcpu.translations) / seconds;
    sample.faults_per_second +=
        static_cast<double>(vcpu.faults.size()) / seconds;
    for (const std::uint32_t ticks : vcpu.faults) {
      sample.faults.push_back(
          static_cast<std::uint32_t>(rate_.Nanoseconds(ticks)));
    }
    slot.translations += vcpu.translations;
    slot.walks += vcpu.walks;
    slot.translations_by_trace[trace] += vcpu.translations;
    slot.walks_by_trace[trace] += vcpu.walks;
    slot.longest_gap_ns =
        std::max(slot.longest_gap_ns, rate_.Nanoseconds(vcpu.longest_gap));
  }
  ++slot.kept;
  slot.zaps += window.zaps;
  slot.splits += window.splits;
  slot.passes += window.passes;
  slot.aged_seconds += rate_.Seconds(window.aged_ticks);
  slot.aged_blocks += window.aged_blocks;
  slot.tested += window.tested;
  slot.unanswered += window.unanswered;
  slot.counts += window.counts;
  slot.truth += window.truth;
  slot.rounds.emplace_back(std::move(sample));
}

inline void Runner::RunPart(const Part& part, std::uint64_t round) {
  const std::uint64_t block =
      std::max<std::uint64_t>(1, plan_.rounds / replays_.size());
  const std::size_t trace = round / block % replays_.size();
  WindowPlan plan = PlanFor(part.result->config, round, trace);

  // Brings this guest's tables into the caches, and its pages to where this
  // stretch of the trace has them.
  WindowPlan warm_up = plan;
  warm_up.check_truth = false;
  warm_up.length /= 2;
  (void)part.machine->Run(warm_up, rate_, team_);

  std::vector<SlotResult*> order;
  for (SlotResult& slot : part.result->slots) {
    if (RunsIn(slot.slot, round)) {
      order.push_back(&slot);
    } else {
      slot.rounds.emplace_back();
    }
  }
  internal::ShuffleSlots(part.lists, seed_++, order);
  for (SlotResult* slot : order) RunSlot(part, *slot, plan, trace);
}

inline bool Runner::Enough() const {
  if (result_.rounds < plan_.rounds) return false;
  for (const Part& part : parts_) {
    for (const SlotResult& slot : part.result->slots) {
      if (slot.slot.load == 0 && slot.kept < plan_.rounds) return false;
    }
  }
  return true;
}

inline RunResult Runner::Run() {
  const std::uint64_t begin = Ticks();
  while (!Enough() && rate_.Seconds(Ticks() - begin) < plan_.seconds) {
    for (const Part& part : parts_) {
      RunPart(part, result_.rounds);
      if (!plan_.progress(result_.rounds, result_.dropped)) {
        result_.stopped = true;
        return std::move(result_);
      }
    }
    ++result_.rounds;
  }
  return std::move(result_);
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_RUN_H_
