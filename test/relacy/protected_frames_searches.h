// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of legacy_shadow/protected_frames.h, with the disciplines that are
// made for it: a frame becomes a table while it is mapped.

#ifndef PTAGE_TEST_RELACY_PROTECTED_FRAMES_SEARCHES_H_
#define PTAGE_TEST_RELACY_PROTECTED_FRAMES_SEARCHES_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "ptage/legacy_shadow/protected_frames.h"
#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/once.h"
#include "ptage/rmap.h"
#include "ptage/rmap/bit_locked.h"
#include "ptage/rmap/lockless.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/relacy/guarded_format.h"
#include "test/relacy/search.h"
#include "test/relacy/tiny_format.h"

namespace ptage::relacy {

static_assert(ProtectableFormat<GuardedFormat>);

using GuardedArena = TableArena<GuardedFormat, BlockingLock>;
using GuardedBit = BitLocked<GuardedFormat, GuardedArena, GuardedBitPool>;
using GuardedLockless = Lockless<GuardedFormat, GuardedArena, GuardedPool,
                                 RmapWriters::kLockHeadInOrder>;

// One frame, which two leaves may map.
template <class D>
class GuardedFrame {
 public:
  static constexpr Word kReadOnly =
      GuardedFormat::MakeLeaf(Pfn{0xA}, Level{1}, Rights::kReadExecute);
  static constexpr Word kWritable =
      GuardedFormat::MakeLeaf(Pfn{0xA}, Level{1}, Rights::kAll);

  GuardedFrame() {
    for (Entry& leaf : tables_[0].entries) {
      WriteOnce(leaf, GuardedFormat::kEmpty, kRelaxed);
    }
    TableInfo<GuardedFormat>& info = infos_[0];
    info.base.Set(0);
    info.level.Set(1);
    info.kind.Set(static_cast<std::uint32_t>(TableKind::kIndirect));
    info.gfns = gfns_;
    WriteOnce(head_.word, std::uintptr_t{0}, kRelaxed);
    WriteOnce(mark_.tables, 0u, kRelaxed);
  }
  Entry& leaf(unsigned index) { return tables_[0].entries[index]; }

  // Alone: a leaf that is there.
  void Map(unsigned index, Word word) {
    Require(Freeze<GuardedFormat>(leaf(index), GuardedFormat::kEmpty),
            "an empty entry is free");
    RecordFrame<GuardedFormat>(arena_, leaf(index), kA);
    Require(rmaps_.Add(head_, leaf(index)) == RmapAdd::kDone,
            "there is room in the rmap");
    Publish<GuardedFormat>(leaf(index), word);
  }
  // A write fault that finds nothing there, and one that finds a leaf that is
  // read-only.
  void FaultNew(unsigned index) {
    Require(Freeze<GuardedFormat>(leaf(index), GuardedFormat::kEmpty),
            "an empty entry is free");
    RecordFrame<GuardedFormat>(arena_, leaf(index), kA);
    bool writable = false;
    Require(
        AddLeaf(mark_, rmaps_, head_, leaf(index), writable) == RmapAdd::kDone,
        "there is room in the rmap");
    Publish<GuardedFormat>(leaf(index), writable ? kWritable : kReadOnly);
  }
  void FaultForMore(unsigned index) {
    const Word seen = ReadOnce(leaf(index), kAcquire);
    if (!Freeze<GuardedFormat>(leaf(index), seen)) return;
    const bool writable = AnnounceLeaf(mark_, rmaps_, head_);
    Publish<GuardedFormat>(leaf(index), (writable ? kWritable : kReadOnly) |
                                            (seen & (GuardedFormat::kAccessed |
                                                     GuardedFormat::kDirty)));
  }
  void Protect() { (void)ProtectFrame(mark_, rmaps_, &head_); }
  // A CPU's write, if the leaf allows it.
  void Write(unsigned index) {
    const Word seen = ReadOnce(leaf(index), kRelaxed);
    if (!Allows(GuardedFormat::RightsOf(seen), Rights::kWrite)) return;
    written_ |= AccessSeen(leaf(index), seen, AccessKind::kWrite);
  }

  // Alone, after the frame was protected.
  void Check() {
    bool dirty = false;
    for (Entry& leaf : tables_[0].entries) {
      const Word left = ReadOnce(leaf, kRelaxed);
      Require(!IsFrozen<GuardedFormat>(left), "nobody keeps an entry frozen");
      Require(!GuardedFormat::IsPresent(left) ||
                  !Allows(GuardedFormat::RightsOf(left), Rights::kWrite),
              "no leaf of a table's frame is writable");
      dirty |= IsDirty<GuardedFormat>(left);
    }
    Require(!written_ || dirty, "no write is lost");
  }

 private:
  using Pool = std::conditional_t<D::kFastAging, GuardedPool, GuardedBitPool>;

  Table<GuardedFormat> tables_[1];
  TableInfo<GuardedFormat> infos_[1];
  Cell<std::uint64_t> gfns_[kEntriesPerTable<GuardedFormat>];
  GuardedArena arena_{tables_, infos_, gfns_, 1, Pfn{0x100}};
  Pool pool_;
  D rmaps_{arena_, pool_};
  RmapHead head_;
  TableMark mark_;
  bool written_ = false;
};

// --- A fault maps the frame by a new leaf: the first, or one more.

template <class D, bool kAnother>
struct BuilderAgainstNewLeaf
    : rl::test_suite<BuilderAgainstNewLeaf<D, kAnother>, 2> {
  static constexpr Plan kPlan =
      D::kFastAging ? kEveryInterleaving : UpToPreemptions(4);

  GuardedFrame<D> frame;

  void before() {
    if (kAnother) frame.Map(1, GuardedFrame<D>::kWritable);
  }
  void thread(unsigned index) {
    if (index == 0) {
      frame.Protect();
    } else {
      frame.FaultNew(0);
    }
  }
  void after() { frame.Check(); }
};

// --- A fault gives a leaf that is there the right to write.

template <class D>
struct BuilderAgainstMoreRights
    : rl::test_suite<BuilderAgainstMoreRights<D>, 2> {
  static constexpr Plan kPlan =
      D::kFastAging ? kEveryInterleaving : UpToPreemptions(4);

  GuardedFrame<D> frame;

  void before() { frame.Map(0, GuardedFrame<D>::kReadOnly); }
  void thread(unsigned index) {
    if (index == 0) {
      frame.Protect();
    } else {
      frame.FaultForMore(0);
    }
  }
  void after() { frame.Check(); }
};

// --- Two faults at once, one of each kind.

template <class D>
struct BuilderAgainstTwoFaults : rl::test_suite<BuilderAgainstTwoFaults<D>, 3> {
  // Three that spin are more than a search by preemptions ends with.
  static constexpr Plan kPlan =
      D::kFastAging ? UpToPreemptions(3) : RandomInterleavings(50'000);

  GuardedFrame<D> frame;

  void before() { frame.Map(1, GuardedFrame<D>::kReadOnly); }
  void thread(unsigned index) {
    if (index == 0) {
      frame.Protect();
    } else if (index == 1) {
      frame.FaultNew(0);
    } else {
      frame.FaultForMore(1);
    }
  }
  void after() { frame.Check(); }
};

// --- A CPU writes through a leaf that is being protected.

template <class D>
struct BuilderAgainstCpu : rl::test_suite<BuilderAgainstCpu<D>, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  GuardedFrame<D> frame;

  void before() { frame.Map(0, GuardedFrame<D>::kWritable); }
  void thread(unsigned index) {
    if (index == 0) {
      frame.Protect();
    } else {
      frame.Write(0);
    }
  }
  void after() { frame.Check(); }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_PROTECTED_FRAMES_SEARCHES_H_
