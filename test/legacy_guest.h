// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A guest without nested paging: its memory, with page tables that it writes
// itself, and what the hypervisor has for it.

#ifndef PTAGE_TEST_LEGACY_GUEST_H_
#define PTAGE_TEST_LEGACY_GUEST_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "ptage/guest_walk.h"
#include "ptage/legacy_shadow.h"
#include "ptage/memory.h"
#include "ptage/memory/foreign_ram.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/rmap/lockless.h"
#include "ptage/sim/vcpu.h"
#include "ptage/sim/vcpu_set.h"
#include "ptage/spte.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "test/machine.h"
#include "test/rmap_pool.h"
#include "test/scheme.h"

namespace ptage::test {

template <SpteFormat F>
using LocklessRmapsInOrder =
    Lockless<F, Arena<F>, LocklessPool<F>, RmapWriters::kLockHeadInOrder>;

// The machine's CPUs, and how often they were flushed.
struct CountedCpus : sim::VcpuSet {
  explicit CountedCpus(std::size_t count) : sim::VcpuSet(count), flushes(0u) {}
  void Flush(GfnRange range) {
    FetchAdd(flushes, 1u, kRelaxed);
    if (before) before();
    sim::VcpuSet::Flush(range);
  }
  std::uint32_t TakeFlushes() {
    const std::uint32_t count = ReadOnce(flushes, kRelaxed);
    WriteOnce(flushes, 0u, kRelaxed);
    return count;
  }
  Cell<std::uint32_t> flushes;
  // What a CPU does until it is flushed.
  std::function<void()> before;
};

// Frames 0 … frames − 1, behind which are the host's from kBase on.
template <class D>
class LegacyGuest {
 public:
  using F = X86_64;
  using Mmu = LegacyShadow<F, Arena<F>, Scheme, CountedCpus, D, F, ForeignRam>;
  using Root = typename Mmu::Root;
  using Vcpu = sim::Vcpu<F, Arena<F>>;

  static constexpr Pfn kBase{0x800};
  // Present, writable, user, and dirty or not. (SDM 3A 4.5.4)
  static constexpr std::uint64_t kTable = 0x7;
  static constexpr std::uint64_t kReadOnly = 0x5;
  static constexpr std::uint64_t kWritable = 0x7;
  static constexpr std::uint64_t kLarge = 0x80;
  static constexpr std::uint64_t kGuestAccessed = 0x20;
  static constexpr std::uint64_t kGuestDirty = 0x40;

  struct Options {
    std::uint64_t frames = 64;
    std::size_t cpus = 1;
    std::size_t tables = 64;  // that the host has memory for
    std::size_t chunks = 256;
    std::size_t limit = 1000;
    std::uint32_t cap = kDefaultRmapCap;
  };

  explicit LegacyGuest(const Options& options)
      : frames(options.frames),
        memory_(options.frames),
        ram_block_{0, options.frames * 4096,
                   reinterpret_cast<std::byte*>(memory_.data())},
        ram(&ram_block_, 1),
        block_(options.tables),
        arena(block_.tables.data(), block_.infos.data(), block_.gfns.data(),
              options.tables, Pfn{0x1000}),
        cpus(options.cpus),
        pool(domain, options.chunks),
        rmaps(arena, pool.get(), options.cap),
        mmu(std::make_unique<Mmu>(
            typename Mmu::Parts{arena, domain, cpus, rmaps, mmu_lock, ram},
            typename Mmu::Limits{.frames = options.frames,
                                 .physical_bits = 40,
                                 .tables = options.limit},
            [this](const ZappedLeaf& leaf) { Record(leaf); })) {}

  // All of it, in one slot.
  void AddMemory(Rights rights = Rights::kAll) {
    ASSERT_TRUE(mmu->AddMemslot({Gfn{0}, Gfn{frames}}, kBase, rights).ok());
  }

  // A word of the guest's memory, as its CPUs see it.
  Cell<std::uint64_t>& WordAt(std::uint64_t frame, std::uint64_t index) {
    return memory_[frame].words[index];
  }
  std::uint64_t Word(std::uint64_t frame, std::uint64_t index) {
    return ReadOnce(WordAt(frame, index), kAcquire);
  }
  static std::uint64_t Entry(std::uint64_t frame, std::uint64_t bits) {
    return frame << 12 | bits;
  }
  // The guest writes an entry, as a trap would have it carried out. Returns how
  // many entries were zapped.
  std::uint64_t Write(std::uint64_t frame, std::uint64_t index,
                      std::uint64_t word) {
    std::byte bytes[8];
    std::memcpy(bytes, &word, sizeof(word));
    const std::optional<std::uint64_t> count = mmu->GuestWrite(
        Gfn{frame}, index * 8, absl::MakeConstSpan(bytes), sink());
    EXPECT_TRUE(count.has_value());
    return count.value_or(0);
  }
  // One access of a CPU, and the faults that it needs. What the last came to.
  FaultOutcome Access(Vcpu& vcpu, Root root, std::uint64_t page, Rights access,
                      Pfn& pfn, GuestTranslation& found_by_guest) {
    for (int tries = 0; tries < 64; ++tries) {
      {
        const sim::Running<Vcpu> running(vcpu);
        const sim::Translation found = vcpu.Translate(Gfn{page}, access);
        if (found) {
          pfn = found.pfn;
          return FaultOutcome::kMapped;
        }
      }
      const FaultOutcome came_to =
          mmu->Fault(root, Gfn{page}, access, found_by_guest);
      if (came_to != FaultOutcome::kMapped &&
          came_to != FaultOutcome::kSpurious &&
          came_to != FaultOutcome::kRetry) {
        return came_to;
      }
    }
    return FaultOutcome::kRetry;
  }
  // The same of the only CPU, for tests of one thread. The frame behind the
  // page; nothing if it faults, and then `outcome` says how.
  std::optional<std::uint64_t> Read(Root root, std::uint64_t page) {
    return Use(root, page, Rights::kRead);
  }
  std::optional<std::uint64_t> WriteTo(Root root, std::uint64_t page) {
    return Use(root, page, Rights::kReadWrite);
  }
  std::optional<std::uint64_t> Use(Root root, std::uint64_t page,
                                   Rights access) {
    Vcpu vcpu(cpus, 0, arena, *root.table);
    Pfn pfn{};
    outcome = Access(vcpu, root, page, access, pfn, walked);
    if (outcome != FaultOutcome::kMapped) return std::nullopt;
    return pfn.value - kBase.value;
  }

  Root Load(std::uint64_t frame) {
    auto root = mmu->LoadRoot(Gfn{frame});
    EXPECT_TRUE(root.ok()) << root.status();
    return *root;
  }
  // How many leaves of the frame a CPU could write through.
  int WritableLeaves(std::uint64_t frame) {
    return static_cast<int>(mmu->CountEntries(Gfn{frame}, Rights::kWrite));
  }

  void Record(const ZappedLeaf& leaf) {
    absl::MutexLock lock(&mutex);
    zapped.push_back(leaf);
  }
  auto sink() {
    return [this](const ZappedLeaf& leaf) { Record(leaf); };
  }

  const std::uint64_t frames;

 private:
  struct alignas(4096) Frame {
    Cell<std::uint64_t> words[512];
  };
  std::vector<Frame> memory_;
  RamBlock ram_block_;

 public:
  ForeignRam ram;

 private:
  TableBlock<F> block_;

 public:
  Arena<F> arena;
  Scheme domain;
  CountedCpus cpus;
  absl::Mutex mmu_lock;
  RmapPool<D> pool;
  D rmaps;
  absl::Mutex mutex;
  std::vector<ZappedLeaf> zapped;
  GuestTranslation walked;
  FaultOutcome outcome = FaultOutcome::kMapped;
  std::unique_ptr<Mmu> mmu;
};

}  // namespace ptage::test

#endif  // PTAGE_TEST_LEGACY_GUEST_H_
