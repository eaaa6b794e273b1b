// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The only functions that a compiler may ask of a freestanding environment.

#include <cstddef>

extern "C" {

void* memset(void* to, int value, std::size_t size) {
  auto* bytes = static_cast<volatile unsigned char*>(to);
  while (size-- > 0) *bytes++ = static_cast<unsigned char>(value);
  return to;
}

void* memcpy(void* to, const void* from, std::size_t size) {
  auto* bytes = static_cast<volatile unsigned char*>(to);
  const auto* source = static_cast<const unsigned char*>(from);
  while (size-- > 0) *bytes++ = *source++;
  return to;
}

void* memmove(void* to, const void* from, std::size_t size) {
  auto* bytes = static_cast<volatile unsigned char*>(to);
  const auto* source = static_cast<const unsigned char*>(from);
  if (bytes < source) return memcpy(to, from, size);
  while (size-- > 0) bytes[size] = source[size];
  return to;
}

int memcmp(const void* a, const void* b, std::size_t size) {
  const auto* left = static_cast<const unsigned char*>(a);
  const auto* right = static_cast<const unsigned char*>(b);
  for (; size-- > 0; ++left, ++right) {
    if (*left != *right) return *left < *right ? -1 : 1;
  }
  return 0;
}

}  // extern "C"
