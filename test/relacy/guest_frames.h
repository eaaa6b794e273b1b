// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The memory of a guest, each frame of which may be a table.

#ifndef PTAGE_TEST_RELACY_GUEST_FRAMES_H_
#define PTAGE_TEST_RELACY_GUEST_FRAMES_H_

#include <cstddef>
#include <cstdint>

#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/relacy/tiny_format.h"

namespace ptage::relacy {

// The guest's format, which has no reserved bits: `F`.
template <class F>
struct OfGuest : F {
  static constexpr Word ReservedBits(Level, EntryKind, int) { return 0; }
};

// A ForeignMemory. `G` is the guest's format.
template <class G, std::size_t kFrames>
class GuestFrames {
 public:
  GuestFrames() {
    for (Table<G>& frame : frames_) {
      for (Entry& word : frame.entries) WriteOnce(word, G::kEmpty, kRelaxed);
    }
  }
  std::byte* At(std::uint64_t address, std::uint64_t) const {
    return reinterpret_cast<std::byte*>(&frames_[address >> G::kPageBits]);
  }
  Entry& WordAt(Gfn frame, unsigned index) {
    return frames_[frame.value].entries[index];
  }

 private:
  mutable Table<G> frames_[kFrames];
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_GUEST_FRAMES_H_
