// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Who uses host frames, so that a translation to frames that were given back is
// found out.

#ifndef PTAGE_TEST_MODEL_HOST_USERS_H_
#define PTAGE_TEST_MODEL_HOST_USERS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "ptage/once.h"
#include "test/model/vm_places.h"
#include "test/model/vm_state.h"

namespace ptage::test {

// Slots, by blocks of frames. Any threads may ask; one changes it.
class HostUsers {
 public:
  explicit HostUsers(const FormatFacts& facts) : places_(facts) {
    for (auto& users : users_) WriteOnce(users, std::uint64_t{0}, kRelaxed);
    WriteOnce(stale_, std::uint64_t{0}, kRelaxed);
  }

  // Before a slot is there, and after it is gone.
  void Begin(std::uint64_t base, std::uint64_t frames) { Add(base, frames, 1); }
  void End(std::uint64_t base, std::uint64_t frames) {
    Add(base, frames, ~std::uint64_t{0});
  }
  // A CPU uses the frame now.
  void Use(std::uint64_t pfn) {
    if (ReadOnce(users_[BlockOf(pfn)], kRelaxed) == 0) {
      (void)FetchAdd(stale_, std::uint64_t{1}, kRelaxed);
    }
  }
  // Uses of frames that nobody had.
  [[nodiscard]] std::uint64_t stale() const {
    return ReadOnce(stale_, kRelaxed);
  }

 private:
  static constexpr std::size_t kBlocks = 8;
  [[nodiscard]] std::size_t BlockOf(std::uint64_t pfn) const {
    return std::min<std::uint64_t>(pfn / places_.block(), kBlocks - 1);
  }
  void Add(std::uint64_t base, std::uint64_t frames, std::uint64_t by) {
    const std::size_t last = BlockOf(base + frames - 1);
    for (std::size_t i = BlockOf(base); i <= last; ++i) {
      (void)FetchAdd(users_[i], by, kRelaxed);
    }
  }

  const Places places_;
  Cell<std::uint64_t> users_[kBlocks];
  Cell<std::uint64_t> stale_;
};

}  // namespace ptage::test

#endif  // PTAGE_TEST_MODEL_HOST_USERS_H_
