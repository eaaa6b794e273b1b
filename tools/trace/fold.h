// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Collapses a stream of page references into records: (page, kind, repeat).
//
// A program refers to the same few pages over and over: its code, its stack,
// the data at hand. Folder holds the last kRecent records, first in, first
// out; a reference whose page and kind one of them has adds to that record's
// repeat count, and any other reference starts a record. So
//
//   * records stand in the order of their first references;
//   * no reference is counted in a record that is kRecent or more records old:
//     a busy page starts a record again and again, as a program that keeps
//     using it must show;
//   * before each record whose index is a multiple of kBlock, everything held
//     is let go. Every such block of kBlock records therefore names exactly
//     the pages, with exactly the kinds, that were referenced while it was
//     recorded, and its repeat counts add up to their number;
//   * lost is only the order among references to pages that one window of
//     kRecent records names.
//
// kRecent is below the number of ways of the default simulated TLB (8), so a
// reference that is folded away is always one that this TLB would have hit, and
// far smaller than that TLB (512 entries).

#ifndef PTAGE_TOOLS_TRACE_FOLD_H_
#define PTAGE_TOOLS_TRACE_FOLD_H_

#include <cstddef>
#include <cstdint>
#include <limits>

#include "bench/access.h"

namespace ptage::trace {

inline constexpr std::size_t kRecent = 4;
inline constexpr std::uint64_t kBlock = 1024;

struct FoldedRecord {
  // Address divided by the page size.
  std::uint64_t page;
  bench::Access kind;
  // References it stands for; at least 1.
  std::uint32_t repeat;
};

// Sink is called with each FoldedRecord once its repeat count is final.
// Not thread-safe.
template <class Sink>
class Folder {
 public:
  explicit Folder(Sink sink) : sink_(sink) {}

  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  void Touch(std::uint64_t page, bench::Access kind) {
    ++references_;
    for (std::size_t i = 0; i < held_; ++i) {
      FoldedRecord& record = recent_[i];
      if (record.page == page && record.kind == kind &&
          record.repeat != std::numeric_limits<std::uint32_t>::max()) {
        ++record.repeat;
        return;
      }
    }
    Start(page, kind);
  }

  // Hands out everything held. To be called at the end of the stream.
  void Flush() {
    for (std::size_t i = 0; i < held_; ++i) {
      sink_(recent_[(next_ + i) % held_]);
    }
    held_ = 0;
    next_ = 0;
  }

  // References seen, and records started for them.
  std::uint64_t references() const { return references_; }
  std::uint64_t records() const { return records_; }

 private:
  void Start(std::uint64_t page, bench::Access kind) {
    if (records_ % kBlock == 0) Flush();
    const FoldedRecord record = {page, kind, 1};
    if (held_ < kRecent) {
      recent_[held_++] = record;
    } else {
      sink_(recent_[next_]);
      recent_[next_] = record;
      next_ = (next_ + 1) % kRecent;
    }
    ++records_;
  }

  Sink sink_;
  FoldedRecord recent_[kRecent] = {};
  // While fewer than kRecent are held, next_ is 0 and they stand in order;
  // then next_ is the oldest.
  std::size_t held_ = 0;
  std::size_t next_ = 0;
  std::uint64_t references_ = 0;
  std::uint64_t records_ = 0;
};

}  // namespace ptage::trace

#endif  // PTAGE_TOOLS_TRACE_FOLD_H_
