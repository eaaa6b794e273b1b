// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The reclaim soak, for two seconds, and what it goes by.

#include <cstdint>

#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "ptage/once.h"
#include "test/soak/reclaim/driver.h"
#include "test/soak/reclaim/options.h"
#include "test/soak/reclaim/pages.h"
#include "test/soak/reclaim/tallies.h"
#include "test/soak/reclaim/uses.h"

namespace ptage::reclaim_soak {
namespace {

TEST(ReclaimSoakTest, NothingIsLostAndEverythingHappens) {
  Plan plan;
  plan.seconds = 2;  // sanitizers may take longer
  plan.until_everything = true;
  const Outcome outcome = Driver(plan).Run();
  EXPECT_EQ(outcome.total.lost_write, 0u);
  EXPECT_EQ(outcome.total.lost_young, 0u);
  EXPECT_EQ(outcome.total.foreign, 0u);
  EXPECT_EQ(outcome.total.corrupt, 0u);
  for (const absl::string_view name : Starved(outcome.total)) {
    ADD_FAILURE() << name << " never happened";
  }
}

TEST(UsesTest, AWalkedUseIsOwedUntilItIsTold) {
  Uses uses(2, 2);
  uses.End(1, 0, uses.Begin(1, 0), true);
  EXPECT_NE(uses.Owed(0), 0u);
  EXPECT_EQ(uses.Owed(1), 0u);
  uses.Told(0);
  EXPECT_EQ(uses.Owed(0), 0u);
}

TEST(UsesTest, ACachedUseOwesNothingNew) {
  Uses uses(1, 1);
  uses.End(0, 0, uses.Begin(0, 0), false);
  EXPECT_EQ(uses.Owed(0), 0u);
  // And takes nothing back.
  uses.End(0, 0, uses.Begin(0, 0), true);
  uses.End(0, 0, uses.Begin(0, 0), false);
  EXPECT_NE(uses.Owed(0), 0u);
}

TEST(UsesTest, AUseUnderWayIsNotOwedAndWhatIsToldMeanwhileEndsIt) {
  Uses uses(1, 1);
  const Uses::Use use = uses.Begin(0, 0);
  EXPECT_EQ(uses.Owed(0), 0u);
  uses.Told(0);
  uses.End(0, 0, use, true);
  EXPECT_EQ(uses.Owed(0), 0u);
}

TEST(PagesTest, APageComesBackAsItWasStored) {
  Pages pages;
  Tallies tallies;
  ASSERT_EQ(pages.BringIn(3, tallies), Pages::Came::kIn);
  EXPECT_EQ(pages.free_frames(), kFrameLimit - 1);
  EXPECT_EQ(pages.BringIn(3, tallies), Pages::Came::kElsewhere);
  WriteOnce(pages.Lane(3, 1), std::uint64_t{7}, kRelaxed);
  ASSERT_TRUE(pages.Take(3));
  EXPECT_FALSE(pages.Take(3));
  pages.Store(3, true, tallies);
  pages.PutOut(3);
  EXPECT_EQ(pages.Value(3, 1), 7u);
  ASSERT_EQ(pages.BringIn(3, tallies), Pages::Came::kIn);
  EXPECT_EQ(ReadOnce(pages.Lane(3, 1), kRelaxed), 7u);
  EXPECT_EQ(tallies.Lost(), 0u);
}

TEST(PagesTest, AForgottenDirtyBitAndAWriteToAGivenFrameShow) {
  Pages pages;
  Tallies tallies;
  ASSERT_EQ(pages.BringIn(3, tallies), Pages::Came::kIn);
  WriteOnce(pages.Lane(3, 1), std::uint64_t{7}, kRelaxed);
  ASSERT_TRUE(pages.Take(3));
  pages.Store(3, false, tallies);
  pages.PutOut(3);
  EXPECT_EQ(pages.Value(3, 1), 0u);
  WriteOnce(pages.Lane(3, 1), std::uint64_t{8}, kRelaxed);
  ASSERT_EQ(pages.BringIn(3, tallies), Pages::Came::kIn);
  EXPECT_EQ(tallies.foreign, 1u);
}

TEST(OptionsTest, BadFlagsAreNamed) {
  EXPECT_EQ(ParseOptions({"--seconds", "600"})->seconds, 600u);
  EXPECT_EQ(ParseOptions({"--seconds=x"}).status().message(),
            "--seconds: not a number: \"x\"");
  EXPECT_EQ(ParseOptions({"--visits=1"}).status().message(),
            "unknown flag: \"--visits=1\" (see --help)");
  EXPECT_EQ(ParseOptions({"--seed"}).status().message(),
            "--seed lacks its value");
}

}  // namespace
}  // namespace ptage::reclaim_soak
