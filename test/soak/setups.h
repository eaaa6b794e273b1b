// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The disciplines under soak, each with chunks and, where its callers need one,
// a lock. A setup says which faults cannot happen to it.

#ifndef PTAGE_TEST_SOAK_SETUPS_H_
#define PTAGE_TEST_SOAK_SETUPS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ptage/lock.h"
#include "ptage/reclaim/epoch.h"
#include "ptage/rmap/bit_locked.h"
#include "ptage/rmap/chunk_list.h"
#include "ptage/rmap/grace_pool.h"
#include "ptage/rmap/lockless.h"
#include "ptage/rmap/lockless_list.h"
#include "ptage/rmap/single_entry_lockless.h"
#include "test/soak/faults.h"
#include "test/soak/format.h"
#include "test/soak/policies.h"
#include "test/soak/token.h"

namespace ptage::soak {

using Domain = FaultyReclaimer<EpochDomain<>>;

// Below what a group has entries for.
inline constexpr std::uint32_t kCap = 48;

class LocklessSetup {
 public:
  using Pool = FaultyChunks<GracePool<RmapChunks<F>, Domain>>;
  using Rmaps = Lockless<F, FaultyMemory, Pool>;

  LocklessSetup(FaultyMemory& memory, Domain& domain)
      : firsts_(kFirsts),
        laters_(kLaters),
        pool_(domain, firsts_.data(), firsts_.size(), laters_.data(),
              laters_.size()),
        rmaps_(memory, pool_, kCap) {}

  Rmaps& rmaps() { return rmaps_; }
  std::size_t ChunksInUse() { return pool_.InUse(); }
  template <class Write>
  auto AsWriter(Write write) {
    return write();
  }
  static constexpr std::size_t ChunksFor(std::uint32_t entries) {
    return entries < 2 ? 0 : entries <= 7 ? 1 : 1 + (entries - 7 + 13) / 14;
  }
  static constexpr bool CanHappen(Fault) { return true; }

 private:
  // Few enough to run out of while a long walk holds what was retired.
  static constexpr std::size_t kFirsts = 2048;
  static constexpr std::size_t kLaters = 4096;

  std::vector<typename RmapChunks<F>::First> firsts_;
  std::vector<typename RmapChunks<F>::Later> laters_;
  Pool pool_;
  Rmaps rmaps_;
};

// What the two that lock have in common: one kind of chunk, and readers that
// would take a lock with them if they died.
class UnderLock {
 public:
  std::size_t ChunksInUse() { return pool_.InUse(); }
  static constexpr std::size_t ChunksFor(std::uint32_t entries) {
    return entries < 2 ? 0 : (entries + 5) / 6;
  }
  static constexpr bool CanHappen(Fault fault) {
    return fault != Fault::kNoLaterChunk && fault != Fault::kDeathInWalk;
  }

 protected:
  UnderLock() : chunks_(kChunks), pool_(chunks_.data(), chunks_.size()) {}

  static constexpr std::size_t kChunks = 128;
  std::vector<RmapChunk<F>> chunks_;
  FaultyChunksUnderLock pool_;
};

class BitLockedSetup : public UnderLock {
 public:
  using Rmaps = BitLocked<F, FaultyMemory, FaultyChunksUnderLock>;
  BitLockedSetup(FaultyMemory& memory, Domain&) : rmaps_(memory, pool_, kCap) {}
  Rmaps& rmaps() { return rmaps_; }
  template <class Write>
  auto AsWriter(Write write) {
    return write();
  }

 private:
  Rmaps rmaps_;
};

class SingleEntrySetup : public UnderLock {
 public:
  using Rmaps = SingleEntryLockless<F, FaultyMemory, FaultyChunksUnderLock>;
  SingleEntrySetup(FaultyMemory& memory, Domain&)
      : rmaps_(memory, pool_, mmu_lock_, kCap) {}
  Rmaps& rmaps() { return rmaps_; }
  template <class Write>
  auto AsWriter(Write write) {
    ScopedLock hold(mmu_lock_);
    return write();
  }

 private:
  SpinLock mmu_lock_;
  Rmaps rmaps_;
};

}  // namespace ptage::soak

#endif  // PTAGE_TEST_SOAK_SETUPS_H_
