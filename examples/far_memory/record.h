// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What the workloads keep: records of 64 bytes, each of which can be made again
// from a number, so that every bit of them can be checked; and that compress
// about as text does.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_RECORD_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_RECORD_H_

#include <array>
#include <cstddef>
#include <cstdint>

namespace ptage::far_memory {

struct Record {
  std::uint64_t key = 0;
  std::array<char, 56> text = {};

  friend bool operator==(const Record&, const Record&) = default;
};
inline constexpr std::size_t kRecordBytes = sizeof(Record);
static_assert(kRecordBytes == 64);

// A permutation of the 64-bit numbers that leaves no order, and its inverse:
// xors with a shift by 32 and multiplications by an odd number undo themselves,
// and by its inverse.
[[nodiscard]] constexpr std::uint64_t Mix(std::uint64_t x) {
  for (int round = 0; round < 3; ++round) {
    x ^= x >> 32;
    x *= 0x9E37'79B9'7F4A'7C15;
  }
  return x ^ x >> 32;
}
[[nodiscard]] constexpr std::uint64_t InverseOfOdd(std::uint64_t a) {
  // Each step doubles the low bits that are right; three are to begin with.
  std::uint64_t inverse = a;
  for (int step = 0; step < 5; ++step) inverse *= 2 - a * inverse;
  return inverse;
}
[[nodiscard]] constexpr std::uint64_t Unmix(std::uint64_t x) {
  x ^= x >> 32;
  for (int round = 0; round < 3; ++round) {
    x *= InverseOfOdd(0x9E37'79B9'7F4A'7C15);
    x ^= x >> 32;
  }
  return x;
}
static_assert(Unmix(Mix(0x0123'4567'89AB'CDEF)) == 0x0123'4567'89AB'CDEF);

// The record number `number`, in its `version`-th form.
[[nodiscard]] inline Record MakeRecord(std::uint64_t key, std::uint64_t number,
                                       std::uint64_t version) {
  Record record;
  record.key = key;
  record.text = {"account 0000000000 version 000 balance 0000000000 EUR;"};
  const auto digits = [&](std::size_t end, int count, std::uint64_t value) {
    for (int i = 0; i < count; ++i, value /= 10) {
      record.text[--end] = static_cast<char>('0' + value % 10);
    }
  };
  digits(18, 10, number);
  digits(30, 3, version);
  digits(49, 10, Mix(number + version) % 100'000);
  return record;
}

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_RECORD_H_
