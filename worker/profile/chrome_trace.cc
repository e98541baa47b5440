#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <system_error>

#include "worker/profile/profile_text.h"

// The Trace Event Format, JSON object form: complete events ("X"), times in microseconds from the first step's start.
// Names are literals of ours and need no escapes.

namespace filigree::train {
namespace {

using Out = std::back_insert_iterator<fmt::memory_buffer>;

constexpr int kStepsTrack = 1'000'000;  // above every thread's number

double Microseconds(int64_t ns) { return 1e-3 * static_cast<double>(ns); }

double Gigas(double amount, int64_t ns) { return ns > 0 ? amount / static_cast<double>(ns) : 0; }

void NameTrack(Out out, int track, const std::string& name, int order) {
  fmt::format_to(out, ",\n{{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":{},\"args\":{{\"name\":\"{}\"}}}}",
                 track, name);
  fmt::format_to(
      out, ",\n{{\"name\":\"thread_sort_index\",\"ph\":\"M\",\"pid\":1,\"tid\":{},\"args\":{{\"sort_index\":{}}}}}",
      track, order);
}

// Begins an event's object and leaves it open.
void BeginEvent(Out out, const std::string& name, const char* category, int track, int64_t start_ns, int64_t end_ns) {
  fmt::format_to(out,
                 ",\n{{\"name\":\"{}\",\"cat\":\"{}\",\"ph\":\"X\",\"pid\":1,\"tid\":{},\"ts\":{:.3f},\"dur\":{:.3f}",
                 name, category, track, Microseconds(start_ns), Microseconds(end_ns - start_ns));
}

void Kernels(Out out, const kernels::ThreadTrace& thread, int64_t zero) {
  for (const kernels::TraceEvent& event : thread.events) {
    BeginEvent(out, event.name, "kernel", thread.thread, event.start_ns - zero, event.end_ns - zero);
    fmt::format_to(out,
                   ",\"args\":{{\"flops\":{:.0f},\"bytes\":{:.0f},\"gflops\":{:.4g},\"gbps\":{:.4g},\"cpu_us\":{:.3f},"
                   "\"threads\":{}}}}}",
                   event.work.flops, event.work.bytes, Gigas(event.work.flops, event.cpu_ns),
                   Gigas(event.work.bytes, event.cpu_ns), Microseconds(event.cpu_ns), event.work.threads);
  }
}

void Steps(Out out, const Profile& profile, int64_t zero) {
  for (const ProfiledStep& step : profile.steps) {
    BeginEvent(out, fmt::format("step {}", step.step), "step", kStepsTrack, step.start_ns - zero, step.end_ns - zero);
    fmt::format_to(out, "}}");
    BeginEvent(out, "data", "step", kStepsTrack, step.start_ns - zero, step.data_end_ns - zero);
    fmt::format_to(out, "}}");
  }
}

absl::Status Failed(const std::string& path, int error) {
  return absl::ErrnoToStatus(error, fmt::format("cannot write the trace {}", path));
}

// Something that is no file and is not replaced by one: a pipe, a device, a folder.
bool IsSpecial(const std::string& path) {
  std::error_code error;
  const auto type = std::filesystem::status(path, error).type();
  return type != std::filesystem::file_type::not_found && type != std::filesystem::file_type::regular;
}

std::string TemporaryOf(const std::string& path) { return path + ".tmp"; }

// The whole text into a file; closes it whatever happens.
absl::Status Write(const std::string& text, const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) return Failed(path, errno);
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size() && std::fflush(file) == 0;
  const int error = errno;
  const bool closed = std::fclose(file) == 0;
  if (!written) return Failed(path, error);
  return closed ? absl::OkStatus() : Failed(path, errno);
}

}  // namespace

std::string FormatChromeTrace(const Profile& profile) {
  fmt::memory_buffer buffer;
  const Out out(buffer);
  const int64_t zero = profile.steps.empty() ? 0 : profile.steps.front().start_ns;
  fmt::format_to(out, "{{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n");
  fmt::format_to(out, "{{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":1,\"args\":{{\"name\":\"filigree\"}}}}");
  NameTrack(out, kStepsTrack, "steps", -1);
  Steps(out, profile, zero);
  for (const kernels::ThreadTrace& thread : profile.trace) {
    NameTrack(out, thread.thread, fmt::format("thread {}", thread.thread), thread.thread);
    Kernels(out, thread, zero);
  }
  fmt::format_to(out, "\n]}}\n");
  return fmt::to_string(buffer);
}

absl::Status CheckTracePath(const std::string& path) {
  if (IsSpecial(path)) {
    if (std::filesystem::is_directory(path)) return Failed(path, EISDIR);
    return access(path.c_str(), W_OK) == 0 ? absl::OkStatus() : Failed(path, errno);
  }
  const std::string temporary = TemporaryOf(path);
  const int file = open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file < 0 && errno == EEXIST && access(temporary.c_str(), W_OK) == 0) return absl::OkStatus();
  if (file < 0) return Failed(path, errno);
  close(file);
  std::remove(temporary.c_str());
  return absl::OkStatus();
}

absl::Status WriteChromeTrace(const Profile& profile, const std::string& path) {
  const std::string text = FormatChromeTrace(profile);
  if (IsSpecial(path)) return Write(text, path);
  const std::string temporary = TemporaryOf(path);
  absl::Status status = Write(text, temporary);
  if (status.ok() && std::rename(temporary.c_str(), path.c_str()) != 0) status = Failed(path, errno);
  if (!status.ok()) std::remove(temporary.c_str());
  return status;
}

}  // namespace filigree::train
