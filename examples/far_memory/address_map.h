// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Where the workload has which pages: it may move parts of its data, and unmap
// them.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_ADDRESS_MAP_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_ADDRESS_MAP_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "examples/far_memory/page.h"
#include "ptage/types.h"

namespace ptage::far_memory {

// Pages that lie side by side.
struct AddressRun {
  std::uintptr_t at = 0;
  GfnRange pages;

  [[nodiscard]] std::size_t bytes() const {
    return pages.Frames() * kPageBytes;
  }
  friend bool operator==(const AddressRun&, const AddressRun&) = default;
};

// Not for concurrent use.
class AddressMap {
 public:
  AddressMap() = default;
  explicit AddressMap(AddressRun all) : runs_{all} {}

  // The page at an address; none if there is none.
  [[nodiscard]] std::optional<Gfn> PageAt(std::uintptr_t address) const;
  // The longest run that begins with the first page of `range`, within it; none
  // if that page is nowhere.
  [[nodiscard]] std::optional<AddressRun> RunOf(GfnRange range) const;

  // The pages in there, which are nowhere afterwards.
  std::vector<AddressRun> Remove(std::uintptr_t at, std::size_t bytes);
  // What is in there moves to `to`, in place of what was there.
  void Move(std::uintptr_t from, std::uintptr_t to, std::size_t bytes);
  // The pages in there.
  [[nodiscard]] std::vector<AddressRun> In(std::uintptr_t at,
                                           std::size_t bytes) const;

 private:
  // The part of a run that lies in there; of no pages if there is none.
  static AddressRun Clip(const AddressRun& run, std::uintptr_t at,
                         std::size_t bytes);

  std::vector<AddressRun> runs_;
};

// ---------------------------------------------------------------------------

inline std::optional<Gfn> AddressMap::PageAt(std::uintptr_t address) const {
  for (const AddressRun& run : runs_) {
    if (address >= run.at && address - run.at < run.bytes()) {
      return run.pages.begin + (address - run.at) / kPageBytes;
    }
  }
  return std::nullopt;
}

inline std::optional<AddressRun> AddressMap::RunOf(GfnRange range) const {
  for (const AddressRun& run : runs_) {
    if (!run.pages.Contains(range.begin)) continue;
    return AddressRun{
        .at = run.at + (range.begin - run.pages.begin) * kPageBytes,
        .pages = run.pages.Clip(range)};
  }
  return std::nullopt;
}

inline AddressRun AddressMap::Clip(const AddressRun& run, std::uintptr_t at,
                                   std::size_t bytes) {
  const std::uintptr_t begin = std::max(at, run.at);
  const std::uintptr_t end = std::min(at + bytes, run.at + run.bytes());
  if (begin >= end) return {};
  const Gfn first = run.pages.begin + (begin - run.at) / kPageBytes;
  return {.at = begin, .pages = {first, first + (end - begin) / kPageBytes}};
}

inline std::vector<AddressRun> AddressMap::In(std::uintptr_t at,
                                              std::size_t bytes) const {
  std::vector<AddressRun> found;
  for (const AddressRun& run : runs_) {
    const AddressRun part = Clip(run, at, bytes);
    if (!part.pages.Empty()) found.push_back(part);
  }
  return found;
}

inline std::vector<AddressRun> AddressMap::Remove(std::uintptr_t at,
                                                  std::size_t bytes) {
  std::vector<AddressRun> removed;
  std::vector<AddressRun> left;
  for (const AddressRun& run : runs_) {
    const AddressRun part = Clip(run, at, bytes);
    if (part.pages.Empty()) {
      left.push_back(run);
      continue;
    }
    removed.push_back(part);
    if (run.pages.begin < part.pages.begin) {
      left.push_back({run.at, {run.pages.begin, part.pages.begin}});
    }
    if (part.pages.end < run.pages.end) {
      left.push_back({part.at + part.bytes(), {part.pages.end, run.pages.end}});
    }
  }
  runs_ = std::move(left);
  return removed;
}

inline void AddressMap::Move(std::uintptr_t from, std::uintptr_t to,
                             std::size_t bytes) {
  const std::vector<AddressRun> moved = Remove(from, bytes);
  (void)Remove(to, bytes);
  for (const AddressRun& run : moved) {
    runs_.push_back({run.at - from + to, run.pages});
  }
}

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_ADDRESS_MAP_H_
