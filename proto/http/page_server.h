#ifndef FILIGREE_PROTO_HTTP_PAGE_SERVER_H_
#define FILIGREE_PROTO_HTTP_PAGE_SERVER_H_

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// A few pages over HTTP, to be read and not to be written: for Prometheus, for probes, for people with curl.
//
// Plain text, no credentials, GET and HEAD only. Requests are small and short (8 KiB of head, no body, 5 s until all of
// it is there, 5 s for every write of the answer), and four are answered at a time; who asks for more waits, and the
// process that shows the pages does not.

namespace filigree::http {

struct Page {
  std::string type;  // of the content
  std::string body;
};

// Makes a page for one request. Called by the server's threads, several at a time. An error becomes 503 with its
// message.
using MakePage = std::function<absl::StatusOr<Page>()>;

struct PageServerOptions {
  std::string what;                       // begins every message: the flag or key that gave the address
  std::string address;                    // HOST:PORT; port 0: any that is free
  bool open = false;                      // whether `address` may be one that other machines reach
  std::string how_to_open;                // what the user sets for that
  std::map<std::string, MakePage> pages;  // by path, "/metrics"
};

class PageServer {
 public:
  // Listens when this returns. InvalidArgument: no address, or one that others reach without `open`; Unavailable: the
  // port is taken or the address none of this machine's.
  static absl::StatusOr<std::unique_ptr<PageServer>> Start(PageServerOptions options);

  // Whether Start would take the options, but for the port.
  static absl::Status Check(const PageServerOptions& options);

  // Ends the threads; requests under way are answered first.
  ~PageServer();
  PageServer(const PageServer&) = delete;
  PageServer& operator=(const PageServer&) = delete;

  // HOST:PORT with the real port.
  const std::string& address() const;

 private:
  struct Parts;
  explicit PageServer(std::unique_ptr<Parts> parts);

  std::unique_ptr<Parts> parts_;
};

}  // namespace filigree::http

#endif  // FILIGREE_PROTO_HTTP_PAGE_SERVER_H_
