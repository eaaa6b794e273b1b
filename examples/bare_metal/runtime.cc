// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The functions that a compiler may call of its own accord.

#include <cstddef>

extern "C" {

void* memset(void* to, int value, std::size_t size) {
  void* at = to;
  asm volatile("rep stosb" : "+D"(at), "+c"(size) : "a"(value) : "memory");
  return to;
}

void* memcpy(void* to, const void* from, std::size_t size) {
  void* at = to;
  asm volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(size) : : "memory");
  return to;
}

}  // extern "C"
