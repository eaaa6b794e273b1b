// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What the benchmark says about its metrics: the table of all ids, the JSON
// file, and whether a goal was missed.

#ifndef PTAGE_BENCH_REPORT_H_
#define PTAGE_BENCH_REPORT_H_

#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/metrics.h"
#include "bench/stats.h"
#include "bench/table.h"

namespace ptage::bench {

// A metric as it was measured.
struct Figure {
  Summary summary = {};
  // Takes the place of the metric's goal, where the metric says so.
  std::optional<double> goal = {};
  // Further numbers for the JSON entry.
  std::vector<std::pair<std::string, double>> counters = {};
  // Why there is no figure; empty if there is one.
  std::string missing = {};
};

// By id. An id without a figure was not measured in this run.
using Figures = std::map<std::string, Figure>;

// A metric, its figure and the verdict.
struct Judged {
  Metric metric;
  Figure figure;
  Verdict verdict;
};

// One for each metric for which `wanted(id)`.
[[nodiscard]] inline std::vector<Judged> JudgeAll(
    const std::vector<Metric>& metrics, const Figures& figures,
    const std::function<bool(const std::string&)>& wanted);

[[nodiscard]] inline bool AnyMissed(const std::vector<Judged>& all);

// One line each: id, figure, goal, verdict.
[[nodiscard]] inline std::string MetricsTable(const std::vector<Judged>& all);

// What the run was made with; in the order in which it is to be written.
struct Context {
  std::vector<std::pair<std::string, std::string>> texts;
  std::vector<std::pair<std::string, double>> numbers;
};

// Google Benchmark's JSON schema: one entry for each metric, named by its id.
// Besides, members that are no part of the schema: name and JSON; none for an
// empty value.
[[nodiscard]] inline std::string ToJson(
    const Context& context, const std::vector<Judged>& all,
    const std::vector<std::pair<std::string, std::string>>& more = {});

// The figures whose ids are `chosen`, entries as ToJson's, for its `more`:
// those that are no metrics. Empty if there are none.
[[nodiscard]] inline std::string FiguresJson(
    const Figures& figures,
    const std::function<bool(const std::string&)>& chosen);

// ---------------------------------------------------------------------------

[[nodiscard]] inline const char* VerdictName(Verdict verdict) {
  switch (verdict) {
    case Verdict::kReported:
      return "reported";
    case Verdict::kMet:
      return "met";
    case Verdict::kMissed:
      return "missed";
    case Verdict::kUnmeasured:
      return "unmeasured";
    case Verdict::kElsewhere:
      return "elsewhere";
    case Verdict::kNotBuilt:
      return "not built";
  }
  return "";
}

[[nodiscard]] inline const char* GoalKindName(GoalKind kind) {
  switch (kind) {
    case GoalKind::kNone:
      return "none";
    case GoalKind::kAtLeast:
      return "at least";
    case GoalKind::kAtMost:
      return "at most";
    case GoalKind::kFactor:
      return "within a factor";
    case GoalKind::kExactly:
      return "exactly";
  }
  return "";
}

inline std::vector<Judged> JudgeAll(
    const std::vector<Metric>& metrics, const Figures& figures,
    const std::function<bool(const std::string&)>& wanted) {
  std::vector<Judged> all;
  for (Metric metric : metrics) {
    if (!wanted(metric.id)) continue;
    const auto found = figures.find(metric.id);
    Figure figure;
    Verdict verdict =
        metric.elsewhere.empty() ? Verdict::kNotBuilt : Verdict::kElsewhere;
    if (found != figures.end()) {
      figure = found->second;
      if (metric.counts_goal && figure.goal.has_value()) {
        metric.goal = *figure.goal;
      }
    }
    if (metric.built) {
      verdict = figure.summary.samples == 0
                    ? Verdict::kUnmeasured
                    : Judge(metric.kind, metric.goal, metric.evidence,
                            figure.summary);
    }
    all.push_back(Judged{std::move(metric), std::move(figure), verdict});
  }
  return all;
}

inline bool AnyMissed(const std::vector<Judged>& all) {
  for (const Judged& judged : all) {
    if (judged.verdict == Verdict::kMissed) return true;
  }
  return false;
}

namespace internal {

// Enough digits to tell 0.9999 from 1, and no more.
inline std::string Number(double value) {
  if (value != 0 && std::abs(value) < 0.1)
    return absl::StrFormat("%.3g", value);
  return absl::StrFormat("%.4f", value);
}

inline std::string GoalText(const Judged& judged) {
  const Metric& metric = judged.metric;
  // Without a figure there is no count to compare with.
  if (metric.counts_goal && !judged.figure.goal.has_value()) {
    return "= its share";
  }
  switch (metric.kind) {
    case GoalKind::kNone:
      return "-";
    case GoalKind::kAtLeast:
      return absl::StrCat("≥ ", metric.goal);
    case GoalKind::kAtMost:
      return absl::StrCat("≤ ", metric.goal);
    case GoalKind::kFactor:
      return absl::StrFormat("1 ± %.2g", metric.goal - 1);
    case GoalKind::kExactly:
      return absl::StrCat("= ", Number(metric.goal));
  }
  return "";
}

inline std::string Quoted(const std::string& text) {
  std::string quoted = "\"";
  for (const char character : text) {
    const auto byte = static_cast<unsigned char>(character);
    if (character == '"' || character == '\\') {
      absl::StrAppend(&quoted, "\\", std::string(1, character));
    } else if (byte < 0x20) {
      absl::StrAppendFormat(&quoted, "\\u%04x", byte);
    } else {
      quoted += character;
    }
  }
  return quoted + "\"";
}

inline std::string JsonNumber(double value) {
  return absl::StrFormat("%.17g", value);
}

inline std::string JsonEntry(const Judged& judged) {
  const Metric& metric = judged.metric;
  const Summary& summary = judged.figure.summary;
  std::vector<std::pair<std::string, std::string>> fields = {
      {"name", Quoted(metric.id)},
      {"run_name", Quoted(metric.id)},
      {"run_type", Quoted("iteration")},
      {"repetitions", "1"},
      {"repetition_index", "0"},
      {"threads", "1"},
      {"iterations", absl::StrCat(summary.samples)},
      {"real_time", "0"},
      {"cpu_time", "0"},
      {"time_unit", Quoted("ns")},
      {"label", Quoted(VerdictName(judged.verdict))}};
  const auto add = [&](const std::string& name, double value) {
    // JSON has no infinities.
    if (std::isfinite(value)) fields.emplace_back(name, JsonNumber(value));
  };
  if (summary.samples == 0) {
    fields.emplace_back("error_occurred", "true");
    const std::string why =
        judged.verdict == Verdict::kNotBuilt    ? "not built"
        : judged.verdict == Verdict::kElsewhere ? "by " + metric.elsewhere
        : judged.figure.missing.empty()         ? "not measured in this run"
                                                : judged.figure.missing;
    fields.emplace_back("error_message", Quoted(why));
  } else {
    add("ratio", summary.median);
    add("spread", summary.spread);
    add("samples", static_cast<double>(summary.samples));
    if (summary.interval.has_value()) {
      add("interval_low", summary.interval->low);
      add("interval_high", summary.interval->high);
    }
  }
  if (metric.kind != GoalKind::kNone) {
    fields.emplace_back("goal_kind", Quoted(GoalKindName(metric.kind)));
    add("goal", metric.goal);
  }
  add("higher_is_better", metric.higher_is_better ? 1 : 0);
  for (const auto& [name, value] : judged.figure.counters) add(name, value);
  std::string text = "    {";
  const char* separator = "\n";
  for (const auto& [name, value] : fields) {
    absl::StrAppend(&text, separator, "      ", Quoted(name), ": ", value);
    separator = ",\n";
  }
  return text + "\n    }";
}

}  // namespace internal

inline std::string MetricsTable(const std::vector<Judged>& all) {
  TextTable table(
      {"id", "figure", "95 % interval", "samples", "goal", "verdict"});
  for (const Judged& judged : all) {
    const Summary& summary = judged.figure.summary;
    const bool measured = summary.samples != 0;
    std::string interval = "-";
    if (measured && summary.interval.has_value()) {
      interval = absl::StrCat(internal::Number(summary.interval->low), " … ",
                              internal::Number(summary.interval->high));
    }
    table.Add(
        {judged.metric.id,
         measured                        ? internal::Number(summary.median)
         : judged.figure.missing.empty() ? "-"
                                         : judged.figure.missing,
         interval, absl::StrCat(summary.samples), internal::GoalText(judged),
         judged.verdict == Verdict::kElsewhere ? "by " + judged.metric.elsewhere
                                               : VerdictName(judged.verdict)});
  }
  return table.ToString();
}

inline std::string ToJson(
    const Context& context, const std::vector<Judged>& all,
    const std::vector<std::pair<std::string, std::string>>& more) {
  std::string text = "{\n  \"context\": {";
  const char* separator = "\n";
  for (const auto& [name, value] : context.texts) {
    absl::StrAppend(&text, separator, "    ", internal::Quoted(name), ": ",
                    internal::Quoted(value));
    separator = ",\n";
  }
  for (const auto& [name, value] : context.numbers) {
    absl::StrAppend(&text, separator, "    ", internal::Quoted(name), ": ",
                    internal::JsonNumber(value));
    separator = ",\n";
  }
  absl::StrAppend(&text, "\n  },\n  \"benchmarks\": [");
  separator = "\n";
  for (const Judged& judged : all) {
    absl::StrAppend(&text, separator, internal::JsonEntry(judged));
    separator = ",\n";
  }
  text += "\n  ]";
  for (const auto& [name, value] : more) {
    if (value.empty()) continue;
    absl::StrAppend(&text, ",\n  ", internal::Quoted(name), ": ", value);
  }
  return text + "\n}\n";
}

inline std::string FiguresJson(
    const Figures& figures,
    const std::function<bool(const std::string&)>& chosen) {
  std::string text;
  for (const auto& [id, figure] : figures) {
    if (!chosen(id)) continue;
    const bool lower =
        id.find("/fault_p") != id.npos || id.find("/unanswered") != id.npos;
    absl::StrAppend(
        &text, text.empty() ? "[\n" : ",\n",
        internal::JsonEntry(Judged{
            .metric =
                Metric{.id = id, .higher_is_better = !lower, .built = true},
            .figure = figure,
            .verdict = figure.summary.samples == 0 ? Verdict::kUnmeasured
                                                   : Verdict::kReported}));
  }
  return text.empty() ? text : text + "\n  ]";
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_REPORT_H_
