#include "proto/http/page_server.h"

#include <gtest/gtest.h>
#include <httplib.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "proto/contract/address.h"
#include "proto/http/listener.h"
#include "proto/http/metrics_page.h"

namespace filigree::http {
namespace {

PageServerOptions Options(const std::string& address = "127.0.0.1:0") {
  PageServerOptions options;
  options.what = "--pages";
  options.address = address;
  options.how_to_open = "give --open";
  options.pages["/good"] = []() -> absl::StatusOr<Page> { return Page{"text/plain", "hello\n"}; };
  options.pages["/busy"] = []() -> absl::StatusOr<Page> { return absl::UnavailableError("too much to do"); };
  return options;
}

bool Says(const absl::Status& status, absl::StatusCode code, const std::string& part) {
  return status.code() == code && std::string(status.message()).find(part) != std::string::npos;
}

TEST(PageServer, ShowsItsPagesAndNothingElse) {
  const auto server = PageServer::Start(Options());
  ASSERT_TRUE(server.ok()) << server.status();
  httplib::Client client("http://" + (*server)->address());
  const auto good = client.Get("/good");
  ASSERT_TRUE(good);
  EXPECT_EQ(good->status, 200);
  EXPECT_EQ(good->body, "hello\n");
  EXPECT_EQ(good->get_header_value("Content-Type"), "text/plain");
  const auto busy = client.Get("/busy");
  ASSERT_TRUE(busy);
  EXPECT_EQ(busy->status, 503);
  EXPECT_EQ(busy->body, "too much to do\n");
  for (const char* path : {"/", "/goo", "/goods", "/good/", "/../etc/passwd"}) {
    const auto other = client.Get(path);
    ASSERT_TRUE(other) << path;
    EXPECT_EQ(other->status, 404) << path;
  }
  const auto posted = client.Post("/good", "a=b", "text/plain");
  EXPECT_TRUE(!posted || posted->status >= 400);
}

TEST(PageServer, RefusesAddressesThatOthersReachUnlessOpened) {
  for (const char* address : {"0.0.0.0:0", "[::]:0", "example.org:80", "10.0.0.1:1"}) {
    const auto server = PageServer::Start(Options(address));
    EXPECT_TRUE(Says(server.status(), absl::StatusCode::kInvalidArgument, "or give --open")) << address;
  }
  PageServerOptions open = Options("0.0.0.0:0");
  open.open = true;
  EXPECT_TRUE(PageServer::Start(std::move(open)).ok());
}

TEST(PageServer, RefusesWhatIsNoAddress) {
  for (const char* address : {"", ":80", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:65536"}) {
    const auto server = PageServer::Start(Options(address));
    EXPECT_TRUE(Says(server.status(), absl::StatusCode::kInvalidArgument, "--pages: ")) << address;
  }
}

TEST(PageServer, SharesItsPortWithNobody) {
  const auto first = PageServer::Start(Options());
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = PageServer::Start(Options((*first)->address()));
  EXPECT_TRUE(Says(second.status(), absl::StatusCode::kUnavailable, "the port is taken")) << second.status();
}

TEST(PageServer, GivesItsPortBackAtTheEnd) {
  std::string address;
  for (int round = 0; round < 3; ++round) {
    const auto server = PageServer::Start(Options(address.empty() ? "127.0.0.1:0" : address));
    ASSERT_TRUE(server.ok()) << server.status();
    address = (*server)->address();
    httplib::Client client("http://" + address);
    EXPECT_TRUE(client.Get("/good"));
  }
}

TEST(PageServer, LeavesTheSignalsOfTheProcessAsTheyWere) {
  struct sigaction before = {}, after = {};
  sigset_t mask_before = {}, mask_after = {};
  sigaction(SIGPIPE, nullptr, &before);
  pthread_sigmask(SIG_SETMASK, nullptr, &mask_before);
  const auto server = PageServer::Start(Options());
  ASSERT_TRUE(server.ok()) << server.status();
  sigaction(SIGPIPE, nullptr, &after);
  pthread_sigmask(SIG_SETMASK, nullptr, &mask_after);
  EXPECT_EQ(before.sa_handler, after.sa_handler);
  EXPECT_EQ(sigismember(&mask_before, SIGTERM), sigismember(&mask_after, SIGTERM));
}

// A reader that leaves in the middle of a large page: the write to it raises SIGPIPE, which would end the process.
TEST(PageServer, OutlivesReadersThatLeave) {
  PageServerOptions options = Options();
  options.pages["/large"] = []() -> absl::StatusOr<Page> { return Page{"text/plain", std::string(64 << 20, 'x')}; };
  const auto server = PageServer::Start(std::move(options));
  ASSERT_TRUE(server.ok()) << server.status();
  httplib::Client client("http://" + (*server)->address());
  for (int i = 0; i < 3; ++i) client.Get("/large", [](const char*, size_t) { return false; });
  const auto good = client.Get("/good");
  ASSERT_TRUE(good);
  EXPECT_EQ(good->status, 200);
}

// What a client may do to a server: a raw connection.
int Connected(const std::string& address) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
  return fd;
}

// Whatever it sends, it is heard so far and no further: the server closes, and takes the next.
TEST(PageServer, ReadsNoHeadsWithoutEnd) {
  const auto server = PageServer::Start(Options());
  ASSERT_TRUE(server.ok()) << server.status();
  for (const std::string& endless : {std::string("a"), std::string("x: y\r\n")}) {
    const int fd = Connected((*server)->address());
    std::string bytes = "GET /good HTTP/1.1\r\n";
    if (endless == "a") bytes = "GET /";
    size_t sent = bytes.size();
    ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    bool cut = false;
    for (bytes.clear(); bytes.size() < 4096;) bytes += endless;
    while (!cut && sent < (64u << 20)) {
      const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      cut = n <= 0;
      sent += cut ? 0 : static_cast<size_t>(n);
    }
    EXPECT_TRUE(cut) << "took " << sent << " bytes of a head";
    ::close(fd);
  }
  EXPECT_TRUE(httplib::Client("http://" + (*server)->address()).Get("/good"));
}

// Ranges that overlap would make an answer as many times as long as they are many.
TEST(PageServer, AnswersWholeWhateverRangesAreAskedFor) {
  const auto server = PageServer::Start(Options());
  ASSERT_TRUE(server.ok()) << server.status();
  httplib::Client client("http://" + (*server)->address());
  std::string ranges = "bytes=-";
  for (int i = 0; i < 1000; ++i) ranges += ",-";
  for (const std::string& range : {ranges, std::string("bytes=1-2"), std::string("bytes=0-0,0-3")}) {
    const auto good = client.Get("/good", {{"Range", range}});
    ASSERT_TRUE(good) << range;
    EXPECT_EQ(good->status, 200) << range;
    EXPECT_EQ(good->body, "hello\n") << range;
  }
}

// Each would keep a file of the process open until a thread comes to it.
TEST(PageServer, LetsNoMoreThanAFewConnectionsWait) {
  constexpr size_t kThreads = 4, kTooMany = 20;
  const auto server = PageServer::Start(Options());
  ASSERT_TRUE(server.ok()) << server.status();
  std::vector<int> idle;
  for (size_t i = 0; i < kThreads + kMostWaiting + kTooMany; ++i) idle.push_back(Connected((*server)->address()));
  // Long before the 5 s that a request may take. Which they are hangs on when the threads take theirs.
  size_t closed = 0;
  for (const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(3);
       closed < kTooMany && std::chrono::steady_clock::now() < end;) {
    std::vector<pollfd> fds;
    fds.reserve(idle.size());
    for (const int fd : idle) fds.push_back({fd, POLLIN, 0});
    ::poll(fds.data(), fds.size(), 100);
    closed =
        static_cast<size_t>(std::count_if(fds.begin(), fds.end(), [](const pollfd& fd) { return fd.revents != 0; }));
  }
  EXPECT_GE(closed, kTooMany);
  EXPECT_LE(closed, kTooMany + kThreads);  // where none was taken before all had come
  for (const int fd : idle) ::close(fd);
  httplib::Client client("http://" + (*server)->address());
  client.set_read_timeout(25);
  EXPECT_TRUE(client.Get("/good"));
}

// Four that send a byte now and then have all threads, and not for longer than a request may take.
TEST(PageServer, IsNotHeldByReadersThatDawdle) {
  const auto server = PageServer::Start(Options());
  ASSERT_TRUE(server.ok()) << server.status();
  std::vector<int> slow;
  for (int i = 0; i < 4; ++i) slow.push_back(Connected((*server)->address()));
  std::atomic<bool> over = false;
  std::thread drips([&] {
    for (int i = 0; !over && i < 300; ++i) {
      for (const int fd : slow) ::send(fd, "G", 1, MSG_NOSIGNAL);
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  });
  httplib::Client client("http://" + (*server)->address());
  client.set_read_timeout(25);
  EXPECT_TRUE(client.Get("/good"));
  over = true;
  drips.join();
  for (const int fd : slow) ::close(fd);
}

TEST(MetricsPage, EscapesLabelsAndKeepsFamiliesTogether) {
  constexpr FamilyInfo kA = {"a", prometheus::MetricType::Gauge, "Of a"};
  constexpr FamilyInfo kB = {"b_total", prometheus::MetricType::Counter, "Of b"};
  MetricsPage page({"1.0", "abc", "none", "none", "3.1"});
  page.Add(kA, {{"run_id", "x\"y\\z\n"}}, 1.5);
  page.Add(kB, {}, 7);
  page.Add(kA, {{"run_id", "other"}}, 2);
  const std::string text = page.Text().body;
  EXPECT_NE(text.find("# HELP a Of a\n# TYPE a gauge\na{run_id=\"x\\\"y\\\\z\\n\"} 1.5\na{run_id=\"other\"} 2\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("# TYPE b_total counter\nb_total 7\n"), std::string::npos) << text;
  EXPECT_NE(
      text.find("filigree_build_info{version=\"1.0\",revision=\"abc\",cuda=\"none\",nccl=\"none\",mpi=\"3.1\"} 1"),
      std::string::npos)
      << text;
}

TEST(Address, IsWrittenAsItIsRead) {
  for (const char* text : {"127.0.0.1:9400", "[::1]:80", "node-1:0"}) {
    const auto parsed = contract::ParseAddress("address", text);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(contract::AddressText(*parsed), text);
  }
}

}  // namespace
}  // namespace filigree::http
