// SPDX-License-Identifier: MIT OR Apache-2.0
//
// main() of tests whose threads contend for an absl::Mutex.
//
// The first thread that blocks maps the memory of Abseil's semaphores, and
// ThreadSanitizer takes that mapping for a write, which it sees race with the
// first post from another thread: Abseil hides the synchronization inside its
// mutex from the sanitizer. Here it is the only thread that there is.

#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

int main(int argc, char** argv) {
  testing::InitGoogleMock(&argc, argv);
  absl::Notification never;
  never.WaitForNotificationWithTimeout(absl::Microseconds(1));
  return RUN_ALL_TESTS();
}
