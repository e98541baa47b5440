#include "tests/coordinator/journal/failing_disk.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace filigree::coordinator {

// SQLite hands out the bytes for this and for the real file behind it.
struct DiskFile {
  sqlite3_file base;
  FailingDisk* disk;
  const std::string* name;  // null: a temporary file, which is nobody's business
  sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }

  static DiskFile& Of(sqlite3_file* file) { return *reinterpret_cast<DiskFile*>(file); }
  static int Write(sqlite3_file* file, const void* bytes, int n, sqlite3_int64 offset);
  static int Truncate(sqlite3_file* file, sqlite3_int64 size);
  static int Sync(sqlite3_file* file, int flags);
  static int Open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out_flags);
  static int Delete(sqlite3_vfs* vfs, const char* name, int sync_folder);
};

namespace {

sqlite3_file* Real(sqlite3_file* file) { return DiskFile::Of(file).real(); }

// Everything but what changes the file is passed on.
const sqlite3_io_methods* Methods() {
  static const sqlite3_io_methods kMethods = {
      2,
      [](sqlite3_file* f) { return Real(f)->pMethods->xClose(Real(f)); },
      [](sqlite3_file* f, void* to, int n, sqlite3_int64 at) { return Real(f)->pMethods->xRead(Real(f), to, n, at); },
      DiskFile::Write,
      DiskFile::Truncate,
      DiskFile::Sync,
      [](sqlite3_file* f, sqlite3_int64* size) { return Real(f)->pMethods->xFileSize(Real(f), size); },
      [](sqlite3_file* f, int lock) { return Real(f)->pMethods->xLock(Real(f), lock); },
      [](sqlite3_file* f, int lock) { return Real(f)->pMethods->xUnlock(Real(f), lock); },
      [](sqlite3_file* f, int* out) { return Real(f)->pMethods->xCheckReservedLock(Real(f), out); },
      [](sqlite3_file* f, int op, void* arg) { return Real(f)->pMethods->xFileControl(Real(f), op, arg); },
      [](sqlite3_file* f) { return Real(f)->pMethods->xSectorSize(Real(f)); },
      [](sqlite3_file* f) { return Real(f)->pMethods->xDeviceCharacteristics(Real(f)); },
      [](sqlite3_file* f, int page, int size, int extend, void volatile** out) {
        return Real(f)->pMethods->xShmMap(Real(f), page, size, extend, out);
      },
      [](sqlite3_file* f, int at, int n, int flags) { return Real(f)->pMethods->xShmLock(Real(f), at, n, flags); },
      [](sqlite3_file* f) { Real(f)->pMethods->xShmBarrier(Real(f)); },
      [](sqlite3_file* f, int remove) { return Real(f)->pMethods->xShmUnmap(Real(f), remove); },
      nullptr,
      nullptr};
  return &kMethods;
}

sqlite3_vfs* Beneath() { return sqlite3_vfs_find("unix"); }

std::string BaseName(const std::string& path) { return std::filesystem::path(path).filename().string(); }

}  // namespace

int DiskFile::Write(sqlite3_file* file, const void* bytes, int n, sqlite3_int64 offset) {
  DiskFile& self = Of(file);
  if (const int code = self.disk->Verdict(FailingDisk::Kind::kWrite); code != SQLITE_OK) return code;
  if (self.name != nullptr)
    self.disk->log_.push_back({FailingDisk::Act::kWrite, *self.name, offset,
                               std::string(static_cast<const char*>(bytes), static_cast<size_t>(n))});
  return self.real()->pMethods->xWrite(self.real(), bytes, n, offset);
}

int DiskFile::Truncate(sqlite3_file* file, sqlite3_int64 size) {
  DiskFile& self = Of(file);
  if (self.name != nullptr) self.disk->log_.push_back({FailingDisk::Act::kTruncate, *self.name, size, ""});
  return self.real()->pMethods->xTruncate(self.real(), size);
}

int DiskFile::Sync(sqlite3_file* file, int flags) {
  DiskFile& self = Of(file);
  if (const int code = self.disk->Verdict(FailingDisk::Kind::kSync); code != SQLITE_OK) return code;
  if (self.name != nullptr) self.disk->log_.push_back({FailingDisk::Act::kSync, *self.name, 0, ""});
  return self.real()->pMethods->xSync(self.real(), flags);
}

int DiskFile::Open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  static std::map<std::string, std::string> names;  // outlive every file
  DiskFile& self = Of(file);
  self.disk = static_cast<FailingDisk*>(vfs->pAppData);
  self.name = name == nullptr ? nullptr : &(names[name] = BaseName(name));
  const int code = Beneath()->xOpen(Beneath(), name, self.real(), flags, out_flags);
  self.base.pMethods = self.real()->pMethods == nullptr ? nullptr : Methods();
  return code;
}

int DiskFile::Delete(sqlite3_vfs* vfs, const char* name, int sync_folder) {
  auto* disk = static_cast<FailingDisk*>(vfs->pAppData);
  disk->log_.push_back({FailingDisk::Act::kDelete, BaseName(name), 0, ""});
  return Beneath()->xDelete(Beneath(), name, sync_folder);
}

FailingDisk::FailingDisk() {
  vfs_ = *Beneath();
  vfs_.pNext = nullptr;
  vfs_.zName = "failing_disk";
  vfs_.szOsFile += static_cast<int>(sizeof(DiskFile));
  vfs_.pAppData = this;
  vfs_.xOpen = DiskFile::Open;
  vfs_.xDelete = DiskFile::Delete;
  EXPECT_EQ(sqlite3_vfs_register(&vfs_, 0), SQLITE_OK);
}

FailingDisk::~FailingDisk() { sqlite3_vfs_unregister(&vfs_); }

void FailingDisk::FailFrom(Kind kind, int64_t n, int code) {
  kind_ = kind;
  left_ = n;
  code_ = code;
  failed_ = false;
}

void FailingDisk::Heal() { left_ = 0; }

int FailingDisk::Verdict(Kind kind) {
  if (left_ == 0 || kind != kind_) return SQLITE_OK;
  if (left_ > 1) {
    --left_;
    return SQLITE_OK;
  }
  failed_ = true;
  return code_;
}

void FailingDisk::PowerLoss(int64_t operations, const std::string& folder, std::mt19937_64& dice) const {
  constexpr size_t kSector = 512;
  std::map<std::string, int64_t> synced;  // by file: everything before this operation is safe
  for (int64_t i = 0; i < operations; ++i)
    if (log_[i].act == Act::kSync) synced[log_[i].file] = i;
  std::map<std::string, std::string> files;
  for (int64_t i = 0; i < operations; ++i) {
    const Operation& operation = log_[i];
    const auto safe_until = synced.find(operation.file);
    const bool safe = safe_until != synced.end() && i < safe_until->second;
    std::string& content = files[operation.file];
    const auto size = static_cast<size_t>(operation.offset);
    if (operation.act == Act::kDelete)
      files.erase(operation.file);  // always with its folder synced, or after it was moved
    if (operation.act == Act::kTruncate && (safe || dice() % 2 == 0)) content.resize(size);
    if (operation.act != Act::kWrite) continue;
    for (size_t at = 0; at < operation.bytes.size();) {
      const size_t n = std::min(kSector - (size + at) % kSector, operation.bytes.size() - at);
      if (safe || dice() % 2 == 0) {
        if (content.size() < size + at + n) content.resize(size + at + n);
        content.replace(size + at, n, operation.bytes, at, n);
      }
      at += n;
    }
  }
  for (const auto& [name, content] : files) {
    std::ofstream file(folder + "/" + name, std::ios::binary | std::ios::trunc);
    file.write(content.data(), static_cast<std::streamsize>(content.size()));
  }
}

}  // namespace filigree::coordinator
