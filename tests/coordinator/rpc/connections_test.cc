#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

#include "tests/coordinator/rpc/coordinator_process.h"
#include "tests/coordinator/rpc/rig.h"
#include "tests/support/child_reports.h"

// More connections than a process is given files by default: gRPC would never listen again after the first that it
// cannot accept.

namespace filigree::coordinator {
namespace {

constexpr rlim_t kFiles = 96;
constexpr int kConnections = 400;

// The number of files that processes started meanwhile may have open until they ask for more.
class FewFiles {
 public:
  FewFiles() {
    EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &before_), 0);
    rlimit few = before_;
    few.rlim_cur = kFiles;
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  }
  ~FewFiles() { setrlimit(RLIMIT_NOFILE, &before_); }
  FewFiles(const FewFiles&) = delete;
  FewFiles& operator=(const FewFiles&) = delete;

 private:
  rlimit before_{};
};

int ConnectTo(const std::string& address) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(connect(connection, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
  return connection;
}

// gRPC's server speaks first: it has accepted whoever has got a byte.
void AwaitGreeting(int connection) {
  timeval patience{20, 0};
  setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  char byte = 0;
  EXPECT_EQ(recv(connection, &byte, 1, 0), 1);
}

TEST(Connections, MoreThanTheUsualNumberOfFilesAreServed) {
  std::string folder = testing::TempDir() + "connections_XXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  CoordinatorProcess process(folder + "/journal.db");
  {
    const FewFiles few;
    ASSERT_TRUE(process.Start()) << process.said;
  }
  std::vector<int> idle;
  idle.reserve(kConnections);
  for (int i = 0; i < kConnections; ++i) idle.push_back(ConnectTo(process.address));
  AwaitGreeting(idle.front());
  AwaitGreeting(idle.back());
  Peer peer;
  rpc::ChannelOptions client;
  client.address = process.address;
  peer.Connect(client);
  const auto listed = Call(peer.users, &v1::Coordinator::Stub::List, v1::ListRequest());
  EXPECT_TRUE(listed.ok()) << listed.status();
  for (const int connection : idle) close(connection);
}

}  // namespace
}  // namespace filigree::coordinator
