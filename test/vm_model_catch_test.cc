// SPDX-License-Identifier: MIT OR Apache-2.0
//
// That the model finds out: what is wrong is found, and printed as few
// operations. Lines of the headers that are broken on purpose (broken.bzl) are
// found here too, with few formats, so that each is built quickly.

#include <cstddef>
#include <cstdint>
#include <iostream>
#include <optional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ptage/prune.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"
#include "test/formats.h"
#include "test/machine.h"
#include "test/model/compare.h"
#include "test/model/coverage.h"
#include "test/model/shrink.h"
#include "test/model/vm_model.h"
#include "test/model/vm_operations.h"
#include "test/model/vm_under_test.h"

namespace ptage {
namespace {

using test::Asked;
using test::Divergence;
using test::Op;
using test::Operation;
using test::Sequence;
using test::VmUnderTest;

using OfEpt = VmUnderTest<Ept, test::LocklessRmaps>;
using OfWide = VmUnderTest<test::WideFormat, test::LocklessRmaps>;

template <class Real>
class VmModelCatchTest : public testing::Test {};
using Few = testing::Types<OfEpt, OfWide>;
TYPED_TEST_SUITE(VmModelCatchTest, Few);

TYPED_TEST(VmModelCatchTest, AFewOperationsAgree) {
  test::VmCoverage coverage(TypeParam::Facts());
  while (coverage.operations() < 12'000) {
    ASSERT_TRUE(test::RunAGuest<TypeParam>(/*seed=*/1, coverage,
                                           test::OptionsOf<TypeParam>()));
  }
}

TYPED_TEST(VmModelCatchTest, AWrongModelIsFoundByAFewOperations) {
  test::ModelOptions options = test::OptionsOf<TypeParam>();
  options.forgets_dirty_of_splits = true;
  test::VmCoverage coverage(options.facts);
  std::optional<Divergence> found;
  for (std::uint64_t seed = 1; !found.has_value(); ++seed) {
    ASSERT_LT(seed, 100u);
    found = test::RunGuest<TypeParam>(seed, 400, options, coverage);
  }
  const Divergence least = test::Shrunk<TypeParam>(*found, options);
  std::cout << ToText(least);
  // A slot, a page that is written, and its split.
  EXPECT_EQ(least.sequence.size(), 3u) << ToText(least);
  EXPECT_EQ(least.sequence.back().op, Op::kSplit);
  EXPECT_THAT(ToText(least), testing::HasSubstr("only in the VM"));
  // It is what it says: the same again, and none of it can be left out.
  for (std::size_t i = 0; i <= least.sequence.size(); ++i) {
    Sequence without = least.sequence;
    if (i < without.size()) {
      without.erase(without.begin() + static_cast<std::ptrdiff_t>(i));
    }
    EXPECT_EQ(test::Replay<TypeParam>(without, options).has_value(),
              i == least.sequence.size());
  }
  // And the right model agrees.
  options.forgets_dirty_of_splits = false;
  EXPECT_FALSE(test::Replay<TypeParam>(found->sequence, options).has_value());
}

TEST(ShrinkTest, LeavesWhatFailsAsPlainAsItCanBe) {
  Sequence sequence;
  for (unsigned i = 0; i < 200; ++i) {
    sequence.push_back(Operation{.op = i % 2 == 0 ? Op::kAge : Op::kMap,
                                 .frame = i,
                                 .frames = i + 3,
                                 .to = 7,
                                 .rights = Rights::kReadWrite,
                                 .level = Level{2},
                                 .guest = 1,
                                 .mode = AgeMode::kFastOnly,
                                 .asked = Asked::kShadow,
                                 .pruning = Pruning::kBestEffort,
                                 .told = Level{2}});
  }
  int asked = 0;
  // Two operations matter, in this order, and of the second one its frame and
  // that some frames are meant.
  const Sequence least = test::Shrink(sequence, [&](const Sequence& some) {
    ++asked;
    bool first = false;
    for (const Operation& operation : some) {
      if (operation.op == Op::kMap && operation.guest == 1) first = true;
      if (first && operation.op == Op::kAge && operation.frame == 120 &&
          operation.frames > 30) {
        return true;
      }
    }
    return false;
  });
  ASSERT_EQ(least.size(), 2u);
  EXPECT_EQ(least[0], (Operation{.op = Op::kMap, .guest = 1}));
  EXPECT_EQ(least[1], (Operation{.op = Op::kAge, .frame = 120, .frames = 61}));
  // Not one by one.
  EXPECT_LT(asked, 200);
}

TEST(OperationTest, IsPrintedAsItIsWritten) {
  EXPECT_EQ(ToText(Operation{.op = Op::kAge,
                             .frame = 0x200,
                             .frames = 0x10,
                             .action = AgeAction::kTest,
                             .mode = AgeMode::kFastOnly,
                             .asked = Asked::kShadow}),
            "{.op = Op::kAge, .frame = 0x200, .frames = 0x10, .action = "
            "AgeAction::kTest, .mode = AgeMode::kFastOnly, .asked = "
            "Asked::kShadow}");
  EXPECT_EQ(ToText(Operation{.op = Op::kAgeSkippingCold,
                             .pruning = Pruning::kBestEffort}),
            "{.op = Op::kAgeSkippingCold, .pruning = Pruning::kBestEffort}");
  EXPECT_EQ(ToText(Operation{.op = Op::kMap,
                             .to = 0x40,
                             .rights = Rights::kAll,
                             .level = Level{2},
                             .guest = 1,
                             .told = Level{3}}),
            "{.op = Op::kMap, .to = 0x40, .rights = Rights{7}, .level = "
            "Level{2}, .guest = 1, .told = Level{3}}");
}

}  // namespace
}  // namespace ptage
