// SPDX-License-Identifier: MIT OR Apache-2.0

#include "examples/live_guest/options.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"

namespace ptage::live_guest {
namespace {

TEST(OptionsTest, AreReadEitherWay) {
  const auto options =
      ParseOptions({"--qmp=s", "--interval", "250", "--clear", "--pause",
                    "--json", "--samples=3", "--look", "5", "--svg", "f"});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->qmp, "s");
  EXPECT_EQ(options->interval_ms, 250u);
  EXPECT_EQ(options->look_ms, 5u);
  EXPECT_EQ(options->samples, 3u);
  EXPECT_EQ(options->svg, "f");
  EXPECT_TRUE(options->clear && options->pause && options->json);
}

TEST(OptionsTest, LookUnlessToldOtherwise) {
  const auto options = ParseOptions({"--qmp", "s"});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_FALSE(options->clear);
  EXPECT_EQ(options->interval_ms, 1000u);
  EXPECT_EQ(options->samples, 0u);
  // Without a guest there is help.
  EXPECT_TRUE(ParseOptions({"--help"}).ok());
}

TEST(OptionsTest, BadOnesAreRefused) {
  const std::vector<std::vector<std::string>> bad = {
      {},
      {"--qmp"},
      {"--qmp", ""},
      {"--qmp", "s", "--interval", "9"},
      {"--qmp", "s", "--interval", "-1"},
      {"--qmp", "s", "--interval", "18446744073709551616"},
      {"--qmp", "s", "--samples", "0"},
      {"--qmp", "s", "--pause"},
      {"--qmp", "s", "--json=yes"},
      {"s"}};
  for (const auto& arguments : bad) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseOptions(arguments).status()));
  }
}

}  // namespace
}  // namespace ptage::live_guest
