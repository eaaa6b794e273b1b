// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Intel extended page tables without accessed and dirty flags (EPTP bit 6
// clear, or a processor that has none), of four or five levels: accesses are
// tracked by permissions.
// Intel SDM volume 3C, 29.3.2 "EPT Translation Mechanism" (28.3.2 in editions
// before 2022), tables "Format of an EPT …", and 29.3.3. Pure functions; see
// spte.h for what threads may do.
//
// What a leaf grants stands in bits that the processor ignores. The permissions
// that it looks at are live or parked:
//   * old: all three are clear, so that the next access is a violation;
//   * young: read and execute are as granted, write too if the page was written
//     since it became young. A fault makes it so (fast_fault.h);
//   * dirty: a bit of its own, set with the write permission. Aging parks that
//     one too, and keeps the bit. It is cleared together with the permission,
//     so the first write after it faults, and sets both.
// The accessed and the dirty bit, which are software's here, stand where the
// processor's would be.

#ifndef PTAGE_SPTE_EPT_TRACKED_H_
#define PTAGE_SPTE_EPT_TRACKED_H_

#include <cstdint>

#include "ptage/config.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

// EPT of so many levels, tracked by permissions.
template <int kLevelCount>
struct EptTrackedOf {
  static_assert(kLevelCount == 4 || kLevelCount == 5);
  using Word = std::uint64_t;

  static constexpr int kLevels = kLevelCount;
  static constexpr int kIndexBits = 9;
  static constexpr int kPageBits = 12;
  static constexpr Level kLargestLeaf{3};
  static constexpr bool kInnerAccessed = false;
  // Walkers set no bits.
  static constexpr bool kHardwareAccessed = false;
  static constexpr bool kHardwareDirty = false;

  // What the processor looks at.
  static constexpr Word kRead = Word{1} << 0;
  static constexpr Word kWrite = Word{1} << 1;
  static constexpr Word kExecute = Word{1} << 2;
  static constexpr Word kLive = kRead | kWrite | kExecute;
  // Memory type of a leaf, bits 5:3; 6 is write-back.
  static constexpr Word kWriteBack = Word{6} << 3;
  // Bit 7 of an entry at level 2 or 3: it maps a page.
  static constexpr Word kLargePage = Word{1} << 7;
  // Ignored while EPTP bit 6 is clear.
  static constexpr Word kAccessed = Word{1} << 8;
  static constexpr Word kDirty = Word{1} << 9;
  // Bits 51:12.
  static constexpr Word kFrame = 0x000F'FFFF'FFFF'F000;
  // Ignored in present entries: what the leaf grants, in the order of bits 2:0.
  static constexpr int kGrantShift = 52;
  static constexpr Word kGranted = kLive << kGrantShift;
  // Bit 63: a violation is an exit, not a virtualization exception (29.3.3
  // "EPT-Induced VM Exits"), so an empty entry is not zero.
  static constexpr Word kSuppressVe = Word{1} << 63;
  // Bits 62:3 are ignored in an entry that is not present.
  static constexpr Word kEmpty = kSuppressVe;
  static constexpr Word kFrozen = kSuppressVe | Word{1} << 58;

  // Not by the live ones: a parked leaf maps its page.
  static constexpr Word kPresentBits = kGranted;
  static constexpr bool IsPresent(Word word) {
    return (word & kPresentBits) != 0;
  }
  static constexpr bool IsLeaf(Word word, Level level) {
    return level == Level{1} || (word & kLargePage) != 0;
  }
  static constexpr Pfn FrameOf(Word word) {
    return Pfn{(word & kFrame) >> kPageBits};
  }
  static constexpr Rights RightsOf(Word word) {
    return static_cast<Rights>(word >> kGrantShift & kLive);
  }
  static constexpr Rights LiveRights(Word word) {
    return static_cast<Rights>(word & kLive);
  }
  // Parked. Preconditions: some right is granted, or the entry would map
  // nothing; kWrite comes with kRead, or it would be misconfigured once it is
  // live (29.3.3).
  static constexpr Word MakeLeaf(Pfn pfn, Level level, Rights rights) {
    PTAGE_ASSERT(rights != Rights::kNone && (!Allows(rights, Rights::kWrite) ||
                                             Allows(rights, Rights::kRead)));
    return (pfn.value << kPageBits & kFrame) |
           static_cast<Word>(rights) << kGrantShift | kWriteBack | kSuppressVe |
           (level > Level{1} ? kLargePage : 0);
  }
  static constexpr Word MakeInner(Pfn table) {
    return (table.value << kPageBits & kFrame) | kLive | kGranted;
  }
  static constexpr Word Aged(Word word) { return word & ~(kAccessed | kLive); }
  static constexpr Word Cleaned(Word word) { return word & ~(kDirty | kWrite); }
  // Never writable by a read, though the leaf may be dirty still: the
  // permission says that a write was seen since the page became young.
  static constexpr Word Used(Word word, Rights access) {
    const Word granted = word >> kGrantShift & kLive;
    const bool writes = Allows(access, Rights::kWrite);
    return word | kAccessed | (granted & ~kWrite) |
           (writes ? kDirty | (granted & kWrite) : 0);
  }
  static constexpr Word SplitLeaf(Word word, Level level, unsigned index) {
    const Word size = level == Level{2} ? word & ~kLargePage : word;
    return size + (static_cast<Word>(index)
                   << (kPageBits + kIndexBits * (level.value - 2)));
  }

 private:
  static_assert(static_cast<Word>(Rights::kRead) == kRead &&
                static_cast<Word>(Rights::kWrite) == kWrite &&
                static_cast<Word>(Rights::kExecute) == kExecute);
};

// Guest-physical addresses of 48 and of 57 bits.
using EptTracked = EptTrackedOf<4>;
using EptTracked5Level = EptTrackedOf<5>;

static_assert(SpteFormat<EptTracked>);
static_assert(SpteFormat<EptTracked5Level>);

}  // namespace ptage

#endif  // PTAGE_SPTE_EPT_TRACKED_H_
