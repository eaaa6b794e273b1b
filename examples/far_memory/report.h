// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What is said: a line while it runs, and the summary at the end, as text and
// as JSON.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_REPORT_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_REPORT_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "examples/far_memory/options.h"
#include "examples/far_memory/page.h"
#include "examples/far_memory/shared_state.h"
#include "examples/far_memory/stats.h"
#include "examples/far_memory/workload.h"
#include "ptage/once.h"

namespace ptage::far_memory {

inline constexpr std::size_t kPhases = std::size(kPhaseNames);

// A run that ended well: its data was checked.
struct Summary {
  absl::string_view access;  // "userfaultfd" or "software"
  absl::string_view policy;
  std::uint64_t pages = 0;
  std::uint64_t limit = 0;
  PagerStats stats;
  std::array<double, kPhases> seconds = {};
  std::array<std::uint64_t, kPhases> operations = {};

  [[nodiscard]] double Seconds() const {
    double all = 0;
    for (const double some : seconds) all += some;
    return all;
  }
};

// Bytes of pages in the store ÷ bytes that they take there; 0 if none are.
[[nodiscard]] inline double RatioOf(const PagerStats& stats) {
  return stats.stored_bytes == 0
             ? 0
             : static_cast<double>(stats.stored_pages * kPageBytes) /
                   static_cast<double>(stats.stored_bytes);
}

// Reads what the phases took, into `summary`.
inline void AddPhases(const SharedState& shared, Summary& summary) {
  for (std::size_t i = 0; i < kPhases; ++i) {
    summary.seconds[i] =
        static_cast<double>(ReadOnce(shared.phase_ns[i], kRelaxed)) * 1e-9;
    summary.operations[i] = ReadOnce(shared.operations[i], kRelaxed);
  }
}

// One line, without its end. `rate`: operations a second.
[[nodiscard]] inline std::string LiveLine(const SharedState& shared,
                                          const PagerStats& stats,
                                          double rate) {
  const std::uint64_t phase = ReadOnce(shared.phase, kRelaxed);
  const std::uint64_t done = ReadOnce(shared.done, kRelaxed);
  const std::uint64_t total = ReadOnce(shared.total, kRelaxed);
  return absl::StrFormat(
      "%s %d%%: %.0f/s, resident %d, faults %d major %d minor %d write, "
      "evictions %d, stored %.1fx",
      kPhaseNames[phase < kPhases ? phase : 0],
      total == 0 ? 0 : done * 100 / total, rate, stats.resident,
      stats.major_faults, stats.minor_faults, stats.write_faults,
      stats.evictions, RatioOf(stats));
}

// Several lines.
[[nodiscard]] inline std::string ToText(const Summary& summary) {
  const PagerStats& stats = summary.stats;
  std::string text = absl::StrFormat(
      "verified: %d pages of data, at most %d in memory (limit %d), by %s, "
      "policy %s\n",
      summary.pages, stats.most_resident, summary.limit, summary.access,
      summary.policy);
  absl::StrAppendFormat(
      &text,
      "faults: %d major (%d of new pages), %d minor (what aging costs), %d "
      "first writes, %d others\n",
      stats.major_faults, stats.zero_fills, stats.minor_faults,
      stats.write_faults, stats.other_faults);
  absl::StrAppendFormat(
      &text,
      "aging: %d passes, %d entries, %d young; evictions: %d, %d of them "
      "clean\n",
      stats.aging_passes, stats.aged, stats.unmapped, stats.evictions,
      stats.clean_evictions);
  absl::StrAppendFormat(
      &text, "store: %d pages in %.1f MiB, %.2f to 1\n", stats.stored_pages,
      static_cast<double>(stats.stored_bytes) / (1 << 20), RatioOf(stats));
  for (std::size_t i = 1; i + 1 < kPhases; ++i) {
    if (summary.seconds[i] == 0) continue;
    const auto operations = static_cast<double>(summary.operations[i]);
    absl::StrAppendFormat(&text, "%-12s %8.2f s %10.0f/s\n", kPhaseNames[i],
                          summary.seconds[i], operations / summary.seconds[i]);
  }
  absl::StrAppendFormat(&text, "%-12s %8.2f s\n", "all", summary.Seconds());
  return text;
}

// One object.
[[nodiscard]] inline std::string ToJson(const Summary& summary) {
  const PagerStats& stats = summary.stats;
  std::string json = absl::StrFormat(
      "{\n  \"verified\": true,\n  \"access\": \"%s\",\n  \"policy\": \"%s\"",
      summary.access, summary.policy);
  const auto add = [&](absl::string_view name, std::uint64_t value) {
    absl::StrAppendFormat(&json, ",\n  \"%s\": %d", name, value);
  };
  add("pages", summary.pages);
  add("limit", summary.limit);
  add("resident", stats.resident);
  add("most_resident", stats.most_resident);
  add("major_faults", stats.major_faults);
  add("zero_fills", stats.zero_fills);
  add("minor_faults", stats.minor_faults);
  add("write_faults", stats.write_faults);
  add("other_faults", stats.other_faults);
  add("aging_passes", stats.aging_passes);
  add("aged", stats.aged);
  add("unmapped", stats.unmapped);
  add("evictions", stats.evictions);
  add("clean_evictions", stats.clean_evictions);
  add("put_back", stats.put_back);
  add("discarded", stats.discarded);
  add("stored_pages", stats.stored_pages);
  add("stored_bytes", stats.stored_bytes);
  absl::StrAppendFormat(&json, ",\n  \"ratio\": %.4f,\n  \"phases\": [",
                        RatioOf(stats));
  absl::string_view between = "\n";
  for (std::size_t i = 1; i + 1 < kPhases; ++i) {
    if (summary.seconds[i] == 0) continue;
    absl::StrAppendFormat(
        &json,
        "%s    {\"name\": \"%s\", \"operations\": %d, \"seconds\": %.6f}",
        between, kPhaseNames[i], summary.operations[i], summary.seconds[i]);
    between = ",\n";
  }
  absl::StrAppendFormat(&json, "\n  ],\n  \"seconds\": %.6f\n}\n",
                        summary.Seconds());
  return json;
}

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_REPORT_H_
