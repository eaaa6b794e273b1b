// SPDX-License-Identifier: MIT OR Apache-2.0
//
// x86-64 page tables of four or five levels: a host's own, and AMD nested
// paging (NPT), which has the same format. Intel SDM volume 3A, 4.5 "4-Level
// Paging and 5-Level Paging" (CR4.LA57) and 4.8 "Accessed and Dirty Flags"; AMD
// APM volume 2, 5.3 and 15.25.5 (nested walks are user accesses, hence the user
// bit; they have as many levels as the host's own tables). In tables of others
// the two differ: by a nested table's entry without the user bit nothing is let
// through. Pure functions; see spte.h for what threads may do.

#ifndef PTAGE_SPTE_X86_64_H_
#define PTAGE_SPTE_X86_64_H_

#include <cstdint>

#include "ptage/spte.h"

namespace ptage {

// x86-64 of so many levels.
template <int kLevelCount>
struct X86_64Of {
  static_assert(kLevelCount == 4 || kLevelCount == 5);
  using Word = std::uint64_t;

  static constexpr int kLevels = kLevelCount;
  static constexpr int kIndexBits = 9;
  static constexpr int kPageBits = 12;
  static constexpr Level kLargestLeaf{3};
  static constexpr bool kInnerAccessed = true;

  // P, R/W and U/S of the manual.
  static constexpr Word kPresent = Word{1} << 0;
  static constexpr Word kWritable = Word{1} << 1;
  static constexpr Word kUser = Word{1} << 2;
  // For write-protection (dirty.h). Bits 58:52 are ignored.
  static constexpr Word kMayWrite = Word{1} << 55;
  static constexpr Word kAccessed = Word{1} << 5;
  static constexpr Word kDirty = Word{1} << 6;
  // Bit 7 of an entry at level 2 or 3: it maps a page.
  static constexpr Word kPageSize = Word{1} << 7;
  // Bits 51:12. In a large leaf bit 12 is the PAT bit, which stays 0 here.
  static constexpr Word kFrame = 0x000F'FFFF'FFFF'F000;
  static constexpr Word kNoExecute = Word{1} << 63;
  static constexpr Word kEmpty = 0;
  // All bits but 0 are ignored in an entry that is not present.
  static constexpr Word kFrozen = Word{1} << 58;

  static constexpr Word kPresentBits = kPresent;
  static constexpr bool IsPresent(Word word) {
    return (word & kPresentBits) != 0;
  }
  static constexpr bool IsLeaf(Word word, Level level) {
    return level == Level{1} || (word & kPageSize) != 0;
  }
  static constexpr Pfn FrameOf(Word word) {
    return Pfn{(word & kFrame) >> kPageBits};
  }
  static constexpr Rights RightsOf(Word word) {
    return Rights::kRead |
           ((word & kWritable) != 0 ? Rights::kWrite : Rights::kNone) |
           ((word & kNoExecute) == 0 ? Rights::kExecute : Rights::kNone);
  }
  // The format has no unreadable pages: `rights` without kRead grants it.
  static constexpr Word MakeLeaf(Pfn pfn, Level level, Rights rights) {
    return (pfn.value << kPageBits & kFrame) | kPresent | kUser |
           (Allows(rights, Rights::kWrite) ? kWritable : 0) |
           (Allows(rights, Rights::kExecute) ? 0 : kNoExecute) |
           (level > Level{1} ? kPageSize : 0);
  }
  static constexpr Word MakeInner(Pfn table) {
    return (table.value << kPageBits & kFrame) | kPresent | kWritable | kUser |
           kAccessed;
  }
  // SDM 3A 4.5.4, figure 4-11 and tables 4-14 to 4-20, with execute-disable
  // enabled: frame bits that the processor lacks, those below a large page's
  // size (bit 12 is its PAT bit), and bit 7 where no large page may stand: in
  // entries of level 4 and 5 (PML4E, PML5E).
  static constexpr Word ReservedBits(Level level, EntryKind kind,
                                     int physical_bits) {
    const Word beyond = kFrame & ~((Word{1} << physical_bits) - 1);
    if (level == Level{1}) return beyond;
    if (level > kLargestLeaf) return beyond | kPageSize;
    if (kind == EntryKind::kTable) return beyond;
    const Word page = Word{1} << (kPageBits + kIndexBits * (level.value - 1));
    return beyond | (kFrame & (page - 1) & ~(Word{1} << 12));
  }
  static constexpr Word SplitLeaf(Word word, Level level, unsigned index) {
    const Word size = level == Level{2} ? word & ~kPageSize : word;
    return size + (static_cast<Word>(index)
                   << (kPageBits + kIndexBits * (level.value - 2)));
  }
};

// Linear, or guest-physical, addresses of 48 and of 57 bits.
using X86_64 = X86_64Of<4>;
using X86_64La57 = X86_64Of<5>;

// Nested tables that may lack the user bit: what GuestWalker wants for an L1
// with NPT.
template <int kLevelCount>
struct NptOf : X86_64Of<kLevelCount> {
  using Base = X86_64Of<kLevelCount>;
  using Word = typename Base::Word;

  static constexpr Rights RightsOf(Word word) {
    return (word & Base::kUser) != 0 ? Base::RightsOf(word) : Rights::kNone;
  }
};

// Nested page tables of four levels, and of five.
using Npt = NptOf<4>;
using NptLa57 = NptOf<5>;

static_assert(SpteFormat<X86_64>);
static_assert(SpteFormat<X86_64La57>);
static_assert(SpteFormat<Npt>);
static_assert(SpteFormat<NptLa57>);
static_assert(kFramesPerTree<X86_64> == std::uint64_t{1} << (48 - 12));
static_assert(kFramesPerTree<X86_64La57> == std::uint64_t{1} << (57 - 12));

}  // namespace ptage

#endif  // PTAGE_SPTE_X86_64_H_
