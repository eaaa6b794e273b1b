// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/expect.h"
#include "test/relacy/gate_searches.h"

namespace ptage::relacy {
namespace {

TEST(GateSearch, WhoClosesItHasTheOtherOutside) { ExpectHolds<Passers<2>>(); }

TEST(GateSearch, SoItIsTheSecondTime) { ExpectHolds<Passers<2, 2>>(); }

TEST(GateSearch, WhoClosesItHasBothOthersOutside) { ExpectHolds<Passers<3>>(); }

}  // namespace
}  // namespace ptage::relacy
