// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What was measured besides the metrics, which are ratios: the figures of their
// sides, for whoever draws them.

#ifndef PTAGE_BENCH_MEASUREMENTS_H_
#define PTAGE_BENCH_MEASUREMENTS_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/report.h"
#include "bench/stats.h"

namespace ptage::bench {

// A side of a comparison. What was measured in turn has the same heading.
// tools/report finds what it draws by these texts.
struct Measurement {
  std::string group;    // as ids begin: "walk"
  std::string heading;  // what they do
  std::string name;     // who does it
  std::string unit;     // of the figures, as "ns per table"
  Summary summary = {};
};

// Those with figures, for ToJson's `more`; empty if there are none.
[[nodiscard]] inline std::string MeasurementsJson(
    const std::vector<Measurement>& all) {
  std::string text;
  for (const Measurement& one : all) {
    const Summary& summary = one.summary;
    if (summary.samples == 0) continue;
    absl::StrAppend(&text, text.empty() ? "[\n    {" : ",\n    {");
    const std::pair<const char*, const std::string*> texts[] = {
        {"group", &one.group},
        {"heading", &one.heading},
        {"name", &one.name},
        {"unit", &one.unit}};
    for (const auto& [name, value] : texts) {
      absl::StrAppend(&text, internal::Quoted(name), ": ",
                      internal::Quoted(*value), ", ");
    }
    absl::StrAppend(&text, "\"median\": ", internal::JsonNumber(summary.median),
                    ", \"spread\": ", internal::JsonNumber(summary.spread));
    if (summary.interval.has_value()) {
      absl::StrAppend(&text, ", \"interval_low\": ",
                      internal::JsonNumber(summary.interval->low),
                      ", \"interval_high\": ",
                      internal::JsonNumber(summary.interval->high));
    }
    absl::StrAppend(&text, ", \"samples\": ", summary.samples, "}");
  }
  return text.empty() ? text : text + "\n  ]";
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_MEASUREMENTS_H_
