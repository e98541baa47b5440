#ifndef FILIGREE_PROTO_HTTP_SITE_SERVER_H_
#define FILIGREE_PROTO_HTTP_SITE_SERVER_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/http/tls.h"

// A small site over HTTP or HTTPS whose owner looks at every request itself: who asks, for what.
//
// Any method, bodies are not read. Requests are small and short (16 KiB, 5 s until all of it is there, 5 s for every
// write of the answer), one a connection, sixteen are answered at a time.

namespace filigree::http {

struct SiteRequest {
  std::string method, path;                         // "GET"; without what follows "?", and decoded
  std::multimap<std::string, std::string> headers;  // names are small
  std::map<std::string, std::string> query;         // decoded; of several with one name the first
  std::vector<std::string> peer_uris;  // of the client's certificate, where it showed one that was verified

  // The value of the header where there is exactly one; else empty.
  std::string Header(const std::string& name) const;
};

struct SiteReply {
  int status = 200;
  std::string type, body;
  std::map<std::string, std::string> headers;  // beside those of every answer
};

// Answers one request. Called by the server's threads, several at a time.
using AnswerSite = std::function<SiteReply(const SiteRequest& request)>;

struct SiteOptions {
  std::string what;                            // begins every message: the flag that gave the address
  std::string address;                         // HOST:PORT; port 0: any that is free
  std::shared_ptr<ssl_ctx_st> tls;             // null: plain text
  std::map<std::string, std::string> headers;  // of every answer
  AnswerSite answer;
};

class SiteServer {
 public:
  // Listens when this returns. InvalidArgument: no address; Unavailable: the port is taken or the address none of this
  // machine's. Who may reach the address is the caller's to decide.
  static absl::StatusOr<std::unique_ptr<SiteServer>> Start(SiteOptions options);

  // Ends the threads; requests under way are answered first.
  ~SiteServer();
  SiteServer(const SiteServer&) = delete;
  SiteServer& operator=(const SiteServer&) = delete;

  const std::string& address() const;  // HOST:PORT with the real port

 private:
  struct Parts;
  explicit SiteServer(std::unique_ptr<Parts> parts);

  std::unique_ptr<Parts> parts_;
};

}  // namespace filigree::http

#endif  // FILIGREE_PROTO_HTTP_SITE_SERVER_H_
