#include "worker/comm/mpi/transport.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "worker/comm/lost_rank.h"

namespace filigree::comm {
namespace {

using Clock = std::chrono::steady_clock;

// Tags: the number of the group, then that of the round; 30 bits, which Open MPI and its kin offer.
constexpr int kRoundBits = 19;
constexpr int kGroups = 1 << 11;
// MPI counts bytes in int.
constexpr size_t kPieceBytes = size_t{1} << 30;

// What this thread does while nothing comes: first it asks at once, then it lets others run, then it sleeps. Where a
// large message is on its way the peer is there and MPI moves it only while we ask, so that sleep comes late.
class Backoff {
 public:
  explicit Backoff(bool large) : patience_(large ? std::chrono::milliseconds(20) : std::chrono::microseconds(200)) {}

  void Wait() {
    if (++asked_ < 32) return;
    if (asked_ == 32) since_ = Clock::now();
    if (Clock::now() - since_ < patience_) {
      sched_yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }
  void Reset() { asked_ = 0; }

 private:
  const std::chrono::microseconds patience_;
  int asked_ = 0;
  Clock::time_point since_;
};

}  // namespace

MpiTransport::MpiTransport(std::shared_ptr<MpiJob> job, int group, std::vector<int> ranks)
    : job_(std::move(job)), group_(group), ranks_(std::move(ranks)), left_(ranks_.size()) {
  rank_ = static_cast<int>(std::find(ranks_.begin(), ranks_.end(), job_->rank()) - ranks_.begin());
  ListenForFarewells();
}

MpiTransport::~MpiTransport() {
  MpiTransport::Leave(absl::OkStatus());
  const auto lock = job_->Lock();
  if (farewell_request_ != MPI_REQUEST_NULL) {
    MPI_Cancel(&farewell_request_);
    // Over at once: cancelled, or it had come.
    MPI_Wait(&farewell_request_, MPI_STATUS_IGNORE);  // NOLINT(clang-analyzer-optin.mpi.MPI-Checker)
  }
}

// 0 of every group's rounds is for farewells.
int MpiTransport::Tag(uint64_t round) const {
  constexpr uint64_t kRounds = (uint64_t{1} << kRoundBits) - 1;
  return (group_ << kRoundBits) + 1 + static_cast<int>(((round >> 20) * 1031 + (round & 0xFFFFF)) % kRounds);
}
int MpiTransport::FarewellTag() const { return group_ << kRoundBits; }

void MpiTransport::ListenForFarewells() {
  if (ranks_.size() == 1) return;
  const auto lock = job_->Lock();
  // One receive at a time: this is called where the last one is over, which the checker cannot see.
  MPI_Irecv(  // NOLINT(clang-analyzer-optin.mpi.MPI-Checker)
      farewell_.data(), static_cast<int>(farewell_.size()), MPI_BYTE, MPI_ANY_SOURCE, FarewellTag(), job_->world(),
      &farewell_request_);
}

// A farewell is the status code and the words; OK: without a failure.
void MpiTransport::TakeFarewells() {
  while (farewell_request_ != MPI_REQUEST_NULL) {
    int come = 0, bytes = 0;
    MPI_Status status;
    {
      const auto lock = job_->Lock();
      if (MPI_Test(&farewell_request_, &come, &status) != MPI_SUCCESS || come == 0) return;
      MPI_Get_count(&status, MPI_BYTE, &bytes);
    }
    const auto who = std::find(ranks_.begin(), ranks_.end(), status.MPI_SOURCE);
    if (who != ranks_.end() && bytes > 0) {
      someone_left_ = true;
      const auto code = static_cast<absl::StatusCode>(farewell_[0]);
      const auto rank = static_cast<int>(who - ranks_.begin());
      left_[static_cast<size_t>(rank)] = code == absl::StatusCode::kOk
                                             ? absl::UnavailableError("it has left the group")
                                             : absl::Status(code, std::string(farewell_.data() + 1, bytes - 1));
      if (code != absl::StatusCode::kOk && !failed_) failed_ = rank;
    }
    ListenForFarewells();
  }
}

void MpiTransport::Leave(const absl::Status& why) {
  if (has_left_) return;
  has_left_ = true;
  std::string text(1, static_cast<char>(why.code()));
  text += std::string(why.message()).substr(0, kFarewellBytes - 1);
  std::vector<int> others = ranks_;
  std::erase(others, job_->rank());
  job_->SendAndForget(std::move(text), others, FarewellTag());
}

MPI_Request* MpiTransport::Round::Add(int peer, bool is_incoming) {
  requests.push_back(MPI_REQUEST_NULL);
  peers.push_back(peer);
  incoming.push_back(is_incoming);
  ++open;
  return &requests.back();
}

absl::Status MpiTransport::Post(int tag, std::span<const OutgoingMessage> out, std::span<const IncomingMessage> in,
                                Round* round) {
  // The number of pieces, so that a message of no bytes is one too.
  const auto pieces = [](size_t bytes) { return std::max<size_t>(1, (bytes + kPieceBytes - 1) / kPieceBytes); };
  const auto piece_bytes = [](size_t bytes, size_t i) {
    return static_cast<int>(std::min(kPieceBytes, bytes - i * kPieceBytes));
  };
  int code = MPI_SUCCESS;
  for (const IncomingMessage& message : in) {
    round->large |= message.bytes > kSmallMessage;
    for (size_t i = 0; i < pieces(message.bytes) && code == MPI_SUCCESS; ++i) {
      const auto lock = job_->Lock();
      code = MPI_Irecv(static_cast<std::byte*>(message.data) + i * kPieceBytes, piece_bytes(message.bytes, i), MPI_BYTE,
                       OfJob(message.rank), tag, job_->world(), round->Add(message.rank, true));
    }
  }
  for (const OutgoingMessage& message : out) {
    round->large |= message.bytes > kSmallMessage;
    for (size_t i = 0; i < pieces(message.bytes) && code == MPI_SUCCESS; ++i) {
      const auto lock = job_->Lock();
      code = MPI_Isend(static_cast<const std::byte*>(message.data) + i * kPieceBytes, piece_bytes(message.bytes, i),
                       MPI_BYTE, OfJob(message.rank), tag, job_->world(), round->Add(message.rank, false));
    }
  }
  if (code == MPI_SUCCESS) return absl::OkStatus();
  return GoneStatus(*this, round->peers.back(), MpiError(code));
}

// Counts what has come to its end.
absl::Status MpiTransport::Test(Round* round) {
  round->over.resize(round->requests.size());
  round->statuses.resize(round->requests.size());
  int over = 0;
  int code = MPI_SUCCESS;
  {
    const auto lock = job_->Lock();
    code = MPI_Testsome(static_cast<int>(round->requests.size()), round->requests.data(), &over, round->over.data(),
                        round->statuses.data());
  }
  if (over == MPI_UNDEFINED) over = 0;
  for (int i = 0; i < over; ++i) {
    const auto which = static_cast<size_t>(round->over[static_cast<size_t>(i)]);
    --round->open;
    if (code != MPI_ERR_IN_STATUS) continue;
    const int error = round->statuses[static_cast<size_t>(i)].MPI_ERROR;
    if (error == MPI_SUCCESS || error == MPI_ERR_PENDING) continue;
    int error_class = error;
    MPI_Error_class(error, &error_class);
    if (error_class != MPI_ERR_TRUNCATE) return GoneStatus(*this, round->peers[which], MpiError(error));
    return absl::FailedPreconditionError(
        fmt::format("rank {} sends more bytes than are expected from it", round->peers[which]));
  }
  if (code != MPI_SUCCESS && code != MPI_ERR_IN_STATUS) return absl::UnavailableError(MpiError(code));
  return absl::OkStatus();
}

std::vector<int> MpiTransport::Missing(const Round& round) {
  std::vector<int> missing;
  for (size_t i = 0; i < round.requests.size(); ++i) {
    if (round.requests[i] != MPI_REQUEST_NULL) missing.push_back(round.peers[i]);
  }
  return missing;
}

absl::Status MpiTransport::Poll(Round* round, Clock::time_point deadline) {
  Backoff backoff(round->large);
  while (true) {
    const size_t before = round->open;
    if (absl::Status status = Test(round); !status.ok()) return status;
    if (round->open == 0) return absl::OkStatus();
    if (round->open < before) backoff.Reset();
    if (interrupted_.load()) return absl::CancelledError("interrupted");
    TakeFarewells();
    const bool late = Clock::now() >= deadline;
    if (late || someone_left_) {
      // What a rank sent before its farewell may have come meanwhile.
      if (absl::Status status = Test(round); !status.ok()) return status;
      const std::vector<int> missing = Missing(*round);
      for (int rank : missing) {
        if (left_[static_cast<size_t>(rank)]) return LeftStatus(*this, rank, *left_[static_cast<size_t>(rank)]);
      }
      if (failed_ && !missing.empty()) return LeftStatus(*this, *failed_, *left_[static_cast<size_t>(*failed_)]);
      if (late && !missing.empty()) return LateStatus(*this, missing);
    }
    backoff.Wait();
  }
}

// Receives that nothing has come for are over at once. Of others MPI is asked for a while; what is not over then stays
// with it.
void MpiTransport::Cancel(Round* round) {
  for (size_t i = 0; i < round->requests.size(); ++i) {
    const auto lock = job_->Lock();
    if (round->incoming[i] && round->requests[i] != MPI_REQUEST_NULL) MPI_Cancel(&round->requests[i]);
  }
  const auto end = Clock::now() + std::chrono::milliseconds(200);
  while (Clock::now() < end) {
    int over = 0;
    {
      const auto lock = job_->Lock();
      MPI_Testall(static_cast<int>(round->requests.size()), round->requests.data(), &over, MPI_STATUSES_IGNORE);
    }
    if (over != 0) return;
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  for (MPI_Request& request : round->requests) {
    const auto lock = job_->Lock();
    if (request != MPI_REQUEST_NULL) MPI_Request_free(&request);
  }
}

absl::Status MpiTransport::Exchange(uint64_t round, std::span<const OutgoingMessage> out,
                                    std::span<const IncomingMessage> in, Clock::time_point deadline) {
  Round under_way;
  absl::Status status = Post(Tag(round), out, in, &under_way);
  if (status.ok()) status = Poll(&under_way, deadline);
  if (!status.ok()) Cancel(&under_way);
  return status;
}

absl::StatusOr<std::unique_ptr<Transport>> MpiTransport::Subgroup(uint64_t round, std::span<const int> ranks,
                                                                  Clock::time_point deadline) {
  int group = job_->ProposeGroup();
  const int mine = group;
  std::vector<int> of_job, proposals(ranks.size(), mine);
  std::vector<OutgoingMessage> out;
  std::vector<IncomingMessage> in;
  of_job.reserve(ranks.size());
  out.reserve(ranks.size());
  in.reserve(ranks.size());
  for (size_t i = 0; i < ranks.size(); ++i) {
    of_job.push_back(OfJob(ranks[i]));
    if (ranks[i] == rank_) continue;
    out.push_back({ranks[i], &mine, sizeof(mine)});
    in.push_back({ranks[i], &proposals[i], sizeof(int)});
  }
  if (absl::Status status = Exchange(round, out, in, deadline); !status.ok()) return status;
  group = *std::max_element(proposals.begin(), proposals.end());
  if (group >= kGroups) {
    return absl::ResourceExhaustedError(
        fmt::format("this job has made {} groups of ranks, more than MPI's tags can tell apart", group));
  }
  job_->TakeGroup(group);
  return std::make_unique<MpiTransport>(job_, group, std::move(of_job));
}

}  // namespace filigree::comm
