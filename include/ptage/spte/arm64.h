// SPDX-License-Identifier: MIT OR Apache-2.0
//
// ARM64 stage 2 tables with hardware management of the access flag and of the
// dirty state (VTCR_EL2.HA and HD set), for each granule. Arm ARM (DDI 0487),
// D8.3 "Translation table descriptor formats", D8.4.1 "Data access
// permissions", D8.5 "Hardware updates to the translation tables". Pure
// functions; see spte.h for what threads may do.
//
// The manual counts levels downwards: its level 3 is level 1 here. Frames are
// of the granule's size, so a Pfn or Gfn is an address ÷ 16 KiB with a granule
// of 16 KiB.
//
// Shapes. The intermediate addresses have as many bits as a tree of whole
// tables resolves, or up to four more: then the root is 2, 4, 8 or 16 tables,
// one after the other and aligned to their size (D8.2 "Concatenated translation
// tables"; VTCR_EL2.T0SZ is 64 less the bits, SL0 says the level of the root).
// A root smaller than a table does not compile: use one level less and a wide
// root, as far as that reaches (43 bits with 4 KiB, 40 or 48 with 16 KiB, 46
// with 64 KiB).
//
// Not here:
//   * The contiguous hint (bit 52, D8.7.1 "The Contiguous bit"): hardware may
//     set the access flag, and the dirty state, of any one descriptor of a
//     group for all of them, so that one entry's bits would not answer for it.
//     MakeLeaf never sets the bit; who installs an entry with it is refused, by
//     an assert. Tables of others, where it may stand, do not compile: the
//     format does not say which bits are reserved (CheckedFormat).
//   * 52-bit addresses. Bits of one would lie where others stand here: 51:50 in
//     bits 9:8 (FEAT_LPA2, for SH), or 51:48 in bits 15:12 (FEAT_LPA, 64 KiB).

#ifndef PTAGE_SPTE_ARM64_H_
#define PTAGE_SPTE_ARM64_H_

#include <cstdint>

#include "ptage/spte.h"

namespace ptage {

// Log2 of the granule's bytes.
enum class Arm64Granule : int { k4K = 12, k16K = 14, k64K = 16 };

// The most bits of an address that whole tables resolve: 48, 47 and 42.
template <Arm64Granule kGranule>
inline constexpr int kWholeTableBits = kGranule == Arm64Granule::k4K    ? 48
                                       : kGranule == Arm64Granule::k16K ? 47
                                                                        : 42;

// Stage 2 of a granule, for so many bits of a guest's address.
template <Arm64Granule kGranule, int kAddressBits = kWholeTableBits<kGranule>>
struct Arm64Stage2 {
  using Word = std::uint64_t;

  static constexpr int kPageBits = static_cast<int>(kGranule);
  // A table fills a granule with descriptors of 8 bytes.
  static constexpr int kIndexBits = kPageBits - 3;
  static constexpr int kLevels = (kAddressBits - kPageBits) / kIndexBits;
  static constexpr unsigned kRootTables =
      1u << (kAddressBits - kPageBits) % kIndexBits;
  static_assert(kAddressBits <= 48, "without FEAT_LPA2 addresses have 48 bits");
  static_assert(kLevels > 1 && kRootTables <= 16,
                "no root of 1, 2, 4, 8 or 16 tables resolves so many bits");
  // Blocks of 2 MiB and 1 GiB with 4 KiB, of 32 MiB with 16 KiB, of 512 MiB
  // with 64 KiB (D8.3.1 "VMSAv8-64 descriptor formats").
  static constexpr Level kLargestLeaf{
      kGranule == Arm64Granule::k4K && kLevels > 2 ? 3 : 2};
  // Table descriptors have an access flag only with FEAT_HAFT.
  static constexpr bool kInnerAccessed = false;

  // Of every present descriptor.
  static constexpr Word kValid = Word{1} << 0;
  // Of a descriptor above level 1: it points to a table. Set in a page's.
  static constexpr Word kTableOrPage = Word{1} << 1;
  // MemAttr, bits 5:2: normal memory, write-back, inner and outer.
  static constexpr Word kWriteBack = Word{0xF} << 2;
  // S2AP, bits 7:6.
  static constexpr Word kRead = Word{1} << 6;
  static constexpr Word kWrite = Word{1} << 7;
  // SH, bits 9:8.
  static constexpr Word kInnerShareable = Word{3} << 8;
  static constexpr Word kAccessed = Word{1} << 10;
  // The page may be written, and hardware sets S2AP[1] when it is first: a
  // page that is writable and clean has DBM set and S2AP[1] clear.
  static constexpr Word kDirtyModifier = Word{1} << 51;
  static constexpr Word kDirty = kWrite;
  // For write-protection (dirty.h). Bits 58:55 are software's.
  static constexpr Word kWritable = kDirtyModifier;
  static constexpr Word kMayWrite = Word{1} << 55;
  // Bits 47 down to the page's size.
  static constexpr Word kFrame =
      ((Word{1} << 48) - 1) & ~((Word{1} << kPageBits) - 1);
  // XN[1], bit 54: nothing executes. XN[0] stays 0 (with FEAT_XNX it would tell
  // EL0 and EL1 apart).
  static constexpr Word kExecuteNever = Word{1} << 54;
  static constexpr Word kEmpty = 0;
  // All bits but 0 are ignored in a descriptor that is not valid; 58:55 are
  // software's in every one.
  static constexpr Word kFrozen = Word{1} << 58;
  // The contiguous hint.
  static constexpr Word kRefusedBits = Word{1} << 52;

  static constexpr Word kPresentBits = kValid;
  static constexpr bool IsPresent(Word word) {
    return (word & kPresentBits) != 0;
  }
  static constexpr bool IsLeaf(Word word, Level level) {
    return level == Level{1} || (word & kTableOrPage) == 0;
  }
  static constexpr Pfn FrameOf(Word word) {
    return Pfn{(word & kFrame) >> kPageBits};
  }
  static constexpr Rights RightsOf(Word word) {
    return ((word & kRead) != 0 ? Rights::kRead : Rights::kNone) |
           ((word & (kDirtyModifier | kWrite)) != 0 ? Rights::kWrite
                                                    : Rights::kNone) |
           ((word & kExecuteNever) == 0 ? Rights::kExecute : Rights::kNone);
  }
  static constexpr Word MakeLeaf(Pfn pfn, Level level, Rights rights) {
    return (pfn.value << kPageBits & kFrame) | kValid |
           (level == Level{1} ? kTableOrPage : 0) | kWriteBack |
           kInnerShareable | (Allows(rights, Rights::kRead) ? kRead : 0) |
           (Allows(rights, Rights::kWrite) ? kDirtyModifier : 0) |
           (Allows(rights, Rights::kExecute) ? 0 : kExecuteNever);
  }
  static constexpr Word MakeInner(Pfn table) {
    return (table.value << kPageBits & kFrame) | kValid | kTableOrPage;
  }
  static constexpr Word SplitLeaf(Word word, Level level, unsigned index) {
    const Word type = level == Level{2} ? word | kTableOrPage : word;
    return type + (static_cast<Word>(index)
                   << (kPageBits + kIndexBits * (level.value - 2)));
  }
};

// By the granule, with as many bits as whole tables resolve.
using Arm64Stage2Of4K = Arm64Stage2<Arm64Granule::k4K>;
using Arm64Stage2Of16K = Arm64Stage2<Arm64Granule::k16K>;
using Arm64Stage2Of64K = Arm64Stage2<Arm64Granule::k64K>;

// With roots of 2, 2 and 16 tables: what most hypervisors of 4 KiB granules
// use, and the most that the other two reach.
using Arm64Stage2Of4KWith40Bits = Arm64Stage2<Arm64Granule::k4K, 40>;
using Arm64Stage2Of16KWith48Bits = Arm64Stage2<Arm64Granule::k16K, 48>;
using Arm64Stage2Of64KWith46Bits = Arm64Stage2<Arm64Granule::k64K, 46>;

static_assert(SpteFormat<Arm64Stage2Of4K>);
static_assert(SpteFormat<Arm64Stage2Of16K>);
static_assert(SpteFormat<Arm64Stage2Of64K>);
static_assert(SpteFormat<Arm64Stage2Of4KWith40Bits>);
static_assert(SpteFormat<Arm64Stage2Of16KWith48Bits>);
static_assert(SpteFormat<Arm64Stage2Of64KWith46Bits>);
static_assert(!CheckedFormat<Arm64Stage2Of4K>);
static_assert(kFramesPerTree<Arm64Stage2Of4K> == std::uint64_t{1} << (48 - 12));
static_assert(kFramesPerTree<Arm64Stage2Of4KWith40Bits> == std::uint64_t{1}
                                                               << (40 - 12));
static_assert(kFramesPerTree<Arm64Stage2Of16KWith48Bits> == std::uint64_t{1}
                                                                << (48 - 14));
static_assert(kFramesPerTree<Arm64Stage2Of64KWith46Bits> == std::uint64_t{1}
                                                                << (46 - 16));

}  // namespace ptage

#endif  // PTAGE_SPTE_ARM64_H_
