// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What a test says of a search.

#ifndef PTAGE_TEST_RELACY_EXPECT_H_
#define PTAGE_TEST_RELACY_EXPECT_H_

// Relacy redefines words that the system's headers use, so this one comes
// before any of ptage, here and in the tests.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "test/relacy/search.h"

namespace ptage::relacy {

// Passes if `Search` holds.
template <class Search>
void ExpectHolds() {
  const Outcome outcome = Explore<Search>();
  const std::string executions = std::to_string(outcome.executions);
  ::testing::Test::RecordProperty("executions", executions);
  std::printf("%s executions\n", executions.c_str());
  EXPECT_EQ(outcome.refuted_by, "") << outcome.trace;
}

// Passes if `Search` is refuted by just this.
template <class Search>
void ExpectRefuted(const char* property) {
  const Outcome outcome = Explore<Search>();
  const std::string executions = std::to_string(outcome.executions);
  ::testing::Test::RecordProperty("refuted_by", outcome.refuted_by);
  std::printf("refuted in execution %s: %s\n", executions.c_str(),
              outcome.refuted_by.c_str());
  EXPECT_EQ(outcome.refuted_by, property) << outcome.trace;
}

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_EXPECT_H_
