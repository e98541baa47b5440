#include "proto/http/site_server.h"

#include <cctype>
#include <utility>

#include "proto/contract/address.h"
#include "proto/http/listener.h"
#include "proto/http/tls_stream.h"

namespace filigree::http {
namespace {

std::string Small(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

SiteRequest RequestOf(const httplib::Request& from) {
  SiteRequest request;
  request.method = from.method;
  request.path = from.path;
  for (const auto& [name, value] : from.headers) request.headers.emplace(Small(name), value);
  for (const auto& [name, value] : from.params) request.query.emplace(name, value);
  if (from.ssl != nullptr) request.peer_uris = UrisOfPeer(from.ssl);
  return request;
}

}  // namespace

std::string SiteRequest::Header(const std::string& name) const {
  return headers.count(name) == 1 ? headers.find(name)->second : "";
}

struct SiteServer::Parts {
  SiteOptions options;
  std::unique_ptr<Listener> listener;
};

absl::StatusOr<std::unique_ptr<SiteServer>> SiteServer::Start(SiteOptions options) {
  const auto wanted = contract::ParseAddress(options.what, options.address);
  if (!wanted.ok()) return wanted.status();
  auto listener = Listener::Open({options.what, *wanted, 16, 16 << 10, options.tls});
  if (!listener.ok()) return listener.status();
  auto parts = std::make_unique<Parts>();
  parts->options = std::move(options);
  parts->listener = *std::move(listener);
  httplib::Server& server = parts->listener->server();
  server.set_default_headers({parts->options.headers.begin(), parts->options.headers.end()});
  const auto answer = [&site = parts->options](const httplib::Request& from, httplib::Response& to) {
    SiteReply reply = site.answer(RequestOf(from));
    to.status = reply.status;
    to.set_content(reply.body, reply.type);
    for (const auto& [name, value] : reply.headers) to.set_header(name, value);
    return httplib::Server::HandlerResponse::Handled;
  };
  server.set_pre_routing_handler(answer);  // the library's own routes are regular expressions over what was sent
  parts->listener->Run();
  return std::unique_ptr<SiteServer>(new SiteServer(std::move(parts)));
}

SiteServer::SiteServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
SiteServer::~SiteServer() = default;

const std::string& SiteServer::address() const { return parts_->listener->address(); }

}  // namespace filigree::http
