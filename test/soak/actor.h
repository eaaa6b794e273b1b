// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What a thread of the soak carries: its random numbers, its counters, the scan
// that it is in, and the faults that are to befall it there.
//
// Contract
//   An Actor belongs to its thread and to that thread's signal handlers; others
//   read it after the thread has ended, and `shown_visits` at any time.

#ifndef PTAGE_TEST_SOAK_ACTOR_H_
#define PTAGE_TEST_SOAK_ACTOR_H_

#include <sched.h>
#include <signal.h>
#include <time.h>

#include <cstdint>
#include <random>

#include "ptage/once.h"
#include "test/soak/faults.h"
#include "test/soak/roster.h"
#include "test/soak/token.h"

namespace ptage::soak {

// Thrown out of a walk that is never ended.
struct Died {};

inline constexpr int kWalkSignal = SIGUSR1;

// What is wrong, as opposed to what is expected to go wrong.
struct Failures {
  std::uint64_t missed = 0;   // mapped for the whole of a scan, not visited
  std::uint64_t foreign = 0;  // visits of memory that was freed or reused
  // Accesses that were reported by no scan and no zap and are not there, or
  // under another page, or twice.
  std::uint64_t unbalanced = 0;
  // An entry that was mapped was not in its rmap, or the other way round; a
  // chunk or table that leaked; a child that failed.
  std::uint64_t corrupt = 0;

  [[nodiscard]] std::uint64_t Total() const {
    return missed + foreign + unbalanced + corrupt;
  }
  Failures& operator+=(const Failures& other) {
    missed += other.missed;
    foreign += other.foreign;
    unbalanced += other.unbalanced;
    corrupt += other.corrupt;
    return *this;
  }
};

struct Tallies {
  std::uint64_t visits = 0;  // entries that a scan examined
  std::uint64_t scans = 0;
  std::uint64_t unanswered = 0;  // entries or lists left unknown
  std::uint64_t updates = 0;     // entries added or removed
  std::uint64_t strangers = 0;
  std::uint64_t no_chunk = 0;  // additions that failed for want of one
  // Accesses, by page: made; taken by a scan; handed over by a zap.
  std::uint64_t made[kPages] = {};
  std::uint64_t taken[kPages] = {};
  std::uint64_t handed[kPages] = {};
  Failures failures;
  FaultCounts faults;

  Tallies& operator+=(const Tallies& other) {
    visits += other.visits;
    scans += other.scans;
    unanswered += other.unanswered;
    updates += other.updates;
    strangers += other.strangers;
    no_chunk += other.no_chunk;
    for (unsigned i = 0; i < kPages; ++i) {
      made[i] += other.made[i];
      taken[i] += other.taken[i];
      handed[i] += other.handed[i];
    }
    failures += other.failures;
    faults += other.faults;
    return *this;
  }
};

// What may befall a walk.
struct WalkFaults {
  // Words between two faults, on average half as many; 0: none.
  std::uint32_t every = 4000;
  bool stalls = false;  // once
  bool dies = false;
};

struct Actor {
  explicit Actor(std::uint64_t seed, WalkFaults in_walks = WalkFaults())
      : random(seed), handler_random(~seed), walk_faults(in_walks) {
    SetFuse();
  }

  [[nodiscard]] std::uint64_t Below(std::uint64_t n) { return random() % n; }
  // One in `n`, but never in a handler, which shares no generator.
  [[nodiscard]] bool OneIn(std::uint64_t n) {
    return !handling && Below(n) == 0;
  }
  void SetFuse() {
    fuse = walk_faults.every == 0
               ? ~std::uint64_t{0}
               : 1 + Below(walk_faults.dies ? 64 : walk_faults.every);
  }
  // Keeps the CPU busy, so that nothing but time passes.
  void Delay(std::uint64_t microseconds) {
    const std::uint64_t end = Nanoseconds() + microseconds * 1000;
    while (Nanoseconds() < end) SpinPause();
  }
  static std::uint64_t Nanoseconds() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(now.tv_nsec);
  }
  static void Sleep(std::uint64_t microseconds) {
    timespec left{static_cast<time_t>(microseconds / 1'000'000),
                  static_cast<long>(microseconds % 1'000'000 * 1000)};
    while (nanosleep(&left, &left) != 0) {
    }
  }

  // The fuse of a walk has burnt down.
  void BefallWalk();

  std::mt19937_64 random;
  // The handler's own, since it may interrupt a draw or an addition.
  std::mt19937_64 handler_random;
  Tallies handler_tallies;
  Scan handler_scan;
  volatile bool handling = false;

  WalkFaults walk_faults;
  std::uint64_t fuse = 0;
  Scan own_scan;
  // The scan under way, the handler's while one runs; null outside.
  Scan* volatile scan = nullptr;
  // Sections that the thread is in.
  volatile unsigned depth = 0;

  Tallies tallies;
  Cell<std::uint64_t> shown_visits{0};
};

// Null in threads that only look on.
inline constinit thread_local Actor* this_actor = nullptr;

inline void Actor::BefallWalk() {
  SetFuse();
  if (walk_faults.dies) {
    tallies.faults.Add(Fault::kDeathInWalk);
    throw Died();
  }
  if (walk_faults.stalls) {
    walk_faults.stalls = false;
    const std::uint64_t begun = Nanoseconds();
    Sleep(1'000'000);
    if (Nanoseconds() - begun >= 1'000'000'000) {
      tallies.faults.Add(Fault::kStalledWalk);
    }
    return;
  }
  switch (Below(4)) {
    case 0:
      sched_yield();
      tallies.faults.Add(Fault::kYieldInWalk);
      return;
    case 1:
      raise(kWalkSignal);  // the handler counts
      return;
    default:
      Delay(1 + Below(50));
      tallies.faults.Add(Fault::kDelayInSection);
      return;
  }
}

}  // namespace ptage::soak

#endif  // PTAGE_TEST_SOAK_ACTOR_H_
