// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The MMU lock as faults take it: shared at the price of a locked operation
// each way on a line of the thread's own, exclusively at the price of a look at
// all of these lines.
//
// Contract
//   Any threads may hold it shared, or one exclusively, and then no other
//   thread holds the mutex beneath. Who holds that mutex alone excludes
//   who holds the lock exclusively, and nobody else.
//
//   Shared inside shared may wait for ever. A thread that holds the lock shared
//   must not wait for the mutex, or for one that wants the lock exclusively.
//
//   Progress: taking it shared is wait-free while nobody holds it exclusively,
//   or waits to; else it waits its turn, as absl::Mutex gives it. Taking it
//   exclusively waits for holders of either kind, and for no later ones.

#ifndef PTAGE_FAULT_LOCK_H_
#define PTAGE_FAULT_LOCK_H_

#include "absl/base/thread_annotations.h"
#include "ptage/gate.h"
#include "ptage/once.h"
#include "ptage/once/mutex.h"
#include "ptage/once/thread.h"

namespace ptage {

class FaultLock {
 public:
  // `mutex` outlives this.
  explicit FaultLock(HostedMutex& mutex) : mutex_(mutex) {}
  FaultLock(const FaultLock&) = delete;
  FaultLock& operator=(const FaultLock&) = delete;

  // Proof for functions that want the lock to be held, in whichever way.
  class Held {
   public:
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    [[nodiscard]] bool Of(const FaultLock& lock) const {
      return &lock_ == &lock;
    }

   protected:
    explicit Held(FaultLock& lock) : lock_(lock) {}
    ~Held() = default;
    FaultLock& lock_;
  };

  class [[nodiscard]] Shared : public Held {
   public:
    explicit Shared(FaultLock& lock) ABSL_NO_THREAD_SAFETY_ANALYSIS
        : Held(lock),
          pass_(lock.gate_.TryEnter(ThisThreadNumber())) {
      // In the queue, so that exclusive holders do not overtake for ever.
      if (!pass_) lock.mutex_.ReaderLock();
    }
    ~Shared() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      if (pass_) {
        lock_.gate_.Leave(pass_);
      } else {
        lock_.mutex_.ReaderUnlock();
      }
    }

   private:
    const Gate<>::Pass pass_;
  };

  class [[nodiscard]] Exclusive : public Held {
   public:
    explicit Exclusive(FaultLock& lock) ABSL_NO_THREAD_SAFETY_ANALYSIS
        : Held(lock) {
      lock.mutex_.Lock();
      int turns = 0;
      lock.gate_.Close([&turns] {
        // Who is inside is soon out, if he has a CPU.
        if (++turns % kTurns == 0) YieldThread();
        SpinPause();
      });
    }
    ~Exclusive() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      lock_.gate_.Open();
      lock_.mutex_.Unlock();
    }

   private:
    static constexpr int kTurns = 64;
  };

 private:
  HostedMutex& mutex_;
  Gate<> gate_;
};

}  // namespace ptage

#endif  // PTAGE_FAULT_LOCK_H_
