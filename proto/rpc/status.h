#ifndef FILIGREE_PROTO_RPC_STATUS_H_
#define FILIGREE_PROTO_RPC_STATUS_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

// Status as it travels: the same code and the same words on both sides.

namespace filigree::rpc {

// Words are cut at 4 KiB and made printable ASCII: they travel in a header, whose size peers limit.
grpc::Status ToGrpc(const absl::Status& status);

// A code that gRPC does not know becomes Unknown.
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace filigree::rpc

#endif  // FILIGREE_PROTO_RPC_STATUS_H_
