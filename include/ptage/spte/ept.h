// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Intel extended page tables with accessed and dirty flags (EPTP bit 6 set), of
// four or five levels (EPTP bits 5:3 hold one less). Intel SDM volume 3C,
// 29.3.2 "EPT Translation Mechanism" (28.3.2 in editions before 2022), tables
// "Format of an EPT …" and 29.3.5 "Accessed and Dirty Flags for EPT". Pure
// functions; see spte.h for what threads may do.

#ifndef PTAGE_SPTE_EPT_H_
#define PTAGE_SPTE_EPT_H_

#include <cstdint>

#include "ptage/spte.h"

namespace ptage {

// EPT of so many levels.
template <int kLevelCount>
struct EptOf {
  static_assert(kLevelCount == 4 || kLevelCount == 5);
  using Word = std::uint64_t;

  static constexpr int kLevels = kLevelCount;
  static constexpr int kIndexBits = 9;
  static constexpr int kPageBits = 12;
  static constexpr Level kLargestLeaf{3};
  static constexpr bool kInnerAccessed = true;

  // What the entry allows, bits 2:0.
  static constexpr Word kRead = Word{1} << 0;
  static constexpr Word kWrite = Word{1} << 1;
  static constexpr Word kExecute = Word{1} << 2;
  // Memory type of a leaf, bits 5:3; 6 is write-back.
  static constexpr Word kWriteBack = Word{6} << 3;
  // Bit 7 of an entry at level 2 or 3: it maps a page.
  static constexpr Word kLargePage = Word{1} << 7;
  static constexpr Word kAccessed = Word{1} << 8;
  static constexpr Word kDirty = Word{1} << 9;
  // Bits 51:12.
  static constexpr Word kFrame = 0x000F'FFFF'FFFF'F000;
  // For write-protection (dirty.h). Bits 56:52 are ignored in leaves.
  static constexpr Word kWritable = kWrite;
  static constexpr Word kMayWrite = Word{1} << 55;
  // Bit 63: a violation is an exit, not a virtualization exception (29.3.3
  // "EPT-Induced VM Exits"), so an empty entry is not zero.
  static constexpr Word kSuppressVe = Word{1} << 63;
  // Bits 62:52 are ignored in an entry that is not present.
  static constexpr Word kEmpty = kSuppressVe;
  static constexpr Word kFrozen = kSuppressVe | Word{1} << 58;

  static constexpr Word kPresentBits = kRead | kWrite | kExecute;
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
    return static_cast<Rights>(word & (kRead | kWrite | kExecute));
  }
  // Precondition: kWrite comes with kRead, or the entry is misconfigured
  // (29.3.3 "EPT-Induced VM Exits").
  static constexpr Word MakeLeaf(Pfn pfn, Level level, Rights rights) {
    PTAGE_ASSERT(!Allows(rights, Rights::kWrite) ||
                 Allows(rights, Rights::kRead));
    return (pfn.value << kPageBits & kFrame) | static_cast<Word>(rights) |
           kWriteBack | kSuppressVe | (level > Level{1} ? kLargePage : 0);
  }
  static constexpr Word MakeInner(Pfn table) {
    return (table.value << kPageBits & kFrame) | kRead | kWrite | kExecute |
           kAccessed;
  }
  // SDM 3C 29.3.2, tables 29-1 to 29-7 (misconfigured, 29.3.3): frame bits that
  // the processor lacks, those below a large page's size, and bits 7:3 of an
  // entry that points to a table.
  static constexpr Word ReservedBits(Level level, EntryKind kind,
                                     int physical_bits) {
    const Word beyond = kFrame & ~((Word{1} << physical_bits) - 1);
    if (level > kLargestLeaf || kind == EntryKind::kTable) return beyond | 0xF8;
    const Word page = Word{1} << (kPageBits + kIndexBits * (level.value - 1));
    return beyond | (kFrame & (page - 1));
  }
  // What single bits do not tell (29.3.3 "EPT-Induced VM Exits"): write without
  // read, and a leaf's memory types 2, 3 and 7. Execute without read is taken
  // for supported (IA32_VMX_EPT_VPID_CAP bit 0).
  static constexpr bool IsMisconfigured(Word word, EntryKind kind) {
    const Word type = word >> 3 & 7;
    return (word & (kRead | kWrite)) == kWrite ||
           (kind == EntryKind::kLeaf && (type == 2 || type == 3 || type == 7));
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
using Ept = EptOf<4>;
using Ept5Level = EptOf<5>;

static_assert(SpteFormat<Ept>);
static_assert(SpteFormat<Ept5Level>);
static_assert(kFramesPerTree<Ept> == std::uint64_t{1} << (48 - 12));
static_assert(kFramesPerTree<Ept5Level> == std::uint64_t{1} << (57 - 12));

}  // namespace ptage

#endif  // PTAGE_SPTE_EPT_H_
