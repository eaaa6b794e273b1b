// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/stages.h"

#include <regex>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/metrics.h"
#include "bench/progress.h"
#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

TEST(StagesTest, EachMetricThatIsMeasuredBelongsToOnePart) {
  for (const Metric& metric : AllMetrics()) {
    // What is a constant takes no time.
    if (!metric.built || metric.id.rfind("memory/", 0) == 0) continue;
    int parts = 0;
    for (const internal::Part& part : internal::kParts) {
      const std::regex ids(absl::StrCat("^", part.ids));
      parts += std::regex_search(metric.id, ids) ? 1 : 0;
    }
    EXPECT_EQ(parts, 1) << metric.id;
  }
}

TEST(StagesTest, APartLastsAsLongAsTheShareOfItsIdsThatAreWanted) {
  const auto all = [](const std::string&) { return true; };
  const auto none = [](const std::string&) { return false; };
  const auto pairs = [](const std::string& id) {
    return id.rfind("reclaim/enter_exit/", 0) == 0;
  };
  const std::vector<Progress::Stage> whole = StagesOf(all, Length::kQuick);
  EXPECT_EQ(whole.size(), kReclaimPart + 1u);
  double seconds = 0;
  for (const Progress::Stage& stage : whole) {
    EXPECT_GT(stage.seconds, 0) << stage.name;
    seconds += stage.seconds;
  }
  // What --quick promises, and what it takes until it gets there.
  EXPECT_LT(seconds, 90);
  for (const Progress::Stage& stage : StagesOf(none, Length::kFull)) {
    EXPECT_EQ(stage.seconds, 0) << stage.name;
  }
  const std::vector<Progress::Stage> some = StagesOf(pairs, Length::kQuick);
  EXPECT_NEAR(some[kReclaimPart].seconds, whole[kReclaimPart].seconds * 4 / 10,
              1e-9);
  EXPECT_EQ(some[kGuestsPart].seconds, 0);
}

}  // namespace
}  // namespace ptage::bench
