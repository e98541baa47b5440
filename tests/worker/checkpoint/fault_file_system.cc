#include "tests/worker/checkpoint/fault_file_system.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "kernels/base/check.h"
#include "kernels/base/random.h"

namespace filigree::checkpoint {
namespace {

absl::Status Missing(const std::string& path) { return absl::NotFoundError(fmt::format("{} does not exist", path)); }

class MemoryReadable : public ReadableFile {
 public:
  MemoryReadable(std::string bytes, absl::Status failure) : bytes_(std::move(bytes)), failure_(std::move(failure)) {}
  uint64_t size() const override { return bytes_.size(); }
  absl::Status ReadAt(uint64_t offset, void* to, size_t n) const override {
    if (offset > bytes_.size() || n > bytes_.size() - offset) return absl::DataLossError("read behind the end");
    if (!failure_.ok() && offset + n > bytes_.size() / 2) return failure_;
    if (n > 0) std::memcpy(to, bytes_.data() + offset, n);
    return absl::OkStatus();
  }

 private:
  std::string bytes_;
  absl::Status failure_;
};

}  // namespace

class FaultFileSystem::MemoryWritable : public WritableFile {
 public:
  MemoryWritable(FaultFileSystem& files, NodePtr node) : files_(files), node_(std::move(node)) {}

  absl::Status Append(const void* data, size_t n) override {
    absl::Status status = files_.Step(/*append=*/true);
    // A write that fails or is cut short by a crash may have done a part of its work.
    node_->bytes.append(static_cast<const char*>(data), status.ok() ? n : n / 2);
    return status;
  }
  absl::Status Sync() override {
    absl::Status status = files_.Step();
    if (status.ok()) node_->durable_bytes = node_->bytes;
    return status;
  }
  absl::Status Close() override { return files_.Step(); }

 private:
  FaultFileSystem& files_;
  NodePtr node_;
};

FaultFileSystem::FaultFileSystem() : root_(std::make_shared<Node>()) { root_->folder = true; }

void FaultFileSystem::FailAt(int64_t n, absl::Status status, bool sticky) {
  fail_at_ = operations_ + n;
  failure_ = std::move(status);
  sticky_ = sticky;
}

void FaultFileSystem::FailReadsOf(std::string part, absl::Status status) {
  unreadable_ = std::move(part);
  read_failure_ = std::move(status);
}

void FaultFileSystem::CrashAt(int64_t n) { crash_at_ = operations_ + n; }

void FaultFileSystem::ClearFaults() {
  fail_at_ = crash_at_ = -1;
  sticky_ = crashed_ = false;
}

void FaultFileSystem::SleepAt(int64_t n, std::function<void()> others) {
  sleep_at_ = operations_ + n;
  others_ = std::move(others);
}

absl::Status FaultFileSystem::Step(bool append) {
  if (sleep_at_ == operations_) {
    sleep_at_ = -1;
    others_();
  }
  const int64_t now = operations_++;
  if (crash_at_ >= 0 && now >= crash_at_) crashed_ = true;
  if (crashed_) return absl::AbortedError("the machine is off");
  const bool fails = fail_at_ >= 0 && (now == fail_at_ || (sticky_ && append && now > fail_at_));
  return fails ? failure_ : absl::OkStatus();
}

void FaultFileSystem::Change(Node& folder, std::function<void(Entries&)> change) {
  change(folder.entries);
  folder.unsynced.push_back(std::move(change));
}

void FaultFileSystem::Reboot(CrashKind kind, uint64_t seed) {
  const kernels::CounterRng rng(seed, 7);
  uint64_t draws = 0;
  const std::function<void(Node&)> settle = [&](Node& node) {
    if (!node.folder) {
      if (kind == CrashKind::kTorn && node.bytes.size() > node.durable_bytes.size()) {
        const uint64_t unsynced = node.bytes.size() - node.durable_bytes.size();
        node.bytes.resize(node.durable_bytes.size() + rng.Below(draws++, unsynced + 1));
      } else {
        node.bytes = node.durable_bytes;
      }
      node.durable_bytes = node.bytes;
      return;
    }
    size_t survive = kind == CrashKind::kKeepNames ? node.unsynced.size() : 0;
    if (kind == CrashKind::kTorn) survive = rng.Below(draws++, node.unsynced.size() + 1);
    for (size_t i = 0; i < survive; ++i) node.unsynced[i](node.durable_entries);
    node.entries = node.durable_entries;
    node.unsynced.clear();
    for (auto& [name, child] : node.entries) settle(*child);
  };
  settle(*root_);
  ClearFaults();
}

FaultFileSystem::NodePtr FaultFileSystem::Find(const std::string& path) const {
  NodePtr node = root_;
  size_t at = 0;
  while (node != nullptr && at < path.size()) {
    const size_t end = std::min(path.find('/', at), path.size());
    if (end > at) {
      const auto found = node->entries.find(path.substr(at, end - at));
      node = found == node->entries.end() ? nullptr : found->second;
    }
    at = end + 1;
  }
  return node;
}

std::pair<FaultFileSystem::NodePtr, std::string> FaultFileSystem::Parent(const std::string& path) const {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {root_, path};
  NodePtr folder = Find(path.substr(0, slash));
  return {folder != nullptr && folder->folder ? folder : nullptr, path.substr(slash + 1)};
}

std::string& FaultFileSystem::Bytes(const std::string& path) {
  const NodePtr node = Find(path);
  CHECK(node != nullptr && !node->folder, "no file {}", path);
  return node->bytes;
}

std::vector<std::string> FaultFileSystem::AllPaths() const {
  std::vector<std::string> paths;
  const std::function<void(const Node&, const std::string&)> walk = [&](const Node& node, const std::string& prefix) {
    for (const auto& [name, child] : node.entries) {
      paths.push_back(prefix + name);
      walk(*child, prefix + name + "/");
    }
  };
  walk(*root_, "");
  return paths;
}

absl::StatusOr<std::unique_ptr<ReadableFile>> FaultFileSystem::OpenForRead(const std::string& path) {
  const NodePtr node = Find(path);
  if (node == nullptr || node->folder) return Missing(path);
  const bool fails = !unreadable_.empty() && path.find(unreadable_) != std::string::npos;
  return std::make_unique<MemoryReadable>(node->bytes, fails ? read_failure_ : absl::OkStatus());
}

absl::StatusOr<std::unique_ptr<WritableFile>> FaultFileSystem::Create(const std::string& path) {
  absl::Status status = Step();
  if (!status.ok()) return status;
  auto [folder, name] = Parent(path);
  if (folder == nullptr) return Missing(path);
  auto node = std::make_shared<Node>();
  Change(*folder, [name = name, node](Entries& entries) { entries[name] = node; });
  return std::make_unique<MemoryWritable>(*this, node);
}

absl::Status FaultFileSystem::CreateFolder(const std::string& path) {
  absl::Status status = Step();
  if (!status.ok()) return status;
  auto [folder, name] = Parent(path);
  if (folder == nullptr) return Missing(path);
  if (folder->entries.contains(name)) return absl::OkStatus();
  auto node = std::make_shared<Node>();
  node->folder = true;
  Change(*folder, [name = name, node](Entries& entries) { entries[name] = node; });
  return absl::OkStatus();
}

absl::Status FaultFileSystem::SyncFolder(const std::string& path) {
  absl::Status status = Step();
  if (!status.ok()) return status;
  const NodePtr folder = Find(path);
  if (folder == nullptr) return Missing(path);
  folder->durable_entries = folder->entries;
  folder->unsynced.clear();
  return absl::OkStatus();
}

absl::Status FaultFileSystem::Rename(const std::string& from, const std::string& to) {
  absl::Status status = Step();
  if (!status.ok()) return status;
  const NodePtr node = Find(from);
  auto [folder, old_name] = Parent(from);
  auto [target, new_name] = Parent(to);
  if (node == nullptr || target == nullptr) return Missing(from);
  CHECK(folder == target, "only renames within a folder are modelled");
  Change(*folder, [node, old_name = old_name, new_name = new_name](Entries& entries) {
    entries.erase(old_name);
    entries[new_name] = node;
  });
  return absl::OkStatus();
}

absl::Status FaultFileSystem::RemoveFile(const std::string& path) {
  absl::Status status = Step();
  if (!status.ok()) return status;
  const NodePtr node = Find(path);
  if (node == nullptr || node->folder) return Missing(path);
  auto [folder, name] = Parent(path);
  Change(*folder, [name = name](Entries& entries) { entries.erase(name); });
  return absl::OkStatus();
}

absl::Status FaultFileSystem::RemoveFolder(const std::string& path) {
  absl::Status status = Step();
  if (!status.ok()) return status;
  const NodePtr node = Find(path);
  if (node == nullptr || !node->folder) return Missing(path);
  if (!node->entries.empty()) return absl::FailedPreconditionError(path + " is not empty");
  auto [folder, name] = Parent(path);
  Change(*folder, [name = name](Entries& entries) { entries.erase(name); });
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> FaultFileSystem::List(const std::string& path) {
  const NodePtr node = Find(path);
  if (node == nullptr || !node->folder) return Missing(path);
  std::vector<std::string> names;
  for (const auto& [name, child] : node->entries) names.push_back(name);
  return names;
}

absl::StatusOr<bool> FaultFileSystem::Exists(const std::string& path) { return Find(path) != nullptr; }

}  // namespace filigree::checkpoint
