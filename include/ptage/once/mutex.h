// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The mutex of the hosted headers, which is Abseil's. Under PTAGE_RELACY it is
// one that the checker schedules, so that what waits in it can be searched; a
// search sees of Abseil's what its contract says.
//
// Contract
//   As of absl::Mutex: one holder, or several readers; what a holder wrote is
//   visible to the next. A reader waits where a writer waits already.

#ifndef PTAGE_ONCE_MUTEX_H_
#define PTAGE_ONCE_MUTEX_H_

#include "absl/base/thread_annotations.h"
#include "ptage/config.h"

#if !defined(PTAGE_RELACY)
#include "absl/synchronization/mutex.h"
#endif

namespace ptage {

#if defined(PTAGE_RELACY)

class ABSL_LOCKABLE HostedMutex {
 public:
  HostedMutex() {
    mutex_.init(/*is_rw=*/true, /*is_exclusive_recursive=*/false,
                /*is_shared_recursive=*/false, /*failing_try_lock=*/false,
                RL_INFO);
  }
  ~HostedMutex() { mutex_.deinit(RL_INFO); }
  HostedMutex(const HostedMutex&) = delete;
  HostedMutex& operator=(const HostedMutex&) = delete;

  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock_exclusive(RL_INFO); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock_exclusive(RL_INFO); }
  void ReaderLock() ABSL_SHARED_LOCK_FUNCTION() { mutex_.lock_shared(RL_INFO); }
  void ReaderUnlock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock_shared(RL_INFO); }

 private:
  struct Tag;
  rl::generic_mutex<Tag> mutex_;
};

class ABSL_SCOPED_LOCKABLE HostedMutexLock {
 public:
  explicit HostedMutexLock(HostedMutex* mutex)
      ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex)
      : mutex_(*mutex) {
    mutex_.Lock();
  }
  ~HostedMutexLock() ABSL_UNLOCK_FUNCTION() { mutex_.Unlock(); }
  HostedMutexLock(const HostedMutexLock&) = delete;
  HostedMutexLock& operator=(const HostedMutexLock&) = delete;

 private:
  HostedMutex& mutex_;
};

#else

using HostedMutex = absl::Mutex;
using HostedMutexLock = absl::MutexLock;

#endif

}  // namespace ptage

#endif  // PTAGE_ONCE_MUTEX_H_
