// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/sizes.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "bench/contender.h"
#include "bench/report.h"
#include "bench/run.h"
#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

constexpr std::size_t kRounds = 40;

// 1,000 faults of `latency` in every round.
SlotResult Made(Contender contender, double rate, std::uint32_t latency) {
  SlotResult slot{.slot = Slot{.contender = contender}};
  for (std::size_t i = 0; i < kRounds; ++i) {
    slot.rounds.emplace_back(
        Sample{.translations_per_second = rate,
               .faults = std::vector<std::uint32_t>(1000, latency)});
  }
  slot.kept = kRounds;
  return slot;
}

// A guest under eviction whose faults take `scale` times as long.
SizedRun MadeRun(GuestKind kind, std::uint64_t pages, const Config& config,
                 std::uint32_t scale) {
  GuestResult guest{.kind = kind};
  guest.configs.push_back(
      ConfigResult{.config = config,
                   .slots = {Made(Contender::kNone, 200e6, 100),
                             Made(Contender::kFastOnly, 190e6, 110 * scale),
                             Made(Contender::kSlow, 10e6, 50'000 * scale),
                             Made(Contender::kTrylock, 150e6, 400 * scale)}});
  if (kind != GuestKind::kTdp) {
    guest.configs[0].slots.push_back(
        Made(Contender::kBitLocked, 180e6, 130 * scale));
  }
  SizedRun run{.pages = pages, .result = {}};
  run.result.guests.push_back(guest);
  return run;
}

// The line of `table` that begins with `word`, after the first such `after`.
std::vector<std::string> CellsOf(const std::string& table,
                                 const std::string& after,
                                 const std::string& word) {
  std::size_t at = table.find(word, table.find(after));
  std::vector<std::string> cells;
  if (at == table.npos) return cells;
  for (const std::size_t end = table.find('\n', at); at < end;) {
    const std::size_t space = std::min(table.find(' ', at), end);
    if (space > at) cells.push_back(table.substr(at, space - at));
    at = space + 1;
  }
  return cells;
}

TEST(SizesTest, AFigureIsNamedByItsSizeAndHeldAgainstNone) {
  Figures figures;
  AddSizedFigures({MadeRun(GuestKind::kTdp, 4096, kConfigs[1], 1),
                   MadeRun(GuestKind::kShadow, 65'536, kConfigs[1], 2)},
                  figures);
  const auto ratio = [&](const std::string& id) {
    const auto found = figures.find("contention/" + id);
    return found == figures.end() ? -1 : found->second.summary.median;
  };
  EXPECT_DOUBLE_EQ(ratio("tdp/fast_only/evict/4096/fault_p99"), 1.1);
  EXPECT_DOUBLE_EQ(ratio("tdp/slow/evict/4096/translations"), 0.05);
  EXPECT_DOUBLE_EQ(ratio("shadow/bit_locked/evict/65536/fault_p99"), 2.6);
  EXPECT_EQ(figures.size(), 3 * 2u + 4 * 2u);
}

TEST(SizesTest, TheTableHasALineForEachSizeOfEachGuestAndLoad) {
  std::vector<SizedRun> runs = {
      MadeRun(GuestKind::kNested, 4096, kConfigs[1], 1),
      MadeRun(GuestKind::kNested, 65'536, kConfigs[1], 3)};
  runs[1].result.guests.push_back(
      MadeRun(GuestKind::kTdp, 65'536, kSplitConfigs[0], 1).result.guests[0]);
  const std::string table = SizesTable(runs);
  // Pages, none's p99 and rate, then p99 and rate ÷ none's of fast_only, slow,
  // trylock and bit_locked.
  EXPECT_EQ(CellsOf(table, "nested,", "4096"),
            (std::vector<std::string>{"4096", "100ns", "200M", "1.100", "500",
                                      "4.000", "1.300", "0.950", "0.050",
                                      "0.750", "0.900"}));
  EXPECT_EQ(CellsOf(table, "nested,", "65536").at(3), "3.300");
  // Direct tables have no rmaps, and so no bit to lock.
  const std::vector<std::string> tdp = CellsOf(
      table, "tdp, with eviction and splits, ager at full duty:", "65536");
  ASSERT_EQ(tdp.size(), 11u);
  EXPECT_EQ(tdp.at(3), "1.100");
  EXPECT_EQ(tdp.at(6), "-");
}

TEST(SizesTest, TooFewFaultsAreNoRatio) {
  SizedRun run = MadeRun(GuestKind::kTdp, 4096, kConfigs[1], 1);
  for (auto& sample : run.result.guests[0].configs[0].slots[0].rounds) {
    sample->faults.resize(10);
  }
  EXPECT_NE(SizesTable({run}).find("too few faults"), std::string::npos);
}

TEST(SizesTest, OnlyConfigurationsWithEvictionAreSized) {
  EXPECT_FALSE(IsSized(kConfigs[0]));
  EXPECT_TRUE(IsSized(kConfigs[1]));
  EXPECT_FALSE(IsSized(kConfigs[2]));
  EXPECT_TRUE(IsSized(kSplitConfigs[1]));
}

}  // namespace
}  // namespace ptage::bench
