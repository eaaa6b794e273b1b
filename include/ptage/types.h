// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The words of the library: frames, levels, ranges, and what an aging question
// answers. Values only; nothing here is shared between threads, but for the
// bits and counts of the caller's that an answer is written to.
//
// A frame is as large as the smallest page of the format (2^kPageBits bytes):
// 4 KiB, but for ARM64's granules of 16 and 64 KiB.

#ifndef PTAGE_TYPES_H_
#define PTAGE_TYPES_H_

#include <compare>
#include <cstdint>

#include "ptage/config.h"

namespace ptage {

// Guest frame number: a guest-physical address ÷ the size of a frame. For a
// page table, a frame of the address space that the table translates.
struct Gfn {
  std::uint64_t value = 0;  // in frames

  friend constexpr auto operator<=>(Gfn, Gfn) = default;
  // The frame so many further on. Precondition: there is one.
  friend constexpr Gfn operator+(Gfn gfn, std::uint64_t frames) {
    return Gfn{gfn.value + frames};
  }
  // Frames from `b` up to `a`. Precondition: b <= a.
  friend constexpr std::uint64_t operator-(Gfn a, Gfn b) {
    return a.value - b.value;
  }
};

// Page frame number: a host-physical address ÷ the size of a frame.
struct Pfn {
  std::uint64_t value = 0;  // in frames

  friend constexpr auto operator<=>(Pfn, Pfn) = default;
  // The frame so many further on. Precondition: there is one.
  friend constexpr Pfn operator+(Pfn pfn, std::uint64_t frames) {
    return Pfn{pfn.value + frames};
  }
};

// Level of a table, or of an entry in it: 1 is the level whose entries are
// always leaves. With 512 entries a table: 1 = 4 KiB, 2 = 2 MiB, 3 = 1 GiB.
struct Level {
  int value = 1;  // 1 … the format's kLevels

  friend constexpr auto operator<=>(Level, Level) = default;
  // One nearer to the leaves; one nearer to the root.
  [[nodiscard]] constexpr Level Below() const { return Level{value - 1}; }
  [[nodiscard]] constexpr Level Above() const { return Level{value + 1}; }
};

// The frames begin … end − 1; empty if they are equal.
// Precondition of every function that takes one: begin <= end.
struct GfnRange {
  Gfn begin;  // the first
  Gfn end;    // the one behind the last

  friend constexpr bool operator==(GfnRange, GfnRange) = default;
  // How many there are; whether there is none.
  [[nodiscard]] constexpr std::uint64_t Frames() const { return end - begin; }
  [[nodiscard]] constexpr bool Empty() const { return begin >= end; }
  // Whether it has the frame; all of the other's.
  [[nodiscard]] constexpr bool Contains(Gfn gfn) const {
    return begin <= gfn && gfn < end;
  }
  [[nodiscard]] constexpr bool Contains(GfnRange other) const {
    return begin <= other.begin && other.end <= end;
  }
  // Whether there is a frame in both.
  [[nodiscard]] constexpr bool Overlaps(GfnRange other) const {
    return !Clip(other).Empty();
  }
  // The part of `other` inside this range; empty if there is none.
  [[nodiscard]] constexpr GfnRange Clip(GfnRange other) const {
    const Gfn from = other.begin > begin ? other.begin : begin;
    const Gfn to = other.end < end ? other.end : end;
    return from < to ? GfnRange{from, to} : GfnRange{from, from};
  }
};

// What the asker does to a young entry.
enum class AgeAction {
  kTest,          // reads only
  kTestAndClear,  // young entries are old afterwards
};

// How long the asker is willing to take.
enum class AgeMode {
  kSlow,      // may wait; every entry present for the whole call is examined
  kFastOnly,  // never waits; what it cannot answer is left untouched
};

// The answer to "was it accessed since it was last cleared?", of an entry, an
// rmap, a range, an MMU, a VM or a chain of notifiers.
//
// Default: the answer for no entries at all.
struct AgeResult {
  // Some entry was accessed. May be reported twice for one access, when
  // clearers race; never not at all.
  bool young = false;
  // A young answer came from an MMU whose aging is always fast; false when
  // nothing was young.
  bool was_fast = false;
  // Every entry in question was examined. Not young and not complete means
  // *unknown*, never *cold*.
  bool complete = true;

  friend constexpr bool operator==(AgeResult, AgeResult) = default;

  // The answer for both parts together.
  friend constexpr AgeResult operator|(AgeResult a, AgeResult b) {
    return AgeResult{
        .young = a.young || b.young,
        .was_fast = (a.young && a.was_fast) || (b.young && b.was_fast),
        .complete = a.complete && b.complete};
  }
  constexpr AgeResult& operator|=(AgeResult other) {
    return *this = *this | other;
  }
};

// What an aging question did, in entries asked; one that moves within its rmap
// meanwhile may be asked more than once.
struct AgeCounts {
  std::uint64_t examined = 0;    // present, and tested
  std::uint64_t young = 0;       // of these: accessed
  std::uint64_t lost_races = 0;  // of these: changed by another before cleared
  std::uint64_t unanswered = 0;  // left out: frozen, or behind a lock

  // Of both.
  constexpr AgeCounts& operator+=(const AgeCounts& other) {
    examined += other.examined;
    young += other.young;
    lost_races += other.lost_races;
    unanswered += other.unanswered;
    return *this;
  }
};

// A view of bits in the caller's memory, 64 to a word, lowest first. The
// default one has no bits: what is set in it is forgotten, and it says so
// through Wanted(). Not synchronized: one thread writes at a time.
class Bitmap {
 public:
  constexpr Bitmap() = default;
  // `words` holds at least ⌈bits ÷ 64⌉ words and outlives the view.
  constexpr Bitmap(std::uint64_t* words, std::uint64_t bits)
      : words_(words), bits_(bits) {}

  // Whether there are bits to set; how many.
  [[nodiscard]] constexpr bool Wanted() const { return words_ != nullptr; }
  [[nodiscard]] constexpr std::uint64_t size() const { return bits_; }

  // Whether a bit is set. Precondition: bit < size(), as for every function
  // below.
  [[nodiscard]] constexpr bool Test(std::uint64_t bit) const {
    PTAGE_ASSERT(bit < bits_);
    return (words_[bit / 64] >> (bit % 64) & 1) != 0;
  }
  // Bits 64 * index … of them, lowest first. Precondition: there are some.
  [[nodiscard]] constexpr std::uint64_t Word(std::uint64_t index) const {
    PTAGE_ASSERT(64 * index < bits_);
    return words_[index];
  }
  // Sets a bit.
  constexpr void Set(std::uint64_t bit) const {
    if (!Wanted()) return;
    PTAGE_ASSERT(bit < bits_);
    words_[bit / 64] |= std::uint64_t{1} << (bit % 64);
  }
  // Sets the bits from … to − 1.
  constexpr void SetRange(std::uint64_t from, std::uint64_t to) const {
    for (std::uint64_t bit = from; bit < to;) {
      const std::uint64_t left = to - bit;
      SetLanes(bit,
               left < 64 ? (std::uint64_t{1} << left) - 1 : ~std::uint64_t{0});
      bit += left < 64 ? left : 64;
    }
  }
  // Sets bit `from + i` for each bit i of `lanes`.
  constexpr void SetLanes(std::uint64_t from, std::uint64_t lanes) const {
    if (!Wanted() || lanes == 0) return;
    const unsigned shift = from % 64;
    const std::uint64_t above = shift == 0 ? 0 : lanes >> (64 - shift);
    // What is not set is not touched: the words next to the last may be another
    // thread's.
    if (lanes << shift != 0) Or(from / 64, lanes << shift);
    if (above != 0) Or(from / 64 + 1, above);
  }

 private:
  constexpr void Or(std::uint64_t word, std::uint64_t lanes) const {
    PTAGE_ASSERT(bits_ - 64 * word >= 64 || lanes >> (bits_ - 64 * word) == 0);
    words_[word] |= lanes;
  }

  std::uint64_t* words_ = nullptr;
  std::uint64_t bits_ = 0;
};

// Where the answers for single frames go: bit i belongs to the frame
// `begin + i`. Bits are ORed in, never cleared, and counts are added to, so
// that several MMUs write to one, one after the other; any part may be absent.
// One thread at a time, as for Bitmap.
struct AgeOutput {
  Gfn begin = {};               // the frame of bit 0
  Bitmap young = {};            // frames that were accessed
  Bitmap unknown = {};          // frames about which nobody can say
  AgeCounts* counts = nullptr;  // in entries; null: not wanted

  // The frames were accessed; nothing is known of them. Precondition: `range`
  // lies inside the bitmaps that are wanted.
  constexpr void SetYoung(GfnRange range) const {
    young.SetRange(range.begin - begin, range.end - begin);
  }
  constexpr void SetUnknown(GfnRange range) const {
    unknown.SetRange(range.begin - begin, range.end - begin);
  }
  // The same of the frame `first + i` for each bit i of `lanes`.
  constexpr void SetYoung(Gfn first, std::uint64_t lanes) const {
    young.SetLanes(first - begin, lanes);
  }
  constexpr void SetUnknown(Gfn first, std::uint64_t lanes) const {
    unknown.SetLanes(first - begin, lanes);
  }
  // Adds what was done.
  constexpr void Count(const AgeCounts& more) const {
    if (counts != nullptr) *counts += more;
  }
};

// What an access needs of an entry, or an entry grants: a set.
enum class Rights : unsigned {
  kNone = 0,
  kRead = 1,
  kWrite = 2,
  kExecute = 4,
  kReadWrite = 3,
  kReadExecute = 5,
  kAll = 7,
};
// The rights of either; those of both.
[[nodiscard]] constexpr Rights operator|(Rights a, Rights b) {
  return static_cast<Rights>(static_cast<unsigned>(a) |
                             static_cast<unsigned>(b));
}
[[nodiscard]] constexpr Rights operator&(Rights a, Rights b) {
  return static_cast<Rights>(static_cast<unsigned>(a) &
                             static_cast<unsigned>(b));
}
// Whether `granted` has all of `needed`.
[[nodiscard]] constexpr bool Allows(Rights granted, Rights needed) {
  return (granted & needed) == needed;
}

}  // namespace ptage

#endif  // PTAGE_TYPES_H_
