// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The formats that typed tests run over, and what is true of each: words
// written out by hand, from the manuals for real formats. Nothing here may be
// computed from a format's own constants.

#ifndef PTAGE_TEST_FORMATS_H_
#define PTAGE_TEST_FORMATS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

#include "gtest/gtest.h"
#include "ptage/once.h"
#include "ptage/spte.h"
#include "ptage/spte/arm64.h"
#include "ptage/spte/arm64_faulting.h"
#include "ptage/spte/ept.h"
#include "ptage/spte/ept_tracked.h"
#include "ptage/spte/riscv64.h"
#include "ptage/spte/riscv64_svade.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"

namespace ptage::test {

// A format that agrees with the real ones in as little as the concept lets it:
// 32-bit words, four entries a table, three levels, no accessed bit in inner
// entries, large leaves at level 2 alone.
//   0 present · 1 writable · 2 dirty · 3 accessed · 4 large · 5 may be written
//   · 11 nothing is here
struct TinyFormat {
  using Word = std::uint32_t;

  static constexpr int kLevels = 3;
  static constexpr int kIndexBits = 2;
  static constexpr int kPageBits = 12;
  static constexpr Level kLargestLeaf{2};
  static constexpr bool kInnerAccessed = false;

  static constexpr Word kEmpty = 0x800;
  static constexpr Word kFrozen = 0x802;
  static constexpr Word kAccessed = 0x8;
  static constexpr Word kDirty = 0x4;
  static constexpr Word kWritable = 0x2;
  static constexpr Word kMayWrite = 0x20;

  static constexpr bool IsPresent(Word word) { return (word & 1) != 0; }
  static constexpr bool IsLeaf(Word word, Level level) {
    return level == Level{1} || (word & 0x10) != 0;
  }
  static constexpr Pfn FrameOf(Word word) { return Pfn{word >> 12}; }
  static constexpr Rights RightsOf(Word word) {
    return (word & 2) != 0 ? Rights::kAll : Rights::kReadExecute;
  }
  static constexpr Word MakeLeaf(Pfn pfn, Level level, Rights rights) {
    return static_cast<Word>(pfn.value << 12) | 1u |
           (Allows(rights, Rights::kWrite) ? 2u : 0u) |
           (level == Level{2} ? 0x10u : 0u);
  }
  static constexpr Word MakeInner(Pfn table) {
    return static_cast<Word>(table.value << 12) | 1u;
  }
  static constexpr Word SplitLeaf(Word word, Level, unsigned index) {
    return (word & ~Word{0x10}) + (Word{index} << 12);
  }
};

static_assert(SpteFormat<TinyFormat>);

// As small, and of what only few formats have: a root of four tables, here of
// level 2, and accessed bits in inner entries.
struct WideFormat : TinyFormat {
  static constexpr int kLevels = 2;
  static constexpr unsigned kRootTables = 4;
  static constexpr bool kInnerAccessed = true;

  static constexpr Word kPresentBits = 1;
  static constexpr Word MakeInner(Pfn table) {
    return TinyFormat::MakeInner(table) | kAccessed;
  }
};

static_assert(SpteFormat<WideFormat>);

// A leaf of level 1 that maps `kPfn` with all rights, in every state of its
// accessed and dirty bits; and the same one without the right to be written,
// for good, and as dirty.h leaves it.
template <class F>
struct Truth;

// SDM 3C, "Format of an EPT Page-Table Entry that Maps a 4-KByte Page": read 0,
// write 1, execute 2, memory type 5:3 (6 write-back), accessed 8, dirty 9,
// address 51:12, suppress #VE 63.
template <>
struct Truth<Ept> {
  static constexpr Pfn kPfn{0x123456};
  static constexpr std::uint64_t kCold = 0x8000'0001'2345'6037;
  static constexpr std::uint64_t kYoung = 0x8000'0001'2345'6137;
  static constexpr std::uint64_t kDirty = 0x8000'0001'2345'6237;
  static constexpr std::uint64_t kYoungDirty = 0x8000'0001'2345'6337;
  static constexpr std::uint64_t kYoungReadOnly = 0x8000'0001'2345'6135;
  // Write-protected, with bit 55.
  static constexpr std::uint64_t kYoungProtected = 0x8080'0001'2345'6135;
  static constexpr std::uint64_t kAccessedBit = 0x100;
  static constexpr std::uint64_t kDirtyBit = 0x200;
  // Another page's, accessed.
  static constexpr std::uint64_t kOtherYoung = 0x8000'0000'0777'7137;
};

// As above with accessed and dirty flags off: 8 and 9 are ignored, and so are
// 54:52, where what the page grants stands (read, write, execute). A cold page
// has none of bits 2:0, a young one read and execute, one that was written all.
template <>
struct Truth<EptTracked> {
  static constexpr Pfn kPfn{0x123456};
  static constexpr std::uint64_t kCold = 0x8070'0001'2345'6030;
  static constexpr std::uint64_t kYoung = 0x8070'0001'2345'6135;
  static constexpr std::uint64_t kDirty = 0x8070'0001'2345'6230;
  static constexpr std::uint64_t kYoungDirty = 0x8070'0001'2345'6337;
  static constexpr std::uint64_t kYoungReadOnly = 0x8050'0001'2345'6135;
  // With the permissions that come with it.
  static constexpr std::uint64_t kAccessedBit = 0x105;
  static constexpr std::uint64_t kDirtyBit = 0x200;
  // The permission that a write's fault adds, and that aging takes too.
  static constexpr std::uint64_t kWritableBit = 0x2;
  static constexpr std::uint64_t kOtherYoung = 0x8070'0000'0777'7135;
};

// SDM 3A, "Format of a Page-Table Entry that Maps a 4-KByte Page" (AMD APM
// volume 2, 5.4): present 0, writable 1, user 2, accessed 5, dirty 6, address
// 51:12, no-execute 63.
template <>
struct Truth<X86_64> {
  static constexpr Pfn kPfn{0x123456};
  static constexpr std::uint64_t kCold = 0x1'2345'6007;
  static constexpr std::uint64_t kYoung = 0x1'2345'6027;
  static constexpr std::uint64_t kDirty = 0x1'2345'6047;
  static constexpr std::uint64_t kYoungDirty = 0x1'2345'6067;
  static constexpr std::uint64_t kYoungReadOnly = 0x1'2345'6025;
  static constexpr std::uint64_t kYoungProtected = 0x80'0001'2345'6025;
  static constexpr std::uint64_t kAccessedBit = 0x20;
  static constexpr std::uint64_t kDirtyBit = 0x40;
  static constexpr std::uint64_t kOtherYoung = 0x777'7027;
};

// The same tables, and one level more above them.
template <>
struct Truth<X86_64La57> : Truth<X86_64> {};

// DDI 0487 D8.3.1, stage 2, granule 16 KiB: valid 0, page 1, MemAttr 5:2 (15
// write-back), S2AP 7:6 (read, written), SH 9:8 (3 inner), AF 10, address
// 47:14, DBM 51, XN 54:53.
template <>
struct Truth<Arm64Stage2Of16K> {
  static constexpr Pfn kPfn{0x12345};
  static constexpr std::uint64_t kCold = 0x0008'0000'48D1'437F;
  static constexpr std::uint64_t kYoung = 0x0008'0000'48D1'477F;
  static constexpr std::uint64_t kDirty = 0x0008'0000'48D1'43FF;
  static constexpr std::uint64_t kYoungDirty = 0x0008'0000'48D1'47FF;
  static constexpr std::uint64_t kYoungReadOnly = 0x0000'0000'48D1'477F;
  static constexpr std::uint64_t kYoungProtected = 0x0080'0000'48D1'477F;
  static constexpr std::uint64_t kAccessedBit = 0x400;
  static constexpr std::uint64_t kDirtyBit = 0x80;
  static constexpr std::uint64_t kOtherYoung = 0x0008'0000'0777'477F;
};

// The same with an address 47:12 or 47:16.
template <>
struct Truth<Arm64Stage2Of4K> {
  static constexpr Pfn kPfn{0x123456};
  static constexpr std::uint64_t kCold = 0x0008'0001'2345'637F;
  static constexpr std::uint64_t kYoung = 0x0008'0001'2345'677F;
  static constexpr std::uint64_t kDirty = 0x0008'0001'2345'63FF;
  static constexpr std::uint64_t kYoungDirty = 0x0008'0001'2345'67FF;
  static constexpr std::uint64_t kYoungReadOnly = 0x0000'0001'2345'677F;
  static constexpr std::uint64_t kYoungProtected = 0x0080'0001'2345'677F;
  static constexpr std::uint64_t kAccessedBit = 0x400;
  static constexpr std::uint64_t kDirtyBit = 0x80;
  static constexpr std::uint64_t kOtherYoung = 0x0008'0000'0777'777F;
};

template <>
struct Truth<Arm64Stage2Of64K> {
  static constexpr Pfn kPfn{0x12345};
  static constexpr std::uint64_t kCold = 0x0008'0001'2345'037F;
  static constexpr std::uint64_t kYoung = 0x0008'0001'2345'077F;
  static constexpr std::uint64_t kDirty = 0x0008'0001'2345'03FF;
  static constexpr std::uint64_t kYoungDirty = 0x0008'0001'2345'07FF;
  static constexpr std::uint64_t kYoungReadOnly = 0x0000'0001'2345'077F;
  static constexpr std::uint64_t kYoungProtected = 0x0080'0001'2345'077F;
  static constexpr std::uint64_t kAccessedBit = 0x400;
  static constexpr std::uint64_t kDirtyBit = 0x80;
  static constexpr std::uint64_t kOtherYoung = 0x0008'0000'7777'077F;
};

// How many tables there are at the root changes no descriptor.
template <>
struct Truth<Arm64Stage2Of4KWith40Bits> : Truth<Arm64Stage2Of4K> {};

// The same without hardware updates: bit 55, of software's 58:55, says that the
// page may be written; S2AP[1] (7) is there once it was.
template <>
struct Truth<Arm64FaultingOf16K> {
  static constexpr Pfn kPfn{0x12345};
  static constexpr std::uint64_t kCold = 0x0080'0000'48D1'437F;
  static constexpr std::uint64_t kYoung = 0x0080'0000'48D1'477F;
  static constexpr std::uint64_t kDirty = 0x0080'0000'48D1'43FF;
  static constexpr std::uint64_t kYoungDirty = 0x0080'0000'48D1'47FF;
  static constexpr std::uint64_t kYoungReadOnly = 0x0000'0000'48D1'477F;
  static constexpr std::uint64_t kAccessedBit = 0x400;
  static constexpr std::uint64_t kDirtyBit = 0x80;
  static constexpr std::uint64_t kOtherYoung = 0x0080'0000'0777'477F;
};

// RISC-V Privileged Architecture, "Sv39": V 0, R 1, W 2, X 3, U 4, A 6, D 7,
// frame number 53:10.
template <>
struct Truth<RiscvSv39> {
  static constexpr Pfn kPfn{0x123456};
  static constexpr std::uint64_t kCold = 0x48D1'581F;
  static constexpr std::uint64_t kYoung = 0x48D1'585F;
  static constexpr std::uint64_t kDirty = 0x48D1'589F;
  static constexpr std::uint64_t kYoungDirty = 0x48D1'58DF;
  static constexpr std::uint64_t kYoungReadOnly = 0x48D1'585B;
  static constexpr std::uint64_t kYoungProtected = 0x48D1'595B;
  static constexpr std::uint64_t kAccessedBit = 0x40;
  static constexpr std::uint64_t kDirtyBit = 0x80;
  static constexpr std::uint64_t kOtherYoung = 0x1DD'DC5F;
};

// "Guest Physical Address Translation": as Sv39, with U set in every leaf.
template <>
struct Truth<RiscvSv39x4> : Truth<RiscvSv39> {};

// Svade changes what hardware does, not what an entry says.
template <>
struct Truth<RiscvSv39x4Svade> : Truth<RiscvSv39x4> {};

template <>
struct Truth<TinyFormat> {
  static constexpr Pfn kPfn{0x12345};
  static constexpr std::uint32_t kCold = 0x1234'5003;
  static constexpr std::uint32_t kYoung = 0x1234'500B;
  static constexpr std::uint32_t kDirty = 0x1234'5007;
  static constexpr std::uint32_t kYoungDirty = 0x1234'500F;
  static constexpr std::uint32_t kYoungReadOnly = 0x1234'5009;
  static constexpr std::uint32_t kYoungProtected = 0x1234'5029;
  static constexpr std::uint32_t kAccessedBit = 0x8;
  static constexpr std::uint32_t kDirtyBit = 0x4;
  static constexpr std::uint32_t kOtherYoung = 0x0777'700B;
};

template <>
struct Truth<WideFormat> : Truth<TinyFormat> {};

// Each layout of an entry, and each shape of a tree: of 2, 3, 4 and 5 levels,
// of 4, 512, 2,048 and 8,192 entries a table, of 1, 2 and 4 tables at the root.
// Other formats differ from one of these in how many levels lie above.
// One of each kind is enough to show what a broken line does, and compiles in a
// fraction of the time.
#if defined(PTAGE_FEW_FORMATS)
using AllFormats = ::testing::Types<Ept, EptTracked>;
using MarkedByFaults = ::testing::Types<EptTracked>;
using Protectable = ::testing::Types<Ept>;
#else
using AllFormats =
    ::testing::Types<Ept, X86_64, X86_64La57, Arm64Stage2Of4KWith40Bits,
                     Arm64Stage2Of16K, Arm64Stage2Of64K, RiscvSv39, RiscvSv39x4,
                     EptTracked, Arm64FaultingOf16K, RiscvSv39x4Svade,
                     TinyFormat, WideFormat>;
// Of these, the ones whose walkers fault where a bit is missing, and the rest,
// whose leaves can be write-protected.
using MarkedByFaults =
    ::testing::Types<EptTracked, Arm64FaultingOf16K, RiscvSv39x4Svade>;
using Protectable =
    ::testing::Types<Ept, X86_64, X86_64La57, Arm64Stage2Of4KWith40Bits,
                     Arm64Stage2Of16K, Arm64Stage2Of64K, RiscvSv39, RiscvSv39x4,
                     TinyFormat, WideFormat>;
#endif

// Tables of a tree that maps one page of the smallest size.
template <SpteFormat F>
inline constexpr std::size_t kTablesOfOnePath = kRootTables<F> + F::kLevels - 1;

// Names for the instances of typed tests.
struct FormatNames {
  template <class F>
  static std::string GetName(int) {
    if (std::is_same_v<F, Ept>) return "Ept";
    if (std::is_same_v<F, X86_64>) return "X86_64";
    if (std::is_same_v<F, X86_64La57>) return "X86_64La57";
    if (std::is_same_v<F, Arm64Stage2Of4KWith40Bits>) return "Arm64Of4K40Bits";
    if (std::is_same_v<F, Arm64Stage2Of16K>) return "Arm64Of16K";
    if (std::is_same_v<F, Arm64Stage2Of64K>) return "Arm64Of64K";
    if (std::is_same_v<F, RiscvSv39>) return "RiscvSv39";
    if (std::is_same_v<F, RiscvSv39x4>) return "RiscvSv39x4";
    if (std::is_same_v<F, WideFormat>) return "WideFormat";
    if (std::is_same_v<F, EptTracked>) return "EptTracked";
    if (std::is_same_v<F, Arm64FaultingOf16K>) return "Arm64FaultingOf16K";
    if (std::is_same_v<F, RiscvSv39x4Svade>) return "RiscvSv39x4Svade";
    return "TinyFormat";
  }
};

// What goes with the accessed bit when a page is made old, and what comes with
// the dirty bit when it is written.
template <class F>
inline constexpr typename F::Word kGoesWithAge = [] {
  if constexpr (requires { Truth<F>::kWritableBit; }) {
    return Truth<F>::kAccessedBit | Truth<F>::kWritableBit;
  } else {
    return Truth<F>::kAccessedBit;
  }
}();
template <class F>
inline constexpr typename F::Word kComesWithAWrite = [] {
  if constexpr (requires { Truth<F>::kWritableBit; }) {
    return Truth<F>::kDirtyBit | Truth<F>::kWritableBit;
  } else {
    return Truth<F>::kDirtyBit;
  }
}();

enum class Access { kRead, kWrite };

// What became of a page walker's access through an entry.
struct Touched {
  bool translated = false;    // the entry was present
  bool set_accessed = false;  // it was not accessed before
  bool set_dirty = false;     // it was not dirty before
};

// An access as hardware does it, or a fault where hardware does not: sets the
// bits by compare-and-swap on the value that was walked, which `read(entry)`
// reads, and walks again if that fails.
template <SpteFormat F, class Read>
Touched TouchAsHardware(SpteCell<F>& entry, Access access, Read read) {
  using Word = typename F::Word;
  for (;;) {
    const Word seen = read(entry);
    if (!F::IsPresent(seen)) return Touched{};
    const Word wanted = static_cast<Word>(
        Truth<F>::kAccessedBit |
        (access == Access::kWrite ? kComesWithAWrite<F> : Word{0}));
    const Word after = seen | wanted;
    if (after == seen || TryCmpxchg(entry, seen, after, kRelaxed)) {
      const Word newly = after & ~seen;
      return Touched{.translated = true,
                     .set_accessed = (newly & Truth<F>::kAccessedBit) != 0,
                     .set_dirty = (newly & Truth<F>::kDirtyBit) != 0};
    }
  }
}

template <SpteFormat F>
Touched TouchAsHardware(SpteCell<F>& entry, Access access) {
  return TouchAsHardware<F>(entry, access, [](const SpteCell<F>& walked) {
    return ReadOnce(walked, kRelaxed);
  });
}

}  // namespace ptage::test

#endif  // PTAGE_TEST_FORMATS_H_
