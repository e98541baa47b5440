// A process that speaks to an agent as `filigree train` does, without training anything: fake_rank train CONFIG ...
// Under mpirun it is a rank of that, and speaks for itself.
//
//   FAKE_RANK_STEPS    how many steps the run has
//   FAKE_RANK_JOURNAL  a file to which it adds a line for everything: "PID GENERATION RANK WHAT STEP"
//   FAKE_RANK_DO       what goes wrong: "WHAT:GENERATION:RANK:STEP", several with commas between. WHAT: fail, die, stop
//                      (as SIGSTOP does), lose (miss a peer), stay (hear no directive), find (what the others left,
//                      again)

#include <fmt/format.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include "filigree/v1/agent.grpc.pb.h"

namespace filigree {
namespace {

using std::chrono::milliseconds;

constexpr char kDigest[] = "0123456789abcdef";
constexpr int kExitStopped = 75;
constexpr int64_t kLongestLeaseUs = 3'600'000;  // with a coordinator's defaults

std::string Variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool Launched() { return !Variable("OMPI_COMM_WORLD_RANK").empty(); }

std::string OwnName() {
  const std::string name = Variable("FILIGREE_PROCESS");
  return Launched() ? name + "." + Variable("OMPI_COMM_WORLD_RANK") : name;
}

class FakeRank {
 public:
  FakeRank()
      : process_(OwnName()),
        steps_(std::atoll(Variable("FAKE_RANK_STEPS").c_str())),
        ranks_(
            v1::Ranks::NewStub(grpc::CreateChannel(Variable("FILIGREE_AGENT"), grpc::InsecureChannelCredentials()))) {}

  int Run() { return Next(""); }

 private:
  template <typename Request, typename Reply>
  grpc::Status Call(grpc::Status (v1::Ranks::Stub::*method)(grpc::ClientContext*, const Request&, Reply*),
                    Request request, Reply* reply) {
    request.set_process(process_);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(15));
    grpc::Status status = (ranks_.get()->*method)(&context, request, reply);
    const bool over =
        status.error_code() == grpc::StatusCode::NOT_FOUND || status.error_code() == grpc::StatusCode::INVALID_ARGUMENT;
    if (over) Fail(5, "the agent says: " + status.error_message());
    return status;
  }

  [[noreturn]] void Fail(int code, const std::string& why) {
    fmt::print(stderr, "{}\n", why);
    std::fflush(nullptr);
    _exit(code);
  }

  void Note(const char* what) {
    const std::string line = fmt::format("{} {} {} {} {}\n", getpid(), part_.generation(), part_.rank(), what, step_);
    std::fputs(line.c_str(), stdout);
    std::fflush(stdout);
    const std::string path = Variable("FAKE_RANK_JOURNAL");
    std::FILE* const file = path.empty() ? nullptr : std::fopen(path.c_str(), "a");
    if (file == nullptr) return;
    std::fputs(line.c_str(), file);
    std::fclose(file);
  }

  bool Does(const char* what) const {
    const std::string wanted = fmt::format("{}:{}:{}:{},", what, part_.generation(), part_.rank(), step_);
    return (Variable("FAKE_RANK_DO") + ",").find(wanted) != std::string::npos;
  }

  bool Take(const std::string& lost = "") {
    v1::TakeRequest request;
    request.set_after(part_.generation());
    request.set_lost(lost);
    request.set_wait_us(10'000'000);
    for (;;) {
      v1::TakeReply reply;
      const grpc::Status status = Call(&v1::Ranks::Stub::Take, request, &reply);
      if (!status.ok()) Fail(4, "no agent: " + status.error_message());
      if (reply.over()) return false;
      if (!reply.has_part()) continue;
      part_ = reply.part();
      step_ = part_.resume().step();
      Note("takes");
      return true;
    }
  }

  // The others leave something for each other, as ranks do that have to meet.
  bool Meet() {
    v1::RankSetRequest set;
    set.set_generation(part_.generation());
    set.set_key(fmt::format("rank-{}", part_.rank()));
    set.set_value(fmt::format("{}", part_.rank() * 7));
    v1::SetKeyReply done;
    if (!Call(&v1::Ranks::Stub::Set, set, &done).ok()) return false;
    return FindOthers();
  }

  bool FindOthers() {
    for (int32_t rank = 0; rank < part_.data() * part_.tensor(); ++rank) {
      v1::RankGetRequest get;
      get.set_generation(part_.generation());
      get.set_key(fmt::format("rank-{}", rank));
      get.set_wait_us(10'000'000);
      v1::GetKeyReply value;
      if (!Call(&v1::Ranks::Stub::Get, get, &value).ok() || value.value() != fmt::format("{}", rank * 7)) return false;
    }
    return true;
  }

  v1::Directive Tell(v1::RankState state, const std::string& reason = "") {
    v1::TellRequest request;
    request.set_generation(part_.generation());
    request.set_state(state);
    request.set_reason(reason);
    request.mutable_progress()->set_step(step_);
    v1::TellReply reply;
    const grpc::Status status = Call(&v1::Ranks::Stub::Tell, request, &reply);
    keep_ = status.ok() ? reply.keep() : true;
    if (status.ok() && !(reply.has_lease_left_us() && reply.lease_left_us() > 0)) Note("no-lease");
    if (status.ok() && reply.lease_left_us() > kLongestLeaseUs) Note("long-lease");
    return status.ok() ? reply.directive() : v1::DIRECTIVE_LEAVE;
  }

  void Commit() {
    if (part_.rank() != 0) return;
    v1::RankCommitRequest request;
    request.mutable_point()->set_generation(part_.generation());
    request.mutable_point()->set_step(step_);
    request.mutable_point()->set_digest(kDigest);
    v1::CommitCheckpointReply reply;
    Note(Call(&v1::Ranks::Stub::Commit, request, &reply).ok() ? "commits" : "is-refused");
  }

  void GoWrong() {
    if (Does("fail")) {
      Tell(v1::RANK_STATE_FAILED, "the disk is full");
      Fail(3, "no space left");
    }
    if (Does("find") && !FindOthers()) Fail(6, "what the others left is gone");
    if (Does("die")) raise(SIGKILL);
    if (Does("stop")) raise(SIGSTOP);
    if (Does("stay"))
      for (;; std::this_thread::sleep_for(milliseconds(100))) Tell(v1::RANK_STATE_RUNNING);
  }

  // This generation and those after it; the exit code.
  int Train() {
    // Nothing is told while the others are waited for: there is one thread here, and whoever has begun to tell may not
    // stop.
    if (!Meet()) return Next("a peer that did not come");
    Tell(v1::RANK_STATE_STARTING);
    for (; step_ < steps_; ++step_) {
      GoWrong();
      if (Does("lose")) return Next("rank 99 on a host that is not there");
      const v1::Directive directive = Tell(v1::RANK_STATE_RUNNING);
      if (directive == v1::DIRECTIVE_CHECKPOINT) Commit();
      if (directive == v1::DIRECTIVE_GO_ON) {
        std::this_thread::sleep_for(milliseconds(10));
        continue;
      }
      // mpirun kills all where one ends so: the first rank has its checkpoint then.
      if (!keep_ && directive == v1::DIRECTIVE_CHECKPOINT && part_.rank() > 0 && Launched()) continue;
      Note("leaves");
      if (keep_) return Next("");
      return directive == v1::DIRECTIVE_CHECKPOINT ? kExitStopped : 1;
    }
    Commit();
    Note("finishes");
    return 0;
  }

  int Next(const std::string& lost) { return Take(lost) ? Train() : 0; }

  const std::string process_;
  const int64_t steps_;
  const std::unique_ptr<v1::Ranks::Stub> ranks_;
  v1::Part part_;
  int64_t step_ = 0;
  bool keep_ = false;
};

}  // namespace
}  // namespace filigree

int main() {
  filigree::FakeRank rank;
  return rank.Run();
}
