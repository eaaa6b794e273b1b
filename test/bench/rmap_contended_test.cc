// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/rmap_contended.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "bench/clock.h"
#include "bench/report.h"
#include "bench/team.h"
#include "gtest/gtest.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/epoch.h"
#include "ptage/rmap.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"

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

template <class Kind>
class ChurnedWorldTest : public testing::Test {
 protected:
  const TickRate rate_;
  Team team_{{UsableCpus().back()}};
};

using Kinds =
    testing::Types<ChurnedLockless<>, ChurnedLockless<RmapChunks<Ept, 15>>,
                   ChurnedLockless<StallingChunks<>>,
                   ChurnedLockless<StallingChunks<15>>, ChurnedBitLocked<6>,
                   ChurnedBitLocked<14>, ChurnedSingleEntry<6>>;
TYPED_TEST_SUITE(ChurnedWorldTest, Kinds);

TYPED_TEST(ChurnedWorldTest, EveryScanAsksWhatStaysAndTheListsComeBackWhole) {
  ChurnedWorld<TypeParam> world(this->team_, this->rate_);
  EXPECT_TRUE(world.IsWhole());
  for (const Writer writer :
       {Writer::kNone, Writer::kFullSpeed, Writer::kStalled}) {
    if (writer == Writer::kStalled && !ChurnedWorld<TypeParam>::kStalls) {
      continue;
    }
    const ScanWindow window = world.Run(writer, 2e6, 1);
    // However late the threads were.
    ASSERT_FALSE(window.scans.empty());
    EXPECT_GT(window.scans_per_second, 0);
    EXPECT_EQ(window.churns_per_second > 0, writer != Writer::kNone);
    EXPECT_EQ(window.scans.size() % kChurnedRmaps, 0u);
    EXPECT_GE(window.asks, window.scans.size() + kChurnedRmaps);
    // One entry of a list may be out.
    EXPECT_GE(window.asked, window.asks * (kChurnedEntries - 1));
    if (writer == Writer::kNone) {
      EXPECT_EQ(window.asked, window.asks * kChurnedEntries);
    }
    EXPECT_TRUE(world.IsWhole());
  }
}

TYPED_TEST(ChurnedWorldTest, AWindowOfNoTimeStillHasScansInBothHalves) {
  ChurnedWorld<TypeParam> world(this->team_, this->rate_);
  const ScanWindow window = world.Run(Writer::kFullSpeed, 0, 1);
  EXPECT_EQ(window.scans.size(), kChurnedRmaps);
  EXPECT_EQ(window.asks, 2 * kChurnedRmaps);
  EXPECT_GT(window.churns_per_second, 0);
}

// One rmap of kChurnedEntries entries.
template <class Kind>
class StalledRemoveTest : public testing::Test {
 protected:
  StalledRemoveTest() : kind_(entries_.memory(), domain_) {
    for (std::size_t i = 0; i < kChurnedEntries; ++i) {
      EXPECT_EQ(kind_.Add(head_, entries_.At(0, i)), RmapAdd::kDone);
    }
  }
  // The entries that a scan visits.
  std::uint64_t Ask(AgeMode mode) {
    const LocklessWalk<EpochDomain<>> walk(domain_, WalkEntry::kWait);
    AgeCounts counts;
    kind_.rmaps().Age(head_, RmapFrame{Gfn{0}, Level{1}}, AgeAction::kTest,
                      mode, counts);
    return counts.examined;
  }

  LoneEntries entries_;
  EpochDomain<> domain_;
  Kind kind_;
  ptage::RmapHead head_ = {};
};

using StalledKinds =
    testing::Types<ChurnedLockless<StallingChunks<>>,
                   ChurnedLockless<StallingChunks<15>>, ChurnedBitLocked<6>,
                   ChurnedBitLocked<14>, ChurnedSingleEntry<6>>;
TYPED_TEST_SUITE(StalledRemoveTest, StalledKinds);

TYPED_TEST(StalledRemoveTest, KeepsOtherWritersOutWhileItStalls) {
  Cell<std::uint32_t> written(0);
  std::thread writer;
  const bool found =
      this->kind_.StalledRemove(this->head_, this->entries_.At(0, 3), [&] {
        writer = std::thread([&] {
          EXPECT_TRUE(this->kind_.Remove(this->head_, this->entries_.At(0, 5)));
          WriteOnce(written, 1u, kRelaxed);
        });
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        EXPECT_EQ(ReadOnce(written, kRelaxed), 0u);
      });
  EXPECT_TRUE(found);
  writer.join();
  EXPECT_EQ(this->Ask(AgeMode::kSlow), kChurnedEntries - 2);
}

using StalledLocklessTest =
    StalledRemoveTest<ChurnedLockless<StallingChunks<>>>;

TEST_F(StalledLocklessTest, StallsWhileTheTopEntryIsInTwoPlaces) {
  int stalls = 0;
  EXPECT_TRUE(kind_.StalledRemove(head_, entries_.At(0, 3), [&] {
    ++stalls;
    // All but the one that goes, and the top one twice.
    EXPECT_EQ(Ask(AgeMode::kFastOnly), kChurnedEntries);
    // An update that had not begun would look the same, but for the entry that
    // goes: it is found no more, though it has not been let go.
    WriteOnce(entries_.At(0, 3), LoneEntries::kCold | Ept::kAccessed, kRelaxed);
    const LocklessWalk<EpochDomain<>> walk(domain_, WalkEntry::kWait);
    AgeCounts counts;
    EXPECT_FALSE(kind_.rmaps()
                     .Age(head_, RmapFrame{Gfn{0}, Level{1}}, AgeAction::kTest,
                          AgeMode::kFastOnly, counts)
                     .young);
  }));
  EXPECT_EQ(stalls, 1);
  EXPECT_EQ(Ask(AgeMode::kFastOnly), kChurnedEntries - 1);
  // There is no hole under the top entry itself.
  EXPECT_TRUE(kind_.StalledRemove(head_, entries_.At(0, kChurnedEntries - 2),
                                  [&] { ++stalls; }));
  EXPECT_EQ(stalls, 2);
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
  // Nobody writes, or somebody does, under three disciplines, of which two
  // have chunks of two sizes.
  const std::string& json = model.LatencyJson();
  EXPECT_NE(json.find("{\"writer\": \"none\", \"rmaps\": \"Lockless, 7 and "
                      "14 a chunk\", \"below_ns\": ["),
            json.npos)
      << json;
  EXPECT_NE(json.find("\"contended\""), json.npos);
  EXPECT_EQ(json.find("\"stalled_writer\""), json.npos);
  EXPECT_EQ(std::count(json.begin(), json.end(), '{'), 10);
}

TEST(ContendedRmapsTest, NothingWantedIsNothingRun) {
  const TickRate rate;
  Team team{{UsableCpus().back()}};
  ContendedPlan plan;
  plan.wanted = [](const std::string&) { return false; };
  plan.go_on = [] { return true; };
  Figures figures;
  ContendedRmaps model(plan, rate, team);
  model.Run(figures);
  EXPECT_TRUE(figures.empty());
  EXPECT_EQ(model.Table(), "");
  EXPECT_EQ(model.LatencyJson(), "");
}

}  // namespace
}  // namespace ptage::bench
