#include "worker/train/fault.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "fmt/format.h"

namespace filigree::train {
namespace {

// FILIGREE_FAULT cut at its colons; empty where it is not set.
const std::vector<std::string>& Request() {
  static const std::vector<std::string> parts = [] {
    std::vector<std::string> out;
    const char* text = std::getenv("FILIGREE_FAULT");
    while (text != nullptr) {
      const char* end = std::strchr(text, ':');
      out.push_back(end == nullptr ? std::string(text) : std::string(text, end));
      text = end == nullptr ? nullptr : end + 1;
    }
    return out;
  }();
  return parts;
}

int g_rank = 0;

// Is it this rank's turn? FILIGREE_FAULT_RANK names one; without it, every rank's.
bool HitsThisRank() {
  static const char* text = std::getenv("FILIGREE_FAULT_RANK");
  return text == nullptr || std::strtol(text, nullptr, 10) == g_rank;
}

// FILIGREE_FAULTS; null: not set.
const char* Folder() {
  static const char* folder = std::getenv("FILIGREE_FAULTS");
  return folder;
}

// Of a folder of faults: whoever is hit takes its file away first, so that it hits once, whatever process comes there
// again after it.
bool Take(const char* kind, const char* what, int64_t number) {
  if (Folder() == nullptr) return false;
  return ::unlink(fmt::format("{}/{}:{}:{}", Folder(), kind, what, number).c_str()) == 0;
}

// Atomic, as ranks may be threads in tests.
std::atomic<int64_t> g_operation_of_save = 0;

int64_t Number(size_t part) { return std::strtoll(Request()[part].c_str(), nullptr, 10); }

// Counts the operations of saves; what comes of the next one.
absl::Status NextOperation(bool writes) {
  static std::atomic<int64_t> operation = 0;
  const int64_t now = operation++;
  if (Take("kill", "save", g_operation_of_save++)) std::raise(SIGKILL);
  const std::vector<std::string>& request = Request();
  if (request.size() < 3 || request[1] != "save" || !HitsThisRank()) return absl::OkStatus();
  if (request[0] == "kill" && now == Number(2)) std::raise(SIGKILL);
  if (request[0] == "stop" && now == Number(2)) std::raise(SIGSTOP);
  const bool full = request[0] == "full" && request.size() == 4 && now >= Number(2) && now < Number(2) + Number(3);
  return full && writes ? absl::ErrnoToStatus(ENOSPC, "writing") : absl::OkStatus();
}

class FaultyFile : public checkpoint::WritableFile {
 public:
  explicit FaultyFile(std::unique_ptr<checkpoint::WritableFile> file) : file_(std::move(file)) {}
  absl::Status Append(const void* data, size_t n) override {
    const absl::Status status = NextOperation(true);
    return status.ok() ? file_->Append(data, n) : status;
  }
  absl::Status Sync() override {
    const absl::Status status = NextOperation(true);
    return status.ok() ? file_->Sync() : status;
  }
  absl::Status Close() override {
    const absl::Status status = NextOperation(false);
    return status.ok() ? file_->Close() : status;
  }

 private:
  std::unique_ptr<checkpoint::WritableFile> file_;
};

class FaultyFiles : public checkpoint::FileSystem {
 public:
  absl::StatusOr<std::unique_ptr<checkpoint::ReadableFile>> OpenForRead(const std::string& path) override {
    return real_.OpenForRead(path);
  }
  absl::StatusOr<std::unique_ptr<checkpoint::WritableFile>> Create(const std::string& path) override {
    if (absl::Status status = NextOperation(true); !status.ok()) return status;
    absl::StatusOr<std::unique_ptr<checkpoint::WritableFile>> file = real_.Create(path);
    if (!file.ok()) return file.status();
    return std::make_unique<FaultyFile>(*std::move(file));
  }
  absl::Status CreateFolder(const std::string& path) override {
    return After(true, [&] { return real_.CreateFolder(path); });
  }
  absl::Status SyncFolder(const std::string& path) override {
    return After(true, [&] { return real_.SyncFolder(path); });
  }
  absl::Status Rename(const std::string& from, const std::string& to) override {
    return After(false, [&] { return real_.Rename(from, to); });
  }
  absl::Status RemoveFile(const std::string& path) override {
    return After(false, [&] { return real_.RemoveFile(path); });
  }
  absl::Status RemoveFolder(const std::string& path) override {
    return After(false, [&] { return real_.RemoveFolder(path); });
  }
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override { return real_.List(path); }
  absl::StatusOr<bool> Exists(const std::string& path) override { return real_.Exists(path); }

 private:
  template <typename Work>
  absl::Status After(bool writes, Work work) {
    const absl::Status status = NextOperation(writes);
    return status.ok() ? work() : status;
  }

  checkpoint::FileSystem& real_ = checkpoint::RealFileSystem();
};

}  // namespace

bool FaultAsked(const char* kind, const char* what, int64_t step) {
  const std::vector<std::string>& request = Request();
  return request.size() == 3 && request[0] == kind && request[1] == what && Number(2) == step && HitsThisRank();
}

void FaultPoint(const char* phase, int64_t step) {
  if (std::string_view(phase) == "checkpoint") g_operation_of_save = 0;
  if (FaultAsked("kill", phase, step) || Take("kill", phase, step)) std::raise(SIGKILL);
  if (FaultAsked("stop", phase, step) || Take("stop", phase, step)) std::raise(SIGSTOP);
  if (FaultAsked("hang", phase, step) || Take("hang", phase, step))
    for (;;) ::pause();
  if (FaultAsked("throw", phase, step)) throw std::runtime_error("thrown on request");
}

void CorruptGradient(int64_t step, float* gradient, int64_t n) {
  if (FaultAsked("nan", "gradient", step) || Take("nan", "gradient", step))
    gradient[n / 2] = std::numeric_limits<float>::quiet_NaN();
}

double CorruptedLoss(int64_t step, double loss) {
  return FaultAsked("huge", "loss", step) || Take("huge", "loss", step) ? loss + 1e6 : loss;
}

double SlowedDown(const char* phase, double seconds) {
  if (Folder() == nullptr) return seconds;
  const auto asked = [phase](int factor) {
    return ::access(fmt::format("{}/slow:{}:{}", Folder(), phase, factor).c_str(), F_OK) == 0;
  };
  int factor = 9;
  while (factor > 1 && !asked(factor)) --factor;
  const auto start = std::chrono::steady_clock::now();
  if (factor > 1) std::this_thread::sleep_for(std::chrono::duration<double>((factor - 1) * seconds));
  return seconds + std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void SetFaultRank(int rank) { g_rank = rank; }

checkpoint::FileSystem& FaultyFileSystem() {
  static FaultyFiles files;
  return Request().empty() && Folder() == nullptr ? checkpoint::RealFileSystem() : files;
}

}  // namespace filigree::train
