#ifndef FILIGREE_PROTO_CONTRACT_ADDRESS_H_
#define FILIGREE_PROTO_CONTRACT_ADDRESS_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

// Where a process listens, as text: "HOST:PORT", "[IPV6]:PORT".

namespace filigree::contract {

struct HostPort {
  std::string host;  // without brackets
  int port = 0;
};

// InvalidArgument, which names `what`: the text is no address. Port 0 is accepted.
absl::StatusOr<HostPort> ParseAddress(std::string_view what, std::string_view text);

// The inverse of ParseAddress.
std::string AddressText(const HostPort& address);

// 127.0.0.0/8, ::1 and "localhost": what no other machine can reach.
bool IsLoopback(const std::string& host);

}  // namespace filigree::contract

#endif  // FILIGREE_PROTO_CONTRACT_ADDRESS_H_
