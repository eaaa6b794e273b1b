// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/rmap_contended.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bench/clock.h"
#include "bench/report.h"
#include "bench/team.h"
#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

// A window with these scans, at this rate.
std::optional<ScanWindow> WindowOf(double rate,
                                   std::vector<std::uint32_t> scans = {}) {
  ScanWindow window;
  window.scans_per_second = rate;
  window.scans = std::move(scans);
  return window;
}

TEST(ScanRatiosTest, OnlyRoundsThatBothHaveAreCompared) {
  const internal::Windows ours = {WindowOf(6), std::nullopt, WindowOf(9)};
  const internal::Windows peer = {WindowOf(2), WindowOf(1), WindowOf(3)};
  EXPECT_EQ(internal::ScanRateRatios(ours, peer),
            (std::vector<double>{3.0, 3.0}));
  const internal::Windows none = {std::nullopt, WindowOf(1), std::nullopt};
  EXPECT_TRUE(internal::ScanRateRatios(ours, none).empty());
}

TEST(ScanRatiosTest, TailsAreThoseOfPooledWindows) {
  // One scan in 100 is slow; twice 5,000 are needed for a p99.
  std::vector<std::uint32_t> fast(5000, 10);
  std::vector<std::uint32_t> slow(5000, 10);
  for (std::size_t i = 0; i < 100; ++i) slow[i * 50] = 1000;
  const internal::Windows ours = {WindowOf(1, fast), WindowOf(1, fast)};
  const internal::Windows peer = {WindowOf(1, slow), WindowOf(1, slow)};
  EXPECT_EQ(internal::ScanTailRatios(ours, peer, 0.99),
            (std::vector<double>{0.01}));
}

TEST(WorstOfTest, ThePeerChoosesTheChunksThatSuitItBest) {
  const std::vector<double> twice(5, 2.0);
  const std::vector<double> thrice(5, 3.0);
  EXPECT_EQ(internal::WorstOf({thrice, twice}, true).summary.median, 2.0);
  EXPECT_EQ(internal::WorstOf({twice, thrice}, true).summary.median, 2.0);
  EXPECT_EQ(internal::WorstOf({twice, thrice}, false).summary.median, 3.0);
  EXPECT_EQ(internal::WorstOf({thrice, twice}, false).summary.median, 3.0);
}

TEST(WorstOfTest, FewWindowsOfOnePeerAreTooFew) {
  const Figure figure =
      internal::WorstOf({std::vector<double>(5, 2.0), {2.0}}, true);
  EXPECT_EQ(figure.summary.samples, 0u);
  EXPECT_FALSE(figure.missing.empty());
}

TEST(LatenciesTest, SharesEndWhereScansAreTooFew) {
  std::vector<std::uint32_t> scans;
  for (std::uint32_t i = 1; i <= 10'000; ++i) scans.push_back(i);
  Figure figure;
  internal::AddLatencies("x", scans, figure);
  // A p99 asks for 10,000, and there are four shares to a nine.
  ASSERT_EQ(figure.counters.size(), 8u);
  EXPECT_EQ(figure.counters[3].first, "x_ns_0.9000000");
  EXPECT_EQ(figure.counters[3].second, 9000);
  EXPECT_EQ(figure.counters[7].first, "x_ns_0.9900000");
  EXPECT_EQ(figure.counters[7].second, 9900);
}

template <class Kind>
class ChurnedWorldTest : public testing::Test {
 protected:
  const TickRate rate_;
  Team team_{{UsableCpus().back()}};
};

using Kinds = testing::Types<ChurnedLockless, ChurnedBitLocked<6>,
                             ChurnedBitLocked<14>, ChurnedSingleEntry<6>>;
TYPED_TEST_SUITE(ChurnedWorldTest, Kinds);

TYPED_TEST(ChurnedWorldTest, EveryScanAsksWhatStaysAndTheListsComeBackWhole) {
  ChurnedWorld<TypeParam> world(this->team_, this->rate_);
  EXPECT_TRUE(world.IsWhole());
  for (const Writer writer : {Writer::kFullSpeed, Writer::kStalled}) {
    const ScanWindow window = world.Run(writer, 2e6, 1);
    ASSERT_FALSE(window.scans.empty());
    EXPECT_GT(window.scans_per_second, 0);
    EXPECT_EQ(window.scans.size() % kChurnedRmaps, 0u);
    // One entry of a list may be out.
    EXPECT_GT(window.asks, window.scans.size());
    EXPECT_GE(window.asked, window.asks * (kChurnedEntries - 1));
    EXPECT_TRUE(world.IsWhole());
  }
}

TEST(ContendedRmapsTest, OnlyWantedFiguresAreMeasured) {
  const TickRate rate;
  Team team{{UsableCpus().back()}};
  ContendedPlan plan;
  plan.rounds = 1;
  plan.window_ns = 1e5;
  plan.wanted = [](const std::string& id) {
    return id == "rmap/many/14/contended/p999_vs_bit_locked";
  };
  plan.go_on = [] { return true; };
  Figures figures;
  ContendedRmaps model(plan, rate, team);
  model.Run(figures);
  EXPECT_EQ(figures.count("rmap/many/14/contended/p999_vs_bit_locked"), 1u);
  EXPECT_EQ(figures.count("rmap/many/14/stalled_writer/vs_bit_locked"), 0u);
  EXPECT_NE(model.Table().find("Lockless"), std::string::npos);
}

}  // namespace
}  // namespace ptage::bench
