// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The pages of the reclaim soak: what they hold, where they are, and the store
// of those that are out.
//
// Contract
//   A page has a lane for each CPU, which alone writes it, and counts up: so it
//   knows what it must read there. A page that goes out is stored only if
//   something said that it is dirty; then its frame is somebody else's, who
//   fills it with kForeign, and looks, when the page comes back, whether it
//   still stands there.
//
//   out -- BringIn --> in -- Take --> claimed -- Store, PutOut or Keep -->
//
//   As many frames are free as there are fewer pages in than the limit.

#ifndef PTAGE_TEST_SOAK_RECLAIM_PAGES_H_
#define PTAGE_TEST_SOAK_RECLAIM_PAGES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "ptage/once.h"
#include "test/soak/reclaim/tallies.h"

namespace ptage::reclaim_soak {

inline constexpr std::size_t kPages = 192;
inline constexpr std::uint64_t kFrameLimit = 112;
inline constexpr std::size_t kCpus = 4;
inline constexpr std::uint64_t kForeign = ~std::uint64_t{0};

class Pages {
 public:
  enum class Came { kIn, kElsewhere, kNoFrame };

  Pages() {
    for (Page& page : pages_) {
      for (Cell<std::uint64_t>& lane : page.lanes) {
        WriteOnce(lane, kForeign, kRelaxed);
      }
    }
  }

  Cell<std::uint64_t>& Lane(std::size_t page, std::size_t cpu) {
    return pages_[page].lanes[cpu];
  }
  [[nodiscard]] bool IsIn(std::size_t page) const {
    return ReadOnce(pages_[page].where, kAcquire) == kIn;
  }
  [[nodiscard]] std::uint64_t free_frames() const {
    return ReadOnce(free_, kRelaxed);
  }

  // For faults. Of those who bring in the same page, one does.
  Came BringIn(std::size_t number, Tallies& tallies) {
    Page& page = pages_[number];
    if (ReadOnce(page.where, kRelaxed) != kOut) return Came::kElsewhere;
    if (!TakeFrame()) return Came::kNoFrame;
    if (!TryCmpxchg(page.where, kOut, kComing, kAcquire)) {
      FetchAdd(free_, std::uint64_t{1}, kRelaxed);
      return Came::kElsewhere;
    }
    bool touched = false;
    for (std::size_t cpu = 0; cpu < kCpus; ++cpu) {
      touched |= ReadOnce(page.lanes[cpu], kRelaxed) != kForeign;
      WriteOnce(page.lanes[cpu], page.stored[cpu], kRelaxed);
    }
    tallies.foreign += touched ? 1 : 0;
    ++tallies.brought_in;
    WriteOnce(page.where, kIn, kRelease);
    return Came::kIn;
  }

  // For an evictor that has claimed the page. False: somebody else has it, or
  // it is not in, and the claim means nothing.
  bool Take(std::size_t page) {
    return TryCmpxchg(pages_[page].where, kIn, kClaimed, kAcquire);
  }
  // The rest for who took it.
  void Store(std::size_t number, bool dirty, Tallies& tallies) {
    Page& page = pages_[number];
    if (ReadOnce(page.dirty, kRelaxed) != 0) dirty = true;
    WriteOnce(page.dirty, 0u, kRelaxed);
    tallies.evicted_clean += dirty ? 0 : 1;
    for (std::size_t cpu = 0; cpu < kCpus; ++cpu) {
      if (dirty) page.stored[cpu] = ReadOnce(page.lanes[cpu], kRelaxed);
      WriteOnce(page.lanes[cpu], kForeign, kRelaxed);
    }
  }
  void PutOut(std::size_t page) {
    FetchAdd(free_, std::uint64_t{1}, kRelaxed);
    WriteOnce(pages_[page].where, kOut, kRelease);
  }
  void Keep(std::size_t page) { WriteOnce(pages_[page].where, kIn, kRelease); }

  // For who was handed a dirty bit.
  void MarkDirty(std::size_t page) {
    WriteOnce(pages_[page].dirty, 1u, kRelaxed);
  }

  // For who looks on when all is quiet: what a CPU's lane would be read as, and
  // whether what is in memory is also stored.
  [[nodiscard]] std::uint64_t Value(std::size_t page, std::size_t cpu) {
    return IsIn(page) ? ReadOnce(Lane(page, cpu), kRelaxed)
                      : pages_[page].stored[cpu];
  }
  [[nodiscard]] bool IsOut(std::size_t page) const {
    return ReadOnce(pages_[page].where, kRelaxed) == kOut;
  }
  [[nodiscard]] bool IsMarkedDirty(std::size_t page) const {
    return ReadOnce(pages_[page].dirty, kRelaxed) != 0;
  }
  [[nodiscard]] bool IsStored(std::size_t page) {
    for (std::size_t cpu = 0; cpu < kCpus; ++cpu) {
      if (pages_[page].stored[cpu] != Value(page, cpu)) return false;
    }
    return true;
  }

 private:
  enum Where : std::uint32_t { kOut, kComing, kIn, kClaimed };

  struct Page {
    Cell<std::uint32_t> where{kOut};
    Cell<std::uint32_t> dirty{0u};
    std::array<Cell<std::uint64_t>, kCpus> lanes;
    // Whoever takes the page or brings it in.
    std::array<std::uint64_t, kCpus> stored{};
  };

  bool TakeFrame() {
    for (;;) {
      const std::uint64_t free = free_frames();
      if (free == 0) return false;
      if (TryCmpxchg(free_, free, free - 1, kRelaxed)) return true;
    }
  }

  std::vector<Page> pages_ = std::vector<Page>(kPages);
  Cell<std::uint64_t> free_{kFrameLimit};
};

}  // namespace ptage::reclaim_soak

#endif  // PTAGE_TEST_SOAK_RECLAIM_PAGES_H_
