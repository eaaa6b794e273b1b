// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A PC as QEMU makes one, as far as the kernel needs it: text on the serial
// port, an end with an exit code, the registers of paging, and the start of a
// second CPU. Its sections are of the Intel SDM, volume 3A.

#ifndef PTAGE_EXAMPLES_BARE_METAL_MACHINE_H_
#define PTAGE_EXAMPLES_BARE_METAL_MACHINE_H_

#include <cstdint>

#include "ptage/once.h"

inline void WritePort(std::uint16_t port, std::uint8_t value) {
  asm volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

inline std::uint8_t ReadPort(std::uint16_t port) {
  std::uint8_t value;
  asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
  return value;
}

// --- The end -----------------------------------------------------------------

// What QEMU's device isa-debug-exit is told; QEMU ends with 2 * code + 1. A
// machine that resets ends with 0, so nothing here does.
enum class ExitCode : std::uint8_t {
  kSuccess = 16,    // 33
  kWrong = 17,      // 35: a count, or an access, was not as it must be
  kException = 18,  // 37: a processor exception that is no access
};

[[noreturn]] inline void Exit(ExitCode code) {
  WritePort(0xF4, static_cast<std::uint8_t>(code));
  for (;;) asm volatile("cli; hlt");
}

// --- Text --------------------------------------------------------------------

inline void Print(char c) {
  constexpr std::uint16_t kSerial = 0x3F8;
  constexpr std::uint8_t kMayWrite = 1 << 5;
  while ((ReadPort(kSerial + 5) & kMayWrite) == 0) ptage::SpinPause();
  WritePort(kSerial, static_cast<std::uint8_t>(c));
}

inline void Print(const char* text) {
  for (; *text != 0; ++text) Print(*text);
}

inline void Print(std::uint64_t number) {
  if (number >= 10) Print(number / 10);
  Print(static_cast<char>('0' + number % 10));
}

struct Hex {
  std::uint64_t value;
};

inline void Print(Hex number) {
  Print("0x");
  int digits = 1;
  while (digits < 16 && number.value >> (4 * digits) != 0) ++digits;
  while (digits-- > 0) {
    Print("0123456789abcdef"[number.value >> (4 * digits) & 0xF]);
  }
}

template <class... Parts>
void PrintLine(Parts... parts) {
  (Print(parts), ...);
  Print('\n');
}

// --- Paging ------------------------------------------------------------------

// Loads the tables, and drops what the CPU has cached of others (4.10.4.1).
inline void LoadRoot(std::uint64_t address) {
  asm volatile("mov %0, %%cr3" : : "r"(address) : "memory");
}

// Drops every cached translation, and what the paging-structure caches hold.
inline void DropTranslations() {
  std::uint64_t root;
  asm volatile("mov %%cr3, %0" : "=r"(root) : : "memory");
  LoadRoot(root);
}

// The same for the page at `address` alone.
inline void DropTranslation(std::uint64_t address) {
  asm volatile("invlpg (%0)" : : "r"(address) : "memory");
}

// --- CPUs --------------------------------------------------------------------

inline constexpr unsigned kCpus = 2;

// Each CPU finds its number where a register of its own points (GS.base,
// 3.4.4.1).
inline constinit unsigned cpu_numbers[kCpus] = {0, 1};

inline void SetCpuNumber(unsigned number) {
  constexpr std::uint32_t kGsBase = 0xC0000101;
  const auto at = reinterpret_cast<std::uintptr_t>(&cpu_numbers[number]);
  asm volatile("wrmsr"
               :
               : "c"(kGsBase), "a"(static_cast<std::uint32_t>(at)),
                 "d"(static_cast<std::uint32_t>(at >> 32))
               : "memory");
}

inline unsigned CpuNumber() {
  unsigned number;
  asm volatile("movl %%gs:0, %0" : "=r"(number));
  return number;
}

// Where the registers of the local APIC are (11.4.1), as physical address.
inline constexpr std::uint64_t kApic = 0xFEE00000;

// At least so many microseconds: a read of this port takes about one.
inline void Wait(unsigned microseconds) {
  while (microseconds-- > 0) (void)ReadPort(0x80);
}

// Starts the CPU with APIC number 1 at `page`, below 1 MiB, in real mode, by
// the sequence of 9.4.4.1. Precondition: kApic is mapped to itself.
inline void StartSecondCpu(std::uint64_t page) {
  const auto send = [](std::uint32_t command) {
    auto* const high = reinterpret_cast<volatile std::uint32_t*>(kApic + 0x310);
    auto* const low = reinterpret_cast<volatile std::uint32_t*>(kApic + 0x300);
    *high = 1u << 24;
    *low = command;
    while ((*low & 1u << 12) != 0) ptage::SpinPause();
  };
  send(0x4500);  // INIT
  Wait(10'000);
  send(0x4600 | static_cast<std::uint32_t>(page >> 12));  // startup
}

#endif  // PTAGE_EXAMPLES_BARE_METAL_MACHINE_H_
