// SPDX-License-Identifier: MIT OR Apache-2.0

#include "examples/far_memory/options.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

namespace ptage::far_memory {
namespace {

TEST(OptionsTest, NoFlagsAreTheDefaults) {
  const absl::StatusOr<Options> options = ParseOptions({});
  ASSERT_TRUE(options.ok());
  EXPECT_EQ(options->Pages(), 65'536u);
  EXPECT_EQ(options->Limit(), 16'384u);
  EXPECT_EQ(options->Operations(), 512'000u);
  EXPECT_EQ(options->policy, PolicyName::kClock);
  EXPECT_EQ(options->access, Access::kBest);
}

TEST(OptionsTest, AValueFollowsItsFlagOrAnEqualsSign) {
  const absl::StatusOr<Options> options =
      ParseOptions({"--mib", "4", "--limit=7", "--policy", "fifo",
                    "--workload=table", "--operations=0", "--seed", "5",
                    "--json=out", "--fail=kill@12", "--patience=3", "--quiet"});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->Pages(), 1024u);
  EXPECT_EQ(options->Limit(), 7u);
  EXPECT_EQ(options->policy, PolicyName::kFifo);
  EXPECT_EQ(options->workload, WorkloadName::kTable);
  EXPECT_EQ(options->Operations(), 0u);
  EXPECT_EQ(options->failure.kind, FailureKind::kKill);
  EXPECT_EQ(options->failure.at, 12u);
  EXPECT_EQ(options->patience, 3u);
  EXPECT_TRUE(options->quiet);
}

TEST(OptionsTest, WhatIsWrongIsNamedInOneLine) {
  const struct {
    std::vector<std::string> arguments;
    absl::string_view names;
  } cases[] = {
      {{"--frobnicate"}, "\"--frobnicate\""},
      {{"extra"}, "\"extra\""},
      {{"--mib"}, "--mib lacks its value"},
      {{"--mib", "zero"}, "--mib: not a number: \"zero\""},
      {{"--mib=-1"}, "\"-1\""},
      {{"--mib="}, "--mib: not a number: \"\""},
      {{"--mib=0"}, "--mib: want 1 to 65536: 0"},
      {{"--mib=65537"}, "65537"},
      {{"--limit=0"}, "--limit"},
      {{"--limit=99999999999999999999"}, "99999999999999999999"},
      {{"--policy=random"}, "clock, fifo, generations: \"random\""},
      {{"--workload=x"}, "both, sort, table, moves: \"x\""},
      {{"--store=tape"}, "\"tape\""},
      {{"--store=file"}, "--file"},
      {{"--file=x"}, "--store=file"},
      {{"--store=file", "--file="}, "empty path"},
      {{"--store=file", "--file=x", "--store-mib=1"}, "--store-mib"},
      {{"--quiet=yes"}, "--quiet takes no value"},
      {{"--software", "--userfaultfd"}, "exclude each other"},
      {{"--software", "--workload=moves"}, "--workload=moves"},
      {{"--software", "--fail=kill@1"}, "--software"},
      {{"--fail=kill"}, "\"kill\""},
      {{"--fail=kill@0"}, "--fail: want 1"},
      {{"--fail=melt@1"}, "\"melt@1\""},
      {{"--patience=0"}, "--patience"},
  };
  for (const auto& [arguments, names] : cases) {
    const absl::Status status = ParseOptions(arguments).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << names;
    EXPECT_TRUE(absl::StrContains(status.message(), names)) << status;
    EXPECT_FALSE(absl::StrContains(status.message(), "\n"));
  }
}

}  // namespace
}  // namespace ptage::far_memory
