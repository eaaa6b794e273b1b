// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Every number that the project measures or means to: its id, its goal, and
// whether there is code that measures it. Ids are fixed, since scripts read
// them.

#ifndef PTAGE_BENCH_METRICS_H_
#define PTAGE_BENCH_METRICS_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/stats.h"

namespace ptage::bench {

// An id and what it should come to.
struct Metric {
  std::string id;
  GoalKind kind = GoalKind::kNone;
  // Unless `kind` is kNone.
  double goal = 0;
  // The goal is a share that the run counts itself, in place of `goal`.
  bool counts_goal = false;
  bool higher_is_better = true;
  Evidence evidence = Evidence::kSampled;
  // Whether this program can measure it.
  bool built = false;
  // If it cannot, what does; empty: nothing does.
  std::string elsewhere = {};
};

// The guests and contenders as ids spell them.
inline constexpr const char* kGuestNames[] = {"tdp", "nested", "shadow"};

// The configurations of a guest, as ids spell them.
inline constexpr const char* kConfigNames[] = {"", "/evict", "/duty5",
                                               "/evict/duty5"};

// All of them, in the order in which they are printed.
[[nodiscard]] inline std::vector<Metric> AllMetrics();

// ---------------------------------------------------------------------------

namespace internal {

inline Metric AtLeast(std::string id, double goal) {
  return Metric{.id = std::move(id), .kind = GoalKind::kAtLeast, .goal = goal};
}

inline Metric AtMost(std::string id, double goal) {
  return Metric{.id = std::move(id),
                .kind = GoalKind::kAtMost,
                .goal = goal,
                .higher_is_better = false};
}

inline Metric Reported(std::string id, bool higher_is_better) {
  return Metric{.id = std::move(id), .higher_is_better = higher_is_better};
}

// Of counts that are the same in every run.
inline Metric Counted(Metric metric) {
  metric.evidence = Evidence::kCounted;
  return metric;
}

// The figures of one contender in one configuration; `fast_only` is the
// library's, and has goals. `single_entry` must leave out the lists, and
// nothing else.
inline void AddContender(const std::string& guest, const std::string& ager,
                         const std::string& config,
                         std::vector<Metric>& metrics) {
  const std::string base =
      absl::StrCat("contention/", guest, "/", ager, config, "/");
  const bool ours = ager == "fast_only";
  const bool evicts = config == "/evict" || config == "/evict/duty5";
  const bool full = config.empty() || config == "/evict";
  const auto add = [&](Metric metric, Evidence evidence = Evidence::kSampled) {
    metric.built = true;
    metric.evidence = evidence;
    metrics.push_back(std::move(metric));
  };

  if (ager == "none" && config.empty()) {
    add(Metric{.id = base + "vs_none",
               .kind = GoalKind::kFactor,
               .goal = 1.01,
               .higher_is_better = false});
  }
  if (ager != "none" && ager != "read_only") {
    add(ours && config == "/duty5" ? AtLeast(base + "throughput", 0.98)
                                   : Reported(base + "throughput", true));
  }
  if (full && !evicts && ager != "bare_clear") {
    add(ours ? AtLeast(base + "vs_bare_clear", 0.97)
             : Reported(base + "vs_bare_clear", true));
  }
  if (evicts && ager != "none") {
    const bool judged = ours && !full;
    add(judged ? AtMost(base + "fault_p99", 1.10)
               : Reported(base + "fault_p99", false));
    add(judged ? AtMost(base + "fault_p999", 1.25)
               : Reported(base + "fault_p999", false));
  }
  if (evicts && full) {
    const auto against = [&](const char* other, Metric metric) {
      if (ager != other) add(std::move(metric));
    };
    against("slow", ours ? AtMost(base + "fault_p99_vs_slow", 0.02)
                         : Reported(base + "fault_p99_vs_slow", false));
    // The direct tables have no rmaps, and so no bit to lock.
    if (guest != "tdp") {
      against("bit_locked",
              ours ? AtMost(base + "fault_p99_vs_bit_locked", 1.0)
                   : Reported(base + "fault_p99_vs_bit_locked", false));
    }
    against("ticket", Reported(base + "fault_p99_vs_ticket", false));
    against("slow", Reported(base + "faults_vs_slow", true));
  }
  if (ager == "none" || !full) return;
  Metric recall = Reported(base + "recall", true);
  Metric precision = Reported(base + "precision", true);
  Metric unanswered = Reported(base + "unanswered", false);
  if (ager == "single_entry" && !evicts) {
    unanswered.kind = GoalKind::kExactly;
    unanswered.counts_goal = true;
  }
  if (ours) {
    recall.kind = GoalKind::kExactly;
    recall.goal = 1;
    precision.kind = GoalKind::kAtLeast;
    precision.goal = 0.999;
    if (!evicts) unanswered.kind = GoalKind::kExactly;
  }
  add(recall, Evidence::kCounted);
  add(precision, Evidence::kCounted);
  add(unanswered, Evidence::kCounted);
}

inline void AddContention(std::vector<Metric>& metrics) {
  for (const std::string guest : kGuestNames) {
    for (const std::string ager :
         {"none", "read_only", "bare_clear", "fast_only", "slow", "ticket",
          "trylock", "bit_locked", "single_entry"}) {
      // The direct tables have no rmaps.
      if (guest == "tdp" && (ager == "bit_locked" || ager == "single_entry")) {
        continue;
      }
      for (const std::string config : kConfigNames) {
        AddContender(guest, ager, config, metrics);
      }
    }
  }
  for (Metric setter : {AtLeast("contention/setter/vs_ticket", 2),
                        AtLeast("contention/setter/vs_spin", 20)}) {
    setter.built = true;
    metrics.push_back(std::move(setter));
  }
}

inline void AddWalk(std::vector<Metric>& metrics) {
  for (Metric metric : {
           AtLeast("walk/linear/test/1", 0.95),
           AtLeast("walk/linear/test/2", 0.95),
           AtLeast("walk/linear/test_portable/1", 0.85),
           AtLeast("walk/shuffled/test/1", 0.60),
           AtLeast("walk/shuffled/test/2", 0.80),
           AtLeast("walk/l2/test/1", 0.90),
           AtMost("walk/dense/clear", 1.10),
           AtMost("walk/sparse/clear", 1.15),
           AtLeast("walk/vs_per_entry", 3),
           AtLeast("walk/parallel/2", 1.9),
           AtLeast("walk/skip_cold/0.1", 120),
           AtLeast("walk/skip_cold/100", 0.90),
           AtMost("walk/foreign/memory", 1.20),
           AtMost("walk/foreign/l2", 1.10),
           AtLeast("walk/hot_parent/clear", 10),
           AtLeast("walk/hot_parent/clear/unverified", 30),
           AtMost("walk/profile/cost", 1.5),
           AtLeast("walk/profile/precision", 0.95),
           AtLeast("walk/profile/recall", 0.95),
       }) {
    metric.built = true;
    metrics.push_back(std::move(metric));
  }
}

inline void AddRmap(std::vector<Metric>& metrics) {
  for (Metric metric : {
           AtLeast("rmap/single/sequential/vs_bit_locked", 5),
           AtLeast("rmap/single/random/vs_bit_locked", 2),
           AtLeast("rmap/single/random/vs_bit_locked_prefetched", 1.0),
           AtMost("rmap/single/random/vs_limit", 1.10),
           AtLeast("rmap/run/vs_streaming", 0.95),
           AtLeast("rmap/run/vs_streaming/shuffled", 0.60),
           AtLeast("rmap/run/vs_streaming/empty10", 0.55),
           AtLeast("rmap/run/vs_streaming/outliers1", 0.45),
           AtLeast("rmap/many/2/vs_bit_locked", 0.97),
           AtLeast("rmap/many/4/vs_bit_locked", 0.97),
           AtLeast("rmap/many/14/vs_bit_locked", 1.0),
           AtLeast("rmap/many/100/vs_bit_locked", 1.0),
           AtLeast("rmap/many/2/cached/vs_bit_locked", 1.2),
           AtLeast("rmap/many/4/cached/vs_bit_locked", 1.1),
           AtLeast("rmap/many/14/cached/vs_bit_locked", 1.1),
           AtLeast("rmap/many/100/cached/vs_bit_locked", 1.0),
           AtLeast("rmap/many/14/contended/vs_bit_locked", 1.3),
           AtMost("rmap/many/14/contended/p999_vs_bit_locked", 0.9),
           AtLeast("rmap/many/14/stalled_writer/vs_bit_locked", 3),
           AtMost("rmap/many/14/stalled_writer/p999_vs_bit_locked", 0.05),
           AtMost("rmap/many/steps", 1),
           AtLeast("rmap/write/vs_bit_locked/1", 0.95),
           AtLeast("rmap/write/vs_bit_locked/14", 0.95),
       }) {
    metric.built = true;
    metrics.push_back(std::move(metric));
  }
}

inline void AddReclaim(std::vector<Metric>& metrics) {
  for (Metric metric : {
           AtLeast("reclaim/enter_exit/vs_urcu_memb/1", 2.2),
           AtLeast("reclaim/enter_exit/vs_urcu_memb/2", 2.2),
           AtLeast("reclaim/enter_exit/vs_xenium/1", 3),
           AtLeast("reclaim/enter_exit/vs_xenium/2", 3),
           AtLeast("reclaim/section/vs_urcu_memb/1", 2),
           AtLeast("reclaim/section/vs_urcu_memb/2", 2),
           AtLeast("reclaim/section/vs_xenium/1", 2.3),
           AtLeast("reclaim/section/vs_xenium/2", 2.3),
           AtMost("reclaim/grace/vs_urcu_memb", 1.05),
           AtLeast("reclaim/retire/vs_xenium", 1.0),
       }) {
    metric.built = true;
    metrics.push_back(std::move(metric));
  }
}

inline void AddMmu(std::vector<Metric>& metrics) {
  for (Metric metric : {
           Reported("mmu/fault/tdp/1", true),
           AtLeast("mmu/fault/tdp/2", 2),
           Reported("mmu/fault/nested/1", true),
           AtLeast("mmu/fault/nested/2", 2),
           AtLeast("mmu/fault/scaling", 1.8),
           AtLeast("mmu/zap_under_aging", 0.95),
       }) {
    metric.built = true;
    metrics.push_back(std::move(metric));
  }
}

inline void AddMemory(std::vector<Metric>& metrics) {
  for (Metric metric : {
           Counted(AtMost("memory/rmap/bytes_per_frame", 1.05)),
           Counted(AtMost("memory/lru/bytes_per_frame", 8)),
           Counted(AtMost("memory/table_info/share", 0.02)),
       }) {
    metric.built = true;
    metrics.push_back(std::move(metric));
  }
}

// A program of its own counts them.
inline void AddPolicy(std::vector<Metric>& metrics) {
  for (Metric metric : {
           Counted(AtMost("policy/geomean/misses_vs_clock", 0.90)),
           Counted(AtMost("policy/geomean/misses_vs_best_bits", 1.00)),
           Counted(AtMost("policy/geomean/misses_vs_best_all", 1.10)),
           Reported("policy/<trace>/<size>/…", false),
           Counted(AtMost("policy/nested/refaults", 0.5)),
           AtMost("policy/cost", 1.5),
       }) {
    metric.elsewhere = "tools/bench policy";
    metrics.push_back(std::move(metric));
  }
}

}  // namespace internal

inline std::vector<Metric> AllMetrics() {
  std::vector<Metric> metrics;
  internal::AddContention(metrics);
  internal::AddWalk(metrics);
  internal::AddRmap(metrics);
  internal::AddReclaim(metrics);
  internal::AddMmu(metrics);
  internal::AddMemory(metrics);
  internal::AddPolicy(metrics);
  return metrics;
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_METRICS_H_
