// SPDX-License-Identifier: MIT OR Apache-2.0

#include "test/no_allocations.h"

#include <cstddef>
#include <cstdlib>
#include <new>

namespace {

thread_local bool refused = false;
thread_local bool asked = false;

void* Allocate(std::size_t size, std::size_t align) {
  asked = true;
  if (refused) throw std::bad_alloc();
  void* const memory =
      std::aligned_alloc(align, (size + align - 1) / align * align);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) {
  return Allocate(size, alignof(std::max_align_t));
}
void* operator new(std::size_t size, std::align_val_t align) {
  return Allocate(size, static_cast<std::size_t>(align));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}

namespace ptage::test {

NoAllocations::NoAllocations() {
  refused = true;
  asked = false;
}
NoAllocations::~NoAllocations() { refused = false; }
bool NoAllocations::Asked() const { return asked; }

}  // namespace ptage::test
