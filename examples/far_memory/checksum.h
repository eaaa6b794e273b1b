// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The checksum of a page.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_CHECKSUM_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_CHECKSUM_H_

#include <zlib.h>

#include <cstdint>

#include "examples/far_memory/page.h"

namespace ptage::far_memory {

[[nodiscard]] inline std::uint32_t Checksum(const Page& page) {
  return static_cast<std::uint32_t>(
      crc32(0, reinterpret_cast<const Bytef*>(page.bytes.data()), kPageBytes));
}

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_CHECKSUM_H_
