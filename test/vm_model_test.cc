// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Random operations on a VM agree with the model of one, after every step, in
// all formats; and meet every state of an entry that they can meet.

#include "test/model/vm_model.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <string>

#include "gtest/gtest.h"
#include "test/formats.h"
#include "test/machine.h"
#include "test/model/compare.h"
#include "test/model/coverage.h"
#include "test/model/vm_state.h"
#include "test/model/vm_under_test.h"

namespace ptage {
namespace {

using test::Divergence;
using test::FactsOf;
using test::ModelOptions;
using test::VmCoverage;
using test::VmUnderTest;

// Operations of a guest.
constexpr std::size_t kOperations = 400;

std::uint64_t FromEnvironment(const char* name, std::uint64_t otherwise) {
  const char* const value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

template <class Real>
ModelOptions OptionsOf() {
  return ModelOptions{.facts = FactsOf<typename Real::Format>(),
                      .lists_are_fast = Real::D::kFastAging,
                      .cap = Real::kCap,
                      .most_guests = Real::kMostGuests};
}

// Runs `operations` of them, in guests of kOperations. Returns whether both
// agree.
template <class Real>
void Run(std::uint64_t operations, VmCoverage& coverage) {
  const ModelOptions options = OptionsOf<Real>();
  const std::uint64_t first = FromEnvironment("PTAGE_MODEL_SEED", 1);
  for (std::uint64_t seed = first; coverage.operations() < operations; ++seed) {
    const std::optional<Divergence> found =
        test::RunGuest<Real>(seed, kOperations, options, coverage);
    if (!found.has_value()) continue;
    FAIL() << ToText(test::Shrunk<Real>(*found, options), seed);
  }
}

template <class F>
class VmModelTest : public testing::Test {};
TYPED_TEST_SUITE(VmModelTest, test::AllFormats, test::FormatNames);

TYPED_TEST(VmModelTest, AgreesAfterEveryStep) {
  using Real = VmUnderTest<TypeParam, test::LocklessRmapsUnderLock>;
  VmCoverage coverage(FactsOf<TypeParam>());
  Run<Real>(FromEnvironment("PTAGE_MODEL_OPERATIONS", 20'000), coverage);
  std::cout << coverage.Table();
  for (const std::string& wrong : coverage.Wrong()) ADD_FAILURE() << wrong;
}

}  // namespace
}  // namespace ptage
