// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The soak, for a few seconds, and the parts that judge it.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "test/soak/bound.h"
#include "test/soak/driver.h"
#include "test/soak/faults.h"
#include "test/soak/options.h"
#include "test/soak/report.h"
#include "test/soak/roster.h"
#include "test/soak/setups.h"
#include "test/soak/token.h"

namespace ptage::soak {
namespace {

template <class S>
class SoakTest : public ::testing::Test {};

using Setups =
    ::testing::Types<LocklessSetup, BitLockedSetup, SingleEntrySetup>;
TYPED_TEST_SUITE(SoakTest, Setups);

TYPED_TEST(SoakTest, NothingThatStaysIsMissedAndEachFaultHappens) {
  Plan plan;
  plan.seconds = 40;  // sanitizers are slow; else it takes three
  plan.round_us = 200'000;
  plan.walk_fault_every = 500;
  plan.until_every_fault = true;
  const Outcome outcome = Driver<TypeParam>(plan).Run();
  const Failures& failures = outcome.total.failures;
  EXPECT_EQ(failures.missed, 0u);
  EXPECT_EQ(failures.foreign, 0u);
  EXPECT_EQ(failures.unbalanced, 0u);
  EXPECT_EQ(failures.corrupt, 0u);
  for (const Fault fault : Starved<TypeParam>(outcome.total.faults)) {
    ADD_FAILURE() << NameOf(fault) << " never happened";
  }
  EXPECT_GT(outcome.total.visits, 1000u);
  EXPECT_GT(outcome.total.updates, 1000u);
  EXPECT_EQ(outcome.deaths_held_back + outcome.deaths_ended_by_exit,
            outcome.total.faults.Of(Fault::kDeathInWalk));
}

// --- The roster and the record of a scan.

constexpr Token kToken(1, 0, 5, 77);

TEST(RosterTest, WhatWasThereThroughoutAndNotSeenIsMissed) {
  Roster roster;
  roster.Announce(kToken);
  roster.Confirm(kToken);
  Scan scan;
  scan.Begin(roster, 1, 0);
  EXPECT_EQ(scan.CountMissed(roster), 1u);
  scan.Saw(kToken);
  EXPECT_EQ(scan.CountMissed(roster), 0u);
  // What an earlier scan saw does not count for the next.
  scan.Begin(roster, 1, 0);
  EXPECT_EQ(scan.CountMissed(roster), 1u);
}

TEST(RosterTest, WhatCameOrWentDuringTheScanIsNotMissed) {
  Roster roster;
  Scan scan;
  scan.Begin(roster, 1, 0);
  roster.Announce(kToken);
  roster.Confirm(kToken);
  EXPECT_EQ(scan.CountMissed(roster), 0u);
  scan.Begin(roster, 1, 0);
  roster.TakeOff(kToken);
  EXPECT_EQ(scan.CountMissed(roster), 0u);
  // It is another mapping of the same entry that is there afterwards.
  const Token next(1, 0, 5, 78);
  roster.Announce(next);
  roster.Confirm(next);
  EXPECT_EQ(scan.CountMissed(roster), 0u);
}

TEST(RosterTest, WhatIsNotConfirmedNeedNotBeSeen) {
  Roster roster;
  roster.Announce(kToken);
  Scan scan;
  scan.Begin(roster, 1, 0);
  EXPECT_EQ(scan.CountMissed(roster), 0u);
  // Nor what was zapped before it could be confirmed.
  roster.TakeOff(kToken);
  roster.Confirm(kToken);
  EXPECT_EQ(roster.At(kToken.Entry()), 0u);
}

TEST(RosterTest, AnotherMappingIsNotTakenOff) {
  Roster roster;
  roster.Announce(kToken);
  roster.Confirm(kToken);
  roster.TakeOff(Token(1, 0, 5, 76));
  EXPECT_EQ(roster.At(kToken.Entry()), kToken.bits());
}

TEST(RosterTest, OtherPagesOfTheGroupAreStrangersAndOtherGroupsAreForeign) {
  Roster roster;
  const Token other_page(1, 1, 6, 1);
  roster.Announce(other_page);
  roster.Confirm(other_page);
  Scan scan;
  scan.Begin(roster, 1, 0);
  EXPECT_EQ(scan.CountMissed(roster), 0u);
  scan.Saw(other_page);
  EXPECT_EQ(scan.strangers(), 1u);
  EXPECT_EQ(scan.foreign(), 0u);
  scan.Saw(Token(2, 0, 6, 1));
  scan.Saw(Token(kPoisonGroup, 0, 6, 1));
  EXPECT_EQ(scan.foreign(), 2u);
}

// --- The verdict.

// R: 1 - 0.05^(1 / n), and binom.test(k, n, alternative = "less")$conf.int[2].
TEST(BoundTest, IsTheExactOne) {
  EXPECT_NEAR(UpperBound(0, 10), 0.2588656, 1e-7);
  EXPECT_NEAR(UpperBound(1, 10), 0.3941633, 1e-7);
  EXPECT_NEAR(UpperBound(5, 100), 0.1022532, 1e-6);
  EXPECT_NEAR(UpperBound(0, 1'000'000'000) * 1e9, 2.995732, 1e-5);
  EXPECT_EQ(UpperBound(0, 0), 1);
  EXPECT_EQ(UpperBound(3, 3), 1);
}

TEST(ReportTest, AFaultThatNeverHappenedFailsTheRun) {
  Outcome outcome;
  outcome.total.visits = 10;
  for (unsigned i = 0; i < kFaults; ++i) {
    EXPECT_FALSE(
        Judge(outcome, Starved<LocklessSetup>(outcome.total.faults), 10, "")
            .passed);
    outcome.total.faults.Add(static_cast<Fault>(i));
  }
  EXPECT_TRUE(
      Judge(outcome, Starved<LocklessSetup>(outcome.total.faults), 10, "")
          .passed);
  EXPECT_FALSE(
      Judge(outcome, Starved<LocklessSetup>(outcome.total.faults), 11, "")
          .passed);
}

TEST(ReportTest, AFailureFailsARunAndIsWhatAControlIsFor) {
  Outcome outcome;
  outcome.total.visits = 10;
  EXPECT_FALSE(Judge(outcome, {}, 0, "scan_upwards").passed);
  outcome.total.failures.missed = 1;
  EXPECT_FALSE(Judge(outcome, {}, 0, "").passed);
  EXPECT_TRUE(Judge(outcome, {}, 0, "scan_upwards").passed);
}

TEST(ReportTest, TheJsonIsOneLineWithSeedCountersAndBound) {
  Outcome outcome;
  outcome.total.visits = 1'000'000;
  outcome.total.faults.Add(Fault::kFork, 3);
  const std::string json =
      ToJson(outcome, {Fault::kNoTable}, 42, "bit", "", {"starved", false});
  EXPECT_FALSE(absl::StrContains(json, "\n"));
  for (const char* part :
       {"{\"seed\":42,", "\"discipline\":\"bit\"", "\"fork\":3",
        "\"starved\":[\"no_table\"]", "\"visits\":1000000",
        "\"failure_rate_upper_95\":2.996e-06", "\"verdict\":\"starved\"}"}) {
    EXPECT_TRUE(absl::StrContains(json, part)) << part << " in " << json;
  }
}

// --- Flags.

TEST(OptionsTest, WithoutFlagsThereIsAThousandMillionVisits) {
  const auto options = ParseOptions({});
  ASSERT_TRUE(options.ok());
  EXPECT_EQ(options->visits, 1'000'000'000u);
  EXPECT_EQ(options->seconds, 0u);
  EXPECT_EQ(ParseOptions({"--seconds", "5"})->visits, 0u);
  EXPECT_EQ(ParseOptions({"--control=scan_upwards"})->seconds, kControlSeconds);
}

TEST(OptionsTest, ABadFlagIsNamedWithItsValue) {
  const std::vector<std::string> bad[] = {
      {"--second=5"},       {"--seconds"},
      {"--seconds=x"},      {"--visits=-1"},
      {"--visits", "0"},    {"--seed", " 1"},
      {"--discipline=rcu"}, {"5"},
      {"--json=1"}};
  for (const auto& arguments : bad) {
    const auto options = ParseOptions(arguments);
    ASSERT_FALSE(options.ok()) << arguments[0];
    EXPECT_TRUE(
        absl::StrContains(options.status().message(),
                          arguments[0].substr(0, arguments[0].find('='))));
    EXPECT_FALSE(absl::StrContains(options.status().message(), "\n"));
  }
}

}  // namespace
}  // namespace ptage::soak
