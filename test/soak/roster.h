// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Who must be met: for each entry of a group, the mapping that stays. And the
// record of one scan, which is compared with it.
//
// Contract
//   The owner of an entry writes its mapping down before it publishes the
//   entry, and confirms it after; whoever zaps the entry takes the mapping off
//   before the entry is frozen. A reader copies the roster, scans, and looks
//   again at what it did not meet: a mapping that was confirmed before the scan
//   and is still there after it was in the list for the whole of the scan.
//   Mappings never repeat, so what is there twice was there throughout.
//
//   Why the roster hides nothing. It lies outside of what is tested: the words
//   of heads, chunks and entries are read and written as without it, and no
//   lock or clock is shared by all. A reader only loads, before its scan and
//   after. A writer stores, and compares and swaps, after an entry is published
//   and before it is frozen: around an update, never between two stores of one.
//   On x86, which keeps loads and stores each in order, all of it is relaxed,
//   so that the thread sanitizer learns of no order from it. Elsewhere the
//   claim's own premise (the addition happens before the scan) is what
//   confirming with release and copying with acquire establish. That a mapping
//   is still there after the scan is then a fact of the roster's own coherence
//   and of the order that the code under test provides: an error there can
//   excuse a miss, never invent one, but for an entry that was met frozen.

#ifndef PTAGE_TEST_SOAK_ROSTER_H_
#define PTAGE_TEST_SOAK_ROSTER_H_

#include <cstdint>
#include <cstring>

#include "ptage/once.h"
#include "test/soak/token.h"

namespace ptage::soak {

#if defined(__x86_64__)
inline constexpr auto kConfirm = kRelaxed;
inline constexpr auto kCopy = kRelaxed;
#else
inline constexpr auto kConfirm = kRelease;
inline constexpr auto kCopy = kAcquire;
#endif

class Roster {
 public:
  Roster() {
    for (auto& word : words_) WriteOnce(word, 0, kRelaxed);
  }

  // The owner of the entry: before and after it is published.
  void Announce(Token token) {
    WriteOnce(words_[token.Entry()], token.bits() | kPending, kRelaxed);
  }
  void Confirm(Token token) {
    // Fails if the entry was zapped already.
    (void)TryCmpxchg(words_[token.Entry()], token.bits() | kPending,
                     token.bits(), kConfirm);
  }
  // Whoever is about to freeze the entry, having read `token` from it. Does
  // nothing for another mapping than that.
  void TakeOff(Token token) {
    auto& word = words_[token.Entry()];
    for (;;) {
      const std::uint64_t seen = ReadOnce(word, kRelaxed);
      if ((seen & ~kPending) != token.bits()) return;
      if (TryCmpxchg(word, seen, 0, kRelaxed)) return;
    }
  }

  // The mapping that is confirmed; 0 if none is.
  [[nodiscard]] std::uint64_t At(unsigned entry) const {
    const std::uint64_t word = ReadOnce(words_[entry], kCopy);
    return (word & kPending) == 0 ? word : 0;
  }

 private:
  static constexpr std::uint64_t kPending = std::uint64_t{1} << 63;
  alignas(64) Cell<std::uint64_t> words_[kEntriesPerGroup];
};

// One scan of one page's rmap, by one thread.
class Scan {
 public:
  // Before the head is read.
  void Begin(const Roster& roster, unsigned group, unsigned page) {
    group_ = group;
    page_ = page;
    std::memset(seen_, 0, sizeof(seen_));
    for (unsigned i = 0; i < kEntriesPerGroup; ++i) before_[i] = roster.At(i);
  }

  // Each present word that the scan reads.
  void Saw(Token token) {
    if (token.Group() != group_) {
      ++foreign_;
    } else if (token.Page() != page_) {
      ++strangers_;
    } else {
      seen_[token.Entry()] = token.bits();
    }
  }

  // After the last load of the scan. Returns how many mappings it missed.
  [[nodiscard]] unsigned CountMissed(const Roster& roster) const {
    unsigned missed = 0;
    for (unsigned i = 0; i < kEntriesPerGroup; ++i) {
      if (before_[i] == seen_[i] || before_[i] == 0) continue;
      if (Token(before_[i]).Page() != page_) continue;
      if (roster.At(i) == before_[i]) ++missed;
    }
    return missed;
  }

  // Words of another group, or of a freed table: met by a walk under which
  // memory was reused. Since the object was made.
  [[nodiscard]] std::uint64_t foreign() const { return foreign_; }
  // Words of the group's other page: entries that were reused during a scan,
  // which the identity rule must pass by. More than one for each.
  [[nodiscard]] std::uint64_t strangers() const { return strangers_; }

 private:
  unsigned group_ = 0;
  unsigned page_ = 0;
  std::uint64_t foreign_ = 0;
  std::uint64_t strangers_ = 0;
  std::uint64_t seen_[kEntriesPerGroup] = {};
  std::uint64_t before_[kEntriesPerGroup] = {};
};

}  // namespace ptage::soak

#endif  // PTAGE_TEST_SOAK_ROSTER_H_
