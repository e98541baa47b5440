#ifndef FILIGREE_PROTO_RPC_JOB_SPEC_H_
#define FILIGREE_PROTO_RPC_JOB_SPEC_H_

#include "absl/status/statusor.h"
#include "filigree/v1/types.pb.h"
#include "proto/contract/job_spec.h"

// A job's specification as it travels.

namespace filigree::rpc {

// Fields left out have the defaults of contract::JobSpec. The result is valid; InvalidArgument names the first field
// that is not.
absl::StatusOr<contract::JobSpec> FromWire(const v1::JobSpec& wire);

// For lists: all but `config` and `arguments`, which may be large.
v1::JobSpec ToWireWithoutTexts(const contract::JobSpec& spec);
v1::JobSpec ToWire(const contract::JobSpec& spec);

}  // namespace filigree::rpc

#endif  // FILIGREE_PROTO_RPC_JOB_SPEC_H_
