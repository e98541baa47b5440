#ifndef FILIGREE_PROTO_RPC_PEM_H_
#define FILIGREE_PROTO_RPC_PEM_H_

#include <string>

#include "absl/status/status.h"

// gRPC takes texts that it cannot use and fails at the first handshake, in words about addresses. These say at the
// start which file it is and what it should hold. Paths are for messages alone. InvalidArgument.

namespace filigree::rpc {

// At least one certificate of an authority.
absl::Status CheckAuthority(const std::string& pem, const std::string& path);

// A certificate that has not expired, and the key that belongs to it, without a password.
absl::Status CheckPair(const std::string& certificate, const std::string& certificate_path, const std::string& key,
                       const std::string& key_path);

}  // namespace filigree::rpc

#endif  // FILIGREE_PROTO_RPC_PEM_H_
