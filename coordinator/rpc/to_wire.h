#ifndef FILIGREE_COORDINATOR_RPC_TO_WIRE_H_
#define FILIGREE_COORDINATOR_RPC_TO_WIRE_H_

#include "coordinator/core/events.h"
#include "coordinator/core/messages.h"
#include "coordinator/core/stragglers.h"
#include "coordinator/rpc/from_wire.h"
#include "filigree/v1/coordinator.pb.h"
#include "filigree/v1/workers.pb.h"

// The core's answers as they travel.

namespace filigree::coordinator {

v1::JobState ToWire(JobState state);
v1::RankState ToWire(RankState state);
v1::Presence ToWire(Presence presence);
v1::Phase ToWire(Phase phase);
v1::PhaseSeconds ToWire(const PhaseSeconds& seconds);
v1::CommitPoint ToWire(const CommitPoint& point);
v1::Event ToWire(const Event& event);
v1::LogPart ToWire(const LogPart& part);  // without its job

void ToWire(const RegisterReply& reply, v1::RegisterReply& wire);
void ToWire(const SubmitReply& reply, v1::SubmitReply& wire);
void ToWire(const MaskReportReply& reply, v1::ReportMaskReply& wire);

// Specifications of new jobs beyond 8 MiB wait for the worker's next heartbeat: an assignment that was not told yet
// and one that does not exist are the same to it.
void ToWire(const HeartbeatReply& reply, v1::HeartbeatReply& wire);

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_RPC_TO_WIRE_H_
