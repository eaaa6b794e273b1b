// SPDX-License-Identifier: MIT OR Apache-2.0
//
// First in, first out: never ages, and so pays for nothing, and learns nothing.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_FIFO_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_FIFO_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "absl/strings/string_view.h"
#include "examples/far_memory/policy.h"
#include "ptage/types.h"

namespace ptage::far_memory {

class Fifo {
 public:
  static constexpr absl::string_view kName = "fifo";

  // For pages 0 … pages − 1, of which `limit` fit into memory.
  Fifo(std::uint64_t pages, std::uint64_t /*limit*/) : loads_(pages) {}

  void Touched(Gfn gfn, Touch touch) {
    if (touch != Touch::kLoaded) return;
    ++loads_[gfn.value];
    queue_.push_back({gfn, loads_[gfn.value]});
  }
  [[nodiscard]] GfnRange ToAge() { return {}; }
  void Age(GfnRange, Bitmap) {}
  [[nodiscard]] std::optional<Gfn> PickVictim() {
    while (!queue_.empty()) {
      const Entry first = queue_.front();
      queue_.pop_front();
      // Else it was forgotten, and what is in memory came later.
      if (first.load == loads_[first.gfn.value]) {
        ++loads_[first.gfn.value];
        return first.gfn;
      }
    }
    return std::nullopt;
  }
  void Forget(Gfn gfn) { ++loads_[gfn.value]; }

 private:
  struct Entry {
    Gfn gfn;
    std::uint64_t load;
  };

  // Changes of each page: into memory and out of it.
  std::vector<std::uint64_t> loads_;
  std::deque<Entry> queue_;
};

static_assert(ReplacementPolicy<Fifo>);

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_FIFO_H_
