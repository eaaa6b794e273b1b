// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Memory that somebody else fills: a guest's RAM, mapped from its file, or a
// copy of a process's pages. The way from a physical address to the bytes, and
// a refusal of every address that is not there.
//
// Contract
//   Constant once built, so any number of threads may ask. Concurrently, the
//   owner may write to the bytes whatever he likes; he may not unmap them. (A
//   file that is cut short while it is mapped kills who reads behind its end:
//   hold it by a seal or a lease if its owner is not trusted.)
//
//   Progress: wait-free, in blocks.

#ifndef PTAGE_MEMORY_FOREIGN_RAM_H_
#define PTAGE_MEMORY_FOREIGN_RAM_H_

#include <concepts>
#include <cstddef>
#include <cstdint>

#include "ptage/config.h"

namespace ptage {

// What a foreign tree needs of memory.
//   At(address, bytes)   where the `bytes` bytes from the physical `address` on
//                        lie, all of them readable, and writable if accessed
//                        bits are to be cleared; null if any is not admitted.
//                        `bytes` is a power of two, to which `address`, and
//                        what is returned, are aligned.
template <class M>
concept ForeignMemory =
    requires(const M& memory, std::uint64_t address, std::uint64_t bytes) {
      { memory.At(address, bytes) } -> std::same_as<std::byte*>;
    };

// Bytes that follow one another, by their physical addresses and where they are
// mapped.
struct RamBlock {
  std::uint64_t address;  // the first physical one
  std::uint64_t bytes;    // how many
  std::byte* mapped;      // where the first is
};

// A few blocks with holes between them, as a PC has one under 4 GiB.
class ForeignRam {
 public:
  // Every address and size is a multiple of it.
  static constexpr std::uint64_t kAlignment = 4096;

  // The caller's `blocks` outlive this. Where two overlap, the first counts.
  // Precondition: each is aligned, and ends below 2^64.
  ForeignRam(const RamBlock* blocks, std::size_t count)
      : blocks_(blocks), count_(count) {
    for (std::size_t i = 0; i < count; ++i) {
      const auto mapped = reinterpret_cast<std::uintptr_t>(blocks[i].mapped);
      PTAGE_ASSERT(
          (blocks[i].address | blocks[i].bytes | mapped) % kAlignment == 0);
      PTAGE_ASSERT(blocks[i].address + blocks[i].bytes >= blocks[i].address);
    }
  }

  [[nodiscard]] std::byte* At(std::uint64_t address,
                              std::uint64_t bytes) const {
    for (std::size_t i = 0; i < count_; ++i) {
      const RamBlock& block = blocks_[i];
      // Neither sum that one would write here could be trusted not to overflow.
      const std::uint64_t offset = address - block.address;
      if (address >= block.address && offset < block.bytes &&
          bytes <= block.bytes - offset) {
        return block.mapped + offset;
      }
    }
    return nullptr;
  }

  // Of all blocks.
  [[nodiscard]] std::uint64_t Bytes() const {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < count_; ++i) sum += blocks_[i].bytes;
    return sum;
  }

 private:
  const RamBlock* const blocks_;
  const std::size_t count_;
};

static_assert(ForeignMemory<ForeignRam>);

}  // namespace ptage

#endif  // PTAGE_MEMORY_FOREIGN_RAM_H_
