#include "proto/http/listener.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "proto/http/bounded_stream.h"
#include "proto/http/tls_stream.h"

namespace filigree::http {
namespace {

constexpr std::chrono::seconds kPatience{5};  // for a whole request, and for each write of its answer

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

// Set while a connection is taken that there is no room for.
thread_local bool refuses = false;

// The library's own pool lets connections wait without end, each with a file that others need: beyond so many they are
// closed at once, on the thread that accepts.
class ShortQueue : public httplib::TaskQueue {
 public:
  explicit ShortQueue(int threads) : pool_(static_cast<size_t>(threads)) {}

  void enqueue(std::function<void()> answer) override {
    if (waiting_ >= kMostWaiting) {
      refuses = true;
      answer();
      refuses = false;
      return;
    }
    ++waiting_;
    pool_.enqueue([this, answer = std::move(answer)] {
      --waiting_;
      answer();
    });
  }
  void shutdown() override { pool_.shutdown(); }

 private:
  std::atomic<int> waiting_{0};
  httplib::ThreadPool pool_;
};

// Ranges that overlap would make a small request a large answer: what is here is short and goes out whole.
void WholeOnly(httplib::Request& request) { request.ranges.clear(); }

// The library reads heads of any length, and waits anew for every byte: this one reads so many bytes, and until then.
class ShortRequests : public httplib::Server {
 public:
  ShortRequests(size_t request_bytes, std::shared_ptr<SSL_CTX> tls)
      : request_bytes_(request_bytes), tls_(std::move(tls)) {}

 private:
  bool process_and_close_socket(int socket) override {
    const bool answered = !refuses && (tls_ == nullptr ? AnswerPlain(socket) : AnswerTls(socket));
    ::shutdown(socket, SHUT_RDWR);
    ::close(socket);
    return answered;
  }

  bool AnswerPlain(int socket) {
    BoundedStream stream(socket, request_bytes_, kPatience);
    bool closed = false;
    return process_request(stream, /*close_connection=*/true, closed, WholeOnly);
  }

  bool AnswerTls(int socket) {
    TlsStream stream(tls_.get(), socket, request_bytes_, kPatience);
    if (!stream.Accept()) return false;
    bool closed = false;
    const bool answered =
        process_request(stream, /*close_connection=*/true, closed, [&stream](httplib::Request& request) {
          request.ssl = stream.ssl();
          WholeOnly(request);
        });
    stream.Finish();
    return answered;
  }

  const size_t request_bytes_;
  const std::shared_ptr<SSL_CTX> tls_;
};

// The library's constructor ignores SIGPIPE for the whole process, which is not its to decide.
std::unique_ptr<httplib::Server> MakeServer(const ListenerOptions& options) {
  struct sigaction before = {};
  sigaction(SIGPIPE, nullptr, &before);
  auto server = std::make_unique<ShortRequests>(options.request_bytes, options.tls);
  sigaction(SIGPIPE, &before, nullptr);
  return server;
}

// The library's own socket options would let two processes share a port, each with half of the requests.
void OwnPort(int socket) {
  const int yes = 1;
  setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Listener>> Listener::Open(ListenerOptions options) {
  std::unique_ptr<Listener> listener(new Listener());
  listener->server_ = MakeServer(options);
  httplib::Server& server = *listener->server_;
  server.set_socket_options(OwnPort);
  server.new_task_queue = [threads = options.threads] {
    return new ShortQueue(threads);  // the server deletes it
  };
  server.set_payload_max_length(0);
  contract::HostPort bound = options.address;
  if (bound.port == 0)
    bound.port = server.bind_to_any_port(bound.host);
  else if (!server.bind_to_port(bound.host, bound.port))
    bound.port = -1;
  if (bound.port <= 0)
    return absl::UnavailableError(fmt::format(
        "{}: cannot listen on {}: the port is taken, or the address is none of this machine's; take another",
        options.what, contract::AddressText(options.address)));
  listener->address_ = contract::AddressText(bound);
  return listener;
}

void Listener::Run() {
  const NoSignals quiet;
  thread_ = std::thread([this] { server_->listen_after_bind(); });
  // Stop() of a server whose thread has not come that far would be lost.
  while (!server_->is_running()) std::this_thread::yield();
}

Listener::~Listener() {
  if (!thread_.joinable()) return;
  server_->stop();
  thread_.join();
}

}  // namespace filigree::http
