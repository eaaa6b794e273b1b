// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A barrier between two threads of which only one pays. Hosted: it needs the
// operating system.
//
// Contract
//   * Let one thread store to X, call LightBarrier and load Y, and another call
//     HeavyBarrier and load X, where a store to Y happens before that call,
//     whoever made it. Then at least one of the loads sees the store to its
//     word, or a later one. Two calls of LightBarrier order nothing.
//   * LightBarrier keeps the compiler from moving accesses across it, and is no
//     instruction. HeavyBarrier makes every thread of the process that is
//     running pass a full barrier, as does switching to one that is not.
//   * HeavyBarrier may be called once PrepareHeavyBarrier has returned true in
//     this process or in one that it was forked from. It traps if the system
//     takes the call away later (a seccomp filter): there is no other way to go
//     on safely.
//   * Progress: LightBarrier is wait-free; HeavyBarrier is a system call that
//     waits for other processors to answer an interrupt.
//
// No checker models the system call. Under PTAGE_RELACY both are sequentially
// consistent fences, which is more than the contract; test/relacy has a barrier
// that is no more.

#ifndef PTAGE_ONCE_ASYMMETRIC_H_
#define PTAGE_ONCE_ASYMMETRIC_H_

#include <concepts>

#include "ptage/config.h"

#if !defined(PTAGE_RELACY) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace ptage {

inline void LightBarrier();
inline void HeavyBarrier();
// Asks the system for HeavyBarrier; false where it has none, or forbids it. Any
// thread, any number of times.
[[nodiscard]] inline bool PrepareHeavyBarrier();

// The same as a policy.
template <class B>
concept AsymmetricBarrier = requires {
  { B::Prepare() } -> std::same_as<bool>;
  B::Light();
  B::Heavy();
};

// That of the process.
struct ProcessBarrier {
  [[nodiscard]] static bool Prepare() { return PrepareHeavyBarrier(); }
  static void Light() { LightBarrier(); }
  static void Heavy() { HeavyBarrier(); }
};
static_assert(AsymmetricBarrier<ProcessBarrier>);

// ---------------------------------------------------------------------------

#if defined(PTAGE_RELACY)

inline void LightBarrier() { rl::atomic_thread_fence(rl::mo_seq_cst, RL_INFO); }
inline void HeavyBarrier() { rl::atomic_thread_fence(rl::mo_seq_cst, RL_INFO); }
inline bool PrepareHeavyBarrier() { return true; }

#else

// The reader's, of each walk: for the compiler alone.
inline void LightBarrier() { asm volatile("" ::: "memory"); }

#if defined(__linux__) && defined(SYS_membarrier)

namespace internal {

// From the system's interface, since its header may be older than the system.
inline constexpr int kMembarrierPrivateExpedited = 1 << 3;
inline constexpr int kMembarrierRegisterPrivateExpedited = 1 << 4;

}  // namespace internal

inline bool PrepareHeavyBarrier() {
  return syscall(SYS_membarrier, internal::kMembarrierRegisterPrivateExpedited,
                 0, 0) == 0;
}
// The writer's: every thread of the process has passed a full barrier when it
// returns. Precondition: PrepareHeavyBarrier() was true.
inline void HeavyBarrier() {
  if (syscall(SYS_membarrier, internal::kMembarrierPrivateExpedited, 0, 0) !=
      0) {
    __builtin_trap();
  }
}

#else

inline bool PrepareHeavyBarrier() { return false; }
// The heavy one is not there on this system.
inline void HeavyBarrier() { __builtin_trap(); }

#endif
#endif

}  // namespace ptage

#endif  // PTAGE_ONCE_ASYMMETRIC_H_
