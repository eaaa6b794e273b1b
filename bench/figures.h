// SPDX-License-Identifier: MIT OR Apache-2.0
//
// From the samples of a run to the figures of the metrics, and to the table of
// a guest. Ratios are taken between windows of the same round.

#ifndef PTAGE_BENCH_FIGURES_H_
#define PTAGE_BENCH_FIGURES_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/clock.h"
#include "bench/contender.h"
#include "bench/guest.h"
#include "bench/latency.h"
#include "bench/measurements.h"
#include "bench/metrics.h"
#include "bench/replay.h"
#include "bench/report.h"
#include "bench/run.h"
#include "bench/stats.h"
#include "bench/table.h"

namespace ptage::bench {

// Rounds that a ratio of rates needs.
inline constexpr std::size_t kMinRounds = 20;

// Adds the figures of every contender in every configuration.
inline void AddFigures(const RunResult& result, Figures& figures);

// Adds translations and faults a second, of every contender: group
// "contention", heading "<guest><configuration>" as ids spell them.
inline void AddRates(const RunResult& result, std::vector<Measurement>& all);

// How long the faults of every contender took, as `[{"guest": …, "ager": …,
// "load": "/evict", "below_ns": […], "count": […]}, …]`, for ToJson's `more`
// (latency.h says what the buckets are). Empty if there were no faults.
[[nodiscard]] inline std::string FaultsJson(const RunResult& result);

// The contenders of a guest, one to a row, configuration by configuration.
[[nodiscard]] inline std::string GuestTable(const GuestResult& guest);

// How trylock and fast-only answer under more and more unrelated load; empty if
// the configuration has no such windows.
[[nodiscard]] inline std::string LoadTable(const ConfigResult& config);

// ---------------------------------------------------------------------------

[[nodiscard]] inline const char* NameOf(GuestKind kind) {
  return kGuestNames[static_cast<int>(kind)];
}

// Share of present entries that were not tested, over whole passes; nothing
// where no pass came to its end.
[[nodiscard]] inline std::optional<double> Unanswered(const SlotResult& slot) {
  const std::uint64_t present = slot.tested + slot.unanswered;
  if (present == 0) return std::nullopt;
  return static_cast<double>(slot.unanswered) / static_cast<double>(present);
}

namespace internal {

inline std::optional<double> Share(std::uint64_t part, std::uint64_t whole) {
  if (whole == 0) return std::nullopt;
  return static_cast<double>(part) / static_cast<double>(whole);
}

inline Figure Counted(std::optional<double> value, std::size_t samples) {
  if (!value.has_value()) return Figure{.missing = "no whole pass"};
  return Figure{.summary = Summary{.median = *value, .samples = samples}};
}

inline Figure FromRatios(const std::vector<double>& ratios, std::size_t least,
                         const char* missing) {
  if (ratios.size() < least) return Figure{.missing = missing};
  return Figure{.summary = Summarize(ratios)};
}

// Ratios of a rate, in the rounds that have both.
inline Figure RateRatio(const SlotResult& above, const SlotResult& below,
                        double Sample::* rate) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < above.rounds.size(); ++i) {
    if (!above.rounds[i].has_value() || !below.rounds[i].has_value()) continue;
    const double bottom = (*below.rounds[i]).*rate;
    if (bottom > 0) ratios.push_back((*above.rounds[i]).*rate / bottom);
  }
  return FromRatios(ratios, kMinRounds, "too few windows");
}

inline Figure FaultRatio(const SlotResult& above, const SlotResult& below,
                         double p) {
  std::vector<const std::vector<std::uint32_t>*> above_faults;
  std::vector<const std::vector<std::uint32_t>*> below_faults;
  for (std::size_t i = 0; i < above.rounds.size(); ++i) {
    if (!above.rounds[i].has_value() || !below.rounds[i].has_value()) continue;
    above_faults.push_back(&above.rounds[i]->faults);
    below_faults.push_back(&below.rounds[i]->faults);
  }
  return FromRatios(PooledPercentileRatios(above_faults, below_faults, p), 1,
                    "too few faults");
}

inline std::vector<double> Rates(const SlotResult& slot,
                                 double Sample::* rate) {
  std::vector<double> rates;
  for (const auto& sample : slot.rounds) {
    if (sample.has_value()) rates.push_back((*sample).*rate);
  }
  return rates;
}

inline double MedianRate(const SlotResult& slot, double Sample::* rate) {
  const std::vector<double> rates = Rates(slot, rate);
  return rates.empty() ? 0 : Median(rates);
}

// Those that are one contender's, under no further load.
[[nodiscard]] inline bool IsPlain(const Slot& slot) {
  return !slot.again && slot.load == 0;
}

inline std::vector<std::uint32_t> AllFaults(const SlotResult& slot) {
  std::vector<std::uint32_t> faults;
  for (const auto& sample : slot.rounds) {
    if (!sample.has_value()) continue;
    faults.insert(faults.end(), sample->faults.begin(), sample->faults.end());
  }
  return faults;
}

// A configuration's figures; `base(contender)` begins their ids.
class ConfigFigures {
 public:
  ConfigFigures(const GuestResult& guest, const ConfigResult& config,
                Figures& figures)
      : guest_(guest), config_(config), figures_(figures) {}

  void Add() {
    AddYardstick();
    for (const SlotResult& slot : config_.slots) {
      if (!IsPlain(slot.slot)) continue;
      AddRates(slot);
      if (config_.config.evict) AddFaults(slot);
      if (config_.config.duty >= 1) AddAnswers(slot);
    }
  }

 private:
  [[nodiscard]] std::string Id(Contender contender, const char* figure) const {
    return absl::StrCat("contention/", NameOf(guest_.kind), "/",
                        TraitsOf(contender).name, config_.config.name, "/",
                        figure);
  }
  void AddYardstick() {
    const SlotResult* const none = config_.Find(Contender::kNone);
    const SlotResult* const again =
        config_.Find(Slot{.contender = Contender::kNone, .again = true});
    figures_[Id(Contender::kNone, "vs_none")] =
        RateRatio(*again, *none, &Sample::translations_per_second);
  }
  void AddRates(const SlotResult& slot) {
    const auto rate = &Sample::translations_per_second;
    const SlotResult* const none = config_.Find(Contender::kNone);
    const SlotResult* const read = config_.Find(Contender::kReadOnly);
    const SlotResult& better =
        MedianRate(*read, rate) > MedianRate(*none, rate) ? *read : *none;
    const Contender contender = slot.slot.contender;
    figures_[Id(contender, "throughput")] = RateRatio(slot, better, rate);
    figures_[Id(contender, "vs_bare_clear")] =
        RateRatio(slot, *config_.Find(Contender::kBareClear), rate);
  }
  void AddFaults(const SlotResult& slot) {
    const Contender contender = slot.slot.contender;
    const SlotResult& none = *config_.Find(Contender::kNone);
    figures_[Id(contender, "fault_p99")] = FaultRatio(slot, none, 0.99);
    figures_[Id(contender, "fault_p999")] = FaultRatio(slot, none, 0.999);
    const std::pair<Contender, const char*> others[] = {
        {Contender::kSlow, "fault_p99_vs_slow"},
        {Contender::kTicket, "fault_p99_vs_ticket"},
        {Contender::kBitLocked, "fault_p99_vs_bit_locked"}};
    for (const auto& [other, figure] : others) {
      const SlotResult* const below = config_.Find(other);
      if (below == nullptr) continue;
      figures_[Id(contender, figure)] = FaultRatio(slot, *below, 0.99);
    }
    figures_[Id(contender, "faults_vs_slow")] = RateRatio(
        slot, *config_.Find(Contender::kSlow), &Sample::faults_per_second);
  }
  void AddAnswers(const SlotResult& slot) {
    const Contender contender = slot.slot.contender;
    const TruthCounts& truth = slot.truth;
    figures_[Id(contender, "recall")] =
        Counted(Share(truth.found, truth.touched), slot.kept);
    figures_[Id(contender, "precision")] =
        Counted(Share(truth.confirmed, truth.reported), slot.kept);
    Figure& unanswered = figures_[Id(contender, "unanswered")];
    unanswered = Counted(Unanswered(slot), slot.kept);
    unanswered.goal = Share(guest_.in_lists, guest_.mapped);
    for (std::size_t load = 0; load < kLoadCount; ++load) {
      const SlotResult* const loaded =
          config_.Find(Slot{.contender = contender, .load = load});
      const std::optional<double> share =
          loaded == nullptr ? std::nullopt : Unanswered(*loaded);
      if (!share.has_value()) continue;
      unanswered.counters.emplace_back(
          absl::StrCat("unanswered_load_", kLoads[load]), *share);
    }
  }

  const GuestResult& guest_;
  const ConfigResult& config_;
  Figures& figures_;
};

inline std::string PercentileText(std::vector<std::uint32_t>& faults,
                                  double p) {
  if (faults.empty()) return "-";
  const std::optional<double> value = Percentile(faults, p);
  return value.has_value() ? Duration(*value) : "too few";
}

inline std::string ShareText(std::optional<double> share) {
  return share.has_value() ? absl::StrFormat("%.5f", *share) : "-";
}

// What goes on in a configuration.
inline std::string LoadText(const Config& config) {
  return absl::StrCat(config.evict ? "with eviction" : "no eviction",
                      config.splits ? " and splits" : "", ", ager at ",
                      config.duty < 1 ? "5 % of the time" : "full duty");
}

// A contender's cells in GuestTable.
inline std::vector<std::string> Row(const ConfigResult& config,
                                    const SlotResult& slot) {
  std::vector<std::uint32_t> faults = AllFaults(slot);
  const bool evicts = config.config.evict;
  const bool ages = slot.slot.contender != Contender::kNone;
  const double pages = static_cast<double>(slot.aged_blocks) * kBlockFrames;
  std::string name = TraitsOf(slot.slot.contender).name;
  if (slot.slot.again) name += " (again)";
  const auto rate = [&](double Sample::* member) {
    return slot.kept == 0 ? "-" : Compact(MedianRate(slot, member));
  };
  return {
      "  " + name,
      rate(&Sample::translations_per_second),
      evicts ? rate(&Sample::faults_per_second) : "-",
      PercentileText(faults, 0.5),
      PercentileText(faults, 0.99),
      PercentileText(faults, 0.999),
      evicts ? absl::StrCat(faults.size()) : "-",
      slot.kept == 0 ? "-" : Duration(slot.longest_gap_ns),
      ages && pages > 0 ? Duration(slot.aged_seconds * 1e9 / pages * 1e6) : "-",
      ShareText(ages ? Unanswered(slot) : std::nullopt),
      ShareText(Share(slot.truth.found, slot.truth.touched)),
      ShareText(Share(slot.truth.confirmed, slot.truth.reported)),
      ShareText(Share(slot.translations - slot.walks, slot.translations)),
      ages ? absl::StrCat(slot.counts.lost_races) : "-",
      config.config.splits ? absl::StrCat(slot.splits) : "-",
      absl::StrCat(slot.kept)};
}

}  // namespace internal

inline void AddFigures(const RunResult& result, Figures& figures) {
  for (const GuestResult& guest : result.guests) {
    for (const ConfigResult& config : guest.configs) {
      internal::ConfigFigures(guest, config, figures).Add();
    }
  }
}

inline void AddRates(const RunResult& result, std::vector<Measurement>& all) {
  for (const GuestResult& guest : result.guests) {
    for (const ConfigResult& config : guest.configs) {
      const auto add = [&](const SlotResult& slot, const char* unit,
                           double Sample::* rate) {
        const std::vector<double> rates = internal::Rates(slot, rate);
        if (rates.empty()) return;
        all.push_back(Measurement{
            .group = "contention",
            .heading = absl::StrCat(NameOf(guest.kind), config.config.name),
            .name = TraitsOf(slot.slot.contender).name,
            .unit = unit,
            .summary = Summarize(rates)});
      };
      for (const SlotResult& slot : config.slots) {
        if (!internal::IsPlain(slot.slot)) continue;
        add(slot, "translations/s", &Sample::translations_per_second);
        if (!config.config.evict) continue;
        add(slot, "faults/s", &Sample::faults_per_second);
      }
    }
  }
}

inline std::string FaultsJson(const RunResult& result) {
  std::string text;
  for (const GuestResult& guest : result.guests) {
    for (const ConfigResult& config : guest.configs) {
      if (!config.config.evict) continue;
      for (const SlotResult& slot : config.slots) {
        const std::vector<std::uint32_t> faults = internal::AllFaults(slot);
        if (!internal::IsPlain(slot.slot) || faults.empty()) continue;
        LatencyBuckets buckets;
        for (const std::uint32_t ns : faults) buckets.Add(ns);
        absl::StrAppend(&text, text.empty() ? "[" : ",", "\n    {\"guest\": \"",
                        NameOf(guest.kind), "\", \"ager\": \"",
                        TraitsOf(slot.slot.contender).name, "\", \"load\": \"",
                        config.config.name, "\", ", buckets.JsonMembers(), "}");
      }
    }
  }
  return text.empty() ? text : text + "\n  ]";
}

inline std::string GuestTable(const GuestResult& guest) {
  TextTable table({"contender", "transl/s", "faults/s", "fault p50", "p99",
                   "p99.9", "faults", "longest gap", "pass/Mpage", "unanswered",
                   "recall", "precision", "TLB hits", "lost races", "splits",
                   "windows"});
  for (const ConfigResult& config : guest.configs) {
    table.AddHeading(internal::LoadText(config.config) + ":");
    for (const SlotResult& slot : config.slots) {
      if (slot.slot.load == 0) table.Add(internal::Row(config, slot));
    }
  }
  return table.ToString();
}

inline std::string LoadTable(const ConfigResult& config) {
  if (config.Find(Slot{.contender = Contender::kTrylock, .load = 1}) ==
      nullptr) {
    return "";
  }
  std::vector<std::string> header = {"unanswered, by unrelated faults a burst"};
  for (const std::uint64_t load : kLoads) header.push_back(absl::StrCat(load));
  TextTable table(std::move(header));
  for (const Contender contender :
       {Contender::kFastOnly, Contender::kTrylock}) {
    std::vector<std::string> row = {TraitsOf(contender).name};
    for (std::size_t load = 0; load < kLoadCount; ++load) {
      const SlotResult* const slot =
          config.Find(Slot{.contender = contender, .load = load});
      row.push_back(internal::ShareText(slot == nullptr ? std::nullopt
                                                        : Unanswered(*slot)));
    }
    table.Add(std::move(row));
  }
  return table.ToString();
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_FIGURES_H_
