// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What a run amounts to: a verdict, a table for people, and one line of JSON.

#ifndef PTAGE_TEST_SOAK_REPORT_H_
#define PTAGE_TEST_SOAK_REPORT_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "test/soak/bound.h"
#include "test/soak/driver.h"
#include "test/soak/faults.h"

namespace ptage::soak {

struct Verdict {
  absl::string_view text;
  bool passed;
};

// `wanted` visits, 0: any number. A control must fail; `control` is its name.
[[nodiscard]] inline Verdict Judge(const Outcome& outcome,
                                   const std::vector<Fault>& starved,
                                   std::uint64_t wanted,
                                   absl::string_view control) {
  const bool failed = outcome.total.failures.Total() != 0;
  if (!control.empty()) {
    return failed ? Verdict{"caught", true} : Verdict{"not caught", false};
  }
  if (failed) return {"failed", false};
  if (!starved.empty()) return {"starved", false};
  if (outcome.total.visits < wanted) return {"too few visits", false};
  return {"passed", true};
}

[[nodiscard]] inline std::string ToTable(const Outcome& outcome) {
  std::string text = "| fault | happened |\n| --- | ---: |\n";
  for (unsigned i = 0; i < kFaults; ++i) {
    const auto fault = static_cast<Fault>(i);
    absl::StrAppendFormat(&text, "| %s | %d |\n", NameOf(fault),
                          outcome.total.faults.Of(fault));
  }
  return text;
}

[[nodiscard]] inline std::string ToJson(const Outcome& outcome,
                                        const std::vector<Fault>& starved,
                                        std::uint64_t seed,
                                        absl::string_view discipline,
                                        absl::string_view control,
                                        const Verdict& verdict) {
  const Tallies& total = outcome.total;
  const auto quoted = [](absl::string_view text) {
    return absl::StrCat("\"", text, "\"");
  };
  std::vector<std::string> faults;
  for (unsigned i = 0; i < kFaults; ++i) {
    const auto fault = static_cast<Fault>(i);
    faults.push_back(
        absl::StrCat(quoted(NameOf(fault)), ":", total.faults.Of(fault)));
  }
  std::vector<std::string> names;
  for (const Fault fault : starved) names.push_back(quoted(NameOf(fault)));
  std::vector<std::string> fields = {
      absl::StrCat("\"seed\":", seed),
      absl::StrCat("\"discipline\":", quoted(discipline))};
  if (!control.empty()) {
    fields.push_back(absl::StrCat("\"control\":", quoted(control)));
  }
  for (const std::string& field :
       {absl::StrFormat("\"seconds\":%.1f", outcome.seconds),
        absl::StrCat("\"rounds\":", outcome.rounds),
        absl::StrCat("\"visits\":", total.visits),
        absl::StrCat("\"scans\":", total.scans),
        absl::StrCat("\"updates\":", total.updates),
        absl::StrCat("\"unanswered\":", total.unanswered),
        absl::StrCat("\"reused_entries_met\":", total.strangers),
        absl::StrCat("\"additions_without_chunk\":", total.no_chunk),
        absl::StrCat("\"faults\":{", absl::StrJoin(faults, ","), "}"),
        absl::StrCat("\"deaths_held_back\":", outcome.deaths_held_back),
        absl::StrCat("\"deaths_ended_by_exit\":", outcome.deaths_ended_by_exit),
        absl::StrCat("\"starved\":[", absl::StrJoin(names, ","), "]"),
        absl::StrCat("\"missed\":", total.failures.missed),
        absl::StrCat("\"foreign\":", total.failures.foreign),
        absl::StrCat("\"unbalanced\":", total.failures.unbalanced),
        absl::StrCat("\"corrupt\":", total.failures.corrupt),
        absl::StrFormat("\"failure_rate_upper_95\":%.3e",
                        UpperBound(total.failures.Total(), total.visits)),
        absl::StrCat("\"verdict\":", quoted(verdict.text))}) {
    fields.push_back(field);
  }
  return absl::StrCat("{", absl::StrJoin(fields, ","), "}");
}

}  // namespace ptage::soak

#endif  // PTAGE_TEST_SOAK_REPORT_H_
