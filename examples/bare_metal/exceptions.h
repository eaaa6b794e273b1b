// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The table by which CPUs find the kernel's answer to exceptions (Intel SDM 3A
// 6.10, 6.14). There are no interrupts.

#ifndef PTAGE_EXAMPLES_BARE_METAL_EXCEPTIONS_H_
#define PTAGE_EXAMPLES_BARE_METAL_EXCEPTIONS_H_

#include <cstdint>

// What boot.S and the CPU leave on the stack.
struct ExceptionFrame {
  std::uint64_t vector;
  std::uint64_t code;  // 0 where the exception has none
  std::uint64_t rip;
  std::uint64_t cs, rflags, rsp, ss;
};

inline constexpr std::uint64_t kPageFault = 14;
// Bits of a page fault's code.
inline constexpr std::uint64_t kFaultPresent = 1 << 0;
inline constexpr std::uint64_t kFaultWrite = 1 << 1;

// The address of the access that a page fault is about.
inline std::uint64_t FaultAddress() {
  std::uint64_t address;
  asm volatile("mov %%cr2, %0" : "=r"(address));
  return address;
}

// The kernel's answer: called by boot.S, returns to what was interrupted.
extern "C" void OnException(const ExceptionFrame& frame);

// Of each vector: 16 bytes of code (boot.S).
extern "C" const char exception_entries[];

// Tells the calling CPU where the answer is.
inline void LoadExceptionTable() {
  constexpr unsigned kVectors = 22;
  struct Gate {
    std::uint16_t low, segment, flags, middle;
    std::uint32_t high, reserved;
  };
  static Gate gates[kVectors];
  for (unsigned i = 0; i < kVectors; ++i) {
    const auto entry =
        reinterpret_cast<std::uintptr_t>(exception_entries) + 16 * i;
    gates[i] = Gate{static_cast<std::uint16_t>(entry),
                    8,
                    0x8E00,  // present, an interrupt gate
                    static_cast<std::uint16_t>(entry >> 16),
                    static_cast<std::uint32_t>(entry >> 32),
                    0};
  }
  struct [[gnu::packed]] {
    std::uint16_t limit;
    std::uint64_t base;
  } table{sizeof(gates) - 1, reinterpret_cast<std::uintptr_t>(gates)};
  asm volatile("lidt %0" : : "m"(table));
}

#endif  // PTAGE_EXAMPLES_BARE_METAL_EXCEPTIONS_H_
