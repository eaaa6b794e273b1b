// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/options.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

std::string ErrorOf(const std::vector<std::string>& arguments) {
  const absl::StatusOr<Options> options = ParseOptions(arguments);
  EXPECT_EQ(options.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(options.status().message());
}

TEST(OptionsTest, NoFlagsAreTheDefaults) {
  const absl::StatusOr<Options> options = ParseOptions({});
  ASSERT_TRUE(options.ok());
  EXPECT_EQ(options->Pages(), 262'144u);
  EXPECT_EQ(options->seed, 1u);
  EXPECT_FALSE(options->metrics || options->check || options->quick ||
               options->help);
}

TEST(OptionsTest, AValueFollowsItsFlagOrAnEqualsSign) {
  const absl::StatusOr<Options> options =
      ParseOptions({"--json", "out.json", "--seed=42", "--pages", "8192",
                    "--filter=tdp/.*", "--traces=t", "--check", "--metrics"});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->json, "out.json");
  EXPECT_EQ(options->seed, 42u);
  EXPECT_EQ(options->Pages(), 8192u);
  EXPECT_EQ(options->filter, "tdp/.*");
  EXPECT_EQ(options->traces, "t");
  EXPECT_TRUE(options->check && options->metrics);
}

TEST(OptionsTest, QuickMakesTheGuestSmallerUnlessToldOtherwise) {
  EXPECT_EQ(ParseOptions({"--quick"})->Pages(), 65'536u);
  EXPECT_EQ(ParseOptions({"--quick", "--pages=16384"})->Pages(), 16'384u);
}

TEST(OptionsTest, SizesAreNumbersWithCommasBetween) {
  EXPECT_EQ(ParseOptions({"--sizes=4096"})->sizes,
            std::vector<std::uint64_t>{4096});
  EXPECT_EQ(ParseOptions({"--sizes", "65536,4096,262144"})->sizes,
            (std::vector<std::uint64_t>{65'536, 4096, 262'144}));
  EXPECT_TRUE(ParseOptions({})->sizes.empty());
}

TEST(OptionsTest, WithoutTheFlagNothingIsSplit) {
  EXPECT_EQ(ParseOptions({})->splits, 0u);
  EXPECT_EQ(ParseOptions({"--splits=12"})->splits, 12u);
}

TEST(OptionsTest, AnErrorIsOneLineThatNamesTheFlagAndItsValue) {
  for (const auto& [arguments, words] : std::vector<
           std::pair<std::vector<std::string>, std::vector<std::string>>>{
           {{"--frobnicate"}, {"unknown flag", "--frobnicate"}},
           {{"quick"}, {"unknown flag", "quick"}},
           {{"--pages", "many"}, {"--pages", "many"}},
           {{"--pages=-1"}, {"--pages", "-1"}},
           {{"--pages=1"}, {"--pages", "1"}},
           {{"--pages=99999999999999999999"}, {"--pages", "9999"}},
           {{"--sizes="}, {"--sizes", "\"\""}},
           {{"--sizes=4096,"}, {"--sizes", "\"\""}},
           {{"--sizes", "4096,,8192"}, {"--sizes", "\"\""}},
           {{"--sizes=4096;8192"}, {"--sizes", "4096;8192"}},
           {{"--sizes=4096,4095"}, {"--sizes", "4095", "16777216"}},
           {{"--sizes=4096", "--pages=8192"}, {"--sizes", "--pages"}},
           {{"--check", "--sizes=4096"}, {"--sizes", "--check"}},
           {{"--metrics", "--sizes=4096"}, {"--sizes", "--metrics"}},
           {{"--sizes=4096,4096,4096,4096,4096,4096,4096,4096,4096,4096,4096,"
             "4096,4096,4096,4096,4096,4096"},
            {"--sizes", "16", "17"}},
           {{"--splits=0"}, {"--splits", "0"}},
           {{"--splits=1001"}, {"--splits", "1001"}},
           {{"--splits", "a few"}, {"--splits", "a few"}},
           {{"--splits"}, {"--splits", "lacks"}},
           {{"--seed="}, {"--seed"}},
           {{"--seed= 3"}, {"--seed", " 3"}},
           {{"--filter", "tdp("}, {"--filter", "tdp("}},
           {{"--json"}, {"--json", "lacks"}},
           {{"--json="}, {"--json", "empty"}},
           {{"--check=1"}, {"--check", "no value"}},
       }) {
    const std::string error = ErrorOf(arguments);
    for (const std::string& word : words) {
      EXPECT_NE(error.find(word), error.npos) << error;
    }
    EXPECT_EQ(error.find('\n'), error.npos) << error;
  }
}

}  // namespace
}  // namespace ptage::bench
