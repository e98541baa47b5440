#ifndef FILIGREE_COORDINATOR_RPC_GATE_H_
#define FILIGREE_COORDINATOR_RPC_GATE_H_

#include <grpcpp/security/auth_metadata_processor.h>

#include <optional>

#include "coordinator/rpc/tokens.h"

namespace filigree::coordinator {

// Turns away who may not use a method before its message is read: a message of a few megabytes can be many times as
// much in memory, and only those who are known may spend that. What the call says of its speaker is looked at later.
//
// Health checks and reflection pass; their messages are texts.
//
// Threads: any.
class Gate : public grpc::AuthMetadataProcessor {
 public:
  explicit Gate(std::optional<Tokens> tokens) : tokens_(std::move(tokens)) {}

  bool IsBlocking() const override { return false; }
  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext* peer, OutputMetadata* consumed,
                       OutputMetadata* response) override;

 private:
  const std::optional<Tokens> tokens_;
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_RPC_GATE_H_
