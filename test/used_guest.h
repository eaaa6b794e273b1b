// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A guest whose frames are used from two sides, for stress tests of what skips
// cold tables: a vCPU with warm caches references the even ones, faults map the
// odd ones, accessed.

#ifndef PTAGE_TEST_USED_GUEST_H_
#define PTAGE_TEST_USED_GUEST_H_

#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/page_table.h"
#include "ptage/prune.h"
#include "ptage/sim/vcpu.h"
#include "ptage/sim/vcpu_set.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"
#include "test/sim/guest.h"

namespace ptage::test {

class UsedGuest : public Guest<Ept> {
 public:
  using Vcpu = sim::Vcpu<Ept, Guest<Ept>::Memory>;

  static constexpr std::uint64_t kTables = 4;
  static constexpr GfnRange kAll{Gfn{0}, Gfn{kTables * 512}};

  // Every even frame is mapped, cold.
  explicit UsedGuest(std::uint64_t seed)
      : Guest<Ept>(1),
        seed_(static_cast<unsigned>(seed)),
        used_(kAll.Frames()),
        mapped_(kAll.Frames()),
        vcpu_(cpus, 0, memory, *tree.root()) {
    for (std::uint64_t gfn = 0; gfn < kAll.end.value; gfn += 2) {
      EXPECT_EQ(Map(Gfn{gfn}, Pfn{gfn}, Rights::kAll), MapOutcome::kDone);
    }
  }

  // Marks the parent of each even frame, as if it had been walked to.
  void MarkParents() {
    const LocklessWalk walk(domain, WalkEntry::kWait);
    for (std::uint64_t gfn = 0; gfn < kAll.end.value; gfn += 2) {
      MarkParent(tree, walk, Gfn{gfn});
    }
  }
  // For a thread each; they end by themselves.
  std::vector<std::function<void()>> Uses(int references) {
    return {[this, references] { Reference(references); },
            [this] { FaultIn(); }};
  }
  // After they have ended.
  [[nodiscard]] bool WasUsed(std::uint64_t frame) const {
    return used_[frame] || mapped_[frame];
  }

 private:
  void Reference(int references) {
    std::mt19937 random(seed_);
    const sim::Running<Vcpu> running(vcpu_);
    for (int i = 0; i < references; ++i) {
      const Gfn gfn{random() % kAll.Frames() / 2 * 2};
      if (vcpu_.Translate(gfn, Rights::kRead)) used_[gfn.value] = true;
    }
  }
  void FaultIn() {
    std::mt19937 random(seed_ + 1);
    for (int i = 0; i < 50; ++i) {
      const Gfn gfn{random() % kAll.Frames() / 2 * 2 + 1};
      const LocklessWalk walk(domain, WalkEntry::kWait);
      const Ept::Word leaf =
          Ept::MakeLeaf(Pfn{gfn.value}, Level{1}, Rights::kAll) |
          Ept::kAccessed;
      if (tree.Map(walk, gfn, Level{1}, leaf) != MapOutcome::kDone) continue;
      MarkParent(tree, walk, gfn);
      mapped_[gfn.value] = true;
    }
  }

  const unsigned seed_;
  // By frame, each written by one thread.
  std::vector<bool> used_;
  std::vector<bool> mapped_;
  Vcpu vcpu_;
};

}  // namespace ptage::test

#endif  // PTAGE_TEST_USED_GUEST_H_
