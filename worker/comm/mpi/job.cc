#include "worker/comm/mpi/job.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <thread>
#include <utility>

namespace filigree::comm {
namespace {

// Any thread that asks MPI for progress may copy what another one waits for; MPI orders that by atomics which
// ThreadSanitizer does not see, as Debian's is built without it.
#if defined(__SANITIZE_THREAD__)
constexpr bool kOneAtATime = true;
#else
constexpr bool kOneAtATime = false;
#endif

}  // namespace

std::string MpiError(int code) {
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  if (MPI_Error_string(code, text, &length) != MPI_SUCCESS) return fmt::format("MPI error {}", code);
  return std::string(text, static_cast<size_t>(length));
}

absl::Status MpiJob::Start(std::shared_ptr<MpiJob>* job) {
  auto started = std::make_shared<MpiJob>();
  // Threads of the program need the cores while MPI waits, in what little waits inside of it.
  setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);
  int initialised = 0, level = MPI_THREAD_SINGLE;
  MPI_Initialized(&initialised);
  const int code =
      initialised != 0 ? MPI_Query_thread(&level) : MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &level);
  if (code != MPI_SUCCESS) return absl::UnavailableError(fmt::format("MPI does not start: {}", MpiError(code)));
  if (level < MPI_THREAD_SERIALIZED) {
    return absl::FailedPreconditionError(
        fmt::format("this MPI offers no threads (level {}, needed: {} or {}); use one built with them, or "
                    "parallel.backend = \"gloo\"",
                    level, MPI_THREAD_SERIALIZED, MPI_THREAD_MULTIPLE));
  }
  started->one_at_a_time_ = level < MPI_THREAD_MULTIPLE || kOneAtATime;
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  if (const int dup = MPI_Comm_dup(MPI_COMM_WORLD, &started->world_); dup != MPI_SUCCESS) {
    return absl::UnavailableError(fmt::format("MPI does not start: {}", MpiError(dup)));
  }
  MPI_Comm_set_errhandler(started->world_, MPI_ERRORS_RETURN);
  MPI_Comm_rank(started->world_, &started->rank_);
  MPI_Comm_size(started->world_, &started->size_);
  *job = std::move(started);
  return absl::OkStatus();
}

void MpiJob::SendAndForget(std::string text, const std::vector<int>& ranks, int tag) {
  Sweep();
  const std::lock_guard guard(forgotten_mutex_);
  forgotten_.push_back({std::move(text), {}});
  Forgotten& last = forgotten_.back();
  last.requests.resize(ranks.size(), MPI_REQUEST_NULL);
  const auto lock = Lock();
  for (size_t i = 0; i < ranks.size(); ++i) {
    MPI_Isend(last.text.data(), static_cast<int>(last.text.size()), MPI_BYTE, ranks[i], tag, world_, &last.requests[i]);
  }
}

void MpiJob::Sweep() {
  const std::lock_guard guard(forgotten_mutex_);
  std::erase_if(forgotten_, [&](Forgotten& sent) {
    const auto lock = Lock();
    int done = 0;
    const int code =
        MPI_Testall(static_cast<int>(sent.requests.size()), sent.requests.data(), &done, MPI_STATUSES_IGNORE);
    return code == MPI_SUCCESS && done != 0;
  });
}

void MpiJob::Finish() {
  using Clock = std::chrono::steady_clock;
  for (const auto end = Clock::now() + std::chrono::seconds(1); Clock::now() < end;) {
    Sweep();
    if (forgotten_.empty()) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  const auto lock = Lock();
  MPI_Comm_free(&world_);
  MPI_Finalize();
}

}  // namespace filigree::comm
