#include "worker/agent/ranks_service.h"

#include <fmt/format.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <chrono>
#include <utility>
#include <vector>

#include "proto/rpc/status.h"
#include "worker/agent/lease_guard.h"

namespace filigree::agent {
namespace {

using Async = v1::Workers::StubInterface::async_interface;

constexpr int kMostMessageBytes = 1 << 20;
constexpr size_t kMostMemoryBytes = size_t{256} << 20;
constexpr size_t kMostKeyBytes = 256, kMostValueBytes = 256 << 10;
constexpr int64_t kLongestWaitUs = 60'000'000;
constexpr int64_t kPassUs = 10'000'000;  // for an answer of the coordinator

absl::Status NotReached() {
  return absl::UnavailableError("this worker is not registered with the coordinator; try again");
}

absl::Status CheckKey(const std::string& key) {
  if (!key.empty() && key.size() <= kMostKeyBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("key: has {} bytes, 1 to {} are taken", key.size(), kMostKeyBytes));
}

absl::Status CheckWait(int64_t wait_us) {
  if (wait_us >= 0 && wait_us <= kLongestWaitUs) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("wait_us: {} is outside 0..{}", wait_us, kLongestWaitUs));
}

// Does nobody know whether the coordinator has done it?
bool IsOpen(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE ||
         status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED ||
         status.error_code() == grpc::StatusCode::CANCELLED;
}

// A coordinator that does not know this worker or its ranks any more has given the generation up.
grpc::Status ForRank(const grpc::Status& status) {
  const bool unknown =
      status.error_code() == grpc::StatusCode::NOT_FOUND || status.error_code() == grpc::StatusCode::PERMISSION_DENIED;
  if (unknown) return {grpc::StatusCode::FAILED_PRECONDITION, status.error_message()};
  return status.error_code() == grpc::StatusCode::CANCELLED ? rpc::ToGrpc(NotReached()) : status;
}

grpc::ServerUnaryReactor* Done(grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(rpc::ToGrpc(status));
  return reactor;
}

}  // namespace

RanksService::RanksService(v1::Workers::StubInterface& coordinator, RanksHooks hooks)
    : coordinator_(coordinator), hooks_(std::move(hooks)) {}

RanksService::~RanksService() { Stop(); }

absl::Status RanksService::Listen(const std::string& socket) {
  grpc::ServerBuilder builder;
  grpc::ResourceQuota quota("ranks");
  quota.Resize(kMostMemoryBytes);
  builder.SetResourceQuota(quota);
  builder.SetMaxReceiveMessageSize(kMostMessageBytes);
  builder.AddListeningPort("unix:" + socket, grpc::InsecureServerCredentials());
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) return absl::UnavailableError(fmt::format("cannot listen on {}", socket));
  return absl::OkStatus();
}

void RanksService::Stop() {
  std::map<std::string, Waiter> waiters;
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    waiters.swap(waiters_);
  }
  for (const auto& [process, waiter] : waiters) Finish(waiter, absl::UnavailableError("the worker ends"));
  calls_.Close();
  if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
  server_.reset();
}

void RanksService::Finish(const Waiter& waiter, const absl::StatusOr<std::optional<v1::TakeReply>>& taken) {
  if (taken.ok() && taken->has_value()) *waiter.reply = **taken;
  waiter.reactor->Finish(rpc::ToGrpc(taken.status()));
}

grpc::ServerUnaryReactor* RanksService::Take(grpc::CallbackServerContext* context, const v1::TakeRequest* request,
                                             v1::TakeReply* reply) {
  if (absl::Status status = CheckWait(request->wait_us()); !status.ok()) return Done(context, status);
  const Waiter waiter = {request, reply, context->DefaultReactor(), NowUs() + request->wait_us()};
  std::optional<Waiter> earlier;
  bool stopped = false;
  {
    // It waits before it asks, so that no answer passes it by.
    const std::lock_guard lock(mutex_);
    stopped = stopped_;
    if (!stopped) {
      const auto known = waiters_.extract(request->process());
      if (!known.empty()) earlier = known.mapped();
      waiters_[request->process()] = waiter;
    }
  }
  if (stopped) {
    Finish(waiter, absl::UnavailableError("the worker ends"));
    return waiter.reactor;
  }
  if (earlier) Finish(*earlier, absl::DeadlineExceededError("the process has asked again"));
  Retry(request->process());
  return waiter.reactor;
}

// One thread at a time looks for a process; another one that comes leaves it to that one to look again.
void RanksService::Retry(const std::string& process) {
  {
    const std::lock_guard lock(mutex_);
    const auto [looking, first] = looking_.emplace(process, true);
    looking->second = true;
    if (!first) return;
  }
  while (std::optional<Waiter> waiter = NextLook(process)) {
    const absl::StatusOr<std::optional<v1::TakeReply>> taken = hooks_.take(*waiter->request);
    const bool waits = taken.ok() && !taken->has_value() && waiter->until_us > NowUs();
    if (!waits || !PutBack(process, *waiter)) Finish(*waiter, taken);
  }
}

std::optional<RanksService::Waiter> RanksService::NextLook(const std::string& process) {
  const std::lock_guard lock(mutex_);
  const auto looking = looking_.find(process);
  const auto waiter = waiters_.find(process);
  if (waiter == waiters_.end() || !looking->second) {
    looking_.erase(looking);
    return std::nullopt;
  }
  looking->second = false;
  return waiters_.extract(waiter).mapped();
}

bool RanksService::PutBack(const std::string& process, const Waiter& waiter) {
  const std::lock_guard lock(mutex_);
  return !stopped_ && waiters_.emplace(process, waiter).second;
}

void RanksService::Expire(int64_t now_us) {
  std::vector<Waiter> over;
  {
    const std::lock_guard lock(mutex_);
    for (auto at = waiters_.begin(); at != waiters_.end();) {
      if (at->second.until_us <= now_us) over.push_back(at->second);
      at = at->second.until_us <= now_us ? waiters_.erase(at) : std::next(at);
    }
  }
  for (const Waiter& waiter : over) Finish(waiter, std::optional<v1::TakeReply>());
}

grpc::ServerUnaryReactor* RanksService::Tell(grpc::CallbackServerContext* context, const v1::TellRequest* request,
                                             v1::TellReply* reply) {
  const absl::StatusOr<v1::TellReply> told = hooks_.tell(*request);
  if (told.ok()) *reply = *told;
  return Done(context, told.status());
}

absl::StatusOr<RanksService::Passing> RanksService::PassingFor(const std::string& process, int64_t generation) const {
  absl::StatusOr<std::string> job = hooks_.job_of(process, generation);
  if (!job.ok()) return job.status();
  std::optional<v1::Speaker> speaker = hooks_.speaker();
  if (!speaker) return NotReached();
  return Passing{*std::move(speaker), *std::move(job)};
}

template <typename Request, typename Reply>
void RanksService::PassOn(void (Async::*method)(grpc::ClientContext*, const Request*, Reply*,
                                                std::function<void(grpc::Status)>),
                          Request request, Reply* reply, int64_t deadline_us, std::function<void(grpc::Status)> done) {
  // Held by the callback until the call has come back.
  const auto context = std::make_shared<grpc::ClientContext>();
  const auto held = std::make_shared<const Request>(std::move(request));
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::microseconds(deadline_us));
  if (!calls_.Enter(context.get())) return done(rpc::ToGrpc(NotReached()));
  (coordinator_.async()->*method)(context.get(), held.get(), reply,
                                  [this, context, held, done = std::move(done)](const grpc::Status& status) {
                                    done(ForRank(status));
                                    calls_.Leave(context.get());
                                  });
}

grpc::ServerUnaryReactor* RanksService::Commit(grpc::CallbackServerContext* context,
                                               const v1::RankCommitRequest* request, v1::CommitCheckpointReply* reply) {
  const absl::StatusOr<Passing> passing = PassingFor(request->process(), request->point().generation());
  if (!passing.ok()) return Done(context, passing.status());
  v1::CommitCheckpointRequest commit;
  *commit.mutable_speaker() = passing->speaker;
  commit.set_job(passing->job);
  *commit.mutable_point() = request->point();
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  PassOn(&Async::CommitCheckpoint, std::move(commit), reply, kPassUs,
         [reactor](const grpc::Status& status) { reactor->Finish(status); });
  return reactor;
}

grpc::ServerUnaryReactor* RanksService::Set(grpc::CallbackServerContext* context, const v1::RankSetRequest* request,
                                            v1::SetKeyReply* reply) {
  if (absl::Status status = CheckKey(request->key()); !status.ok()) return Done(context, status);
  if (request->value().size() > kMostValueBytes)
    return Done(context, absl::InvalidArgumentError(fmt::format("value: has {} bytes, at most {} are taken",
                                                                request->value().size(), kMostValueBytes)));
  const absl::StatusOr<Passing> passing = PassingFor(request->process(), request->generation());
  if (!passing.ok()) return Done(context, passing.status());
  v1::SetKeyRequest set;
  *set.mutable_speaker() = passing->speaker;
  set.set_job(passing->job);
  set.set_generation(request->generation());
  set.set_key(request->key());
  set.set_value(request->value());
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  // Before there is an answer: a coordinator that is started anew meanwhile is left it again.
  const auto key = std::make_shared<const v1::SetKeyRequest>(set);
  const bool added = keys_.Remember(*key);
  PassOn(&Async::SetKey, std::move(set), reply, kPassUs, [this, reactor, key, added](const grpc::Status& status) {
    if (status.ok()) keys_.Accept(*key);  // another value may be remembered that never arrived
    if (added && !status.ok() && !IsOpen(status)) keys_.Drop(*key);
    reactor->Finish(status);
  });
  return reactor;
}

grpc::ServerUnaryReactor* RanksService::Get(grpc::CallbackServerContext* context, const v1::RankGetRequest* request,
                                            v1::GetKeyReply* reply) {
  if (absl::Status status = CheckKey(request->key()); !status.ok()) return Done(context, status);
  if (absl::Status status = CheckWait(request->wait_us()); !status.ok()) return Done(context, status);
  const absl::StatusOr<Passing> passing = PassingFor(request->process(), request->generation());
  if (!passing.ok()) return Done(context, passing.status());
  v1::GetKeyRequest get;
  *get.mutable_speaker() = passing->speaker;
  get.set_job(passing->job);
  get.set_generation(request->generation());
  get.set_key(request->key());
  get.set_wait_us(request->wait_us());
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  PassOn(&Async::GetKey, std::move(get), reply, request->wait_us() + kPassUs,
         [reactor](const grpc::Status& status) { reactor->Finish(status); });
  return reactor;
}

void RanksService::SetKeysAgain() {
  const std::optional<v1::Speaker> speaker = hooks_.speaker();
  if (!speaker) return;
  for (v1::SetKeyRequest& request : keys_.All()) {
    *request.mutable_speaker() = *speaker;
    const auto reply = std::make_shared<v1::SetKeyReply>();
    PassOn(&Async::SetKey, std::move(request), reply.get(), kPassUs, [reply](const grpc::Status&) {});
  }
}

void RanksService::ForgetKeys(const std::function<bool(const std::string& job, int64_t generation)>& lives) {
  keys_.Forget(lives);
}

}  // namespace filigree::agent
