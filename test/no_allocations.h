// SPDX-License-Identifier: MIT OR Apache-2.0
//
// For tests of what must do without an allocator: while one of these is there,
// its thread finds no memory.

#ifndef PTAGE_TEST_NO_ALLOCATIONS_H_
#define PTAGE_TEST_NO_ALLOCATIONS_H_

namespace ptage::test {

class NoAllocations {
 public:
  NoAllocations();
  ~NoAllocations();
  NoAllocations(const NoAllocations&) = delete;
  NoAllocations& operator=(const NoAllocations&) = delete;

  // Whether this thread has asked for memory since.
  [[nodiscard]] bool Asked() const;
};

}  // namespace ptage::test

#endif  // PTAGE_TEST_NO_ALLOCATIONS_H_
