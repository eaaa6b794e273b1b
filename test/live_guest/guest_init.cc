// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The only program of a guest, its /init: does what it is told on its second
// serial port, a line at a time, and answers each with a line. What it asks the
// guest's kernel is the truth that the host's view is compared with.
//
//   map            maps and fills its pages                        ok
//   clear          has the kernel clear all accessed bits          ok
//   touch L N S    reads N pages of the seed S, large ones if L    ok
//   count L        kB that the kernel calls referenced             a number
//   busy           another thread writes to pages of its own       ok
//   check          whether these hold what was written             ok, rounds
//   scribble N     fills N pages with what looks like entries of
//                  page tables, for ever, from another thread      frames

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <termios.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "test/live_guest/guest_set.h"

namespace {

using namespace ptage::test;

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kLargePage = 512 * kPage;
constexpr std::uint64_t kMostScribbled = 64;

std::atomic<std::uint64_t> rounds{0};
std::atomic<bool> damaged{false};
std::uint64_t scribbled[kMostScribbled];  // their frames
std::uint64_t scribbled_pages = 0;

[[noreturn]] void Stop(const char* what) {
  std::perror(what);
  sync();
  reboot(RB_POWER_OFF);
  for (;;) pause();
}

volatile std::uint64_t* At(std::uint64_t address) {
  return reinterpret_cast<volatile std::uint64_t*>(address);
}

void MapAt(std::uint64_t base, std::uint64_t bytes, int advice) {
  void* const at =
      mmap(reinterpret_cast<void*>(base), bytes, PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  if (at == MAP_FAILED) Stop("mmap");
  (void)madvise(at, bytes, advice);
  for (std::uint64_t i = 0; i < bytes; i += kPage) *At(base + i) = i;
}

void Map() {
  MapAt(kSmallBase, kSmallPages * kPage, MADV_NOHUGEPAGE);
  MapAt(kLargeBase, kLargePages * kLargePage, MADV_HUGEPAGE);
  MapAt(kBusyBase, kBusyPages * kPage, MADV_NOHUGEPAGE);
  for (std::uint64_t i = 0; i < kBusyPages; ++i) *At(kBusyBase + i * kPage) = 0;
}

void Clear() {
  const int file = open("/proc/self/clear_refs", O_WRONLY);
  if (file < 0 || write(file, "1", 1) != 1) Stop("clear_refs");
  close(file);
}

void Touch(bool large, std::uint64_t count, std::uint64_t seed) {
  const std::uint64_t base = large ? kLargeBase : kSmallBase;
  const std::uint64_t size = large ? kLargePage : kPage;
  const std::uint64_t all = large ? kLargePages : kSmallPages;
  for (std::uint64_t i = 0; i < count; ++i) {
    (void)*At(base + PageOf(seed, i, all) * size);
  }
}

// Of the mapping at `base`, in kB.
long Referenced(std::uint64_t base) {
  std::FILE* const file = std::fopen("/proc/self/smaps", "r");
  if (file == nullptr) Stop("smaps");
  char line[512];
  char want[32];
  std::snprintf(want, sizeof want, "%lx-", static_cast<unsigned long>(base));
  bool inside = false;
  long kb = -1;
  while (kb < 0 && std::fgets(line, sizeof line, file) != nullptr) {
    if (std::strncmp(line, want, std::strlen(want)) == 0) inside = true;
    if (inside) (void)std::sscanf(line, "Referenced: %ld kB", &kb);
  }
  std::fclose(file);
  return kb;
}

// Each page has the number of the round: one that lost a write has another.
void* Busy(void*) {
  for (std::uint64_t round = 1;; ++round) {
    for (std::uint64_t i = 0; i < kBusyPages; ++i) {
      volatile std::uint64_t* const at = At(kBusyBase + i * kPage);
      if (*at != round - 1) damaged = true;
      *at = round;
    }
    rounds = round;
  }
  return nullptr;
}

std::uint64_t FrameOf(std::uint64_t address) {
  const int file = open("/proc/self/pagemap", O_RDONLY);
  std::uint64_t word = 0;
  if (file < 0 || pread(file, &word, sizeof word,
                        static_cast<off_t>(address / kPage * 8)) != 8) {
    Stop("pagemap");
  }
  close(file);
  return word & ((std::uint64_t{1} << 55) - 1);
}

// Words that lead to one another, astray, and nowhere; and a few that change by
// a bit.
void* Scribble(void*) {
  std::uint64_t state = 88172645463325252u;
  const auto random = [&] {
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
  };
  for (;;) {
    const std::uint64_t word = random();
    volatile std::uint64_t* const at =
        At(kBusyBase + word % scribbled_pages * kPage + (word >> 8) % 512 * 8);
    const std::uint64_t inner =
        scribbled[(word >> 20) % scribbled_pages] << 12 | 0x27;
    switch ((word >> 32) % 8) {
      case 0:
        *at = random();
        break;
      case 1:
        *at = *at ^ (std::uint64_t{1} << ((word >> 40) % 64));
        break;
      case 2:
        *at = inner | 0x80;
        break;
      case 3:
        *at = inner ^ (std::uint64_t{1} << (12 + (word >> 40) % 40));
        break;
      default:
        *at = inner;
    }
  }
  return nullptr;
}

void Start(void* (*body)(void*)) {
  pthread_t thread;
  if (pthread_create(&thread, nullptr, body, nullptr) != 0) Stop("thread");
}

std::string Answer(const char* line) {
  unsigned long a = 0, b = 0, c = 0;
  if (std::strcmp(line, "map") == 0) {
    Map();
  } else if (std::strcmp(line, "clear") == 0) {
    Clear();
  } else if (std::sscanf(line, "touch %lu %lu %lu", &a, &b, &c) == 3) {
    Touch(a != 0, b, c);
  } else if (std::sscanf(line, "count %lu", &a) == 1) {
    return std::to_string(Referenced(a != 0 ? kLargeBase : kSmallBase));
  } else if (std::strcmp(line, "busy") == 0) {
    Start(Busy);
  } else if (std::strcmp(line, "check") == 0) {
    return (damaged ? "damaged " : "ok ") + std::to_string(rounds);
  } else if (std::sscanf(line, "scribble %lu", &a) == 1 && a >= 1 &&
             a <= kMostScribbled) {
    std::string frames;
    scribbled_pages = a;
    MapAt(kBusyBase, a * kPage, MADV_NOHUGEPAGE);
    for (std::uint64_t i = 0; i < a; ++i) {
      scribbled[i] = FrameOf(kBusyBase + i * kPage);
      frames += (i == 0 ? "" : " ") + std::to_string(scribbled[i]);
    }
    Start(Scribble);
    return frames;
  } else {
    return "what?";
  }
  return "ok";
}

}  // namespace

int main() {
  (void)mount("proc", "/proc", "proc", 0, nullptr);
  const int port = open("/dev/ttyS1", O_RDWR | O_NOCTTY);
  if (port < 0) Stop("/dev/ttyS1");
  termios mode = {};
  tcgetattr(port, &mode);
  cfmakeraw(&mode);
  tcsetattr(port, TCSANOW, &mode);
  std::string line = "ready";
  std::string answer = "ready";
  for (;;) {
    answer += '\n';
    if (write(port, answer.data(), answer.size()) < 0) Stop("write");
    line.clear();
    for (char c = 0; read(port, &c, 1) == 1 && c != '\n';) line += c;
    answer = Answer(line.c_str());
  }
}
