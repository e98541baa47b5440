#include "worker/attach/agent_link.h"

#include <fmt/format.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "proto/contract/ids.h"
#include "proto/rpc/channel.h"
#include "proto/rpc/status.h"
#include "worker/attach/part.h"

namespace filigree::attach {
namespace {

constexpr char kPrefix[] = "unix:";
// Beside what a call is asked to wait: for the way there and back, and for the coordinator's disk.
constexpr milliseconds kSlack{2000};
constexpr milliseconds kCommitDeadline{30'000};

int64_t Microseconds(milliseconds time) { return std::chrono::microseconds(time).count(); }

std::shared_ptr<grpc::Channel> OpenChannel(const std::string& path) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(rpc::kMaxMessageBytes);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 200);
  return grpc::CreateCustomChannel(kPrefix + path, grpc::InsecureChannelCredentials(), arguments);
}

void SetDeadline(grpc::ClientContext& context, std::chrono::microseconds deadline) {
  context.set_deadline(std::chrono::system_clock::now() + deadline);
}

// We cancel nothing: it is how a server that ends breaks off what it was asked.
absl::Status Answer(const grpc::Status& status) {
  absl::Status answer = rpc::FromGrpc(status);
  return absl::IsCancelled(answer) ? absl::UnavailableError("the agent has ended the call") : answer;
}

// A status of the agent's own, not one for want of an answer.
bool IsAnswer(const absl::Status& status) { return !absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status); }

}  // namespace

AgentLink::AgentLink(const std::string& path, std::string process)
    : path_(path), process_(std::move(process)), stub_(v1::Ranks::NewStub(OpenChannel(path))) {}

absl::StatusOr<Taken> AgentLink::Take(int64_t after, const std::string& lost, milliseconds wait) {
  v1::TakeRequest request;
  request.set_process(process_);
  request.set_after(after);
  request.set_lost(lost);
  request.set_wait_us(Microseconds(wait));
  grpc::ClientContext context;
  SetDeadline(context, wait + kSlack);
  v1::TakeReply reply;
  const Clock::time_point began = Clock::now();
  const absl::Status status = Answer(stub_->Take(&context, request, &reply));
  // The agent may say itself that the time is over: sooner than we would.
  Heard(began, IsAnswer(status) || (absl::IsDeadlineExceeded(status) && Clock::now() - began < wait + kSlack / 2));
  if (!status.ok()) return status;
  return TakenOf(reply, after);
}

absl::StatusOr<Order> AgentLink::Tell(v1::TellRequest request, std::chrono::microseconds deadline) {
  request.set_process(process_);
  grpc::ClientContext context;
  SetDeadline(context, deadline);
  v1::TellReply reply;
  const Clock::time_point began = Clock::now();
  const absl::Status status = Answer(stub_->Tell(&context, request, &reply));
  Heard(began, IsAnswer(status));
  if (!status.ok()) return status;
  return OrderOf(reply);
}

absl::Status AgentLink::Commit(const CommitPoint& point) {
  v1::RankCommitRequest request;
  request.set_process(process_);
  request.mutable_point()->set_generation(point.generation);
  request.mutable_point()->set_step(point.step);
  request.mutable_point()->set_digest(point.digest);
  grpc::ClientContext context;
  SetDeadline(context, kCommitDeadline);
  v1::CommitCheckpointReply reply;
  return Answer(stub_->Commit(&context, request, &reply));
}

absl::Status AgentLink::Set(int64_t generation, const std::string& key, const std::string& value) {
  v1::RankSetRequest request;
  request.set_process(process_);
  request.set_generation(generation);
  request.set_key(key);
  request.set_value(value);
  grpc::ClientContext context;
  SetDeadline(context, kSlack);
  v1::SetKeyReply reply;
  return Answer(stub_->Set(&context, request, &reply));
}

absl::StatusOr<std::string> AgentLink::Get(int64_t generation, const std::string& key, milliseconds wait) {
  v1::RankGetRequest request;
  request.set_process(process_);
  request.set_generation(generation);
  request.set_key(key);
  request.set_wait_us(Microseconds(wait));
  grpc::ClientContext context;
  SetDeadline(context, wait + kSlack);
  v1::GetKeyReply reply;
  if (absl::Status status = Answer(stub_->Get(&context, request, &reply)); !status.ok()) return status;
  return reply.value();
}

void AgentLink::Heard(Clock::time_point began, bool answered) {
  const std::lock_guard lock(mutex_);
  if (answered) {
    silent_since_.reset();
  } else if (!silent_since_) {
    silent_since_ = began;
  }
}

bool AgentLink::Gone(milliseconds patience) const {
  {
    const std::lock_guard lock(mutex_);
    if (!silent_since_) return false;
    if (Clock::now() - *silent_since_ >= patience) return true;
  }
  return !SocketIsHeld();
}

// The file of a socket outlives its holder; a connection does not come about then.
bool AgentLink::SocketIsHeld() const {
  const int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor < 0) return true;  // nothing is known
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path_.data(), std::min(path_.size(), sizeof(address.sun_path) - 1));
  const int failed = connect(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  const bool refused = failed != 0 && (errno == ECONNREFUSED || errno == ENOENT);
  close(descriptor);
  return !refused;
}

bool StartedByAgent(const parallel::Environment& environment) {
  const char* const agent = environment("FILIGREE_AGENT");
  return agent != nullptr && *agent != '\0';
}

absl::StatusOr<std::unique_ptr<AgentLink>> OpenAgentLink(const parallel::Environment& environment) {
  const auto text = [&](const char* name) {
    const char* const value = environment(name);
    return std::string(value == nullptr ? "" : value);
  };
  const std::string agent = text("FILIGREE_AGENT");
  std::string process = text("FILIGREE_PROCESS");
  const size_t prefix = std::strlen(kPrefix);
  if (agent.compare(0, prefix, kPrefix) != 0 || agent.size() <= prefix + 1 || agent[prefix] != '/') {
    return absl::InvalidArgumentError(
        fmt::format("FILIGREE_AGENT is {}: unix:/PATH of the agent's socket was expected; the agent sets it for the "
                    "processes that it starts",
                    contract::Shown(agent)));
  }
  if (agent.size() - prefix >= sizeof(sockaddr_un::sun_path)) {
    return absl::InvalidArgumentError(fmt::format("FILIGREE_AGENT: its path has {} bytes, a socket's has at most {}",
                                                  agent.size() - prefix, sizeof(sockaddr_un::sun_path) - 1));
  }
  if (absl::Status status = contract::CheckId("FILIGREE_PROCESS", process); !status.ok()) return status;
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"}) {
    if (text(name).empty()) continue;
    process += fmt::format(".{}", text(name));
    if (absl::Status status = contract::CheckId(name, process); !status.ok()) return status;
    break;
  }
  return std::make_unique<AgentLink>(agent.substr(prefix), process);
}

}  // namespace filigree::attach
