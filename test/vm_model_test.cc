// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Random operations on a VM agree with the model of one, after every step, in
// all formats; and meet every state of an entry that they can meet.

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string>

#include "gtest/gtest.h"
#include "ptage/prune.h"
#include "ptage/spte/arm64_faulting.h"
#include "ptage/spte/ept.h"
#include "test/formats.h"
#include "test/machine.h"
#include "test/model/compare.h"
#include "test/model/coverage.h"
#include "test/model/vm_under_test.h"

namespace ptage {
namespace {

using test::TinyFormat;
using test::VmCoverage;
using test::VmUnderTest;

std::uint64_t FromEnvironment(const char* name, std::uint64_t otherwise) {
  const char* const value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

// Many more are for docs/model.md.
template <class Real>
void RunAsMayBe() {
  const std::uint64_t least = FromEnvironment("PTAGE_MODEL_OPERATIONS", 15'000);
  const std::uint64_t seed = FromEnvironment("PTAGE_MODEL_SEED", 1);
  VmCoverage coverage(Real::Facts());
  // As many more as a cell may need that is hard to come to.
  while (coverage.operations() < least ||
         (coverage.operations() < 20 * least && !coverage.Wrong().empty())) {
    ASSERT_TRUE(test::RunAGuest<Real>(seed, coverage, test::OptionsOf<Real>()));
  }
  std::cout << coverage.Table();
  for (const std::string& wrong : coverage.Wrong()) ADD_FAILURE() << wrong;
}

template <class F>
class VmModelTest : public testing::Test {};
TYPED_TEST_SUITE(VmModelTest, test::AllFormats, test::FormatNames);

TYPED_TEST(VmModelTest, AgreesAfterEveryStep) {
  RunAsMayBe<VmUnderTest<TypeParam, test::LocklessRmaps>>();
}

// The other disciplines differ in rmaps alone, not in what is in entries. One
// of them, where faults leave the entries above a leaf as they are. And a
// format whose accessed bits hardware sets, and whose dirty bits faults do.
template <class Real>
class VmModelOfLocksTest : public testing::Test {};
using OfLocks =
    testing::Types<VmUnderTest<Ept, test::LocklessRmapsUnderLock>,
                   VmUnderTest<Ept, test::SingleRmaps>,
                   VmUnderTest<Ept, test::BitRmaps, InnerAging::kIgnore>,
                   VmUnderTest<TinyFormat, test::SingleRmaps>,
                   VmUnderTest<TinyFormat, test::BitRmaps>,
                   VmUnderTest<Arm64WriteFaultingOf4K, test::LocklessRmaps>>;
TYPED_TEST_SUITE(VmModelOfLocksTest, OfLocks);

TYPED_TEST(VmModelOfLocksTest, AgreesAfterEveryStep) {
  RunAsMayBe<TypeParam>();
}

}  // namespace
}  // namespace ptage
