// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What the second CPU does, and how the first tells it what. Part of kernel.cc.
//
// Contract
//   The first CPU gives an order by Begin, and waits until it is carried out by
//   WaitFor. The second is inside (cpus.h) while it carries one out. What
//   either has done before it begins, or finishes, an order is visible to the
//   other.

#ifndef PTAGE_EXAMPLES_BARE_METAL_SECOND_CPU_H_
#define PTAGE_EXAMPLES_BARE_METAL_SECOND_CPU_H_

#include <cstddef>
#include <cstdint>

#include "examples/bare_metal/cpus.h"
#include "examples/bare_metal/window.h"
#include "ptage/core.h"

// --- What both CPUs see ------------------------------------------------------

inline constinit Cpus cpus;

using Word = ptage::Cell<std::uint64_t>;

// What the second CPU is to do. An order of it is a kind, the number of a
// round, and a number that no other order has.
enum class Work : std::uint64_t { kNothing, kRead, kReadOn, kWrite, kWriteOn };

// The order, and the last that was carried out.
inline constinit Word wanted{0};
inline constinit Word finished{0};
// What the first CPU has made over the window, and the second over hot pages.
inline constinit Word passes{0};
inline constinit Word turns{0};

// --- What is touched ---------------------------------------------------------

inline void Read(std::size_t page) {
  [[maybe_unused]] const std::uint64_t value = Window::At(page);
}
inline void Write(std::size_t page) {
  const std::uint64_t before = Window::At(page);
  Window::At(page) = before + 1;
}

// Whether a page is used in a round: about half of them are.
inline bool IsUsed(std::size_t page, std::uint64_t round) {
  std::uint64_t mixed = (round * 4096 + page + 1) * 0x9E37'79B9'7F4A'7C15;
  mixed ^= mixed >> 29;
  mixed *= 0xBF58'476D'1CE4'E5B9;
  return (mixed >> 40 & 1) != 0;
}

// The i-th page of `pages` (a power of two) in the order of a round.
inline std::size_t InOrder(std::size_t i, std::size_t pages,
                           std::uint64_t round) {
  return (i * 389 + round) % pages;
}

// Pages that are used over and over: fewer than a processor caches.
inline constexpr std::size_t kHot = 64;

// --- The second CPU ----------------------------------------------------------

// Until the first CPU has looked at every page since the call.
inline void WaitForAPass() {
  const std::uint64_t before = ReadOnce(passes, ptage::kAcquire);
  while (ReadOnce(passes, ptage::kAcquire) < before + 2) {
    cpus.Poll();
    ptage::SpinPause();
  }
}

inline void ReadRound(std::uint64_t round) {
  for (std::size_t i = 0; i < Window::kFrames; ++i) {
    if (i == Window::kFrames / 2) WaitForAPass();
    const std::size_t page = InOrder(i, Window::kFrames, round);
    if (!IsUsed(page, round)) continue;
    cpus.Poll();
    Read(page);
  }
}

inline void WriteRound(std::uint64_t round) {
  for (std::size_t i = 0; i < Window::kPages; ++i) {
    if (i == Window::kPages / 2) WaitForAPass();
    const std::size_t page = InOrder(i, Window::kPages, round);
    if (!IsUsed(page, round)) continue;
    cpus.Poll();
    Write(page);
  }
}

// Until other work is wanted, and then to the end of the turn: reads all pages,
// and writes them when the first CPU has begun its next pass, which so meets
// them accessed, and not dirty.
inline void Turns(std::uint64_t work, ptage::Rights access) {
  while (ReadOnce(wanted, ptage::kAcquire) == work) {
    for (std::size_t page = 0; page < kHot; ++page) {
      cpus.Poll();
      Read(page);
    }
    if (access == ptage::Rights::kWrite) {
      const std::uint64_t begun = ReadOnce(passes, ptage::kAcquire);
      while (ReadOnce(passes, ptage::kAcquire) == begun &&
             ReadOnce(wanted, ptage::kAcquire) == work) {
        cpus.Poll();
        ptage::SpinPause();
      }
      for (std::size_t page = 0; page < kHot; ++page) {
        cpus.Poll();
        Write(page);
      }
    }
    (void)FetchAdd(turns, 1, ptage::kAcqRel);
  }
}

inline void Do(std::uint64_t work) {
  const std::uint64_t round = work >> 8 & 0xFF;
  switch (static_cast<Work>(work & 0xFF)) {
    case Work::kNothing:
      break;
    case Work::kRead:
      ReadRound(round);
      break;
    case Work::kReadOn:
      Turns(work, ptage::Rights::kRead);
      break;
    case Work::kWrite:
      WriteRound(round);
      break;
    case Work::kWriteOn:
      Turns(work, ptage::Rights::kWrite);
      break;
  }
}

// --- The first CPU gives it work ---------------------------------------------

inline std::uint64_t Begin(Work kind, std::uint64_t round = 0) {
  const std::uint64_t number = (ReadOnce(wanted, ptage::kRelaxed) >> 16) + 1;
  const auto work =
      number << 16 | round << 8 | static_cast<std::uint64_t>(kind);
  WriteOnce(wanted, work, ptage::kRelease);
  return work;
}

inline bool IsFinished(std::uint64_t work) {
  return ReadOnce(finished, ptage::kAcquire) == work;
}

inline void WaitFor(std::uint64_t work) {
  while (!IsFinished(work)) ptage::SpinPause();
}

// Until a whole turn is over that began after the call.
template <class Meanwhile>
void WaitForATurn(Meanwhile&& meanwhile) {
  const std::uint64_t before = ReadOnce(turns, ptage::kAcquire);
  while (ReadOnce(turns, ptage::kAcquire) < before + 2) {
    meanwhile();
    ptage::SpinPause();
  }
}

#endif  // PTAGE_EXAMPLES_BARE_METAL_SECOND_CPU_H_
