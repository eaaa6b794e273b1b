// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/config.h"

#include "gtest/gtest.h"

namespace {

static_assert(PTAGE_VERSION_MAJOR >= 0 && PTAGE_VERSION_MINOR >= 0 &&
              PTAGE_VERSION_PATCH >= 0);
static_assert(PTAGE_HARDENED == 0 || PTAGE_HARDENED == 1);

TEST(ConfigTest, AnAssertionThatHoldsDoesNothing) {
  int evaluated = 0;
  PTAGE_ASSERT(++evaluated > 0);
  EXPECT_EQ(evaluated, PTAGE_HARDENED);
}

TEST(ConfigTest, AnAssertionThatFailsTrapsInAHardenedBuild) {
#if PTAGE_HARDENED
  EXPECT_DEATH(PTAGE_ASSERT(false), "");
#else
  PTAGE_ASSERT(false);
#endif
}

// One statement, wherever a statement may stand.
TEST(ConfigTest, AnAssertionIsOneStatement) {
  bool reached = false;
  if (reached)
    PTAGE_ASSERT(true);
  else
    reached = true;
  EXPECT_TRUE(reached);
}

}  // namespace
