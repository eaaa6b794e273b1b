// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What a processor makes of the raw words of a table: the manuals' numbers,
// written out by hand. Nothing here may come from a format of the library, but
// for the two words that it has chosen itself, which are written out as well.

#ifndef PTAGE_TEST_HISTORY_MANUAL_H_
#define PTAGE_TEST_HISTORY_MANUAL_H_

#include <cstdint>
#include <vector>

#include "ptage/spte/ept.h"
#include "ptage/spte/x86_64.h"
#include "test/formats.h"

namespace ptage::test {

// What an entry, or all on a path, grant. Pages are user pages where there is a
// bit for it.
inline constexpr unsigned kMayRead = 1;
inline constexpr unsigned kMayWrite = 2;
inline constexpr unsigned kMayExecute = 4;
inline constexpr unsigned kMayUser = 8;
inline constexpr unsigned kMayAll = 15;

// Of each format:
//   kIndexBits, kLevels    log2 of the entries of a table, levels of tables
//   kLargest               the highest level of leaves
//   kEmpty, kFrozen        as the library has chosen them
//   kGarbage               what a table that was just given out holds: present
//                          at every level, and nothing that a test maps
//   IsPresent, IsLeaf, FrameOf, Grants, AttributesOf
//   IsWellFormed           present, and nothing that the processor faults on
//   Leaf                   a leaf, not accessed and not dirty, in user pages
//   Backing                a frame for `gfn`, another for each `generation`,
//                          aligned as `gfn` is; no table has it
//   Samples                the frames that a history watches, ascending
template <class F>
struct Manual;

// The samples of formats of 512 entries: three tables of pages of 4 KiB and one
// of another GiB, whole; and of a third GiB the first table, and the first or
// the last page of each other one.
inline std::vector<std::uint64_t> SamplesOfThreeGiB() {
  constexpr std::uint64_t kGiB = 0x4'0000;
  std::vector<std::uint64_t> samples;
  for (std::uint64_t i = 0; i < 3 * 512; ++i) samples.push_back(i);
  for (std::uint64_t i = 0; i < 512; ++i) samples.push_back(kGiB + i);
  for (std::uint64_t i = 0; i < 512; ++i) samples.push_back(2 * kGiB + i);
  for (std::uint64_t i = 1; i < 512; ++i) {
    samples.push_back(2 * kGiB + 512 * i + (i % 2 == 0 ? 0 : 511));
  }
  return samples;
}

// SDM 3C 29.3.2, tables "Format of an EPT …", with accessed and dirty flags:
// read 0, write 1, execute 2, memory type 5:3 (6 write-back), ignore PAT 6,
// large page 7, accessed 8, dirty 9, address 51:12, suppress #VE 63.
template <>
struct Manual<Ept> {
  using Word = std::uint64_t;
  static constexpr int kIndexBits = 9;
  static constexpr int kLevels = 4;
  static constexpr int kLargest = 3;
  static constexpr bool kMarksInner = true;
  static constexpr Word kEmpty = 0x8000'0000'0000'0000;
  static constexpr Word kFrozen = 0x8400'0000'0000'0000;
  static constexpr Word kGarbage = 0x8000'00BA'DBAD'B037;
  static constexpr Word kAccessed = 0x100;
  static constexpr Word kDirty = 0x200;

  static bool IsPresent(Word word) { return (word & 0x7) != 0; }
  static bool IsLeaf(Word word, int level) {
    return level == 1 || (level < 4 && (word & 0x80) != 0);
  }
  static std::uint64_t FrameOf(Word word) {
    return (word & 0x000F'FFFF'FFFF'F000) >> 12;
  }
  static unsigned Grants(Word word, int) {
    return static_cast<unsigned>(word & 0x7) | kMayUser;
  }
  static std::uint64_t AttributesOf(Word word, int) {
    return word & 0x8000'0000'0000'0078;
  }
  static bool IsWellFormed(Word word, int level) {
    if ((word & 0x3) == 0x2) return false;  // written and not read
    if (!IsLeaf(word, level)) return (word & 0xF8) == 0;
    const std::uint64_t below = level == 3 ? 0x3'FFFF : level == 2 ? 0x1FF : 0;
    return (FrameOf(word) & below) == 0 && (word & 0x38) == 0x30 &&
           (level > 1 || (word & 0x80) == 0);
  }
  static Word Leaf(std::uint64_t frame, int level, bool writable) {
    return 0x8000'0000'0000'0035 | frame << 12 | (level > 1 ? 0x80 : 0) |
           (writable ? 0x2 : 0);
  }
  static std::uint64_t Backing(std::uint64_t gfn, std::uint64_t generation) {
    return (1 + generation) << 20 | gfn;
  }
  static std::vector<std::uint64_t> Samples() { return SamplesOfThreeGiB(); }
};

// SDM 3A 4.5.4: present 0, writable 1, user 2, write-through 3, cache disable
// 4, accessed 5, dirty 6, page size 7 (in a page of 4 KiB: PAT), global 8,
// address 51:12 (bit 12 of a large one: PAT), no-execute 63.
template <>
struct Manual<X86_64> {
  using Word = std::uint64_t;
  static constexpr int kIndexBits = 9;
  static constexpr int kLevels = 4;
  static constexpr int kLargest = 3;
  static constexpr bool kMarksInner = true;
  static constexpr Word kEmpty = 0;
  static constexpr Word kFrozen = 0x0400'0000'0000'0000;
  static constexpr Word kGarbage = 0x0000'00BA'DBAD'B007;
  static constexpr Word kAccessed = 0x20;
  static constexpr Word kDirty = 0x40;

  static bool IsPresent(Word word) { return (word & 0x1) != 0; }
  static bool IsLeaf(Word word, int level) {
    return level == 1 || (level < 4 && (word & 0x80) != 0);
  }
  static std::uint64_t FrameOf(Word word) {
    return (word & 0x000F'FFFF'FFFF'F000) >> 12;
  }
  static unsigned Grants(Word word, int) {
    return kMayRead | ((word & 0x2) != 0 ? kMayWrite : 0) |
           ((word & 0x4) != 0 ? kMayUser : 0) |
           ((word >> 63) == 0 ? kMayExecute : 0);
  }
  static std::uint64_t AttributesOf(Word word, int level) {
    return word & (level > 1 ? 0x118 : 0x198);
  }
  static bool IsWellFormed(Word word, int level) {
    if (!IsLeaf(word, level)) return level < 4 || (word & 0x80) == 0;
    const std::uint64_t below = level == 3 ? 0x3'FFFF : level == 2 ? 0x1FF : 0;
    return (FrameOf(word) & below) == 0;
  }
  static Word Leaf(std::uint64_t frame, int level, bool writable) {
    return 0x5 | frame << 12 | (level > 1 ? 0x80 : 0) | (writable ? 0x2 : 0);
  }
  static std::uint64_t Backing(std::uint64_t gfn, std::uint64_t generation) {
    return (1 + generation) << 20 | gfn;
  }
  static std::vector<std::uint64_t> Samples() { return SamplesOfThreeGiB(); }
};

// See formats.h. So small that all of its 64 frames are watched.
template <>
struct Manual<TinyFormat> {
  using Word = std::uint32_t;
  static constexpr int kIndexBits = 2;
  static constexpr int kLevels = 3;
  static constexpr int kLargest = 2;
  static constexpr bool kMarksInner = false;
  static constexpr Word kEmpty = 0x800;
  static constexpr Word kFrozen = 0x802;
  static constexpr Word kGarbage = 0xBADB'B003;
  static constexpr Word kAccessed = 0x8;
  static constexpr Word kDirty = 0x4;

  static bool IsPresent(Word word) { return (word & 0x1) != 0; }
  static bool IsLeaf(Word word, int level) {
    return level == 1 || (word & 0x10) != 0;
  }
  static std::uint64_t FrameOf(Word word) { return word >> 12; }
  static unsigned Grants(Word word, int level) {
    return !IsLeaf(word, level) || (word & 0x2) != 0 ? kMayAll
                                                     : kMayAll & ~kMayWrite;
  }
  static std::uint64_t AttributesOf(Word, int) { return 0; }
  static bool IsWellFormed(Word word, int level) {
    if (!IsLeaf(word, level)) return (word & 0xFEE) == 0;
    return level == 1 ? (word & 0xFF0) == 0
                      : level == 2 && (word & 0x3FE0) == 0;
  }
  static Word Leaf(std::uint64_t frame, int level, bool writable) {
    return static_cast<Word>(0x1 | frame << 12 | (level > 1 ? 0x10 : 0) |
                             (writable ? 0x2 : 0));
  }
  static std::uint64_t Backing(std::uint64_t gfn, std::uint64_t generation) {
    return 0x8'0000 | generation << 6 | gfn;
  }
  static std::vector<std::uint64_t> Samples() {
    std::vector<std::uint64_t> samples;
    for (std::uint64_t i = 0; i < 64; ++i) samples.push_back(i);
    return samples;
  }
};

}  // namespace ptage::test

#endif  // PTAGE_TEST_HISTORY_MANUAL_H_
