// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/expect.h"
#include "test/relacy/published_searches.h"

namespace ptage::relacy {
namespace {

TEST(PublishedSearch, AVersionIsWholeAndStaysWhileItIsRead) {
  ExpectHolds<ReadWhileReplaced>();
}

}  // namespace
}  // namespace ptage::relacy
