#ifndef FILIGREE_PROTO_HTTP_LISTENER_H_
#define FILIGREE_PROTO_HTTP_LISTENER_H_

#include <httplib.h>
#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "proto/contract/address.h"

namespace filigree::http {

inline constexpr int kMostWaiting = 64;

struct ListenerOptions {
  std::string what;            // begins messages
  contract::HostPort address;  // port 0: any that is free
  int threads = 4;             // requests that are answered at a time
  size_t request_bytes = 8 << 10;
  std::shared_ptr<SSL_CTX> tls;  // null: plain text
};

// A server of short requests: so many bytes, no body, one a connection, 5 s until all of it is there (with the
// handshake), 5 s for every write of the answer. Beside those being answered kMostWaiting connections wait; more are
// closed unheard. Ranges are not looked at: answers are whole. Signals are not for its threads, and SIGPIPE stays what
// it was.
class Listener {
 public:
  // Has the port, and answers nothing yet. Unavailable: the port is taken or the address none of this machine's.
  static absl::StatusOr<std::unique_ptr<Listener>> Open(ListenerOptions options);
  ~Listener();  // requests under way are answered first
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // Routes are set before Run.
  httplib::Server& server() { return *server_; }
  void Run();

  const std::string& address() const { return address_; }  // HOST:PORT with the real port

 private:
  Listener() = default;

  std::unique_ptr<httplib::Server> server_;
  std::string address_;
  std::thread thread_;
};

}  // namespace filigree::http

#endif  // FILIGREE_PROTO_HTTP_LISTENER_H_
