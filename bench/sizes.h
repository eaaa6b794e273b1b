// SPDX-License-Identifier: MIT OR Apache-2.0
//
// One table over guests of several sizes: what aging does to a vCPU's faults
// and translations, by kind of guest, load and size. No metric has these
// figures; they are named by guest, ager, load, size and figure.

#ifndef PTAGE_BENCH_SIZES_H_
#define PTAGE_BENCH_SIZES_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/contender.h"
#include "bench/figures.h"
#include "bench/report.h"
#include "bench/run.h"
#include "bench/stats.h"
#include "bench/table.h"

namespace ptage::bench {

// Who is compared, none being what the others are held against.
inline constexpr Contender kSizedContenders[] = {
    Contender::kNone, Contender::kFastOnly, Contender::kSlow,
    Contender::kTrylock, Contender::kBitLocked};

// A run with guests of so many pages.
struct SizedRun {
  std::uint64_t pages;
  RunResult result;
};

// Whether a run over sizes has this configuration: those that evict.
[[nodiscard]] constexpr bool IsSized(const Config& config) {
  return config.evict;
}

// `contention/<guest>/<ager><config>/<pages>/<figure>`, the figures being
// fault_p99 and translations, ÷ none's.
inline void AddSizedFigures(const std::vector<SizedRun>& runs,
                            Figures& figures);

// The runs one after another: a line for each size, of each guest and load.
[[nodiscard]] inline std::string SizesTable(const std::vector<SizedRun>& runs);

// ---------------------------------------------------------------------------

namespace internal {

inline const ConfigResult* FindConfig(const SizedRun& run, GuestKind kind,
                                      const std::string& name) {
  for (const GuestResult& guest : run.result.guests) {
    if (guest.kind != kind) continue;
    for (const ConfigResult& config : guest.configs) {
      if (config.config.name == name) return &config;
    }
  }
  return nullptr;
}

inline std::string RatioText(const Figure& figure) {
  if (figure.summary.samples == 0) return figure.missing;
  const double ratio = figure.summary.median;
  return ratio < 99.95 ? absl::StrFormat("%.3f", ratio) : Compact(ratio);
}

// The line of a size.
inline std::vector<std::string> SizeRow(const SizedRun& run,
                                        const ConfigResult& config) {
  std::vector<std::string> faults;
  std::vector<std::string> rates;
  const SlotResult* const none = config.Find(Contender::kNone);
  for (const Contender contender : kSizedContenders) {
    if (contender == Contender::kNone) continue;
    const SlotResult* const slot = config.Find(contender);
    const bool both = slot != nullptr && none != nullptr;
    faults.push_back(both ? RatioText(FaultRatio(*slot, *none, 0.99)) : "-");
    rates.push_back(both ? RatioText(RateRatio(
                               *slot, *none, &Sample::translations_per_second))
                         : "-");
  }
  std::vector<std::string> row = {absl::StrCat("  ", run.pages)};
  if (none == nullptr) {
    row.insert(row.end(), 2, "-");
  } else {
    std::vector<std::uint32_t> all = AllFaults(*none);
    row.push_back(PercentileText(all, 0.99));
    row.push_back(
        none->kept == 0
            ? "-"
            : Compact(MedianRate(*none, &Sample::translations_per_second)));
  }
  row.insert(row.end(), faults.begin(), faults.end());
  row.insert(row.end(), rates.begin(), rates.end());
  return row;
}

}  // namespace internal

inline void AddSizedFigures(const std::vector<SizedRun>& runs,
                            Figures& figures) {
  for (const SizedRun& run : runs) {
    for (const GuestResult& guest : run.result.guests) {
      for (const ConfigResult& config : guest.configs) {
        const SlotResult* const none = config.Find(Contender::kNone);
        if (none == nullptr) continue;
        for (const SlotResult& slot : config.slots) {
          if (slot.slot.contender == Contender::kNone) continue;
          const std::string base =
              absl::StrCat("contention/", NameOf(guest.kind), "/",
                           TraitsOf(slot.slot.contender).name,
                           config.config.name, "/", run.pages, "/");
          figures[base + "fault_p99"] = internal::FaultRatio(slot, *none, 0.99);
          figures[base + "translations"] = internal::RateRatio(
              slot, *none, &Sample::translations_per_second);
        }
      }
    }
  }
}

inline std::string SizesTable(const std::vector<SizedRun>& runs) {
  std::vector<std::string> header = {"pages", "none: p99", "transl/s"};
  for (const char* figure : {"p99 ÷", "transl ÷"}) {
    for (const Contender contender : kSizedContenders) {
      if (contender == Contender::kNone) continue;
      header.push_back(absl::StrCat(TraitsOf(contender).name, " ", figure));
    }
  }
  TextTable table(std::move(header));
  for (const GuestKind kind : kGuestKinds) {
    const auto add = [&](const Config& config) {
      bool headed = false;
      for (const SizedRun& run : runs) {
        const ConfigResult* const result =
            internal::FindConfig(run, kind, config.name);
        if (result == nullptr) continue;
        if (!headed) {
          table.AddHeading(absl::StrCat(NameOf(kind), ", ",
                                        internal::LoadText(config), ":"));
        }
        headed = true;
        table.Add(internal::SizeRow(run, *result));
      }
    };
    for (const Config& config : kConfigs) add(config);
    for (const Config& config : kSplitConfigs) add(config);
  }
  return table.ToString();
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_SIZES_H_
