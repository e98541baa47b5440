#include "proto/rpc/job_spec.h"

#include <fmt/format.h>

namespace filigree::rpc {
namespace {

absl::StatusOr<contract::Backend> BackendOf(v1::Backend wire) {
  switch (wire) {
    case v1::BACKEND_UNSPECIFIED:
    case v1::BACKEND_GLOO:
      return contract::Backend::kGloo;
    case v1::BACKEND_LOCAL:
      return contract::Backend::kLocal;
    case v1::BACKEND_MPI:
      return contract::Backend::kMpi;
    case v1::BACKEND_NCCL:
      return contract::Backend::kNccl;
    default:
      return absl::InvalidArgumentError(
          fmt::format("backend: number {} is not known here; is the coordinator older?", static_cast<int>(wire)));
  }
}

v1::Backend ToWire(contract::Backend backend) {
  switch (backend) {
    case contract::Backend::kLocal:
      return v1::BACKEND_LOCAL;
    case contract::Backend::kGloo:
      return v1::BACKEND_GLOO;
    case contract::Backend::kMpi:
      return v1::BACKEND_MPI;
    case contract::Backend::kNccl:
      return v1::BACKEND_NCCL;
  }
  return v1::BACKEND_UNSPECIFIED;
}

}  // namespace

absl::StatusOr<contract::JobSpec> FromWire(const v1::JobSpec& wire) {
  contract::JobSpec spec;
  spec.name = wire.name();
  spec.config = wire.config();
  spec.arguments.assign(wire.arguments().begin(), wire.arguments().end());
  if (wire.has_data()) spec.data = wire.data();
  if (wire.has_tensor()) spec.tensor = wire.tensor();
  if (wire.has_min_data()) spec.min_data = wire.min_data();
  if (wire.has_priority()) spec.priority = wire.priority();
  spec.idempotency_key = wire.idempotency_key();
  const auto backend = BackendOf(wire.backend());
  if (!backend.ok()) return backend.status();
  spec.backend = *backend;
  if (wire.has_restart_limit()) spec.restart_limit = wire.restart_limit();
  const v1::Deadlines& deadlines = wire.deadlines();
  if (deadlines.has_queue()) spec.deadlines.queue = deadlines.queue();
  if (deadlines.has_start()) spec.deadlines.start = deadlines.start();
  if (deadlines.has_drain()) spec.deadlines.drain = deadlines.drain();
  if (absl::Status status = contract::Validate(spec); !status.ok()) return status;
  return spec;
}

v1::JobSpec ToWireWithoutTexts(const contract::JobSpec& spec) {
  v1::JobSpec wire;
  wire.set_name(spec.name);
  wire.set_data(spec.data);
  wire.set_tensor(spec.tensor);
  wire.set_min_data(spec.min_data);
  wire.set_priority(spec.priority);
  wire.set_idempotency_key(spec.idempotency_key);
  wire.set_backend(ToWire(spec.backend));
  wire.set_restart_limit(spec.restart_limit);
  wire.mutable_deadlines()->set_queue(spec.deadlines.queue);
  wire.mutable_deadlines()->set_start(spec.deadlines.start);
  wire.mutable_deadlines()->set_drain(spec.deadlines.drain);
  return wire;
}

v1::JobSpec ToWire(const contract::JobSpec& spec) {
  v1::JobSpec wire = ToWireWithoutTexts(spec);
  wire.set_config(spec.config);
  wire.mutable_arguments()->Assign(spec.arguments.begin(), spec.arguments.end());
  return wire;
}

}  // namespace filigree::rpc
