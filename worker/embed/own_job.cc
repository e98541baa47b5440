#include "worker/embed/own_job.h"

#include <fmt/format.h>
#include <grpcpp/client_context.h>

#include <algorithm>
#include <random>
#include <utility>

#include "filigree/v1/coordinator.grpc.pb.h"
#include "filigree/v1/workers.grpc.pb.h"
#include "proto/contract/address.h"
#include "proto/rpc/channel.h"
#include "proto/rpc/job_spec.h"
#include "proto/rpc/status.h"

namespace filigree::embed {
namespace {

constexpr char kWorker[] = "run";
constexpr std::chrono::seconds kCallDeadline{5};

// Coordinator and worker live and die together: a lease has nothing to find out.
coordinator::ServerOptions ServerOptionsOf(const OwnJob::Options& options) {
  coordinator::ServerOptions server;
  server.address = options.listen;
  server.core.lease_us = int64_t{24} * 3600 * 1'000'000;
  server.core.lease_margin_us = server.core.lease_us / 10;
  server.core.of_one_run = true;
  return server;
}

std::string Nonce() {
  std::random_device device;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", device(), device(), device(), device());
}

template <typename Reply, typename Stub, typename Request>
absl::StatusOr<Reply> Call(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Reply*),
                           const Request& request) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kCallDeadline);
  context.set_wait_for_ready(true);
  Reply reply;
  const grpc::Status status = (stub.*method)(&context, request, &reply);
  if (!status.ok()) return rpc::FromGrpc(status);
  return reply;
}

}  // namespace

absl::StatusOr<std::unique_ptr<OwnJob>> OwnJob::Start(const Options& options) {
  const auto address = contract::ParseAddress("the address", options.listen);
  if (!address.ok()) return address.status();
  if (!contract::IsLoopback(address->host))
    return absl::InvalidArgumentError(
        fmt::format("{} can be reached by others, and nobody is asked who he is; listen on 127.0.0.1, and come from "
                    "other machines with ssh -L, or submit the run to a coordinator of its own",
                    options.listen));
  std::unique_ptr<OwnJob> own(new OwnJob());
  // A process that ends takes its rows along: there is nothing to keep them for.
  auto server = coordinator::Server::Start(ServerOptionsOf(options), coordinator::Tables(),
                                           [](const coordinator::Changes&) { return absl::OkStatus(); });
  if (!server.ok()) return server.status();
  own->server_ = *std::move(server);
  if (absl::Status status = own->Enrol(options); !status.ok()) return status;
  own->thread_ = std::thread([raw = own.get()] { raw->Run(); });
  return own;
}

absl::Status OwnJob::Enrol(const Options& options) {
  rpc::ChannelOptions to;
  to.address = server_->address();
  const auto channel = rpc::OpenChannel(to);
  if (!channel.ok()) return channel.status();
  stub_ = v1::Workers::NewStub(*channel);
  const int ranks = options.spec.data * options.spec.tensor;
  v1::RegisterRequest worker;
  worker.set_name(kWorker);
  worker.set_host(options.host);
  worker.set_slots(ranks);
  worker.set_nonce(Nonce());
  const auto registered = Call(*stub_, &v1::Workers::Stub::Register, worker);
  if (!registered.ok()) return registered.status();
  v1::SubmitRequest submit;
  *submit.mutable_spec() = rpc::ToWire(options.spec);
  users_ = v1::Coordinator::NewStub(*channel);
  const auto submitted = Call(*users_, &v1::Coordinator::Stub::Submit, submit);
  if (!submitted.ok()) return submitted.status();
  job_ = submitted->job();
  beat_.mutable_speaker()->set_worker(kWorker);
  beat_.mutable_speaker()->set_incarnation(registered->incarnation());
  beat_.set_epoch(registered->epoch());
  for (int rank = 0; rank < ranks; ++rank) {
    v1::RankReport& report = *beat_.add_ranks();
    report.set_job(job_);
    report.set_generation(1);  // of a new coordinator's first job
    report.set_rank(rank);
    report.set_state(v1::RANK_STATE_STARTING);
  }
  return absl::OkStatus();
}

void OwnJob::Hear(int rank, const v1::TellRequest& told) {
  const std::lock_guard lock(mutex_);
  if (ending_ || rank < 0 || rank >= beat_.ranks_size()) return;
  v1::RankReport& report = *beat_.mutable_ranks(rank);
  report.set_state(told.state());
  *report.mutable_progress() = told.progress();
  report.set_metrics_address(told.metrics_address());
  if (told.has_figures())
    *report.mutable_figures() = told.figures();
  else
    report.clear_figures();
}

void OwnJob::Run() {
  bool ending = false;
  while (!ending) {
    Beat();
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, interval_, [&] { return ending_; });
    ending = ending_;
  }
  // The first tells how the ranks ended, the second that none of them is left.
  Beat();
  Beat();
}

void OwnJob::Beat() {
  v1::HeartbeatRequest beat;
  {
    const std::lock_guard lock(mutex_);
    beat_.set_sequence(beat_.sequence() + 1);
    beat = beat_;
  }
  // Whoever asks the most may hold the coordinator up: the next heartbeat says it all again.
  if (const auto reply = Call(*stub_, &v1::Workers::Stub::Heartbeat, beat); reply.ok()) Obey(*reply);
}

void OwnJob::Obey(const v1::HeartbeatReply& reply) {
  const auto mine = std::find_if(reply.assignments().begin(), reply.assignments().end(),
                                 [&](const v1::Assignment& assignment) { return assignment.job() == job_; });
  if (mine == reply.assignments().end()) return;
  if (mine->action() == v1::ACTION_CHECKPOINT_AND_STOP) drained_ = true;
  if (mine->action() == v1::ACTION_STOP) cancelled_ = true;
}

// A run that was stopped here, by a signal, is a job that was drained.
void OwnJob::SayStopped() {
  v1::DrainRequest drain;
  drain.set_job(job_);
  (void)Call(*users_, &v1::Coordinator::Stub::Drain, drain);
}

void OwnJob::End(v1::RankState state, const std::string& reason) {
  if (state == v1::RANK_STATE_STOPPED && !drained_ && !cancelled_ && users_ != nullptr) SayStopped();
  {
    const std::lock_guard lock(mutex_);
    if (ending_) return;
    ending_ = true;
    for (v1::RankReport& report : *beat_.mutable_ranks()) {
      report.set_state(state);
      report.set_reason(reason);
      report.clear_metrics_address();
    }
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

OwnJob::~OwnJob() {
  End(v1::RANK_STATE_STOPPED, "");
  if (server_ != nullptr) server_->Stop();
}

}  // namespace filigree::embed
