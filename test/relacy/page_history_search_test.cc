// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/expect.h"
#include "test/relacy/page_history_searches.h"

namespace ptage::relacy {
namespace {

TEST(PageHistorySearch, AUsedPageDoesNotLookIdleWhileItIsUnmapped) {
  ExpectHolds<AskerAgainstZap>();
}

TEST(PageHistorySearch, NoRecordIsLost) { ExpectHolds<RecordsAgainstTaker>(); }

}  // namespace
}  // namespace ptage::relacy
