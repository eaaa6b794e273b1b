// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/guest_walk.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/memory.h"
#include "ptage/memory/foreign_ram.h"
#include "ptage/once.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/spte/riscv64.h"
#include "ptage/spte/riscv64_svade.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "test/foreign_images.h"

namespace ptage {
namespace {

using test::GuardedPages;
using test::Image;
using test::RandomImage;
using test::Words;

// L1's memory, with pages that fault around it.
class Guest {
 public:
  explicit Guest(const Image& image)
      : pages_(image.size()),
        block_{0, image.size() * sizeof(Words), pages_.begin()},
        ram(&block_, 1) {
    std::memcpy(pages_.begin(), image.data(), image.size() * sizeof(Words));
  }
  std::uint64_t WordAt(std::size_t page, unsigned index) {
    std::uint64_t word;
    std::memcpy(&word, pages_.begin() + page * sizeof(Words) + index * 8, 8);
    return word;
  }
  void Set(std::size_t page, unsigned index, std::uint64_t word) {
    std::memcpy(pages_.begin() + page * sizeof(Words) + index * 8, &word, 8);
  }
  Image Left(std::size_t pages) {
    Image image(pages);
    std::memcpy(image.data(), pages_.begin(), pages * sizeof(Words));
    return image;
  }

 private:
  GuardedPages pages_;
  RamBlock block_;

 public:
  ForeignRam ram;
};

template <class F>
GuestTranslation Ask(Guest& guest, Gfn nested, Rights needed,
                     GuestBits bits = GuestBits::kMarked) {
  return GuestWalker<F, ForeignRam>(guest.ram, Pfn{0}, bits, 40)
      .Translate(nested, needed);
}

// SDM 3C, tables of the formats of EPT entries: read 1, write 2, execute 4,
// write-back 0x30, large 0x80, accessed 0x100, dirty 0x200.
constexpr std::uint64_t kLink = 7;
Image EptOfL1() {
  Image image(4, Words{});
  image[0][0] = 0x1000 | kLink;
  image[1][0] = 0x2000 | kLink;
  image[1][3] = 0x1'4000'0000 | 0xB7;  // 1 GiB
  image[2][0] = 0x3000 | kLink;
  image[2][1] = 0x60'0000 | 0xB1;  // 2 MiB, read only
  image[2][2] = 0x3000 | 5;        // the same leaves, not to be written
  image[3][4] = 0xABC000 | 0x37;
  image[3][5] = 0xABD000 | 0x36 | 1;
  image[3][6] = 0xABE000 | 0x34;  // execute only
  return image;
}

TEST(GuestWalkTest, APathIsMarkedFromTheRootToTheLeaf) {
  Guest guest(EptOfL1());
  const GuestTranslation read = Ask<Ept>(guest, Gfn{4}, Rights::kRead);
  EXPECT_EQ(read.walk, GuestWalk::kTranslated);
  EXPECT_EQ(read.gfn, Gfn{0xABC});
  EXPECT_EQ(read.level, Level{1});
  EXPECT_EQ(read.rights, Rights::kReadExecute);
  EXPECT_EQ(guest.WordAt(0, 0), 0x1107u);
  EXPECT_EQ(guest.WordAt(1, 0), 0x2107u);
  EXPECT_EQ(guest.WordAt(2, 0), 0x3107u);
  EXPECT_EQ(guest.WordAt(3, 4), 0xABC137u);
  const GuestTranslation write = Ask<Ept>(guest, Gfn{4}, Rights::kReadWrite);
  EXPECT_EQ(write.rights, Rights::kAll);
  EXPECT_EQ(guest.WordAt(3, 4), 0xABC337u);
  // Nothing else was touched.
  Image wanted = EptOfL1();
  for (const auto& [page, index] : {std::pair{0, 0}, {1, 0}, {2, 0}}) {
    wanted[static_cast<std::size_t>(page)][static_cast<std::size_t>(index)] |=
        0x100;
  }
  wanted[3][4] |= 0x300;
  EXPECT_EQ(guest.Left(4), wanted);
  // Once D is set, a read may be built writable.
  EXPECT_EQ(Ask<Ept>(guest, Gfn{4}, Rights::kRead).rights, Rights::kAll);
}

TEST(GuestWalkTest, WithoutBitsOfL1NothingIsMarkedAndAllIsGranted) {
  Guest guest(EptOfL1());
  const GuestTranslation read =
      Ask<Ept>(guest, Gfn{4}, Rights::kRead, GuestBits::kNone);
  EXPECT_EQ(read.rights, Rights::kAll);
  EXPECT_EQ(guest.Left(4), EptOfL1());
}

TEST(GuestWalkTest, ALargePageIsTranslatedByItsOffset) {
  Guest guest(EptOfL1());
  const GuestTranslation huge =
      Ask<Ept>(guest, Gfn{3 * 512 * 512 + 77}, Rights::kReadWrite);
  EXPECT_EQ(huge.gfn, Gfn{0x14'0000 + 77});
  EXPECT_EQ(huge.level, Level{3});
  EXPECT_EQ(guest.WordAt(1, 3), 0x1'4000'0000u | 0x3B7u);
  const GuestTranslation large = Ask<Ept>(guest, Gfn{512 + 8}, Rights::kRead);
  EXPECT_EQ(large.gfn, Gfn{0x608});
  EXPECT_EQ(large.level, Level{2});
  EXPECT_EQ(large.rights, Rights::kRead);
}

TEST(GuestWalkTest, RightsAreThoseOfEachEntryOnThePath) {
  Guest guest(EptOfL1());
  EXPECT_EQ(Ask<Ept>(guest, Gfn{1024 + 4}, Rights::kReadWrite).walk,
            GuestWalk::kForbidden);
  EXPECT_EQ(
      Ask<Ept>(guest, Gfn{1024 + 4}, Rights::kRead, GuestBits::kNone).rights,
      Rights::kReadExecute);
  EXPECT_EQ(Ask<Ept>(guest, Gfn{6}, Rights::kExecute).rights, Rights::kExecute);
  EXPECT_EQ(Ask<Ept>(guest, Gfn{6}, Rights::kRead).walk, GuestWalk::kForbidden);
}

struct Bad {
  const char* name;
  std::size_t page;
  unsigned index;
  std::uint64_t word;
  GuestWalk walk;
  int level;
};

class GuestFaultTest : public testing::TestWithParam<Bad> {};

TEST_P(GuestFaultTest, EndsTheWalkThereAndMarksNothing) {
  const Bad& bad = GetParam();
  Image image = EptOfL1();
  image[bad.page][bad.index] = bad.word;
  Guest guest(image);
  const GuestTranslation found = Ask<Ept>(guest, Gfn{4}, Rights::kRead);
  EXPECT_EQ(found.walk, bad.walk);
  EXPECT_EQ(found.level, Level{bad.level});
  EXPECT_EQ(guest.Left(4), image);
}

constexpr std::uint64_t kBit39 = std::uint64_t{1} << 39;
INSTANTIATE_TEST_SUITE_P(
    Entries, GuestFaultTest,
    testing::Values(
        Bad{"NoLeaf", 3, 4, 0, GuestWalk::kNotPresent, 1},
        Bad{"NoTable", 0, 0, 0x1000, GuestWalk::kNotPresent, 4},
        Bad{"ALeafNotToBeRead", 3, 4, 0xABC034, GuestWalk::kForbidden, 1},
        Bad{"AnInnerEntryNotToBeRead", 1, 0, 0x2004, GuestWalk::kForbidden, 1},
        Bad{"ATableOutside", 2, 0, 0x4007, GuestWalk::kOutside, 1},
        Bad{"ATableFarOutside", 2, 0, kBit39 | 7, GuestWalk::kOutside, 1},
        Bad{"MoreAddressBits", 2, 0, 0x3007 | kBit39 << 1, GuestWalk::kReserved,
            2},
        Bad{"AReservedBit", 1, 0, 0x2007 | 0x8, GuestWalk::kReserved, 3},
        Bad{"APageAtTheRoot", 0, 0, 0xB7, GuestWalk::kReserved, 4},
        Bad{"ALargePageNotAligned", 2, 0, 0x1000 | 0xB7, GuestWalk::kReserved,
            2},
        Bad{"WriteWithoutRead", 3, 4, 0xABC032, GuestWalk::kReserved, 1},
        Bad{"InnerWriteWithoutRead", 1, 0, 0x2006, GuestWalk::kReserved, 3},
        Bad{"MemoryType2", 3, 4, 0xABC017, GuestWalk::kReserved, 1},
        Bad{"MemoryType7", 3, 4, 0xABC03F, GuestWalk::kReserved, 1}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(GuestWalkTest, ALargePageOfTheRightSizeIsNoFault) {
  Image image = EptOfL1();
  image[2][0] = 0x40'0000 | 0xB7;
  Guest guest(image);
  EXPECT_EQ(Ask<Ept>(guest, Gfn{4}, Rights::kRead).gfn, Gfn{0x404});
}

// Privileged Architecture, Sv39: V 1, R 2, W 4, X 8, U 0x10, A 0x40, D 0x80,
// frame << 10. Inner entries have neither rights nor bits.
TEST(GuestWalkTest, InnerEntriesOfRiscvAreNotMarked) {
  Image image(3, Words{});
  image[0][1] = 1 << 10 | 1;
  image[1][0] = 2 << 10 | 1;
  image[2][9] = 0x77 << 10 | 0x1F;
  Guest guest(image);
  const GuestTranslation found =
      Ask<RiscvSv39>(guest, Gfn{512 * 512 + 9}, Rights::kReadWrite);
  EXPECT_EQ(found.gfn, Gfn{0x77});
  EXPECT_EQ(found.rights, Rights::kAll);
  image[2][9] |= 0xC0;
  EXPECT_EQ(guest.Left(3), image);
}

// Privileged Architecture, chapter "Svade": an access by a leaf without A, and
// a write by one without D, is a page fault, by which L1 learns of it.
TEST(GuestWalkTest, WhereFaultsSetTheBitsL1GetsThem) {
  for (const GuestBits bits : {GuestBits::kMarked, GuestBits::kNone}) {
    Image image(3, Words{});
    image[0][0] = 0x401;
    image[1][0] = 0x801;
    image[2][4] = 0xABC << 10 | 0x1F;  // V, R, W, X, U
    image[2][5] = 0xABD << 10 | 0x5F;  // and A
    image[2][6] = 0xABE << 10 | 0xDF;  // and D
    Guest guest(image);
    const auto ask = [&](std::uint64_t nested, Rights needed) {
      return Ask<RiscvSv39Svade>(guest, Gfn{nested}, needed, bits);
    };
    EXPECT_EQ(ask(4, Rights::kRead).walk, GuestWalk::kForbidden);
    EXPECT_EQ(ask(4, Rights::kRead).level, Level{1});
    EXPECT_EQ(ask(4, Rights::kWrite).walk, GuestWalk::kForbidden);
    EXPECT_EQ(ask(5, Rights::kRead).gfn, Gfn{0xABD});
    EXPECT_EQ(ask(5, Rights::kRead).rights, Rights::kReadExecute);
    EXPECT_EQ(ask(5, Rights::kWrite).walk, GuestWalk::kForbidden);
    EXPECT_EQ(ask(6, Rights::kWrite).gfn, Gfn{0xABE});
    EXPECT_EQ(ask(6, Rights::kRead).rights, Rights::kAll);
    EXPECT_EQ(guest.Left(3), image) << "the bits are L1's to set";
  }
}

// Of what RISC-V reserves (12.3.1): a write without a read; and N of Svnapot,
// which L1's processor does not have, and by which the frame's number is no
// number. And (12.3.2, step 4) there is no table below the last.
TEST(GuestWalkTest, WhatNoSingleBitTellsIsReservedInRiscvToo) {
  Image image(6, Words{});
  image[0][0] = 4 << 10 | 1;
  image[4][0] = 5 << 10 | 1;
  image[5][4] = 0xABC << 10 | 0xD5;                           // W without R
  image[5][5] = 0xABC << 10 | 0xDD;                           // W and X
  image[5][6] = std::uint64_t{1} << 63 | 0xAB8 << 10 | 0xDF;  // N: 64 KiB
  image[5][7] = 0xABC << 10 | 0xCF;                           // not a user's
  image[5][8] = 4 << 10 | 1;  // a table, where none can be
  Guest guest(image);
  for (const std::uint64_t nested : {4u, 5u, 6u, 8u}) {
    for (const Rights needed : {Rights::kRead, Rights::kWrite}) {
      const GuestTranslation found =
          Ask<RiscvSv39x4>(guest, Gfn{nested}, needed);
      EXPECT_EQ(found.walk, GuestWalk::kReserved) << nested;
      EXPECT_EQ(found.level, Level{1});
    }
  }
  EXPECT_EQ(Ask<RiscvSv39x4>(guest, Gfn{7}, Rights::kRead).walk,
            GuestWalk::kForbidden);
  EXPECT_EQ(guest.Left(6), image);
}

// APM 2, 15.25.5: nested walks are a user's accesses, to each table.
TEST(GuestWalkTest, ANestedPathThatIsNotAUsersLetsNothingThrough) {
  Image image(4, Words{});
  image[0][0] = 0x1007;
  image[1][0] = 0x2007;
  image[2][0] = 0x3007;
  image[2][1] = 0x3003;
  image[3][4] = 0xABC067;
  image[3][5] = 0xABC063;
  Guest guest(image);
  EXPECT_EQ(Ask<Npt>(guest, Gfn{4}, Rights::kRead).gfn, Gfn{0xABC});
  EXPECT_EQ(Ask<Npt>(guest, Gfn{5}, Rights::kRead).walk, GuestWalk::kForbidden);
  EXPECT_EQ(Ask<Npt>(guest, Gfn{512 + 4}, Rights::kRead).walk,
            GuestWalk::kForbidden);
  // As it is in the tables of a kernel, which has pages of its own.
  EXPECT_EQ(Ask<X86_64>(guest, Gfn{5}, Rights::kRead).gfn, Gfn{0xABC});
}

// A root of four pages, two bits more of an address.
TEST(GuestWalkTest, AWideRootIsFollowedToItsLastFrame) {
  Image image(6, Words{});
  image[3][511] = 4 << 10 | 1;
  image[4][511] = 5 << 10 | 1;
  image[5][511] = 0x77 << 10 | 0x5F;
  Guest guest(image);
  constexpr std::uint64_t kFrames = std::uint64_t{1} << 29;
  EXPECT_EQ(Ask<RiscvSv39x4>(guest, Gfn{kFrames - 1}, Rights::kRead).gfn,
            Gfn{0x77});
  const GuestTranslation beyond =
      Ask<RiscvSv39x4>(guest, Gfn{kFrames}, Rights::kRead);
  EXPECT_EQ(beyond.walk, GuestWalk::kNotPresent);
  EXPECT_EQ(beyond.level, Level{3});
}

// L1 takes the accessed bit of its root's entry away whenever a walk has gone
// on from there.
struct RestlessRam {
  std::byte* At(std::uint64_t address, std::uint64_t bytes) const {
    if (address != 0 && changes > 0) {
      --changes;
      flips ^= std::uint64_t{1} << 60;
      guest.Set(0, 0, 0x1007 | flips);
    }
    return guest.ram.At(address, bytes);
  }
  Guest& guest;
  mutable int changes;
  mutable std::uint64_t flips = 0;
};

TEST(GuestWalkTest, AWalkThatIsHinderedAllTheTimeSaysSo) {
  using Walker = GuestWalker<Ept, RestlessRam>;
  Guest guest(EptOfL1());
  // Each walk enters three more tables, and an odd number of changes is one.
  const RestlessRam some{guest, 3 * (Walker::kTries - 1)};
  EXPECT_EQ(Walker(some, Pfn{0}, GuestBits::kMarked, 40)
                .Translate(Gfn{4}, Rights::kRead)
                .gfn,
            Gfn{0xABC});
  Guest another(EptOfL1());
  const RestlessRam all{another, 1000};
  EXPECT_EQ(Walker(all, Pfn{0}, GuestBits::kMarked, 40)
                .Translate(Gfn{4}, Rights::kRead)
                .walk,
            GuestWalk::kBusy);
}

// SDM 3A, 4.5.4: present 1, writable 2, accessed 0x20, dirty 0x40, large 0x80,
// no-execute bit 63; one entry after the other.
GuestTranslation Reference(Image& image, std::uint64_t nested, bool write) {
  std::uint64_t frame = 0;
  bool writable = true;
  bool executable = true;
  std::uint64_t* path[4];
  for (int level = 4;; --level) {
    if (frame >= image.size()) return {GuestWalk::kOutside, {}, Level{level}};
    std::uint64_t& word = image[frame][nested >> (9 * (level - 1)) & 511];
    path[4 - level] = &word;
    if ((word & 1) == 0) return {GuestWalk::kNotPresent, {}, Level{level}};
    const bool large = level > 1 && (word & 0x80) != 0;
    bool malformed = (word & 0x000F'FF00'0000'0000) != 0;
    if (level == 4) malformed |= large;
    if (large && level == 3) malformed |= (word & 0x3FFF'E000) != 0;
    if (large && level == 2) malformed |= (word & 0x1F'E000) != 0;
    if (malformed) return {GuestWalk::kReserved, {}, Level{level}};
    writable &= (word & 2) != 0;
    executable &= word >> 63 == 0;
    frame = word >> 12 & 0xFF'FFFF'FFFF;
    if (level > 1 && !large) continue;
    if (write && !writable) return {GuestWalk::kForbidden, {}, Level{level}};
    for (int i = 0; i <= 4 - level; ++i) *path[i] |= 0x20;
    if (write) word |= 0x40;
    Rights rights = Rights::kRead;
    if (writable && (word & 0x40) != 0) rights = rights | Rights::kWrite;
    if (executable) rights = rights | Rights::kExecute;
    if (large) frame &= ~std::uint64_t{1};  // the PAT bit
    const std::uint64_t inside =
        nested & ((std::uint64_t{1} << (9 * (level - 1))) - 1);
    return {GuestWalk::kTranslated, Gfn{frame + inside}, Level{level}, rights};
  }
}

// A frame on whose path most entries are present.
std::uint64_t SomewhereIn(const Image& image, std::mt19937_64& random) {
  std::uint64_t nested = 0;
  std::uint64_t frame = 0;
  for (int level = 0; level < 4; ++level) {
    std::vector<std::uint64_t> present;
    for (std::uint64_t i = 0; frame < image.size() && i < 512; ++i) {
      if ((image[frame][i] & 1) != 0) present.push_back(i);
    }
    const bool any = present.empty() || random() % 16 == 0;
    const std::uint64_t index =
        any ? random() % 512 : present[random() % present.size()];
    if (frame < image.size())
      frame = image[frame][index] >> 12 & 0xFF'FFFF'FFFF;
    nested = nested << 9 | index;
  }
  return nested;
}

TEST(GuestWalkTest, RandomImagesAreWalkedAsTheReferenceWalksThem) {
  std::mt19937_64 random(1);
  int counts[6] = {};
  for (int i = 0; i < 3000; ++i) {
    Image image = RandomImage(random, 1 + random() % 8,
                              static_cast<unsigned>(random() % 10));
    Guest guest(image);
    for (int ask = 0; ask < 20; ++ask) {
      const std::uint64_t nested = SomewhereIn(image, random);
      const bool write = random() % 2 == 0;
      const GuestTranslation truth = Reference(image, nested, write);
      const GuestTranslation found = Ask<X86_64>(
          guest, Gfn{nested}, write ? Rights::kReadWrite : Rights::kRead);
      ASSERT_EQ(found.walk, truth.walk) << i;
      ASSERT_EQ(found.level, truth.level) << i;
      ASSERT_EQ(found.gfn, truth.gfn) << i;
      ASSERT_EQ(found.rights, truth.rights) << i;
      ++counts[static_cast<int>(found.walk)];
    }
    ASSERT_EQ(guest.Left(image.size()), image) << i;
  }
  for (const GuestWalk walk :
       {GuestWalk::kTranslated, GuestWalk::kNotPresent, GuestWalk::kForbidden,
        GuestWalk::kReserved, GuestWalk::kOutside}) {
    EXPECT_GE(counts[static_cast<int>(walk)], 10) << static_cast<int>(walk);
  }
}

// Whatever L1 writes, what is answered can be built: by every format a leaf
// that is not to be read cannot be written, and one that grants nothing is
// none.
template <class F>
void ExpectThatAnswersCanBeBuilt() {
  constexpr std::size_t kPages = 8;
  constexpr std::uint64_t kLow = 0x3FF;
  std::mt19937_64 random(4);
  int translated = 0;
  for (int image = 0; image < 300; ++image) {
    Image words(kPages, Words{});
    for (Words& page : words) {
      for (std::size_t i = 0; i < 8; ++i) {
        // Tables that are there, and leaves of any low bits.
        std::uint64_t word = F::MakeInner(Pfn{random() % kPages});
        if (random() % 2 == 0) word = (word & ~kLow) | (random() & kLow);
        if (random() % 8 == 0) word ^= std::uint64_t{1} << random() % 64;
        page[i] = word;
      }
    }
    Guest guest(words);
    for (int asked = 0; asked < 300; ++asked) {
      std::uint64_t nested = 0;
      for (int level = 0; level < F::kLevels; ++level) {
        nested = nested << F::kIndexBits | random() % 8;
      }
      const Rights needed = static_cast<Rights>(1 + random() % 7);
      const GuestTranslation found = Ask<F>(guest, Gfn{nested}, needed);
      if (!found) continue;
      ++translated;
      ASSERT_TRUE(Allows(found.rights, needed));
      ASSERT_TRUE(!Allows(found.rights, Rights::kWrite) ||
                  Allows(found.rights, Rights::kRead));
      ASSERT_LT(found.gfn.value, std::uint64_t{1} << (40 - 12));
      ASSERT_LE(found.level, F::kLargestLeaf);
    }
  }
  EXPECT_GT(translated, 500);
}

TEST(GuestWalkTest, WhateverL1WritesItsAnswersCanBeBuilt) {
  ExpectThatAnswersCanBeBuilt<Ept>();
  ExpectThatAnswersCanBeBuilt<X86_64>();
  ExpectThatAnswersCanBeBuilt<Npt>();
  ExpectThatAnswersCanBeBuilt<RiscvSv39>();
  ExpectThatAnswersCanBeBuilt<RiscvSv39x4>();
  ExpectThatAnswersCanBeBuilt<RiscvSv39Svade>();
}

TEST(GuestWalkTest, AnOwnerWhoScribblesLeadsNowhereElse) {
  constexpr std::size_t kPages = 4;
  Guest guest(EptOfL1());
  Cell<std::uint32_t> stop{0};
  std::thread owner([&] {
    std::mt19937_64 random(2);
    auto* const cells = reinterpret_cast<SpteCell<Ept>*>(guest.ram.At(0, 8));
    while (ReadOnce(stop, kRelaxed) == 0) {
      const Image image = EptOfL1();
      const std::size_t at = random() % kPages * 512 + random() % 8;
      const std::uint64_t word =
          random() % 3 == 0 ? random() : image[at / 512][at % 512];
      WriteOnce(cells[at], word, kRelaxed);
    }
  });
  std::mt19937_64 random(3);
  int translated = 0;
  for (int asked = 0; asked < 100'000 || translated < 1000; ++asked) {
    const Gfn nested{random() % 8 + random() % 3 * 512};
    translated += static_cast<bool>(Ask<Ept>(guest, nested, Rights::kRead));
  }
  WriteOnce(stop, 1u, kRelaxed);
  owner.join();
}

}  // namespace
}  // namespace ptage
