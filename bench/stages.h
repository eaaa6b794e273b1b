// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What the contended benchmark does one after another, and how long that takes.

#ifndef PTAGE_BENCH_STAGES_H_
#define PTAGE_BENCH_STAGES_H_

#include <unistd.h>

#include <cstdio>
#include <functional>
#include <regex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/clock.h"
#include "bench/metrics.h"
#include "bench/progress.h"

namespace ptage::bench {

// The parts in their order.
enum PartNumber {
  kGuestsPart,
  kSetterPart,
  kRmapPart,
  kWalkPart,
  kInnerPart,
  kMmuPart,
  kContendedPart,
  kReclaimPart,
};

enum class Length { kQuick, kFull };

// Of all of them. A part of whose ids some are wanted is taken to last as long
// as their share.
[[nodiscard]] inline std::vector<Progress::Stage> StagesOf(
    const std::function<bool(const std::string& id)>& wanted, Length length);

// Written to the standard error, by the clock of `rate`, which outlives it.
[[nodiscard]] inline Progress OnScreen(std::vector<Progress::Stage> stages,
                                       const TickRate& rate) {
  return Progress(
      std::move(stages),
      isatty(STDERR_FILENO) != 0 ? Progress::Screen::kTerminal
                                 : Progress::Screen::kFile,
      [&rate] { return rate.Seconds(Ticks()); },
      [](const std::string& text) { absl::FPrintF(stderr, "%s", text); });
}

// ---------------------------------------------------------------------------

namespace internal {

struct Part {
  const char* name;
  const char* ids;  // an expression that their beginnings match
  // As measured on two CPUs of an AMD EPYC; a run on another machine corrects
  // them as it goes.
  double quick_seconds;
  double full_seconds;
};

inline constexpr Part kParts[] = {
    {"guests that are aged", "contention/[^/]+/[^/]+/", 30, 500},
    {"a setter that takes locks", "contention/setter/", 1, 8},
    {"rmaps", "rmap/(single|run|write|many/steps|many/[0-9]+/(cached/)?vs)", 9,
     150},
    {"walks", "walk/([^hp]|parallel)", 12, 180},
    {"walks by inner entries", "walk/(hot_parent|profile)/", 3, 8},
    {"faults and zaps", "mmu/", 6, 30},
    {"rmaps that are written meanwhile", "rmap/many/14/(contended|stalled)", 4,
     40},
    {"reclamation", "reclaim/", 3, 13}};

}  // namespace internal

inline std::vector<Progress::Stage> StagesOf(
    const std::function<bool(const std::string& id)>& wanted, Length length) {
  std::vector<Progress::Stage> stages;
  const std::vector<Metric> metrics = AllMetrics();
  for (const internal::Part& part : internal::kParts) {
    const std::regex ids(absl::StrCat("^", part.ids));
    double all = 0;
    double some = 0;
    for (const Metric& metric : metrics) {
      if (!std::regex_search(metric.id, ids)) continue;
      ++all;
      some += wanted(metric.id) ? 1 : 0;
    }
    // The guests' rounds end by the clock, however few they are.
    const bool by_clock = stages.size() == kGuestsPart;
    const double share = by_clock ? (some > 0 ? 1 : 0) : some / all;
    stages.push_back(Progress::Stage{
        part.name, share * (length == Length::kQuick ? part.quick_seconds
                                                     : part.full_seconds)});
  }
  return stages;
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_STAGES_H_
