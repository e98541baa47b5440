#include "coordinator/rpc/gate.h"

#include <string_view>

#include "coordinator/rpc/caller.h"
#include "proto/rpc/status.h"

namespace filigree::coordinator {
namespace {

constexpr std::string_view kServices[] = {"/filigree.v1.Coordinator/", "/filigree.v1.Workers/"};

// "Submit" of "/filigree.v1.Coordinator/Submit"; none: it is no method of ours.
std::optional<std::string_view> MethodIn(std::string_view path) {
  for (const std::string_view service : kServices)
    if (path.substr(0, service.size()) == service) return path.substr(service.size());
  return std::nullopt;
}

}  // namespace

grpc::Status Gate::Process(const InputMetadata& metadata, grpc::AuthContext* peer, OutputMetadata* /*consumed*/,
                           OutputMetadata* /*response*/) {
  const auto path = metadata.find(":path");
  const auto name = path == metadata.end() ? std::nullopt : MethodIn({path->second.data(), path->second.size()});
  if (path != metadata.end() && !name.has_value()) return grpc::Status::OK;
  const auto caller = WhoShows(peer, metadata, tokens_.has_value() ? &*tokens_ : nullptr);
  if (!caller.ok()) return rpc::ToGrpc(caller.status());
  for (int m = 0; name.has_value() && m < kMethods; ++m)
    if (*name == Name(static_cast<Method>(m))) return rpc::ToGrpc(CheckRole(*caller, static_cast<Method>(m)));
  return grpc::Status::OK;
}

}  // namespace filigree::coordinator
