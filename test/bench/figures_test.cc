// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/figures.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bench/contender.h"
#include "bench/measurements.h"
#include "bench/metrics.h"
#include "bench/report.h"
#include "bench/run.h"
#include "bench/stats.h"
#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

constexpr std::size_t kRounds = 40;

// A slot with the same rates and `faults` faults of `latency` in every round.
SlotResult Made(Contender contender, double rate, std::size_t faults = 0,
                std::uint32_t latency = 0, bool again = false) {
  SlotResult slot{.slot = Slot{.contender = contender, .again = again}};
  for (std::size_t i = 0; i < kRounds; ++i) {
    slot.rounds.emplace_back(
        Sample{.translations_per_second = rate,
               .faults_per_second = static_cast<double>(faults) * 100,
               .faults = std::vector<std::uint32_t>(faults, latency)});
  }
  slot.kept = kRounds;
  return slot;
}

// Every contender of a direct guest, in configuration `config`.
RunResult ADirectGuest(const Config& config) {
  ConfigResult result{.config = config, .slots = {}};
  result.slots = {Made(Contender::kNone, 100, 1000, 10),
                  Made(Contender::kReadOnly, 110, 1000, 12),
                  Made(Contender::kBareClear, 90, 1000, 11),
                  Made(Contender::kFastOnly, 99, 1000, 11),
                  Made(Contender::kSlow, 5, 250, 5000),
                  Made(Contender::kTicket, 80, 900, 40),
                  Made(Contender::kTrylock, 70, 900, 60),
                  Made(Contender::kNone, 101, 1000, 10, true)};
  GuestResult guest{.kind = GuestKind::kTdp, .mapped = 4096};
  guest.configs.push_back(result);
  RunResult run;
  run.guests.push_back(guest);
  return run;
}

SlotResult& SlotOf(RunResult& run, Contender contender) {
  for (SlotResult& slot : run.guests[0].configs[0].slots) {
    if (slot.slot == Slot{contender}) return slot;
  }
  ADD_FAILURE() << "no such slot";
  return run.guests[0].configs[0].slots[0];
}

double FigureOf(const RunResult& run, const std::string& id) {
  Figures figures;
  AddFigures(run, figures);
  const auto found = figures.find("contention/" + id);
  if (found == figures.end() || found->second.summary.samples == 0) return -1;
  return found->second.summary.median;
}

TEST(FiguresTest, ThroughputIsHeldAgainstTheBetterYardstick) {
  const RunResult run = ADirectGuest(kConfigs[2]);
  EXPECT_DOUBLE_EQ(FigureOf(run, "tdp/fast_only/duty5/throughput"), 0.9);
  EXPECT_DOUBLE_EQ(FigureOf(run, "tdp/slow/duty5/throughput"), 5.0 / 110);
}

TEST(FiguresTest, FullDutyIsHeldAgainstBareStoresAndTheSpinnerAgainstItself) {
  const RunResult run = ADirectGuest(kConfigs[0]);
  EXPECT_DOUBLE_EQ(FigureOf(run, "tdp/fast_only/vs_bare_clear"), 1.1);
  EXPECT_DOUBLE_EQ(FigureOf(run, "tdp/none/vs_none"), 1.01);
  EXPECT_EQ(FigureOf(run, "tdp/fast_only/fault_p99"), -1);
}

TEST(FiguresTest, FaultFiguresAreRatiosOfPooledPercentiles) {
  const RunResult run = ADirectGuest(kConfigs[1]);
  EXPECT_DOUBLE_EQ(FigureOf(run, "tdp/fast_only/evict/fault_p99"), 1.1);
  EXPECT_DOUBLE_EQ(FigureOf(run, "tdp/fast_only/evict/fault_p99_vs_slow"),
                   11.0 / 5000);
  EXPECT_DOUBLE_EQ(FigureOf(run, "tdp/fast_only/evict/fault_p99_vs_ticket"),
                   11.0 / 40);
  EXPECT_DOUBLE_EQ(FigureOf(run, "tdp/fast_only/evict/faults_vs_slow"), 4);
  // 40 rounds of 1,000 faults are fewer than the 100,000 that a p99.9 wants.
  EXPECT_EQ(FigureOf(run, "tdp/fast_only/evict/fault_p999"), -1);
}

TEST(FiguresTest, OnlyRoundsThatHaveBothWindowsArePaired) {
  RunResult run = ADirectGuest(kConfigs[0]);
  SlotResult& ours = SlotOf(run, Contender::kFastOnly);
  SlotResult& bare = SlotOf(run, Contender::kBareClear);
  for (std::size_t i = 0; i < 10; ++i) {
    ours.rounds[i].reset();
    bare.rounds[i + 5].reset();
    ours.rounds[i + 5] = Sample{.translations_per_second = 1e9};
  }
  EXPECT_DOUBLE_EQ(FigureOf(run, "tdp/fast_only/vs_bare_clear"), 1.1);
  Figures figures;
  AddFigures(run, figures);
  EXPECT_EQ(figures["contention/tdp/fast_only/vs_bare_clear"].summary.samples,
            kRounds - 15);
}

TEST(FiguresTest, TooFewRoundsAreNoFigure) {
  RunResult run = ADirectGuest(kConfigs[0]);
  for (std::size_t i = 0; i < kRounds - kMinRounds + 1; ++i) {
    SlotOf(run, Contender::kFastOnly).rounds[i].reset();
  }
  EXPECT_EQ(FigureOf(run, "tdp/fast_only/vs_bare_clear"), -1);
}

TEST(FiguresTest, RecallAndPrecisionAreCountsOverAllPasses) {
  RunResult run = ADirectGuest(kConfigs[0]);
  SlotOf(run, Contender::kFastOnly).truth = TruthCounts{
      .touched = 1000, .found = 999, .reported = 500, .confirmed = 400};
  EXPECT_DOUBLE_EQ(FigureOf(run, "tdp/fast_only/recall"), 0.999);
  EXPECT_DOUBLE_EQ(FigureOf(run, "tdp/fast_only/precision"), 0.8);
  EXPECT_EQ(FigureOf(run, "tdp/slow/recall"), -1);
}

TEST(FiguresTest, UnansweredAreTheListsForSingleEntryAndNoneForOurs) {
  RunResult run = ADirectGuest(kConfigs[0]);
  run.guests[0].kind = GuestKind::kNested;
  run.guests[0].configs[0].slots.push_back(Made(Contender::kBitLocked, 1));
  run.guests[0].configs[0].slots.push_back(Made(Contender::kSingleEntry, 1));
  run.guests[0].mapped = 4096;
  run.guests[0].in_lists = 32;
  const auto verdict = [&](const std::string& ager) {
    Figures figures;
    AddFigures(run, figures);
    return JudgeAll(AllMetrics(), figures,
                    [&](const std::string& id) {
                      return id == "contention/nested/" + ager + "/unanswered";
                    })
        .at(0)
        .verdict;
  };
  SlotResult& single = SlotOf(run, Contender::kSingleEntry);
  single.tested = std::uint64_t{7} * (4096 - 32);
  single.unanswered = std::uint64_t{7} * 32;
  EXPECT_EQ(verdict("single_entry"), Verdict::kMet);
  ++single.tested;
  EXPECT_EQ(verdict("single_entry"), Verdict::kMissed);
  // Ours answers for lists too.
  SlotResult& ours = SlotOf(run, Contender::kFastOnly);
  ours.tested = std::uint64_t{7} * 4096;
  EXPECT_EQ(verdict("fast_only"), Verdict::kMet);
  ours.unanswered = 1;
  EXPECT_EQ(verdict("fast_only"), Verdict::kMissed);
}

TEST(FiguresTest, TheTableNamesEveryContenderAndRefusesRarePercentiles) {
  const RunResult run = ADirectGuest(kConfigs[1]);
  const std::string table = GuestTable(run.guests[0]);
  for (const char* word :
       {"none", "none (again)", "read_only", "bare_clear", "fast_only", "slow",
        "ticket", "trylock", "5.00us", "too few", "40000"}) {
    EXPECT_NE(table.find(word), table.npos) << word << "\n" << table;
  }
}

TEST(FiguresTest, FaultsAreCountedByHowLongTheyTookWhereThereIsEviction) {
  // 40 rounds of 1,000 faults that take 10 ns; again is the same contender.
  const std::string json = FaultsJson(ADirectGuest(kConfigs[1]));
  EXPECT_NE(json.find("{\"guest\": \"tdp\", \"ager\": \"none\", \"load\": "
                      "\"/evict\", \"below_ns\": [11], \"count\": [40000]}"),
            json.npos)
      << json;
  std::size_t runs = 0;
  for (std::size_t at = json.find("\"ager\""); at != json.npos;
       at = json.find("\"ager\"", at + 1)) {
    ++runs;
  }
  EXPECT_EQ(runs, 7u);
  EXPECT_EQ(FaultsJson(ADirectGuest(kConfigs[0])), "");
  EXPECT_EQ(FaultsJson(RunResult{}), "");
}

TEST(FiguresTest, RatesAreMeasurementsOfEachContender) {
  std::vector<Measurement> all;
  AddRates(ADirectGuest(kConfigs[1]), all);
  // Translations and faults of seven.
  ASSERT_EQ(all.size(), 14u);
  EXPECT_EQ(all[0].heading, "tdp/evict");
  EXPECT_EQ(all[0].name, "none");
  EXPECT_EQ(all[0].unit, "translations/s");
  EXPECT_EQ(all[0].summary.median, 100);
  EXPECT_EQ(all[0].summary.samples, kRounds);
  EXPECT_EQ(all[1].unit, "faults/s");
  EXPECT_EQ(all[1].summary.median, 100'000);
  all.clear();
  AddRates(ADirectGuest(kConfigs[0]), all);
  EXPECT_EQ(all.size(), 7u);
}

}  // namespace
}  // namespace ptage::bench
