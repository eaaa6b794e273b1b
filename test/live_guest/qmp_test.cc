// SPDX-License-Identifier: MIT OR Apache-2.0

#include "examples/live_guest/qmp.h"

#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace ptage::live_guest {
namespace {

constexpr char kHello[] =
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, "
    "\"major\": 7}, \"package\": \"\"}, \"capabilities\": []}}\r\n"
    "{\"return\": {}}\r\n";

// The other end of a monitor: what it says, whatever it is asked, and what it
// was asked.
class Monitor {
 public:
  explicit Monitor(const std::string& says) {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    client_ = ends[0];
    ours_ = ends[1];
    EXPECT_EQ(write(ours_, says.data(), says.size()),
              static_cast<ssize_t>(says.size()));
  }
  ~Monitor() { Close(); }
  int client() const { return client_; }
  void Close() {
    if (ours_ >= 0) close(std::exchange(ours_, -1));
  }
  std::string Asked() {
    char text[4096];
    const ssize_t got = recv(ours_, text, sizeof text, MSG_DONTWAIT);
    return got > 0 ? std::string(text, static_cast<std::size_t>(got)) : "";
  }

 private:
  int client_ = -1;
  int ours_ = -1;
};

TEST(QmpTest, PassesOverEventsToTheAnswer) {
  Monitor monitor(std::string(kHello) +
                  "{\"event\": \"RESUME\", \"timestamp\": {}}\r\n"
                  "{\"return\": \"a\\r\\nb\"}\r\n");
  auto qmp = Qmp::Over(monitor.client());
  ASSERT_TRUE(qmp.ok()) << qmp.status();
  EXPECT_EQ(qmp->version(), "7.2.22");
  const auto text = qmp->Human("info \"registers\"");
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, "a\r\nb");
  EXPECT_EQ(monitor.Asked(),
            "{\"execute\":\"qmp_capabilities\"}\n"
            "{\"execute\":\"human-monitor-command\",\"arguments\":"
            "{\"command-line\":\"info \\\"registers\\\"\"}}\n");
}

TEST(QmpTest, ARefusalIsInTheMonitorsWords) {
  Monitor monitor(std::string(kHello) +
                  "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no "
                  "such thing\"}}\r\n");
  auto qmp = Qmp::Over(monitor.client());
  ASSERT_TRUE(qmp.ok()) << qmp.status();
  const absl::Status refused = qmp->Command("stop").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_TRUE(absl::StrContains(refused.message(), "no such thing"));
}

TEST(QmpTest, WhoeverIsNotThereIsToldApart) {
  // Nobody listens.
  const absl::Status absent = Qmp::Connect("/nonexistent/qmp").status();
  EXPECT_TRUE(absl::IsNotFound(absent)) << absent;
  EXPECT_TRUE(absl::StrContains(absent.message(), "-qmp unix:"));
  EXPECT_TRUE(
      absl::IsInvalidArgument(Qmp::Connect(std::string(200, 'x')).status()));
  {
    // Another client is served.
    Monitor monitor("");
    const absl::Status silent =
        Qmp::Over(monitor.client(), absl::Milliseconds(20)).status();
    EXPECT_TRUE(absl::IsDeadlineExceeded(silent)) << silent;
    EXPECT_TRUE(absl::StrContains(silent.message(), "another"));
  }
  {
    // Something else listens.
    Monitor monitor("220 mail.example\r\n");
    EXPECT_TRUE(
        absl::IsFailedPrecondition(Qmp::Over(monitor.client()).status()));
  }
  {
    Monitor monitor("{}\r\n");
    EXPECT_TRUE(
        absl::IsFailedPrecondition(Qmp::Over(monitor.client()).status()));
  }
  {
    // It goes away.
    Monitor monitor(kHello);
    auto qmp = Qmp::Over(monitor.client());
    ASSERT_TRUE(qmp.ok()) << qmp.status();
    monitor.Close();
    EXPECT_TRUE(absl::IsUnavailable(qmp->Command("stop").status()));
  }
}

}  // namespace
}  // namespace ptage::live_guest
