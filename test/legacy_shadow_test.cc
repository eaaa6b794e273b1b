// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/legacy_shadow.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/guest_walk.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/spte/arm64.h"
#include "ptage/spte/ept.h"
#include "ptage/spte/riscv64.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "test/legacy_guest.h"
#include "test/machine.h"

namespace ptage {
namespace {

// Where the dirty bit is the permission, a leaf cannot be read-only and dirty.
static_assert(ProtectableFormat<X86_64> && ProtectableFormat<Ept> &&
              ProtectableFormat<RiscvSv48>);
static_assert(!ProtectableFormat<Arm64Stage2Of4K>);

// Frames of the guest's tables: the root, and one of each level below.
constexpr std::uint64_t kCr3 = 4;
constexpr std::uint64_t kL3 = 3;
constexpr std::uint64_t kL2 = 2;
constexpr std::uint64_t kL1 = 1;
// A second root, over the same tables below.
constexpr std::uint64_t kOtherCr3 = 5;
constexpr GfnRange kAll{Gfn{0}, Gfn{64}};

template <class D>
class LegacyShadowTest : public testing::Test {
 protected:
  using Guest = test::LegacyGuest<D>;
  using Root = typename Guest::Root;
  static_assert(AgeableMmu<typename Guest::Mmu>);
  static_assert(Guest::Mmu::kFastAging == D::kFastAging);

  void SetUp() override { Start({}); }
  void Start(const typename Guest::Options& options) {
    guest_.reset();
    guest_ = std::make_unique<Guest>(options);
    guest_->AddMemory();
    // Pages 0 … 511, of which p maps frame p mod 64: as a direct map with
    // aliases.
    Put(kCr3, 0, kL3, Guest::kTable);
    Put(kOtherCr3, 0, kL3, Guest::kTable);
    Put(kL3, 0, kL2, Guest::kTable);
    Put(kL2, 0, kL1, Guest::kTable);
    for (std::uint64_t i = 0; i < 512; ++i) {
      Put(kL1, i, i % 64, Guest::kWritable);
    }
  }
  // Before the guest runs.
  void Put(std::uint64_t frame, std::uint64_t index, std::uint64_t to,
           std::uint64_t bits) {
    WriteOnce(guest().WordAt(frame, index), Guest::Entry(to, bits), kRelaxed);
  }
  Guest& guest() { return *guest_; }
  typename Guest::Mmu& mmu() { return *guest_->mmu; }

 private:
  std::unique_ptr<Guest> guest_;
};

using Disciplines =
    testing::Types<test::BitRmaps<X86_64>, test::LocklessRmapsInOrder<X86_64>>;
TYPED_TEST_SUITE(LegacyShadowTest, Disciplines);

TYPED_TEST(LegacyShadowTest, APageIsTranslatedStraightToTheHost) {
  const auto root = this->guest().Load(kCr3);
  EXPECT_EQ(this->guest().Read(root, 20), 20u);
  EXPECT_EQ(this->guest().Read(root, 64 + 20), 20u);
  EXPECT_EQ(this->mmu().CountEntries(Gfn{20}), 2u);
  EXPECT_EQ(this->mmu().tables(), 4u);
  // Accessed, and not dirty, so not writable yet. The guest's own entries were
  // marked before.
  EXPECT_EQ(this->guest().Word(kL1, 20), 20u << 12 | 0x27);
  EXPECT_EQ(this->guest().Word(kL2, 0), kL1 << 12 | 0x27);
  EXPECT_EQ(this->guest().Word(kCr3, 0), kL3 << 12 | 0x27);
  EXPECT_EQ(this->guest().WritableLeaves(20), 0);
}

TYPED_TEST(LegacyShadowTest, TheFirstWriteSetsTheGuestsDirtyBit) {
  const auto root = this->guest().Load(kCr3);
  ASSERT_EQ(this->guest().Read(root, 20), 20u);
  ASSERT_EQ(this->guest().WriteTo(root, 20), 20u);
  EXPECT_EQ(this->guest().Word(kL1, 20), 20u << 12 | 0x67);
  EXPECT_EQ(this->mmu().CountEntries(Gfn{20}), 1u);
  EXPECT_EQ(this->guest().WritableLeaves(20), 1);
}

TYPED_TEST(LegacyShadowTest, AWriteToATableIsTrapped) {
  const auto root = this->guest().Load(kCr3);
  for (const std::uint64_t table : {kCr3, kL3, kL2, kL1}) {
    EXPECT_EQ(this->guest().Read(root, table), table);
    EXPECT_EQ(this->guest().WriteTo(root, table), std::nullopt);
    EXPECT_EQ(this->guest().outcome, FaultOutcome::kGuestTable);
    EXPECT_EQ(this->guest().walked.gfn, Gfn{table});
    EXPECT_EQ(this->guest().WritableLeaves(table), 0);
    EXPECT_TRUE(this->mmu().IsTable(Gfn{table}));
  }
  EXPECT_FALSE(this->mmu().IsTable(Gfn{20}));
}

TYPED_TEST(LegacyShadowTest, AChangedEntryIsNeverUsedAgain) {
  const auto root = this->guest().Load(kCr3);
  ASSERT_EQ(this->guest().WriteTo(root, 20), 20u);
  ASSERT_EQ(this->guest().Read(root, 21), 21u);
  this->guest().cpus.TakeFlushes();
  EXPECT_EQ(this->guest().Write(kL1, 20, 30 << 12 | 0x7), 1u);
  EXPECT_EQ(this->guest().cpus.TakeFlushes(), 1u);
  EXPECT_EQ(this->guest().Read(root, 20), 30u);
  EXPECT_EQ(this->guest().Read(root, 21), 21u);
}

}  // namespace
}  // namespace ptage
