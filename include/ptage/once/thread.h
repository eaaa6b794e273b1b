// SPDX-License-Identifier: MIT OR Apache-2.0
//
// State of the calling thread, and word of its end and of fork. Hosted: it
// needs POSIX threads.
//
// Contract
//   * A `Local<T>` is a word of one thread, which that thread's signal handlers
//     may read and write too: accesses are whole, and in the order in which
//     they are written.
//   * Each thread has a few slots, of one word. They start at 0, and are 0
//     again when the thread's end is told. They are in the static thread-local
//     storage: reaching one takes no call, and allocates nothing, so that a
//     handler may be the first to.
//   * A thread's identity is the same for as long as it lives, and differs from
//     those of all others alive; it may be that of one that has ended.
//   * WatchThisThread sees to it that the thread's end is told to every
//     ThreadWatcher that is on the list then. It may be called from a signal
//     handler: with glibc if this process had made fewer than 32
//     thread-specific keys before its first ThreadWatcher (else the C library
//     may allocate).
//   * Around fork the watchers are told too, in the forking thread: before, and
//     after in parent and child. Not by vfork or a bare clone.
//   * Progress: WatchThisThread is wait-free; ThreadWatcher's constructor and
//     destructor, fork, and a thread's end wait for each other.

#ifndef PTAGE_ONCE_THREAD_H_
#define PTAGE_ONCE_THREAD_H_

#include <cstdint>

#include "ptage/config.h"
#include "ptage/once.h"

#if !defined(PTAGE_RELACY)
#include <pthread.h>
#include <sched.h>
#endif

namespace ptage {

// A variable of each thread's own. No other thread may read it.
template <class T>
class Local {
 public:
  constexpr Local() = default;
  // The calling thread's value.
  [[nodiscard]] T Get() const { return value_; }
  void Set(T value) { value_ = value; }

 private:
  volatile T value_{};
};

// Slots that a thread has for what watches it.
inline constexpr unsigned kThreadSlots = 8;

// Whoever shares a slot with others tells by its word whose it is. One word,
// for of two, whose it is and what, a handler could change the second after the
// first was read.
struct ThreadState {
  // For whoever came last, at an address that is a constant.
  Local<std::uint64_t> last;
  Local<std::uint64_t> slots[kThreadSlots];
  Local<bool> watched;

  // Forgets everything: for a thread that begins.
  void Clear() {
    last.Set(0);
    for (auto& slot : slots) slot.Set(0);
  }
};

[[nodiscard]] inline ThreadState& ThisThread();
// The calling thread's number, which no other has had.
[[nodiscard]] inline std::uint64_t ThisThreadId() {
  return reinterpret_cast<std::uintptr_t>(&ThisThread());
}

// A number that no other call returns; never 0.
[[nodiscard]] inline std::uint64_t NewNumber();

// The thread's own number, from the first call on: a hint for Gate and
// ShardedCount that deals better than ThreadHint does.
[[nodiscard]] inline unsigned ThisThreadNumber();

// What is told. Each function is called with the list locked: it must not make
// or destroy a watcher.
class ThreadWatcher {
 public:
  ThreadWatcher(const ThreadWatcher&) = delete;
  ThreadWatcher& operator=(const ThreadWatcher&) = delete;

  // In a thread that ends. Its slots are empty.
  virtual void OnThreadExit(std::uint64_t thread) = 0;
  virtual void BeforeFork() = 0;
  virtual void AfterForkInParent() = 0;
  virtual void AfterForkInChild() = 0;

 protected:
  ThreadWatcher() = default;
  ~ThreadWatcher() = default;

  // Puts it on the list and takes it off: first and last while all of it is
  // alive.
  inline void StartWatching();
  inline void StopWatching();

 private:
  friend struct ThreadWatchers;
  ThreadWatcher* next_ = nullptr;
};

// False if the system has no room for it.
[[nodiscard]] inline bool WatchThisThread();

// Gives the processor away.
inline void YieldThread();

// ---------------------------------------------------------------------------

#if defined(PTAGE_RELACY)

inline ThreadState& ThisThread() {
  static ThreadState threads[16];
  return threads[rl::ctx().current_thread()];
}
inline std::uint64_t NewNumber() {
  static std::uint64_t last = 0;
  return ++last;
}
inline unsigned ThisThreadNumber() { return ThreadHint(); }

// What a search plays for the one watcher that it makes.
struct PlayedThreads {
  static inline ThreadWatcher* only = nullptr;

  // The end of the calling thread. What it does next it does as another, which
  // has got its identity.
  static void ThreadExits() {
    ThreadState& thread = ThisThread();
    thread.Clear();
    only->OnThreadExit(ThisThreadId());
  }
  // From here on the calling thread is the child's. Precondition: the others
  // do nothing more, and the caller sees what they did.
  static void Fork() {
    only->BeforeFork();
    only->AfterForkInChild();
  }
};

void ThreadWatcher::StartWatching() { PlayedThreads::only = this; }
void ThreadWatcher::StopWatching() {}
inline bool WatchThisThread() { return true; }
inline void YieldThread() { SpinPause(); }

#else

namespace internal {

// Initial-exec: no call, also in a shared library; and no allocation, which
// might be inside a signal handler.
[[gnu::tls_model(
    "initial-exec")]] inline constinit thread_local ThreadState this_thread;

inline constinit Cell<std::uint64_t> last_number{0};

// 0 until it is asked for.
inline thread_local constinit unsigned this_number = 0;

}  // namespace internal

inline ThreadState& ThisThread() { return internal::this_thread; }
inline std::uint64_t NewNumber() {
  return FetchAdd(internal::last_number, 1, kRelaxed) + 1;
}
inline unsigned ThisThreadNumber() {
  if (internal::this_number == 0) {
    internal::this_number = static_cast<unsigned>(NewNumber());
  }
  return internal::this_number;
}
inline void YieldThread() { sched_yield(); }

// All watchers of the process, under one mutex.
struct ThreadWatchers {
  // Held for a few loads and stores, and across a fork.
  static inline pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  // The rest belongs to the holder of the mutex: the list; and whether the
  // system was told of it, by this key.
  static inline constinit ThreadWatcher* first = nullptr;
  static inline constinit bool started = false;
  static inline constinit pthread_key_t key = 0;

  // Puts a watcher into the list. This waits for the mutex, as Remove does.
  static void Add(ThreadWatcher& watcher) {
    pthread_mutex_lock(&mutex);
    if (!started) {
      started = true;
      if (pthread_key_create(&key, &ThreadExits) != 0 ||
          pthread_atfork(&Before, &InParent, &InChild) != 0) {
        __builtin_trap();
      }
    }
    watcher.next_ = first;
    first = &watcher;
    pthread_mutex_unlock(&mutex);
  }
  // Takes it out.
  static void Remove(ThreadWatcher& watcher) {
    pthread_mutex_lock(&mutex);
    ThreadWatcher** link = &first;
    while (*link != &watcher) link = &(*link)->next_;
    *link = watcher.next_;
    pthread_mutex_unlock(&mutex);
  }
  // Runs after the destructors of thread_local objects. A walk in a later one
  // of its kind has the thread watched again, and is told of in the next round.
  static void ThreadExits(void*) {
    ThreadState& thread = ThisThread();
    thread.watched.Set(false);
    thread.Clear();
    pthread_mutex_lock(&mutex);
    for (ThreadWatcher* w = first; w != nullptr; w = w->next_) {
      w->OnThreadExit(ThisThreadId());
    }
    pthread_mutex_unlock(&mutex);
  }
  static void Before() {
    pthread_mutex_lock(&mutex);
    for (ThreadWatcher* w = first; w != nullptr; w = w->next_) w->BeforeFork();
  }
  static void InParent() {
    for (ThreadWatcher* w = first; w != nullptr; w = w->next_) {
      w->AfterForkInParent();
    }
    pthread_mutex_unlock(&mutex);
  }
  static void InChild() {
    for (ThreadWatcher* w = first; w != nullptr; w = w->next_) {
      w->AfterForkInChild();
    }
    pthread_mutex_unlock(&mutex);
  }
};

void ThreadWatcher::StartWatching() { ThreadWatchers::Add(*this); }
void ThreadWatcher::StopWatching() { ThreadWatchers::Remove(*this); }

inline bool WatchThisThread() {
  ThreadState& thread = ThisThread();
  if (thread.watched.Get()) return true;
  if (pthread_setspecific(ThreadWatchers::key, &thread) != 0) return false;
  thread.watched.Set(true);
  return true;
}

#endif

}  // namespace ptage

#endif  // PTAGE_ONCE_THREAD_H_
