#include "proto/http/page_server.h"

#include <fmt/format.h>

#include <utility>

#include "proto/contract/address.h"
#include "proto/contract/ids.h"
#include "proto/http/listener.h"

namespace filigree::http {
namespace {

void Answer(const MakePage& make, httplib::Response& response) {
  absl::StatusOr<Page> page = make();
  if (page.ok()) {
    response.set_content(page->body, page->type);
    return;
  }
  response.status = 503;
  response.set_content(std::string(page.status().message()) + "\n", "text/plain; charset=utf-8");
}

}  // namespace

struct PageServer::Parts {
  PageServerOptions options;
  std::unique_ptr<Listener> listener;
};

absl::Status PageServer::Check(const PageServerOptions& options) {
  const auto address = contract::ParseAddress(options.what, options.address);
  if (!address.ok() || options.open || contract::IsLoopback(address->host)) return address.status();
  return absl::InvalidArgumentError(
      fmt::format("{}: {} can be reached by others, who are not asked who they are; take 127.0.0.1, or {} where the "
                  "network lets in nobody else",
                  options.what, contract::Shown(address->host), options.how_to_open));
}

absl::StatusOr<std::unique_ptr<PageServer>> PageServer::Start(PageServerOptions options) {
  if (absl::Status status = Check(options); !status.ok()) return status;
  const auto wanted = contract::ParseAddress(options.what, options.address);
  auto listener = Listener::Open({options.what, *wanted, 4, 8 << 10, nullptr});
  if (!listener.ok()) return listener.status();
  auto parts = std::make_unique<Parts>();
  parts->options = std::move(options);
  parts->listener = *std::move(listener);
  for (const auto& [path, make] : parts->options.pages)
    parts->listener->server().Get(
        path, [&make = make](const httplib::Request&, httplib::Response& response) { Answer(make, response); });
  parts->listener->Run();
  return std::unique_ptr<PageServer>(new PageServer(std::move(parts)));
}

PageServer::PageServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
PageServer::~PageServer() = default;

const std::string& PageServer::address() const { return parts_->listener->address(); }

}  // namespace filigree::http
