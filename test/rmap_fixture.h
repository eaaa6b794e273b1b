// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Entries of an indirect table, chunks and locks, for tests of rmaps.

#ifndef PTAGE_TEST_RMAP_FIXTURE_H_
#define PTAGE_TEST_RMAP_FIXTURE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <type_traits>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/lock.h"
#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/once.h"
#include "ptage/reclaim/epoch.h"
#include "ptage/rmap.h"
#include "ptage/rmap/bit_locked.h"
#include "ptage/rmap/chunk_list.h"
#include "ptage/rmap/lockless.h"
#include "ptage/rmap/single_entry_lockless.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/formats.h"
#include "test/rmap_pool.h"
#include "test/tables.h"

namespace ptage::test {

// A lock that calls a function once it is taken.
class HookedLock {
 public:
  void Lock() {
    lock_.Lock();
    ++taken;
    if (hook) hook();
  }
  void Unlock() { lock_.Unlock(); }

  int taken = 0;
  std::function<void()> hook;

 private:
  SpinLock lock_;
};

template <SpteFormat F>
using SingleEntryRmaps =
    SingleEntryLockless<F, TableArena<F>, FixedChunkPool<F>, HookedLock>;
template <SpteFormat F>
using BitLockedRmaps = BitLocked<F, TableArena<F>, FixedChunkPool<F>>;
template <SpteFormat F, RmapWriters kWriters = RmapWriters::kLockHead>
using LocklessRmaps = Lockless<F, TableArena<F>, LocklessPool<F>, kWriters>;
template <SpteFormat F>
using LocklessExcludedRmaps = LocklessRmaps<F, RmapWriters::kExcluded>;
template <SpteFormat F>
using LocklessOrderedRmaps = LocklessRmaps<F, RmapWriters::kLockHeadInOrder>;

// Whether writers hold the MMU lock.
template <class D>
inline constexpr bool kWritersHoldTheLock =
    std::is_same_v<D, SingleEntryRmaps<typename D::Format>> ||
    std::is_same_v<D, LocklessExcludedRmaps<typename D::Format>>;

// `D` is one of those above.
template <class D>
class RmapMachine {
 public:
  using F = typename D::Format;
  using Entry = SpteCell<F>;
  using Word = typename F::Word;

  explicit RmapMachine(std::size_t chunks = 16,
                       std::uint32_t cap = kDefaultRmapCap)
      : pool_(domain_, chunks), rmaps_(Make(cap)) {
    for (int i = 0; i < kTables; ++i) {
      Table<F>& table = tables_.Make(TableKind::kIndirect, Gfn{0}, Level{1});
      for (Entry& entry : table.entries) entries_.push_back(&entry);
    }
  }

  D& rmaps() { return rmaps_; }
  RmapPool<D>& pool() { return pool_; }
  EpochDomain<>& domain() { return domain_; }
  HookedLock& mmu_lock() { return mmu_lock_; }
  TableArena<F>& arena() { return tables_.arena(); }
  Entry& entry(std::size_t i) { return *entries_.at(i); }

  template <class Write>
  auto AsWriter(Write write) {
    if constexpr (kWritersHoldTheLock<D>) {
      ScopedLock hold(mmu_lock_);
      return write();
    } else {
      return write();
    }
  }
  RmapAdd Add(RmapHead& head, Entry& entry) {
    return AsWriter([&] { return rmaps_.Add(head, entry); });
  }
  bool Remove(RmapHead& head, Entry& entry) {
    return AsWriter([&] { return rmaps_.Remove(head, entry); });
  }
  std::uint32_t Count(RmapHead& head) {
    return AsWriter([&] { return rmaps_.Count(head); });
  }
  bool Contains(RmapHead& head, Entry& entry) {
    return AsWriter([&] { return rmaps_.Contains(head, entry); });
  }
  Entry* Any(RmapHead& head) {
    return AsWriter([&] { return rmaps_.Any(head); });
  }

  // Makes `entry` map `gfn` by `word`, in no rmap.
  void Set(Entry& entry, Gfn gfn, Word word) {
    RecordFrame<F>(arena(), entry, gfn);
    WriteOnce(entry, word, kRelaxed);
  }
  // The same, and adds it.
  void MustAdd(RmapHead& head, Entry& entry, Gfn gfn, Word word) {
    Set(entry, gfn, word);
    ASSERT_EQ(Add(head, entry), RmapAdd::kDone);
  }

 private:
  static constexpr int kTables = 16;

  D Make(std::uint32_t cap) {
    if constexpr (std::is_same_v<D, SingleEntryRmaps<F>>) {
      return D(tables_.arena(), pool_.get(), mmu_lock_, cap);
    } else {
      return D(tables_.arena(), pool_.get(), cap);
    }
  }

  OwnedTables<F> tables_{kTables};
  EpochDomain<> domain_;
  RmapPool<D> pool_;
  HookedLock mmu_lock_;
  D rmaps_;
  std::vector<Entry*> entries_;
};

using AllDisciplines = ::testing::Types<
    SingleEntryRmaps<Ept>, SingleEntryRmaps<X86_64>,
    SingleEntryRmaps<TinyFormat>, BitLockedRmaps<Ept>, BitLockedRmaps<X86_64>,
    BitLockedRmaps<TinyFormat>, LocklessRmaps<Ept>, LocklessRmaps<X86_64>,
    LocklessRmaps<TinyFormat>, LocklessExcludedRmaps<Ept>,
    LocklessExcludedRmaps<TinyFormat>, LocklessOrderedRmaps<Ept>,
    LocklessOrderedRmaps<TinyFormat>>;

struct DisciplineNames {
  template <class D>
  static std::string GetName(int) {
    using F = typename D::Format;
    const char* const name =
        std::is_same_v<D, BitLockedRmaps<F>>         ? "BitLocked"
        : std::is_same_v<D, SingleEntryRmaps<F>>     ? "SingleEntryLockless"
        : std::is_same_v<D, LocklessRmaps<F>>        ? "Lockless"
        : std::is_same_v<D, LocklessOrderedRmaps<F>> ? "LocklessOrdered"
                                                     : "LocklessExcluded";
    return name + FormatNames::GetName<F>(0);
  }
};

inline std::uintptr_t WordOf(const RmapHead& head) {
  return ReadOnce(head.word, kRelaxed);
}

}  // namespace ptage::test

#endif  // PTAGE_TEST_RMAP_FIXTURE_H_
