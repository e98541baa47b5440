#include "worker/telemetry/read_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "worker/telemetry/parse_record.h"

namespace filigree::telemetry {
namespace {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

// Puts a record into the list of its type.
struct Collect {
  RunLog& log;
  void operator()(RunRecord& r) const { log.runs.push_back(std::move(r)); }
  void operator()(StepRecord& r) const { log.steps.push_back(std::move(r)); }
  void operator()(EvalRecord& r) const { log.evals.push_back(std::move(r)); }
  void operator()(SampleRecord& r) const { log.samples.push_back(std::move(r)); }
  void operator()(CheckpointRecord& r) const { log.checkpoints.push_back(std::move(r)); }
  void operator()(SnapshotRecord& r) const { log.snapshots.push_back(std::move(r)); }
  void operator()(NoteRecord& r) const { log.notes.push_back(std::move(r)); }
  void operator()(EndRecord& r) const { log.ends.push_back(std::move(r)); }
};

}  // namespace

absl::Status ForEachLine(const std::string& path,
                         const std::function<void(const std::string& line, int64_t end)>& visit) {
  const std::unique_ptr<std::FILE, CloseFile> file(std::fopen(path.c_str(), "rb"));
  if (file == nullptr) return absl::NotFoundError(fmt::format("{}: cannot be read: {}", path, std::strerror(errno)));
  std::vector<char> buffer(1 << 20);
  std::string line;
  bool too_long = false;
  int64_t offset = 0;
  while (const size_t read = std::fread(buffer.data(), 1, buffer.size(), file.get())) {
    for (size_t begin = 0; begin < read;) {
      const char* newline = static_cast<const char*>(std::memchr(buffer.data() + begin, '\n', read - begin));
      const size_t end = newline == nullptr ? read : static_cast<size_t>(newline - buffer.data());
      too_long = too_long || line.size() + end - begin > kLongestLine;
      if (!too_long) line.append(buffer.data() + begin, end - begin);
      if (newline == nullptr) break;
      if (too_long) line.clear();
      visit(line, offset + static_cast<int64_t>(end) + 1);
      line.clear();
      too_long = false;
      begin = end + 1;
    }
    offset += static_cast<int64_t>(read);
  }
  if (std::ferror(file.get()) != 0)
    return absl::DataLossError(fmt::format("{}: reading stopped at byte {}: {}", path, offset, std::strerror(errno)));
  return absl::OkStatus();
}

absl::StatusOr<RunLog> ReadLog(const std::string& path) {
  RunLog log;
  Record record;
  const absl::Status status = ForEachLine(path, [&](const std::string& line, int64_t) {
    int64_t step = 0;
    const LineKind kind = ReadLine(line, record, step);
    if (kind == LineKind::kRecord) std::visit(Collect{log}, record);
    if (kind == LineKind::kDamaged) ++log.damaged_lines;
  });
  if (absl::IsNotFound(status)) return status;
  if (!status.ok()) ++log.damaged_lines;
  return log;
}

}  // namespace filigree::telemetry
