#ifndef FILIGREE_PROTO_RPC_CHANNEL_H_
#define FILIGREE_PROTO_RPC_CHANNEL_H_

#include <grpcpp/channel.h>

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/contract/address.h"

// How a user's command or a worker reaches a coordinator.

namespace filigree::rpc {

inline constexpr char kDefaultAddress[] = "127.0.0.1:7070";

// Largest message a client takes; the server takes half of it.
inline constexpr int kMaxMessageBytes = 16 << 20;

struct ChannelOptions {
  std::string address = kDefaultAddress;  // HOST:PORT, [IPV6]:PORT
  // PEM files; empty: none. `ca` alone: TLS, the server is checked. With certificate and key: the client is, too.
  std::string ca, certificate, key;
  std::string token_file;   // holds one token; needs `ca`
  std::string server_name;  // to be found in the server's certificate, where it is not the address's host
};

// Nothing is connected yet: the first call does that, and again after a loss.
// InvalidArgument: an address that is none, files that do not go together or hold no certificate or key, plain text to
// another host than this one.
// NotFound, PermissionDenied: a file that is not there or that others may read (token and key).
absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannel(const ChannelOptions& options);

using contract::HostPort;
using contract::IsLoopback;
using contract::ParseAddress;

// The bytes of a file of at most 1 MiB. With `secret`, PermissionDenied where anybody but its owner may read it.
absl::StatusOr<std::string> ReadCredentialFile(const std::string& path, bool secret);

}  // namespace filigree::rpc

#endif  // FILIGREE_PROTO_RPC_CHANNEL_H_
