#include "proto/http/page_server.h"

#include <fmt/format.h>
#include <httplib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>
#include <utility>

#include "proto/contract/address.h"
#include "proto/contract/ids.h"
#include "proto/http/bounded_stream.h"

namespace filigree::http {
namespace {

constexpr int kThreads = 4;
constexpr int kSeconds = 5;  // for a whole request, and for each write of its answer
constexpr size_t kHeadBytes = 8 << 10;

// While one of these lives, threads that are started get no signals: a reader that leaves raises SIGPIPE only in them,
// and those that stop the program are the program's.
class NoSignals {
 public:
  NoSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~NoSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  NoSignals(const NoSignals&) = delete;
  NoSignals& operator=(const NoSignals&) = delete;

 private:
  sigset_t before_{};
};

// The library reads heads of any length, and waits anew for every byte: this one reads so many bytes, and until then.
class ShortRequests : public httplib::Server {
 private:
  bool process_and_close_socket(int socket) override {
    BoundedStream stream(socket, kHeadBytes, std::chrono::seconds(kSeconds));
    bool closed = false;
    const bool answered = process_request(stream, /*close_connection=*/true, closed, nullptr);
    ::shutdown(socket, SHUT_RDWR);
    ::close(socket);
    return answered;
  }
};

// The library's constructor ignores SIGPIPE for the whole process, which is not its to decide.
std::unique_ptr<httplib::Server> MakeServer() {
  struct sigaction before = {};
  sigaction(SIGPIPE, nullptr, &before);
  auto server = std::make_unique<ShortRequests>();
  sigaction(SIGPIPE, &before, nullptr);
  return server;
}

// The library's own socket options would let two processes share a port, each with half of the requests.
void OwnPort(int socket) {
  const int yes = 1;
  setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
}

void Answer(const MakePage& make, httplib::Response& response) {
  absl::StatusOr<Page> page = make();
  if (page.ok()) {
    response.set_content(page->body, page->type);
    return;
  }
  response.status = 503;
  response.set_content(std::string(page.status().message()) + "\n", "text/plain; charset=utf-8");
}

void Limit(httplib::Server& server) {
  server.set_socket_options(OwnPort);
  server.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };  // the server deletes it
  server.set_payload_max_length(0);
}

absl::Status Check(const PageServerOptions& options, const contract::HostPort& address) {
  if (options.open || contract::IsLoopback(address.host)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("{}: {} can be reached by others, who are not asked who they are; take 127.0.0.1, or {} where the "
                  "network lets in nobody else",
                  options.what, contract::Shown(address.host), options.how_to_open));
}

}  // namespace

struct PageServer::Parts {
  PageServerOptions options;
  std::unique_ptr<httplib::Server> server;
  std::string address;
  std::thread thread;
};

absl::StatusOr<std::unique_ptr<PageServer>> PageServer::Start(PageServerOptions options) {
  const auto wanted = contract::ParseAddress(options.what, options.address);
  if (!wanted.ok()) return wanted.status();
  if (absl::Status status = Check(options, *wanted); !status.ok()) return status;
  auto parts = std::make_unique<Parts>();
  parts->options = std::move(options);
  parts->server = MakeServer();
  httplib::Server& server = *parts->server;
  Limit(server);
  for (const auto& [path, make] : parts->options.pages)
    server.Get(path, [&make = make](const httplib::Request&, httplib::Response& response) { Answer(make, response); });
  contract::HostPort bound = *wanted;
  if (bound.port == 0)
    bound.port = server.bind_to_any_port(bound.host);
  else if (!server.bind_to_port(bound.host, bound.port))
    bound.port = -1;
  if (bound.port <= 0)
    return absl::UnavailableError(fmt::format(
        "{}: cannot listen on {}: the port is taken, or the address is none of this machine's; take another",
        parts->options.what, contract::AddressText(*wanted)));
  parts->address = contract::AddressText(bound);
  const NoSignals quiet;
  parts->thread = std::thread([&server] { server.listen_after_bind(); });
  // Stop() of a server whose thread has not come that far would be lost.
  while (!server.is_running()) std::this_thread::yield();
  return std::unique_ptr<PageServer>(new PageServer(std::move(parts)));
}

PageServer::PageServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

PageServer::~PageServer() {
  parts_->server->stop();
  parts_->thread.join();
}

const std::string& PageServer::address() const { return parts_->address; }

}  // namespace filigree::http
