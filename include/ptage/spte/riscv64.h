// SPDX-License-Identifier: MIT OR Apache-2.0
//
// RISC-V Sv39, Sv48 and Sv57 page tables where hardware sets the accessed and
// dirty bits (Svadu). RISC-V Privileged Architecture, 12.4 "Sv39: Page-Based
// 39-bit Virtual-Memory System" (10.4 in editions before 2024) to 12.6; and
// Sv39x4, Sv48x4 and Sv57x4, for guest-physical addresses, 18.5.1 "Guest
// Physical Address Translation": two more bits of address, so a root of 16 KiB,
// aligned to that; and every access is a user's, hence the user bit, without
// which a leaf grants nothing there. Pure functions; see spte.h for what
// threads may do.
//
// Not here: contiguous pages (Svnapot), of whose entries any one may be marked
// for an access to another's frame: bit 63 is never set, and who installs an
// entry with it is refused. In tables of others each entry answers by its own
// bit.

#ifndef PTAGE_SPTE_RISCV64_H_
#define PTAGE_SPTE_RISCV64_H_

#include <cstdint>

#include "ptage/spte.h"

namespace ptage {

// Sv39, Sv48, Sv57: of 3, 4, 5 levels.
template <int kLevelCount>
struct RiscvSv {
  static_assert(kLevelCount >= 3 && kLevelCount <= 5);
  using Word = std::uint64_t;

  static constexpr int kLevels = kLevelCount;
  static constexpr int kIndexBits = 9;
  static constexpr int kPageBits = 12;
  // A leaf may stand at any level; gigapages are the largest that are used.
  static constexpr Level kLargestLeaf{3};
  // A and D are reserved in entries that point to tables.
  static constexpr bool kInnerAccessed = false;

  // V, R, W, X, U, A, D of the manual.
  static constexpr Word kValid = Word{1} << 0;
  static constexpr Word kRead = Word{1} << 1;
  static constexpr Word kWrite = Word{1} << 2;
  static constexpr Word kExecute = Word{1} << 3;
  static constexpr Word kUser = Word{1} << 4;
  static constexpr Word kAccessed = Word{1} << 6;
  static constexpr Word kDirty = Word{1} << 7;
  // For write-protection (dirty.h). Bits 9:8 (RSW) are software's.
  static constexpr Word kWritable = kWrite;
  static constexpr Word kMayWrite = Word{1} << 8;
  // Bits 53:10 hold the frame number, whatever the level.
  static constexpr int kFrameShift = 10;
  static constexpr Word kFrame = ((Word{1} << 54) - 1) & ~Word{0x3FF};
  static constexpr Word kEmpty = 0;
  // All bits but 0 are software's in an entry that is not valid.
  static constexpr Word kFrozen = Word{1} << 58;
  // N, of Svnapot.
  static constexpr Word kRefusedBits = Word{1} << 63;

  static constexpr Word kPresentBits = kValid;
  static constexpr bool IsPresent(Word word) {
    return (word & kPresentBits) != 0;
  }
  static constexpr bool IsLeaf(Word word, Level) {
    return (word & (kRead | kWrite | kExecute)) != 0;
  }
  static constexpr Pfn FrameOf(Word word) {
    return Pfn{(word & kFrame) >> kFrameShift};
  }
  static constexpr Rights RightsOf(Word word) {
    return static_cast<Rights>((word & (kRead | kWrite | kExecute)) >> 1);
  }
  // Preconditions: some right is granted, or the entry would point to a table;
  // kWrite comes with kRead (the other is reserved).
  static constexpr Word MakeLeaf(Pfn pfn, Level, Rights rights) {
    PTAGE_ASSERT(rights != Rights::kNone && (!Allows(rights, Rights::kWrite) ||
                                             Allows(rights, Rights::kRead)));
    return (pfn.value << kFrameShift & kFrame) | kValid | kUser |
           static_cast<Word>(rights) << 1;
  }
  static constexpr Word MakeInner(Pfn table) {
    return (table.value << kFrameShift & kFrame) | kValid;
  }
  // Privileged 10.4.1 (bits 60:54, and of an entry that points to a table 63:61
  // and D, A, U) and 10.3.2, step 6 (a large page that is not aligned), with
  // Svnapot and Svpbmt; and frame bits that the processor lacks.
  static constexpr Word ReservedBits(Level level, EntryKind kind,
                                     int physical_bits) {
    constexpr Word kSoon = Word{0x7F} << 54;
    const Word beyond =
        kFrame & ~((Word{1} << (physical_bits - kPageBits + kFrameShift)) - 1);
    if (kind == EntryKind::kTable) {
      return beyond | kSoon | Word{7} << 61 | kDirty | kAccessed | kUser;
    }
    const Word page = Word{1} << (kFrameShift + kIndexBits * (level.value - 1));
    return beyond | kSoon | (kFrame & (page - 1));
  }
  // What single bits do not tell (12.3.1, table of the encodings of X, W, R; in
  // editions before 2024 10.3.1): write without read.
  static constexpr bool IsMisconfigured(Word word, EntryKind) {
    return (word & (kRead | kWrite)) == kWrite;
  }
  static constexpr Word SplitLeaf(Word word, Level level, unsigned index) {
    return word + (static_cast<Word>(index)
                   << (kFrameShift + kIndexBits * (level.value - 2)));
  }

 private:
  static_assert(static_cast<Word>(Rights::kRead) << 1 == kRead &&
                static_cast<Word>(Rights::kWrite) << 1 == kWrite &&
                static_cast<Word>(Rights::kExecute) << 1 == kExecute);
};

// Sv39x4, Sv48x4, Sv57x4: of guest-physical addresses. Its entries are the
// same, but that bit 5 (G) is to be 0, as it is here.
template <int kLevelCount>
struct RiscvSvX4 : RiscvSv<kLevelCount> {
  using Base = RiscvSv<kLevelCount>;
  using Word = typename Base::Word;

  static constexpr unsigned kRootTables = 4;  // two bits of the address more
  static constexpr Rights RightsOf(Word word) {
    return (word & Base::kUser) != 0 ? Base::RightsOf(word) : Rights::kNone;
  }
};

// By their names in the manual; x4 are the second stage's.
using RiscvSv39 = RiscvSv<3>;
using RiscvSv48 = RiscvSv<4>;
using RiscvSv57 = RiscvSv<5>;
using RiscvSv39x4 = RiscvSvX4<3>;
using RiscvSv48x4 = RiscvSvX4<4>;
using RiscvSv57x4 = RiscvSvX4<5>;

static_assert(SpteFormat<RiscvSv39>);
static_assert(SpteFormat<RiscvSv48>);
static_assert(SpteFormat<RiscvSv57>);
static_assert(SpteFormat<RiscvSv39x4>);
static_assert(SpteFormat<RiscvSv48x4>);
static_assert(SpteFormat<RiscvSv57x4>);
static_assert(kFramesPerTree<RiscvSv39> == std::uint64_t{1} << (39 - 12));
static_assert(kFramesPerTree<RiscvSv39x4> == std::uint64_t{1} << (41 - 12));
static_assert(kFramesPerTree<RiscvSv48x4> == std::uint64_t{1} << (50 - 12));
static_assert(kFramesPerTree<RiscvSv57x4> == std::uint64_t{1} << (59 - 12));

}  // namespace ptage

#endif  // PTAGE_SPTE_RISCV64_H_
