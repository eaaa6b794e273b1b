// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Dirty tracking as a copier of memory uses it (migration), against a vCPU that
// caches translations: what a page holds when it is copied last is what it
// holds at the end.

#include <cstdint>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/dirty.h"
#include "ptage/memory.h"
#include "ptage/page_table.h"
#include "ptage/sim/vcpu.h"
#include "ptage/sim/vcpu_set.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"
#include "test/sim/guest.h"

namespace ptage {
namespace {

using F = Ept;
using Guest = test::Guest<F>;
using Vcpu = sim::Vcpu<F, Guest::Memory>;

constexpr std::uint64_t kPages = 256;
constexpr GfnRange kAll{Gfn{0}, Gfn{kPages}};
constexpr int kRounds = 32;
constexpr int kWrites = 64;  // a round; the TLB holds more

enum class How { kClear, kProtect };

class DirtyVcpuTest : public testing::Test {
 protected:
  DirtyVcpuTest() {
    for (std::uint64_t gfn = 0; gfn < kPages; ++gfn) {
      EXPECT_EQ(guest_.Map(Gfn{gfn}, Pfn{gfn}, Rights::kAll),
                MapOutcome::kDone);
    }
  }

  // A write, with the fault where it needs one.
  void Write(Gfn gfn) {
    while (!vcpu_.Translate(gfn, Rights::kWrite)) {
      const LocklessWalk walk(guest_.domain, WalkEntry::kWait);
      const FoundEntry<F> found = guest_.tree.Lookup(walk, gfn);
      ASSERT_TRUE(IsProtected<F>(found.word));
      ASSERT_TRUE(GrantWrite<F>(*found.entry, found.word, [&] { ++faults_; }));
    }
    ++memory_[gfn.value];
  }
  template <class Fl>
  std::uint64_t Copy(How how, Fl& flusher) {
    std::vector<std::uint64_t> dirty(kPages / 64);
    const AgeOutput output{.begin = kAll.begin,
                           .young = Bitmap(dirty.data(), kPages)};
    const LocklessWalk walk(guest_.domain, WalkEntry::kWait);
    if (how == How::kClear) {
      ClearDirty(guest_.tree, walk, flusher, kAll, output);
    } else {
      WriteProtect(guest_.tree, walk, flusher, kAll, output);
    }
    std::uint64_t copied = 0;
    for (std::uint64_t gfn = 0; gfn < kPages; ++gfn) {
      if (!Bitmap(dirty.data(), kPages).Test(gfn)) continue;
      copy_[gfn] = memory_[gfn];
      ++copied;
    }
    return copied;
  }
  // Rounds of writes and copies, and a last copy. Pages that differ then.
  template <class Fl>
  std::uint64_t Differing(How how, Fl& flusher) {
    std::mt19937 random(1);
    for (int round = 0; round < kRounds; ++round) {
      {
        const sim::Running<Vcpu> running(vcpu_);
        for (int i = 0; i < kWrites; ++i) Write(Gfn{random() % kPages});
      }
      copied_ += Copy(how, flusher);
    }
    copied_ += Copy(how, flusher);
    std::uint64_t differing = 0;
    for (std::uint64_t gfn = 0; gfn < kPages; ++gfn) {
      differing += copy_[gfn] != memory_[gfn] ? 1 : 0;
    }
    return differing;
  }

  Guest guest_{1};
  Vcpu vcpu_{guest_.cpus, 0, guest_.memory, *guest_.tree.root()};
  std::vector<int> memory_ = std::vector<int>(kPages);
  std::vector<int> copy_ = std::vector<int>(kPages);
  std::uint64_t copied_ = 0;
  int faults_ = 0;
};

TEST_F(DirtyVcpuTest, ACopyByDirtyBitsIsTheMemory) {
  EXPECT_EQ(Differing(How::kClear, guest_.cpus), 0u);
  EXPECT_EQ(faults_, 0);
  EXPECT_LT(copied_, kPages * kRounds);
}

TEST_F(DirtyVcpuTest, ACopyByWriteProtectionIsTheMemory) {
  EXPECT_EQ(Differing(How::kProtect, guest_.cpus), 0u);
  EXPECT_GT(faults_, kRounds);
  EXPECT_LT(copied_, kPages * kRounds);
}

// What the flush is for: a vCPU that keeps a dirty, writable translation
// writes on unseen.
TEST_F(DirtyVcpuTest, WithoutTheFlushWritesAreMissed) {
  NoFlush none;
  EXPECT_GT(Differing(How::kClear, none), 0u);
}

}  // namespace
}  // namespace ptage
